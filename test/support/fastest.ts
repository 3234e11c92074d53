/** Milliseconds that the work takes, the best of five tries: for ratios, never for limits. */
export function fastest(work: () => void): number {
  const tries = Array.from({ length: 5 }, () => {
    const start = performance.now();
    work();
    return performance.now() - start;
  });
  return Math.min(...tries);
}
