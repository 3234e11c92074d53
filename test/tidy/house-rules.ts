/** Rules of this house that no linter knows: sizes, and calls that belong to a few places only. */
import { type SourceFile, withoutComments } from './source-files.ts';

export const FILE_LINES_MAX = 500;
export const LINE_COLUMNS_MAX = 100;

interface Banned {
  call: RegExp;
  /** Paths that begin so may. */
  allowed: readonly string[];
  instead: string;
}

const EDGES = ['src/daemon/', 'src/cli/'];
const CLOCK = 'src/util/clock.ts';
const BANNED: readonly Banned[] = [
  {
    call: /\bDate\.now\b|\bnew Date\(\)|\bperformance\.|\bset(?:Timeout|Interval|Immediate)\(/,
    allowed: [CLOCK, ...EDGES],
    instead: 'time comes in as a Clock',
  },
  { call: /\bMath\.random\b/, allowed: EDGES, instead: 'randomness comes in as a parameter' },
  { call: /\bprocess\.env\b/, allowed: EDGES, instead: 'settings come in as parameters' },
  { call: /\bconsole\.\w/, allowed: ['src/cli/'], instead: 'messages go to a Log' },
];

/** One sentence for each file or line that is too long. */
export function oversized(files: readonly SourceFile[]): string[] {
  return files.flatMap(({ path, text }) => {
    const lines = text.split('\n');
    const found = lines.flatMap((line, index) =>
      [...line].length > LINE_COLUMNS_MAX
        ? [`${path}:${index + 1} is longer than a line may be`]
        : [],
    );
    return lines.length - 1 > FILE_LINES_MAX
      ? [`${path} has ${lines.length - 1} lines`, ...found]
      : found;
  });
}

/** One sentence for each call outside of the places that may make it. */
export function bannedCalls(files: readonly SourceFile[]): string[] {
  return files.flatMap(({ path, text }) => {
    const rules = BANNED.filter(({ allowed }) => !allowed.some((place) => path.startsWith(place)));
    return withoutComments(text)
      .split('\n')
      .flatMap((line, index) =>
        rules
          .filter(({ call }) => call.test(line))
          .map(({ instead }) => `${path}:${index + 1} ${line.trim()} (${instead})`),
      );
  });
}

/**
 * Files with a default export: a name that every importer may choose is a name that nobody can
 * find.
 */
export function defaultExports(files: readonly SourceFile[]): string[] {
  return files
    .filter(({ text }) =>
      /^export default\b|^export \{[^}]*\bas default\b/m.test(withoutComments(text)),
    )
    .map(({ path }) => path);
}
