import { describe, expect, it } from 'vitest';
import { type Definition, type Members, typeOf } from '../../protocol/qmp/definition.ts';
import type { CommandDocs, MemberedDocs } from '../../protocol/qmp/docs/language.ts';
import { CHAPTERS } from '../../protocol/qmp/documentation.ts';
import { COMMANDS, EVENTS, TYPES } from '../../protocol/qmp/schema.ts';

const definitions: Record<string, Definition> = TYPES;
const commands: Record<string, { arguments?: Members | string; returns?: unknown }> = COMMANDS;

const WHERE = 'in protocol/qmp/docs/, in the file named as its file of protocol/qmp/schema/:';

type Kind = 'commands' | 'events' | 'types';

/** All entries of a kind; a name that two chapters have is there twice. */
function entries(kind: Kind): [string, CommandDocs][] {
  return CHAPTERS.flatMap((chapter) => Object.entries(chapter[kind] ?? {}));
}

/** One sentence for each name on one side only. */
function compare(
  what: string,
  inSchema: readonly string[],
  inDocs: readonly string[],
  how: string,
): string[] {
  return [
    ...inSchema
      .filter((name) => !inDocs.includes(name))
      .map((name) => `${WHERE} ${what} lacks ${name}: add ${how}`),
    ...inDocs
      .filter((name) => !inSchema.includes(name))
      .map((name) => `${WHERE} ${what} has ${name}, which is not in the schema: take it out`),
    ...inDocs
      .filter((name, index) => inDocs.indexOf(name) !== index)
      .map((name) => `${WHERE} ${what} has ${name} twice`),
  ];
}

/** Keys of members (`*` for optional ones) of a struct, or of a union with all its branches. */
function memberKeys(definition: Definition): string[] {
  if ('struct' in definition) return Object.keys(definition.struct);
  if (!('base' in definition)) return [];
  const branches = Object.values(definition.branches).flatMap((branch) => Object.keys(branch));
  return [...new Set([...Object.keys(definition.base), ...branches])];
}

const nameOf = (key: string) => key.replace(/^\*/, '');

/** Named types that a client may send: their optional members must say what their absence means. */
function sentTypes(): Set<string> {
  const found = new Set<string>(['NbdServerOptions', 'ChardevOptions', 'MonitorOptions']);
  const visit = (ref: unknown): void => {
    const name = Array.isArray(ref) ? (ref[0] as string) : (ref as string);
    const definition = definitions[name];
    if (definition === undefined || found.has(name)) return;
    found.add(name);
    if ('struct' in definition) visitMembers(definition.struct);
    if ('alternate' in definition) visit(definition.alternate.object);
    if (!('base' in definition)) return;
    for (const members of [definition.base, ...Object.values(definition.branches)]) {
      visitMembers(members);
    }
  };
  const visitMembers = (members: Members) => {
    for (const member of Object.values(members)) visit(typeOf(member));
  };
  for (const { arguments: given } of Object.values(commands)) {
    if (typeof given === 'string') visit(given);
    else visitMembers(given ?? {});
  }
  return found;
}

function checkMembers(what: string, keys: readonly string[], docs: MemberedDocs): string[] {
  return compare(
    `members of ${what}`,
    [...new Set(keys.map(nameOf))],
    Object.keys(docs.members ?? {}),
    'a sentence about it',
  );
}

function checkDefaults(what: string, keys: readonly string[], docs: MemberedDocs): string[] {
  return keys
    .filter((key) => key.startsWith('*') && typeof docs.members?.[nameOf(key)] === 'string')
    .map((key) => `${WHERE} ${what}, member ${nameOf(key)}: make it { about, default }`);
}

describe('the documentation of the schema', () => {
  it.each<[Kind, object]>([
    ['commands', COMMANDS],
    ['events', EVENTS],
    ['types', TYPES],
  ])('has the same %s as the schema', (kind, schema) => {
    const documented = entries(kind).map(([name]) => name);
    expect(compare(kind, Object.keys(schema), documented, 'an entry with `about`')).toEqual([]);
  });

  it('has the arguments of every command, and what their absence means', () => {
    const wrong = entries('commands').flatMap(([name, docs]) => {
      const given = commands[name]?.arguments ?? {};
      const keys = typeof given === 'string' ? [] : Object.keys(given);
      return [...checkMembers(name, keys, docs), ...checkDefaults(name, keys, docs)];
    });
    expect(wrong).toEqual([]);
  });

  it('has the members of every event', () => {
    const wrong = entries('events').flatMap(([name, docs]) =>
      checkMembers(name, Object.keys(EVENTS[name as keyof typeof EVENTS]?.data ?? {}), docs),
    );
    expect(wrong).toEqual([]);
  });

  it('has the members of every type, and what their absence means', () => {
    const sent = sentTypes();
    const wrong = entries('types').flatMap(([name, docs]) => {
      const definition = definitions[name];
      if (definition === undefined) return [];
      if ('enum' in definition) {
        // A value whose name says all needs no sentence.
        const values = Object.keys(docs.members ?? {});
        return values
          .filter((value) => !definition.enum.includes(value))
          .map((value) => `${WHERE} ${name} has ${value}, which is not in the schema`);
      }
      const keys = memberKeys(definition);
      const defaults = sent.has(name) ? checkDefaults(name, keys, docs) : [];
      return [...checkMembers(name, keys, docs), ...defaults];
    });
    expect(wrong).toEqual([]);
  });

  it('is made of sentences', () => {
    const all = (['commands', 'events', 'types'] as const).flatMap(entries);
    const texts = all.flatMap(([name, docs]) => [
      [name, docs.about] as const,
      ...Object.entries(docs.members ?? {}).map(
        ([member, text]) =>
          [`${name}.${member}`, typeof text === 'string' ? text : text.about] as const,
      ),
    ]);
    const wrong = texts.filter(([, text]) => !/^[A-Z`*].*[.:]$/s.test(text)).map(([name]) => name);
    expect(wrong).toEqual([]);
  });
});
