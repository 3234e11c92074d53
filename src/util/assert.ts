/** A broken promise of our own code: never caught, the process logs it and ends. */
export class AssertionError extends Error {
  override readonly name = 'AssertionError';
}

/** Stays on in production: a mirror that has lost its footing must stop, not write. */
export function assert(condition: unknown, what: string): asserts condition {
  if (!condition) throw new AssertionError(what);
}
