/**
 * Made when it is first needed. Undefined as long as it cannot be: without /proc as usual, or while
 * there are no more descriptors. Whoever asks has another way.
 */
export function ifPossible<T>(make: () => T): () => T | undefined {
  let made: T | undefined;
  return () => {
    try {
      made ??= make();
    } catch {
      // It is asked for again.
    }
    return made;
  };
}
