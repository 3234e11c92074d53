import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect } from 'vitest';
import type { DifferenceKey } from '../../protocol/qmp/differences.ts';
import { makeMonitorRig } from './monitor-rig.ts';
import { currentScope, startQsd, tempDir } from './peers.ts';
import { type Message, QmpPeer } from './qmp-peer.ts';

/** One thing to send to both, and what to think of the answers. */
export interface Step {
  /** A command with its arguments, or raw text. `$D` stands for the peer's own directory. */
  readonly send: readonly [command: string, given?: object] | string;
  /** We answer something else on purpose, for the reason in that row. */
  readonly differs?: { readonly row: DifferenceKey; readonly ours: unknown };
  /** Whether it is to be sent again, on each side: only the last answer is compared. */
  readonly again?: (returned: unknown) => boolean;
  /** Waits, on both sides, until this event has come. */
  readonly until?: readonly [event: string, data: object];
  /** The script's `repair` is done before it. */
  readonly repaired?: boolean;
}

export interface Options {
  /** Capabilities that both clients enable. */
  readonly enable?: readonly string[];
  /** Equal events that follow each other count as one. */
  readonly collapse?: boolean;
  /** Our events are others on purpose, for the reason in that row. */
  readonly events?: { readonly row: DifferenceKey; readonly ours: readonly unknown[] };
  /** They tell of pauses that nobody asked for, or do not: QEMU 10 has more of them than 7.2. */
  readonly pauses?: { readonly row: 'internal-pauses' };
  /** What each side's directory gets beside `a.img` and `b.img`. */
  readonly prepare?: (directory: string) => Promise<void>;
  /** Undone in a side's directory before the step with `repair`. */
  readonly repair?: (directory: string) => Promise<void>;
}

/**
 * Runs a script against `program`, a qemu-storage-daemon, and against us, and expects the same
 * replies and the same events in the same order. Each gets a directory with `a.img` and `b.img` of
 * 1 MiB.
 */
export async function expectSameConversation(
  program: string,
  steps: readonly Step[],
  options: Options = {},
): Promise<void> {
  const theirs = await makeDirectory();
  const our = await makeDirectory();
  // What is started first outlives the two: a server that goes away first waits for its clients.
  for (const directory of [theirs, our]) await options.prepare?.(directory);
  const { qmp } = await startQsd([], program);
  const them = await QmpPeer.connect(qmp);
  const us = await connectToUs(our);
  expect(capabilitiesOf(us)).toEqual(capabilitiesOf(them));
  for (const peer of [them, us]) {
    await peer.execute('qmp_capabilities', { enable: options.enable ?? [] });
  }
  for (const step of steps) {
    if (step.repaired) for (const directory of [theirs, our]) await options.repair?.(directory);
    const expected = normalise(await ask(them, step, theirs), theirs);
    const actual = normalise(await ask(us, step, our), our);
    const label = JSON.stringify(step.send);
    if (step.differs === undefined) expect(actual, label).toEqual(expected);
    else {
      expect(actual, label).toEqual(step.differs.ours);
      expect(actual, `${label} no longer differs`).not.toEqual(expected);
    }
  }
  const events = (peer: QmpPeer) => {
    const all = peer.events.map((event) => normalise(event, ''));
    return options.collapse ? all.filter((event, index) => !isEqual(event, all[index - 1])) : all;
  };
  const theirEvents = options.pauses ? withoutPauses(events(them)) : events(them);
  expect(events(us), 'events').toEqual(options.events?.ours ?? theirEvents);
  if (options.events) expect(events(us), 'no longer differ').not.toEqual(events(them));
  us.close();
  them.close();
}

/** Without the pairs of status changes that lead to where the job was. */
function withoutPauses(events: readonly unknown[]): unknown[] {
  const statusOf = (event: unknown) =>
    ((event as Message | undefined)?.['data'] as Message | undefined)?.['status'];
  const rest: unknown[] = [];
  for (const event of events) {
    const paused = PAUSED.get(statusOf(event));
    if (paused !== undefined && statusOf(rest.at(-1)) === paused) rest.pop();
    else rest.push(event);
  }
  return rest;
}

/** What a job's status is while it is paused. */
const PAUSED = new Map<unknown, string>([
  ['ready', 'standby'],
  ['running', 'paused'],
]);

/** Two messages of one side: their members are in one order. */
function isEqual(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

/** What the greeting offers. */
function capabilitiesOf(peer: QmpPeer): unknown {
  return (peer.greeting['QMP'] as Message)['capabilities'];
}

async function connectToUs(directory: string): Promise<QmpPeer> {
  const rig = makeMonitorRig();
  currentScope().onClose(() => rig.close());
  const path = join(directory, 'qmp.sock');
  await rig.monitor.listen({ type: 'unix', path });
  return QmpPeer.connect(path);
}

async function makeDirectory(): Promise<string> {
  const directory = await tempDir();
  for (const name of ['a.img', 'b.img']) {
    // All data: which holes are copied is no matter of protocol.
    await writeFile(join(directory, name), Buffer.alloc(1 << 20, name));
  }
  return directory;
}

async function ask(peer: QmpPeer, step: Step, directory: string): Promise<Message> {
  const { send, until, again } = step;
  const message =
    typeof send === 'string'
      ? `${send}\n`
      : JSON.stringify({ execute: send[0], arguments: send[1] });
  let reply: Message;
  do {
    peer.send(message.replaceAll('$D', directory));
    reply = await peer.reply();
  } while (again?.(reply['return']));
  if (until !== undefined) {
    const wanted = Object.entries(until[1]);
    await peer.event(until[0], (data) => wanted.every(([key, value]) => data[key] === value));
  }
  return reply;
}

/** What may differ from run to run, and what not every QEMU has. */
function normalise(value: unknown, directory: string): unknown {
  if (Array.isArray(value)) return value.map((item) => normalise(item, directory));
  if (typeof value === 'object' && value !== null) {
    const members = Object.entries(value).filter(([key]) => !PRIVATE.has(key) && !/^x-/.test(key));
    return Object.fromEntries(members.map(([key, item]) => [key, normalise(item, directory)]));
  }
  if (typeof value !== 'string' || directory === '') return value;
  return value.replaceAll(directory, '$D').replace(/^#block\d+$/, '#block');
}

/**
 * `actively-synced` came with 8.2, `active` with 10.0, `children` with 10.1; `format-specific` of
 * files, with 8.0, is in the row `absent-members`.
 */
const PRIVATE = new Set([
  ...['timestamp', 'actual-size', 'actively-synced', 'active', 'children', 'format-specific'],
]);
