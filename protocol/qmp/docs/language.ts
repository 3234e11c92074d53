/**
 * The schema in words, as data: each file here says what the file of the same name in `schema/`
 * means. docs/qmp-reference.md is made from it (`npm run docs`); a test compares it with the
 * schema, so that nothing goes without words and no words without a thing.
 */
export interface Docs {
  readonly title: string;
  /** Markdown, before the commands. */
  readonly about: string;
  readonly commands?: { readonly [name: string]: CommandDocs };
  readonly events?: { readonly [name: string]: MemberedDocs };
  readonly types?: { readonly [name: string]: MemberedDocs };
}

export interface MemberedDocs {
  /** Sentences; units where there are any. */
  readonly about: string;
  /** Members by name; of a union, those of its base and of all branches; values of an enum. */
  readonly members?: { readonly [name: string]: MemberDocs };
  /** Markdown, after the members: what is longer than sentences. */
  readonly more?: string;
}

/** An optional member that a client may send says what happens without it. */
export type MemberDocs = string | { readonly about: string; readonly default: string };

export interface CommandDocs extends MemberedDocs {
  /** What comes back, when that is more than its type. */
  readonly returns?: string;
  /**
   * Text of the error -> when it comes. The class is before the text unless it is GenericError:
   * `DeviceNotActive: Block job 'x' not found`.
   */
  readonly errors?: { readonly [text: string]: string };
}
