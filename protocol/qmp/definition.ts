/**
 * The language in which the schema is written: QAPI's, as plain data. From one such description
 * come the checks of arguments, the answer to `query-qmp-schema`, and the TypeScript types below,
 * so that a command's code cannot disagree with what clients are told.
 *
 * A member's name that begins with `*` is optional; a type in brackets is a list: `['str']`.
 * A name that begins with `x-` (or `*x-`) is unstable without a further word, whether it is a
 * command's, a member's or an enum's; other features are written down: `{ type, features }`.
 * What all of it means to a reader is in `docs/`.
 */
export interface BuiltinTypes {
  str: string;
  bool: boolean;
  number: number;
  /** int64 on the wire; here exact integers only. */
  int: number;
  uint32: number;
  /** A byte count. */
  size: number;
  any: unknown;
}

export type TypeRef = string | readonly [string];
export type Members = { readonly [name: string]: Member };
export type Member = TypeRef | FeaturedMember;

export interface FeaturedMember {
  readonly type: TypeRef;
  readonly features: readonly Feature[];
}

export interface EnumDefinition {
  readonly enum: readonly string[];
}

export interface StructDefinition {
  readonly struct: Members;
}

/** A flat union: the members of `base`, one of them an enum that says which further ones follow. */
export interface UnionDefinition {
  readonly base: Members;
  readonly discriminator: string;
  readonly branches: { readonly [value: string]: Members };
}

/** A string or an object, told apart by what they are. */
export interface AlternateDefinition {
  readonly alternate: { readonly string: 'str'; readonly object: string };
}

export type Definition = EnumDefinition | StructDefinition | UnionDefinition | AlternateDefinition;

export type Definitions = { readonly [name: string]: Definition };

/** What clients are told beside the type: that it may go, or may change. */
export type Feature = 'deprecated' | 'unstable';

export interface CommandDefinition {
  /** A struct's members, or the name of a struct or union. */
  readonly arguments?: Members | string;
  readonly returns?: TypeRef;
  readonly features?: readonly Feature[];
  /** It may be sent with `exec-oob`: it takes no time and waits for nobody. */
  readonly allowOob?: true;
}

export interface EventDefinition {
  readonly data: Members;
}

export function typeOf(member: Member): TypeRef {
  return isFeatured(member) ? member.type : member;
}

/** What is written down, and what the name says. */
export function featuresOf(name: string, written: readonly Feature[] = []): readonly Feature[] {
  return /^\*?x-/.test(name) ? [...written, 'unstable'] : written;
}

export function featuresOfMember(key: string, member: Member): readonly Feature[] {
  return featuresOf(key, isFeatured(member) ? member.features : []);
}

function isFeatured(member: Member): member is FeaturedMember {
  return typeof member === 'object' && 'type' in member;
}

/** The TypeScript type of a reference, given all definitions. */
export type ValueOf<Types, Ref> = Ref extends readonly [infer Element]
  ? readonly ValueOf<Types, Element>[]
  : Ref extends keyof BuiltinTypes
    ? BuiltinTypes[Ref]
    : Ref extends keyof Types
      ? NamedValue<Types, Types[Ref]>
      : never;

type NamedValue<Types, Named> = Named extends { readonly enum: readonly (infer Value)[] }
  ? Value
  : Named extends { readonly struct: infer M }
    ? StructValue<Types, M>
    : Named extends {
          readonly base: infer Base;
          readonly discriminator: infer Tag;
          readonly branches: infer Branches;
        }
      ? UnionValue<Types, Base, Tag, Branches>
      : Named extends { readonly alternate: { readonly object: infer Ref } }
        ? string | ValueOf<Types, Ref>
        : never;

export type StructValue<Types, M> = {
  readonly [K in keyof M as K extends `*${string}` ? never : K]: MemberValue<Types, M[K]>;
} & {
  readonly [K in keyof M as K extends `*${infer Name}` ? Name : never]?:
    | MemberValue<Types, M[K]>
    | undefined;
};

type MemberValue<Types, M> = M extends { readonly type: infer Ref }
  ? ValueOf<Types, Ref>
  : ValueOf<Types, M>;

type UnionValue<Types, Base, Tag, Branches> = {
  [Value in keyof Branches]: StructValue<Types, Omit<Base, Tag & string>> & {
    readonly [K in Tag & string]: Value;
  } & StructValue<Types, Branches[Value]>;
}[keyof Branches];
