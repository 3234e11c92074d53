import { createHash, timingSafeEqual } from 'node:crypto';
import { UsageError } from '../util/errors.ts';

/**
 * The secret that a QMP client shows where others than this host's users may come in. Whoever knows
 * it owns every disk here.
 */
const FORM = /^[A-Za-z0-9._~+-]{16,256}$/;

export class Token {
  readonly #digest: Buffer;

  private constructor(text: string) {
    this.#digest = digestOf(text);
  }

  /** One line. `UsageError` when it is too short to be a secret, or cannot stand in a header. */
  static parse(text: string): Token {
    const token = text.trimEnd();
    if (FORM.test(token)) return new Token(token);
    throw new UsageError('a token is one line of 16 to 256 letters, digits and . _ ~ + -');
  }

  /** Takes the same time whatever was given. */
  matches(given: string | undefined): boolean {
    const isSame = timingSafeEqual(digestOf(given ?? ''), this.#digest);
    return isSame && given !== undefined;
  }
}

function digestOf(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
