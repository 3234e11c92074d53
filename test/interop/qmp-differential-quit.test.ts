import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import type { DifferenceKey } from '../../protocol/qmp/differences.ts';
import { startNbdMirror } from '../support/nbd-mirror.ts';
import { startProcess, tempDir } from '../support/peers.ts';
import { type Message, QmpPeer } from '../support/qmp-peer.ts';
import { describeQsds } from '../support/qsd.ts';

/** `quit`, of the two processes: what clients are told before they are let go. */
const MIB = 1 << 20;

interface Script {
  readonly given: object;
  /** What is waited for before the end. */
  readonly until: readonly [event: string, data: object];
  readonly before?: readonly (readonly [command: string, given: object])[];
  /** Status changes that only they tell of, just before the job is aborted. */
  readonly differs?: { readonly row: DifferenceKey; readonly theirs: readonly string[] };
}

const ADD_BITMAP = { type: 'block-dirty-bitmap-add', data: { node: 'a', name: 'b' } };

const SCRIPTS: Readonly<Record<string, Script>> = {
  'while a mirror runs': {
    given: { granularity: 4096, 'buf-size': 4096, speed: 1 },
    until: ['JOB_STATUS_CHANGE', { status: 'running' }],
    differs: { row: 'internal-pauses', theirs: ['paused', 'running'] },
  },
  'when it is ready': {
    given: {},
    until: ['BLOCK_JOB_READY', {}],
    differs: { row: 'internal-pauses', theirs: ['standby', 'ready'] },
  },
  'when it is ready, after a transaction': {
    given: {},
    before: [['transaction', { actions: [ADD_BITMAP] }]],
    until: ['BLOCK_JOB_READY', {}],
    differs: { row: 'internal-pauses', theirs: ['standby', 'ready', 'standby', 'ready'] },
  },
  'when it waits to be finalized': {
    given: { 'auto-finalize': false, 'auto-dismiss': false },
    before: [['job-complete', { id: 'm0' }]],
    until: ['BLOCK_JOB_PENDING', {}],
  },
  'when it has concluded, and nobody has dismissed it': {
    given: { 'auto-dismiss': false },
    before: [['job-complete', { id: 'm0' }]],
    until: ['JOB_STATUS_CHANGE', { status: 'concluded' }],
  },
  'while it is paused': {
    given: {},
    before: [['job-pause', { id: 'm0' }]],
    until: ['JOB_STATUS_CHANGE', { status: 'standby' }],
  },
};

type Start = (
  args: Parameters<typeof startProcess>[1],
  options: Parameters<typeof startProcess>[2],
) => ReturnType<typeof startProcess>;

/** Runs the script; what came after the reply to `quit`, and the exit code. */
async function conversation(start: Start, script: Script) {
  const directory = await tempDir();
  const path = (name: string) => join(directory, name);
  const nodes = [];
  for (const name of ['a', 'b']) {
    await writeFile(path(name), Buffer.alloc(MIB, name));
    nodes.push('--blockdev', `driver=file,node-name=${name},filename=${path(name)}`);
  }
  const monitor = `socket,id=qmp,path=${path('qmp.sock')},server=on,wait=off`;
  const server = await start(
    [...nodes, '--chardev', monitor, '--monitor', 'chardev=qmp', '--pidfile', path('pid')],
    { readyFile: path('pid') },
  );
  const peer = await QmpPeer.connect(path('qmp.sock'));
  await peer.execute('qmp_capabilities');
  const pair = { 'job-id': 'm0', device: 'a', target: 'b', sync: 'full' };
  await peer.execute('blockdev-mirror', { ...pair, granularity: MIB, ...script.given });
  if (script.before) await peer.event('BLOCK_JOB_READY');
  for (const [command, given] of script.before ?? []) await peer.execute(command, given);
  const [event, data] = script.until;
  const wanted = Object.entries(data);
  await peer.event(event, (told) => wanted.every(([key, value]) => told[key] === value));
  const reply = await peer.execute('quit');
  const code = await server.exited;
  await peer.closed;
  return { reply, code, events: peer.events.map(timeless) };
}

/** When, and how much was copied by then, differ from run to run. */
function timeless({ timestamp: _, data, ...event }: Message): Message {
  const { offset: __, ...rest } = data as Message;
  return { ...event, data: rest };
}

describeQsds('quit, as of qemu-storage-daemon,', [], (program) => {
  it.each(Object.keys(SCRIPTS))('%s', async (when) => {
    const script = SCRIPTS[when]!;
    const theirs = await conversation(
      (args, options) => startProcess(program, args, options),
      script,
    );
    const ours = await conversation(
      (args, options) => startNbdMirror(['daemon', ...args], options ?? {}),
      script,
    );
    const onlyTheirs = (script.differs?.theirs ?? []).map((status) => ({
      event: 'JOB_STATUS_CHANGE',
      data: { id: 'm0', status },
    }));
    const aborting = ours.events.findIndex(
      ({ data }) => (data as Message)['status'] === 'aborting',
    );
    ours.events.splice(aborting, 0, ...onlyTheirs);
    expect(ours).toEqual(theirs);
  });
});
