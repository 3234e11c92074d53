/**
 * `npm run bench`: every workload against the peers that are here, in turn, several rounds in one
 * run, because machines are fast and slow by the minute: only figures of one round are compared.
 */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { kernelHasRings } from '../support/io-ring.ts';
import { mustRun, Scope } from '../support/process.ts';
import { hasTool, missingPackages } from '../support/tools.ts';
import { drops, formatMarkdown, readTable } from './committed.ts';
import { Images } from './images.ts';
import { newestQsd, ourselves, versionOf, withRing } from './peers.ts';
import {
  formatFigure,
  formatTable,
  makeRow,
  type Pair,
  type Row,
  shortcomings,
} from './results.ts';
import { complaints, growth, soak, WARM_UP_MINUTES } from './soak.ts';
import type { Measurement, Side, Workload } from './workload.ts';
import { allWorkloads, shortWorkloads } from './workloads.ts';

const USAGE = `usage: npm run bench -- [options]
  --pairs N       rounds of each workload (5)
  --seconds N     how long each load runs (2)
  --only REGEX    only workloads whose names match
  --json          rows as JSON instead of a table
  --markdown      ratios as the table in docs/performance.md
  --short         few workloads and little time; exit 1 when a ratio stays 30 % below that table
  --soak MINUTES  memory under load and mirrors instead, after ${WARM_UP_MINUTES} minutes of both;
                  exit 1 when it goes on growing; less than half an hour says little
  --check         exit 1 when a ratio to qemu-storage-daemon is below 1 or memory above 160 MiB
$QSD chooses another qemu-storage-daemon; otherwise the newest that is found.
`;
/** The short benchmark finds what has become much slower, not how fast it is. */
const SHORT = { pairs: 3, seconds: 1, tries: 3 };
const PERFORMANCE = fileURLToPath(new URL('../../docs/performance.md', import.meta.url));
const NEEDED = ['fio', 'nbdkit', 'qemu-img'];

/** What has been measured so far. */
const rows: Row[] = [];
/** Of what is being measured. */
let current: Scope | undefined;
let interrupted: Promise<void> | undefined;

const options = readOptions();

if (options.help) {
  process.stdout.write(USAGE);
} else {
  process.exitCode = await bench();
}

function readOptions() {
  try {
    return parseArgs({
      options: {
        pairs: { type: 'string', default: '5' },
        seconds: { type: 'string', default: '2' },
        only: { type: 'string', default: '' },
        json: { type: 'boolean', default: false },
        markdown: { type: 'boolean', default: false },
        short: { type: 'boolean', default: false },
        soak: { type: 'string' },
        check: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    }).values;
  } catch (error) {
    return refuse((error as Error).message);
  }
}

/** Wrong options are told without a stack. */
function refuse(why: string): never {
  say(`${why}\n${USAGE}`);
  process.exit(2);
}

/** What would be ignored is refused. */
function checkTogether(): void {
  const whole = ['pairs', 'seconds', 'check'] as const;
  const others = options.soak === undefined ? [] : (['short', 'only', 'json', 'markdown'] as const);
  const alone = options.soak === undefined ? '--short' : '--soak';
  if (!options.short && options.soak === undefined) return;
  for (const option of [...whole, ...others]) {
    if (isGiven(option)) refuse(`--${option} makes no sense with ${alone}`);
  }
}

function isGiven(option: string): boolean {
  return process.argv.some((word) => word === `--${option}` || word.startsWith(`--${option}=`));
}

async function bench(): Promise<number> {
  checkTogether();
  const missing = missingPackages(NEEDED);
  if (missing.length > 0) {
    say(`missing: apt-get install ${missing.join(' ')}`);
    return 1;
  }
  const scope = new Scope();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => {
      interrupted ??= interrupt(scope).finally(() => process.exit(1));
    });
  }
  try {
    if (options.soak !== undefined) return await benchMemory(scope, Number(options.soak));
    const workloads = await chosenWorkloads(scope);
    return options.short ? await benchShortly(workloads) : await benchWholly(workloads);
  } catch (error) {
    // What was taken away under it has failed.
    await interrupted;
    throw error;
  } finally {
    await scope.close();
  }
}

/** Loop devices outlive a process; and what was measured took its time. */
async function interrupt(scope: Scope): Promise<void> {
  print();
  rows.length = 0;
  await current?.close();
  await scope.close();
}

async function benchWholly(workloads: readonly Workload[]): Promise<number> {
  const pairs = count('pairs');
  try {
    for (const workload of workloads) rows.push(...(await measureWorkload(workload, pairs)));
  } finally {
    print();
  }
  const found = options.check ? shortcomings(rows) : [];
  for (const sentence of found) say(sentence);
  return found.length > 0 ? 1 : 0;
}

/** What seems to have become slower is measured again: a machine can be busy for a while. */
async function benchShortly(workloads: readonly Workload[]): Promise<number> {
  const committed = readTable(readFileSync(PERFORMANCE, 'utf8'));
  const found: string[] = [];
  for (const workload of workloads) {
    let measured = await measureWorkload(workload, SHORT.pairs);
    let dropped = drops(measured, committed);
    for (let tried = 1; dropped.length > 0 && tried < SHORT.tries; tried++) {
      say(`again: ${dropped.join('; ')}`);
      measured = await measureWorkload(workload, (1 + tried) * SHORT.pairs);
      dropped = drops(measured, committed);
    }
    rows.push(...measured);
    found.push(...dropped);
  }
  print();
  for (const sentence of found) say(sentence);
  return found.length > 0 ? 1 : 0;
}

async function benchMemory(scope: Scope, minutes: number): Promise<number> {
  // Less has no two samples that could be compared.
  if (!(minutes >= 2)) refuse(`--soak ${options.soak}: expected a number of minutes from 2 on`);
  const images = new Images(scope);
  const found = await soak(scope, ourselves(), images, minutes, (seconds, mebibytes, isWarm) => {
    const note = isWarm ? '' : ', warming up';
    say(`${seconds.toFixed(0)} s: ${mebibytes.toFixed(1)} MiB${note}`);
  });
  const anHour = growth(found.samples, minutes);
  const sentences = complaints(anHour, found.peakMiB);
  for (const sentence of sentences) say(sentence);
  if (sentences.length === 0) {
    const peak = found.peakMiB.toFixed(0);
    say(`memory is flat (${anHour.toFixed(1)} MiB an hour); ${peak} MiB at most`);
  }
  return sentences.length > 0 ? 1 : 0;
}

function print(): void {
  if (rows.length === 0) return;
  if (options.json) process.stdout.write(`${JSON.stringify(rows, null, 2)}\n`);
  else process.stdout.write(options.markdown ? formatMarkdown(rows) : formatTable(rows));
}

/** An option that is a whole number from 1 on. */
function count(name: 'pairs' | 'seconds'): number {
  const value = Number(options[name]);
  if (Number.isInteger(value) && value > 0) return value;
  return refuse(`--${name} ${options[name]}: expected a whole number from 1 on`);
}

function onlyThese(): RegExp {
  try {
    return new RegExp(options.only);
  } catch (error) {
    return refuse(`--only ${options.only}: ${(error as Error).message}`);
  }
}

async function chosenWorkloads(scope: Scope): Promise<Workload[]> {
  const only = onlyThese();
  const others = new Map<string, string>();
  for (const name of ['nbdkit', 'nbdcopy'].filter(hasTool)) others.set(name, await versionOf(name));
  const qsd = await newestQsd();
  const isRoot = process.getuid?.() === 0;
  if (!isRoot) say('left out, for want of root: cold files, O_DIRECT and loop devices');
  const hasRings = kernelHasRings();
  if (!hasRings) say('left out, for want of io_uring: qemu-storage-daemon with it');
  const setting = {
    images: new Images(scope),
    ours: ourselves(),
    qsd,
    network: 'unix' as const,
    qsds: hasRings ? [qsd, withRing(qsd)] : [qsd],
    isRoot,
    others,
    seconds: options.short ? SHORT.seconds : count('seconds'),
  };
  const all = options.short ? shortWorkloads(setting) : allWorkloads(setting);
  const chosen = all.filter(({ name }) => only.test(name));
  if (chosen.length > 0) return chosen;
  const names = all.map(({ name }) => `  ${name}`).join('\n');
  return refuse(`--only ${options.only}: no workload has such a name; there are\n${names}`);
}

/**
 * A round runs us and each peer once, in turns first and last; one row a peer. Timed jobs get a
 * round that does not count: whoever is first to touch a machine's idle memory pays for everybody.
 */
async function measureWorkload(workload: Workload, rounds: number): Promise<Row[]> {
  const sides = [workload.ours, ...workload.peers];
  const pairs = new Map<string, Pair[]>(workload.peers.map(({ name }) => [name, []]));
  for (let round = workload.unit === 's' ? 0 : 1; round <= rounds; round++) {
    const figures = new Map<string, Measurement>();
    for (const side of round % 2 === 1 ? sides : sides.toReversed()) {
      figures.set(side.name, await measureSide(workload, side, round));
    }
    if (round === 0) continue;
    const ours = figures.get(workload.ours.name)!;
    for (const [name, list] of pairs) list.push({ ours, theirs: figures.get(name)! });
  }
  return workload.peers.map(({ name }) => makeRow(workload, name, pairs.get(name)!));
}

async function measureSide(workload: Workload, side: Side, round: number): Promise<Measurement> {
  const scope = new Scope();
  current = scope;
  try {
    if (workload.unit === 's') await warmMemory();
    const measured = await side.measure(scope);
    const figure = formatFigure(measured.value, workload.unit);
    const label = round === 0 ? 'warm-up' : `round ${round}`;
    say(`${label}: ${workload.name}: ${side.name}: ${figure}`);
    return measured;
  } finally {
    current = undefined;
    await scope.close();
  }
}

/**
 * Touches as much memory as any target takes while it is timed. A virtual machine gives idle memory
 * back to its host, and to get it again costs more than the whole job: who ran later would be
 * faster.
 */
async function warmMemory(): Promise<void> {
  const touch = 'for (let n = 0; n < 40; n++) kept.push(new Uint8Array(2 ** 26).fill(1));';
  await mustRun(process.execPath, ['-e', `const kept = []; ${touch}`]);
}

function say(text: string): void {
  process.stderr.write(`${text}\n`);
}
