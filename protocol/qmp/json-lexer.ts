/**
 * Bytes -> tokens of QEMU's JSON dialect, for input that is cut anywhere. Strings may be quoted
 * with `'` too. What can be no token is told as `stray` at once, and all that follows is skipped up
 * to a bracket, a comma, a colon, a control character or a byte that UTF-8 never uses: a client
 * that has lost its place sends one of those and starts afresh.
 */
export type Token =
  | { readonly type: '{' | '}' | '[' | ']' | ',' | ':' }
  /** `text` is what stands between the quotes, escapes and all; undefined if it is not UTF-8. */
  | { readonly type: 'string'; readonly text: string | undefined; readonly quote: string }
  | { readonly type: 'number' | 'keyword' | 'stray'; readonly text: string }
  | { readonly type: 'too long' };

type State =
  | 'start'
  | 'string'
  | 'escape'
  | 'sign'
  | 'zero'
  | 'digits'
  | 'point'
  | 'fraction'
  | 'e'
  | 'exponent sign'
  | 'exponent'
  | 'keyword'
  | 'recovery';

const TAB = 0x09;
const SPACE = 0x20;
const BACKSLASH = 0x5c;
const QUOTES = new Set([0x22, 0x27]);
const STRUCTURAL = new Set(new TextEncoder().encode('{}[],:'));
const WHITESPACE = new Set(new TextEncoder().encode('\t\n\r '));

const NOTHING = new Uint8Array(0);
const HELD_BYTES_MIN = 256;

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const lenientUtf8 = new TextDecoder('utf-8', { ignoreBOM: true });

export class JsonLexer {
  readonly #onToken: (token: Token, bytes: number) => void;
  readonly #tokenBytesMax: number;
  #state: State = 'start';
  #quote = 0;
  /** Its first bytes are the beginning of the current token, from chunks that are gone. */
  #held = NOTHING;
  #heldBytes = 0;

  /** `onToken` gets each token with its length in bytes. */
  constructor(
    onToken: (token: Token, bytes: number) => void,
    options: { readonly tokenBytesMax: number },
  ) {
    this.#onToken = onToken;
    this.#tokenBytesMax = options.tokenBytesMax;
  }

  /** Nothing of `chunk` is kept when this returns. */
  push(chunk: Uint8Array): void {
    // Where the current token begins in this chunk.
    let start = 0;
    let at = 0;
    while (at < chunk.length) {
      if (this.#state === 'string') at = this.#skipString(chunk, at);
      else if (this.#state === 'recovery') at = this.#skipGarbage(chunk, at);
      if (at === chunk.length) break;
      if (this.#state === 'start') start = at;
      const next = this.#next(chunk[at]!);
      if (next !== 'ends before') at++;
      if (next === 'stray') this.#stray(chunk.subarray(start, at));
      else if (next === 'ends' || next === 'ends before') this.#finish(chunk.subarray(start, at));
      else this.#state = next;
    }
    if (this.#state !== 'start' && this.#state !== 'recovery') this.#hold(chunk.subarray(start));
  }

  #skipString(chunk: Uint8Array, from: number): number {
    let at = from;
    while (at < chunk.length) {
      const byte = chunk[at]!;
      if (byte === this.#quote || byte === BACKSLASH || byte < SPACE || byte >= 0xfe) break;
      at++;
    }
    return at;
  }

  #skipGarbage(chunk: Uint8Array, from: number): number {
    let at = from;
    while (at < chunk.length && !isResynchronization(chunk[at]!)) at++;
    if (at < chunk.length) this.#state = 'start';
    return at;
  }

  /** What this byte does to the current state. */
  #next(byte: number): State | 'ends' | 'ends before' | 'stray' {
    switch (this.#state) {
      case 'start':
        return this.#begin(byte);
      case 'string':
        if (byte === this.#quote) return 'ends';
        return byte === BACKSLASH ? 'escape' : 'stray';
      case 'escape':
        return byte < SPACE || byte >= 0xfe ? 'stray' : 'string';
      case 'sign':
        if (byte === 0x30) return 'zero';
        return isDigit(byte) ? 'digits' : 'stray';
      case 'zero':
        return isDigit(byte) ? 'stray' : afterInteger(byte);
      case 'digits':
        return isDigit(byte) ? 'digits' : afterInteger(byte);
      case 'point':
        return isDigit(byte) ? 'fraction' : 'stray';
      case 'fraction':
        if (isDigit(byte)) return 'fraction';
        return isE(byte) ? 'e' : 'ends before';
      case 'e':
        if (byte === 0x2b || byte === 0x2d) return 'exponent sign';
        return isDigit(byte) ? 'exponent' : 'stray';
      case 'exponent sign':
        return isDigit(byte) ? 'exponent' : 'stray';
      case 'exponent':
        return isDigit(byte) ? 'exponent' : 'ends before';
      case 'keyword':
        return isLowerCase(byte) ? 'keyword' : 'ends before';
      case 'recovery':
        return 'recovery';
    }
  }

  #begin(byte: number): State | 'ends' | 'stray' {
    if (WHITESPACE.has(byte)) return 'start';
    if (STRUCTURAL.has(byte)) return 'ends';
    if (QUOTES.has(byte)) {
      this.#quote = byte;
      return 'string';
    }
    if (byte === 0x2d) return 'sign';
    if (byte === 0x30) return 'zero';
    if (isDigit(byte)) return 'digits';
    return isLowerCase(byte) ? 'keyword' : 'stray';
  }

  #finish(tail: Uint8Array): void {
    const bytes = this.#take(tail);
    const state = this.#state;
    this.#state = 'start';
    this.#onToken(tokenOf(state, bytes), bytes.length);
  }

  #stray(tail: Uint8Array): void {
    const bytes = this.#take(tail);
    this.#state = 'recovery';
    this.#onToken({ type: 'stray', text: lenientUtf8.decode(bytes) }, bytes.length);
  }

  #hold(part: Uint8Array): void {
    if (this.#heldBytes + part.length > this.#tokenBytesMax) {
      this.#forget();
      this.#state = 'recovery';
      this.#onToken({ type: 'too long' }, 0);
    } else {
      this.#keep(part);
    }
  }

  /** A copy: the chunk's memory is used again. */
  #keep(part: Uint8Array): void {
    const bytes = this.#heldBytes + part.length;
    if (bytes > this.#held.length) {
      const larger = new Uint8Array(Math.max(bytes, 2 * this.#held.length, HELD_BYTES_MIN));
      larger.set(this.#held.subarray(0, this.#heldBytes));
      this.#held = larger;
    }
    this.#held.set(part, this.#heldBytes);
    this.#heldBytes = bytes;
  }

  #forget(): void {
    this.#held = NOTHING;
    this.#heldBytes = 0;
  }

  #take(tail: Uint8Array): Uint8Array {
    if (this.#heldBytes === 0) return tail;
    this.#keep(tail);
    const whole = this.#held.subarray(0, this.#heldBytes);
    this.#forget();
    return whole;
  }
}

function tokenOf(state: State, bytes: Uint8Array): Token {
  if (state === 'string') {
    const quote = String.fromCharCode(bytes[0]!);
    return { type: 'string', text: decode(bytes.subarray(1, -1)), quote };
  }
  const text = lenientUtf8.decode(bytes);
  if (state === 'start') return { type: text } as Token;
  return { type: state === 'keyword' ? 'keyword' : 'number', text };
}

function decode(bytes: Uint8Array): string | undefined {
  try {
    return utf8.decode(bytes);
  } catch {
    return undefined;
  }
}

function afterInteger(byte: number): 'point' | 'e' | 'ends before' {
  if (byte === 0x2e) return 'point';
  return isE(byte) ? 'e' : 'ends before';
}

function isDigit(byte: number): boolean {
  return byte >= 0x30 && byte <= 0x39;
}

function isLowerCase(byte: number): boolean {
  return byte >= 0x61 && byte <= 0x7a;
}

function isE(byte: number): boolean {
  return byte === 0x65 || byte === 0x45;
}

function isResynchronization(byte: number): boolean {
  return (byte < SPACE && byte !== TAB) || byte >= 0xfe || STRUCTURAL.has(byte);
}
