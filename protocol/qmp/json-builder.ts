import type { Token } from './json-lexer.ts';

/**
 * Tokens -> a value, one token at a time: there is no list of tokens to bound and no recursion. The
 * first thing that is wrong is kept; the rest of that message is only counted past.
 *
 * Integers that a double cannot hold exactly are `bigint`s, as far as int64 and uint64 reach: they
 * can be echoed in an `id` but are refused as an argument. Objects have no prototype.
 */
export type Json = null | boolean | number | bigint | string | readonly Json[] | JsonObject;
export type JsonObject = { readonly [key: string]: Json };

interface Frame {
  readonly container: Json[] | Record<string, Json>;
  /** What must come next. */
  expects: 'first' | 'item' | 'colon' | 'value' | 'separator';
  key: string;
}

const INT64_MIN = -(2n ** 63n);
const UINT64_MAX = 2n ** 64n - 1n;
const KEYWORDS = new Map<string, Json>([
  ['null', null],
  ['true', true],
  ['false', false],
]);

export class JsonBuilder {
  /** What is wrong, in QEMU's words; undefined so far. */
  error: string | undefined;
  /** The whole value, once all brackets are closed and nothing was wrong. */
  value: Json | undefined;
  #stack: Frame[] = [];

  push(token: Token): void {
    if (this.error !== undefined) return;
    const frame = this.#stack.at(-1);
    if (frame === undefined) this.#value(token);
    else if (Array.isArray(frame.container)) this.#inArray(token, frame);
    else this.#inObject(token, frame);
  }

  fail(what: string): void {
    this.error ??= what;
  }

  #inArray(token: Token, frame: Frame): void {
    if (frame.expects === 'separator') {
      if (token.type === ',') frame.expects = 'item';
      else if (token.type === ']') this.#close();
      else this.fail('expected separator in list');
    } else if (frame.expects === 'first' && token.type === ']') {
      this.#close();
    } else {
      this.#value(token);
    }
  }

  #inObject(token: Token, frame: Frame): void {
    switch (frame.expects) {
      case 'first':
        if (token.type === '}') this.#close();
        else this.#key(token, frame);
        break;
      case 'item':
        this.#key(token, frame);
        break;
      case 'colon':
        if (token.type === ':') frame.expects = 'value';
        else this.fail('missing : in object pair');
        break;
      case 'value':
        this.#value(token);
        break;
      case 'separator':
        if (token.type === ',') frame.expects = 'item';
        else if (token.type === '}') this.#close();
        else this.fail('expected separator in dict');
    }
  }

  #key(token: Token, frame: Frame): void {
    const key = token.type === '{' || token.type === '[' ? null : this.#scalar(token);
    if (typeof key === 'string') {
      frame.key = key;
      frame.expects = 'colon';
    } else {
      this.fail('key is not a string in object');
    }
  }

  #value(token: Token): void {
    if (token.type === '{' || token.type === '[') {
      const container = token.type === '[' ? [] : Object.create(null);
      this.#stack.push({ container, expects: 'first', key: '' });
      return;
    }
    const value = this.#scalar(token);
    if (value !== undefined) this.#put(value);
  }

  #close(): void {
    this.#put(this.#stack.pop()!.container);
  }

  #put(value: Json): void {
    const frame = this.#stack.at(-1);
    if (frame === undefined) {
      this.value = value;
      return;
    }
    frame.expects = 'separator';
    const { container } = frame;
    if (Array.isArray(container)) container.push(value);
    else if (Object.hasOwn(container, frame.key)) this.fail('duplicate key');
    else container[frame.key] = value;
  }

  #scalar(token: Token): Json | undefined {
    if (token.type === 'string') return this.#string(token.text, token.quote);
    if (token.type === 'number') return numberOf(token.text);
    if (token.type === 'keyword') {
      const value = KEYWORDS.get(token.text);
      if (value === undefined) this.fail(`invalid keyword '${token.text}'`);
      return value;
    }
    this.fail('expecting value');
    return undefined;
  }

  #string(text: string | undefined, quote: string): string | undefined {
    if (text === undefined) {
      this.fail('invalid UTF-8 sequence in string');
      return undefined;
    }
    if (!text.includes('\\')) return text;
    const result = new TextPieces();
    for (let at = 0; at < text.length; ) {
      const next = text.indexOf('\\', at);
      if (next === -1) {
        result.add(text.slice(at));
        break;
      }
      const replacement = readEscape(text, next);
      if (replacement === undefined) {
        this.fail(whyNoEscape(text, next, quote));
        return undefined;
      }
      result.add(text.slice(at, next));
      result.add(replacement.value);
      at = next + replacement.length;
    }
    return result.join();
  }
}

/**
 * A string is put together from a few thousand pieces at a time: V8 remembers each piece until
 * somebody reads the whole, which of a message of nothing but escapes is twenty times its size.
 */
const PIECES_MAX = 8192;

class TextPieces {
  readonly #joined: string[] = [];
  #pieces: string[] = [];

  add(piece: string): void {
    if (piece === '') return;
    if (this.#pieces.push(piece) < PIECES_MAX) return;
    this.#joined.push(this.#pieces.join(''));
    this.#pieces = [];
  }

  join(): string {
    return this.#joined.join('') + this.#pieces.join('');
  }
}

function numberOf(text: string): number | bigint {
  const value = Number(text);
  if (Number.isSafeInteger(value) || !/^-?\d+$/.test(text)) return value;
  const exact = BigInt(text);
  return exact >= INT64_MIN && exact <= UINT64_MAX ? exact : value;
}

const SIMPLE_ESCAPES: Record<string, string> = {
  '"': '"',
  "'": "'",
  '\\': '\\',
  '/': '/',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
};

/** The escape at `at`, and how long it is written; undefined if there is none such. */
function readEscape(text: string, at: number): { value: string; length: number } | undefined {
  const letter = text[at + 1]!;
  if (letter !== 'u') {
    const value = SIMPLE_ESCAPES[letter];
    return value === undefined ? undefined : { value, length: 2 };
  }
  const unit = codeUnit(text, at);
  if (unit === undefined) return undefined;
  if (unit < 0xd800 || unit > 0xdfff) return { value: String.fromCharCode(unit), length: 6 };
  const low = unit < 0xdc00 ? codeUnit(text, at + 6) : undefined;
  if (low === undefined || low < 0xdc00 || low > 0xdfff) return undefined;
  return { value: String.fromCharCode(unit, low), length: 12 };
}

/** The number in `\uXXXX` at `at`. */
function codeUnit(text: string, at: number): number | undefined {
  const match = /^\\u([0-9A-Fa-f]{4})$/.exec(text.slice(at, at + 6));
  return match === null ? undefined : Number.parseInt(match[1]!, 16);
}

function whyNoEscape(text: string, at: number, quote: string): string {
  if (text[at + 1] !== 'u') return 'invalid escape sequence in string';
  return `${(text + quote).slice(at, at + 6)} is not a valid Unicode character`;
}
