import { type Json, JsonBuilder } from './json-builder.ts';
import { JsonLexer, type Token } from './json-lexer.ts';

/**
 * A stream of bytes -> the JSON values in it. Values need nothing between them; one is complete
 * when its brackets are closed, and an unmatched closing bracket ends it too.
 */
export interface MessageLimits {
  /** Bytes of one value, without the blanks in it. */
  readonly messageBytesMax: number;
  /** Brackets, commas, colons and scalars of one value. */
  readonly tokensMax: number;
  readonly nestingMax: number;
}

export interface MessageSink {
  message(value: Json): void;
  /** `desc` says what is wrong with the input; reading goes on after it. */
  malformed(desc: string): void;
}

export class MessageStream {
  readonly #sink: MessageSink;
  readonly #limits: MessageLimits;
  readonly #lexer: JsonLexer;
  #builder = new JsonBuilder();
  #braces = 0;
  #brackets = 0;
  #bytes = 0;
  #tokens = 0;

  constructor(sink: MessageSink, limits: MessageLimits) {
    this.#sink = sink;
    this.#limits = limits;
    this.#lexer = new JsonLexer((token, bytes) => this.#onToken(token, bytes), {
      tokenBytesMax: limits.messageBytesMax,
    });
  }

  /** Nothing of `chunk` is kept when this returns. */
  push(chunk: Uint8Array): void {
    this.#lexer.push(chunk);
  }

  #onToken(token: Token, bytes: number): void {
    this.#bytes += bytes;
    this.#tokens++;
    this.#count(token);
    const broken = this.#whyGiveUp(token);
    if (broken !== undefined) {
      this.#giveUp(broken);
      return;
    }
    this.#builder.push(token);
    if (!this.#isOpen()) this.#deliver();
  }

  #count(token: Token): void {
    if (token.type === '{') this.#braces++;
    else if (token.type === '}') this.#braces--;
    else if (token.type === '[') this.#brackets++;
    else if (token.type === ']') this.#brackets--;
  }

  #whyGiveUp(token: Token): string | undefined {
    const { messageBytesMax, tokensMax, nestingMax } = this.#limits;
    if (token.type === 'stray') return `JSON parse error, stray '${token.text}'`;
    if (token.type === 'too long' || this.#bytes > messageBytesMax) {
      return 'JSON token size limit exceeded';
    }
    if (this.#tokens > tokensMax) return 'JSON token count limit exceeded';
    if (this.#braces + this.#brackets > nestingMax) return 'JSON nesting depth limit exceeded';
    return undefined;
  }

  #isOpen(): boolean {
    if (this.#braces < 0 || this.#brackets < 0) return false;
    return this.#braces > 0 || this.#brackets > 0;
  }

  #deliver(): void {
    const { error, value } = this.#builder;
    if (error === undefined && value !== undefined) {
      this.#reset();
      this.#sink.message(value);
    } else {
      this.#giveUp(`JSON parse error, ${error ?? 'expecting value'}`);
    }
  }

  #giveUp(desc: string): void {
    this.#reset();
    this.#sink.malformed(desc);
  }

  #reset(): void {
    this.#builder = new JsonBuilder();
    this.#braces = 0;
    this.#brackets = 0;
    this.#bytes = 0;
    this.#tokens = 0;
  }
}
