/**
 * Resolves when all of it has ended, whatever became of the others, then fails with the first
 * failure: only then may a buffer that they share be used again.
 */
export async function allEnded(works: readonly (Promise<void> | void)[]): Promise<void> {
  if (works.length === 1) return works[0];
  for (const result of await Promise.allSettled(works)) {
    if (result.status === 'rejected') throw result.reason;
  }
}
