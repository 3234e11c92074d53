import {
  type Definition,
  type Feature,
  featuresOf,
  featuresOfMember,
  type Members,
  type TypeRef,
  typeOf,
} from '../protocol/qmp/definition.ts';
import { DIFFERENCES } from '../protocol/qmp/differences.ts';
import { CONVENTIONS, TRANSPORTS } from '../protocol/qmp/docs/basics.ts';
import { EXAMPLES, type Line } from '../protocol/qmp/docs/examples.ts';
import type { CommandDocs, Docs, MemberDocs, MemberedDocs } from '../protocol/qmp/docs/language.ts';
import { CHAPTERS } from '../protocol/qmp/documentation.ts';
import { COMMANDS, EVENTS, TYPES } from '../protocol/qmp/schema.ts';

/** docs/qmp-reference.md, from the schema, its documentation, examples and differences. */
interface Command {
  readonly arguments?: Members | string;
  readonly returns?: TypeRef;
  readonly features?: readonly Feature[];
}

const commands: Record<string, Command> = COMMANDS;
const events: Record<string, { readonly data: Members }> = EVENTS;
const types: Record<string, Definition> = TYPES;

const INTRODUCTION = `# QMP reference

<!-- Made from protocol/qmp by \`npm run docs\`: change it there. -->

What a client can say to nbd-mirror, and what it hears. The language is QEMU's QMP, so what drives
qemu-storage-daemon drives nbd-mirror; what differs is in
[the last chapter](#differences-from-qemu).`;

/** The whole page. */
export function renderReference(): string {
  const parts = [
    INTRODUCTION,
    `## Contents\n\n${contents()}`,
    `## Transports\n\n${TRANSPORTS}`,
    `## Conventions\n\n${CONVENTIONS}`,
    ...CHAPTERS.flatMap(chapter),
    differences(),
  ];
  return `${parts.map((part) => part.trimEnd()).join('\n\n')}\n`;
}

function contents(): string {
  const chapters = CHAPTERS.flatMap(({ title, commands: named = {}, events: told = {} }) => [
    `* ${link(title)}`,
    ...[...Object.keys(named), ...Object.keys(told)].map((name) => `  * ${link(name)}`),
  ]);
  const first = ['Transports', 'Conventions'].map((title) => `* ${link(title)}`);
  return [...first, ...chapters, `* ${link('Differences from QEMU')}`].join('\n');
}

function chapter(docs: Docs): string[] {
  return [
    `## ${docs.title}\n\n${docs.about}`,
    ...Object.entries(docs.commands ?? {}).map(([name, entry]) => command(name, entry)),
    ...Object.entries(docs.events ?? {}).map(([name, entry]) => event(name, entry)),
    ...Object.entries(docs.types ?? {}).map(([name, entry]) => type(name, entry)),
  ];
}

function command(name: string, docs: CommandDocs): string {
  const { arguments: given, returns, features } = commands[name]!;
  return joined([
    `### ${name}`,
    labels(featuresOf(name, features)),
    docs.about,
    argumentsOf(given, docs),
    returned(returns, docs.returns),
    docs.more,
    errors(docs.errors ?? {}),
    ...(EXAMPLES[name] ?? []).map(({ title, lines }) => example(title, lines)),
  ]);
}

function argumentsOf(given: Members | string | undefined, docs: MemberedDocs): string {
  if (given === undefined) return 'No arguments.';
  if (typeof given !== 'string') return memberTable('argument', given, docs.members);
  const definition = types[given]!;
  // A struct is shown at once; a union is long, and has a place of its own.
  if (!('struct' in definition)) return `Arguments: the members of ${typeLink(given)}.`;
  return memberTable('argument', definition.struct, docsOfType(given).members);
}

function docsOfType(name: string): MemberedDocs {
  return CHAPTERS.map((chapter) => chapter.types?.[name]).find((docs) => docs !== undefined)!;
}

function returned(ref: TypeRef | undefined, words: string | undefined): string {
  if (ref === undefined) return 'Returns `{}`.';
  return `Returns ${words === undefined ? `${typeLink(ref)}.` : lowerFirst(words)}`;
}

function errors(texts: { readonly [text: string]: string }): string {
  const rows = Object.entries(texts).map(([text, when]) => {
    const [, errorClass, desc] = /^(?:([A-Z]\w+): )?(.*)$/s.exec(text)!;
    return [`\`${desc!}\``, errorClass === undefined ? 'GenericError' : errorClass, when];
  });
  return rows.length === 0 ? '' : table(['error', 'class', 'when'], rows);
}

function example(title: string, lines: readonly Line[]): string {
  return `${title}\n\n\`\`\`\n${lines.map(exampleLine).join('\n')}\n\`\`\``;
}

function exampleLine(line: Line): string {
  if ('send' in line) {
    const [name, given] = line.send;
    return `-> ${json({ execute: name, ...(given && { arguments: given }) })}`;
  }
  return `<- ${json(line)}`;
}

function event(name: string, docs: MemberedDocs): string {
  return joined([
    `### ${name}`,
    '*Event.*',
    docs.about,
    memberTable('member', events[name]!.data, docs.members),
  ]);
}

function type(name: string, docs: MemberedDocs): string {
  return joined([`### ${name}`, docs.about, shape(types[name]!, docs), docs.more]);
}

function shape(definition: Definition, docs: MemberedDocs): string {
  if ('enum' in definition) {
    const rows = definition.enum.map((value) => {
      const unstable = labels(featuresOf(value));
      return `* \`${value}\`${sentence(docs.members?.[value], unstable)}`;
    });
    return rows.join('\n');
  }
  if ('alternate' in definition) {
    return `A string, or an object: ${typeLink(definition.alternate.object)}.`;
  }
  if ('struct' in definition) return memberTable('member', definition.struct, docs.members);
  const branches = Object.entries(definition.branches).map(([value, members]) =>
    Object.keys(members).length === 0
      ? ''
      : `With \`${definition.discriminator}: ${value}\` also:\n\n` +
        memberTable('member', members, docs.members),
  );
  return joined([memberTable('member', definition.base, docs.members), ...branches]);
}

function sentence(docs: MemberDocs | undefined, unstable: string): string {
  const words = docs === undefined ? '' : typeof docs === 'string' ? docs : docs.about;
  const said = [words, unstable].filter((part) => part !== '').join(' ');
  return said === '' ? '' : `: ${said}`;
}

function memberTable(what: string, members: Members, docs: MemberedDocs['members'] = {}): string {
  const entries = Object.entries(members);
  if (entries.length === 0) return '';
  const rows = entries.map(([key, member]) => {
    const name = key.replace(/^\*/, '');
    const words = docs[name]!;
    const unstable = labels(featuresOfMember(key, member));
    const about = typeof words === 'string' ? words : words.about;
    return [
      `\`${name}\``,
      typeLink(typeOf(member)),
      whenAbsent(what, key, words),
      unstable === '' ? about : `${about} ${unstable}`,
    ];
  });
  return table([what, 'type', '', ''], rows);
}

function whenAbsent(what: string, key: string, words: MemberDocs): string {
  if (!key.startsWith('*')) return what === 'argument' ? 'required' : '';
  return typeof words === 'string' ? 'may be absent' : `default: ${words.default}`;
}

function differences(): string {
  const rows = Object.values(DIFFERENCES).map(({ what, qemu, ours, why }) => [
    what,
    qemu,
    ours,
    why,
  ]);
  return (
    '## Differences from QEMU\n\n' +
    'The same script is sent to qemu-storage-daemon and to us by a test, and the answers and ' +
    'events compared; what differs is in this table or the test fails. The other rows name what ' +
    'the job does differently.\n\n' +
    table(['what', 'QEMU', 'here', 'why'], rows)
  );
}

function labels(features: readonly Feature[]): string {
  return features.map((feature) => `*${feature[0]!.toUpperCase()}${feature.slice(1)}.*`).join(' ');
}

function typeLink(ref: TypeRef): string {
  if (typeof ref !== 'string') return `list of ${typeLink(ref[0])}`;
  return types[ref] === undefined ? ref : link(ref);
}

function link(title: string): string {
  return `[${title}](#${title.toLowerCase().replaceAll(' ', '-')})`;
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const lines = [head, head.map(() => '---'), ...rows];
  return lines
    .map((cells) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`)
    .join('\n');
}

function joined(parts: readonly (string | undefined)[]): string {
  return parts.filter((part) => part !== undefined && part !== '').join('\n\n');
}

function lowerFirst(text: string): string {
  return `${text[0]!.toLowerCase()}${text.slice(1)}`;
}

/** JSON as QEMU writes it: a space after each colon and comma. */
function json(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(json).join(', ')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const members = Object.entries(value).map(
    ([key, item]) => `${JSON.stringify(key)}: ${json(item)}`,
  );
  return `{${members.join(', ')}}`;
}
