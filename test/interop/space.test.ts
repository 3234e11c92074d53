import { readFile, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { makeMonitorRig } from '../support/monitor-rig.ts';
import {
  currentScope,
  describePeers,
  nbdUri,
  startQemuNbd,
  startQsd,
  tempDir,
} from '../support/peers.ts';
import { mustRun } from '../support/process.ts';
import { type Message, QmpPeer } from '../support/qmp-peer.ts';
import { describeRecentQsd } from '../support/qsd.ts';

/** What becomes of space, as in QEMU: `discard` and `detect-zeroes` of every kind of node. */
const KiB = 1024;
const SIZE = 1024 * KiB;
/** Each on a range of its own length: what is left allocated tells which gave back theirs. */
const REQUESTS: [request: string, offset: number, length: number][] = [
  ['discard', 0, 64 * KiB],
  ['write -z -u', 64 * KiB, 128 * KiB],
  ['write -z', 192 * KiB, 256 * KiB],
  ['write -P 0', 448 * KiB, 512 * KiB],
];
const SPACES = [
  {},
  { 'detect-zeroes': 'on' },
  { discard: 'unmap' },
  { discard: 'unmap', 'detect-zeroes': 'on' },
  { discard: 'unmap', 'detect-zeroes': 'unmap' },
  { discard: 'ignore', 'detect-zeroes': 'unmap' },
];
const CHILDREN = [{}, { discard: 'ignore' }, { discard: 'unmap' }];

/** A peer with an NBD server, and a directory for its disks. */
class Side {
  readonly directory: string;
  readonly #qmp: QmpPeer;
  readonly #socket: string;
  #files = 0;

  private constructor(directory: string, qmp: QmpPeer) {
    this.directory = directory;
    this.#qmp = qmp;
    this.#socket = join(directory, 'nbd');
  }

  static async start(path: string): Promise<Side> {
    const side = new Side(await tempDir(), await QmpPeer.connect(path));
    currentScope().onClose(async () => side.#qmp.close());
    await side.run('qmp_capabilities');
    const addr = { type: 'unix', data: { path: side.#socket } };
    await side.run('nbd-server-start', { addr });
    await side.run('object-add', { 'qom-type': 'throttle-group', id: 'tg' });
    return side;
  }

  /** The reply; what refuses is shown by that. */
  execute(command: string, given?: object): Promise<Message> {
    return this.#qmp.execute(command, given);
  }

  async run(command: string, given?: object): Promise<unknown> {
    const reply = await this.execute(command, given);
    expect(reply, `${command} ${JSON.stringify(given)}`).toHaveProperty('return');
    return reply['return'];
  }

  told(event: string): Promise<Message> {
    return this.#qmp.event(event);
  }

  /** A file that is all data. */
  async newFile(): Promise<string> {
    const file = join(this.directory, `${this.#files++}.img`);
    await writeFile(file, Buffer.alloc(SIZE, 'x'), { flush: true });
    return file;
  }

  addExport(node: string): Promise<unknown> {
    return this.run('block-export-add', {
      ...{ type: 'nbd', id: node, 'node-name': node, name: node, writable: true },
    });
  }

  async io(exportName: string, ...commands: string[]): Promise<void> {
    const script = [...commands, 'flush'].flatMap((command) => ['-c', command]);
    const uri = nbdUri(this.#socket, exportName);
    await mustRun('qemu-io', ['-f', 'raw', '-d', 'unmap', ...script, uri]);
  }

  /** By `query-named-block-nodes`. */
  async nodes(): Promise<Message[]> {
    return (await this.run('query-named-block-nodes')) as Message[];
  }
}

async function startBoth(program: string): Promise<[theirs: Side, ours: Side]> {
  const { qmp } = await startQsd([], program);
  const rig = makeMonitorRig();
  currentScope().onClose(() => rig.close());
  const path = join(await tempDir(), 'qmp');
  await rig.monitor.listen({ type: 'unix', path });
  return [await Side.start(qmp), await Side.start(path)];
}

/** In units of 64 KiB: less is the file system's own, a map of the file's extents. */
const allocated = async (file: string) =>
  Math.floor(((await stat(file)).blocks * 512) / (64 * KiB)) * 64;

/** What each request leaves of the data, what is allocated, and what the nodes are said to do. */
async function outcome(side: Side, file: string, nodes: object[]): Promise<unknown> {
  for (const node of nodes) {
    const reply = await side.execute('blockdev-add', node);
    if (reply['error'] !== undefined) return (reply['error'] as Message)['desc'];
  }
  await side.addExport('top');
  await side.io('top', ...REQUESTS.map((request) => request.join(' ')));
  const content = await readFile(file);
  const left = REQUESTS.map(([, offset]) => content[offset] !== 0);
  const finds = (await side.nodes()).map((node) => [node['node-name'], node['detect_zeroes']]);
  return { left, kilobytes: await allocated(file), finds };
}

type Stack = (side: Side, file: string, space: object) => Promise<object[]> | object[];

const onFile = (file: string, more: object) => ({ driver: 'file', filename: file, ...more });

const stacks: [title: string, Stack][] = [
  ['file', (_, file, space) => [onFile(file, { 'node-name': 'top', ...space })]],
  [
    'nbd',
    async (_, file, space) => {
      const { socket } = await startQemuNbd({ file, args: ['--discard=unmap'] });
      const server = { type: 'unix', path: socket };
      return [{ driver: 'nbd', 'node-name': 'top', server, ...space }];
    },
  ],
];
for (const driver of ['raw', 'throttle']) {
  const group = driver === 'throttle' && { 'throttle-group': 'tg' };
  const filter = { driver, 'node-name': 'top', ...group };
  for (const child of CHILDREN) {
    const words = JSON.stringify(child);
    stacks.push([
      `${driver} that describes a file ${words}`,
      (_, file, space) => [
        { ...filter, ...space, file: onFile(file, { 'node-name': 'file', ...child }) },
      ],
    ]);
    stacks.push([
      `${driver} that names a file ${words}`,
      (_, file, space) => [
        onFile(file, { 'node-name': 'file', ...child }),
        { ...filter, ...space, file: 'file' },
      ],
    ]);
  }
}

const onDescribed = (file: string, space: object) => ({
  ...{ driver: 'raw', 'node-name': 'described' },
  file: onFile(file, { 'node-name': 'file', ...space }),
});
stacks.push([
  'raw that names a file which another one describes',
  (_, file, space) => [
    onDescribed(file, {}),
    { driver: 'raw', 'node-name': 'top', file: 'file', ...space },
  ],
]);
stacks.push([
  'raw that describes a file with detect-zeroes unmap',
  (_, file, space) => [
    onDescribed(file, { 'detect-zeroes': 'unmap' }),
    { driver: 'raw', 'node-name': 'top', file: 'file', ...space },
  ],
]);

/** A sparse disk that is mirrored to one that is all data: what is allocated there. */
async function mirrored(
  side: Side,
  discard: string,
  start: (server: NbdServer) => Promise<unknown>,
): Promise<unknown> {
  const source = join(side.directory, 'source.img');
  await writeFile(source, Buffer.alloc(64 * KiB, 's'));
  await truncate(source, SIZE);
  await side.run('blockdev-add', onFile(source, { 'node-name': 'top', discard }));
  await side.addExport('top');
  const file = await side.newFile();
  const { socket, uri } = await startQemuNbd({ file, args: ['--discard=unmap'] });
  await start({ server: { type: 'unix', path: socket }, uri });
  await side.told('BLOCK_JOB_READY');
  const copied = await allocated(file);
  await side.run('job-complete', { id: 'm0' });
  await side.told('BLOCK_JOB_COMPLETED');
  await side.io('top', 'write 0 512k', 'discard 0 256k');
  return [copied, await allocated(file), (await readFile(file))[0] !== 0];
}

interface NbdServer {
  readonly server: object;
  readonly uri: string;
}

const mirror = { 'job-id': 'm0', device: 'top', sync: 'full' };
const targets: [title: string, (side: Side, server: NbdServer) => Promise<unknown>][] = [
  ...[{}, { discard: 'unmap' }].map((space): (typeof targets)[number] => [
    `blockdev-mirror to a node with ${JSON.stringify(space)}`,
    async (side, { server }) => {
      const node = { driver: 'nbd', 'node-name': 'target', server, ...space };
      await side.run('blockdev-add', node);
      await side.run('blockdev-mirror', { ...mirror, target: 'target' });
    },
  ]),
  ...[{}, { format: 'raw' }, { unmap: false }].map((given): (typeof targets)[number] => [
    `drive-mirror with ${JSON.stringify(given)}`,
    (side, { uri: target }) =>
      side.run('drive-mirror', { ...mirror, target, mode: 'existing', ...given }),
  ]),
];

describeRecentQsd('space as a recent QEMU treats it,', (program) => {
  describePeers('by requests to', ['qemu-io', 'qemu-nbd'], () => {
    it.each(stacks)('%s', async (_title, stack) => {
      for (const space of SPACES) {
        const outcomes = [];
        for (const side of await startBoth(program)) {
          const file = await side.newFile();
          outcomes.push(await outcome(side, file, await stack(side, file, space)));
        }
        const [theirs, ours] = outcomes;
        expect(ours, JSON.stringify(space)).toEqual(theirs);
      }
    });
  });

  describePeers('of a target of', ['qemu-io', 'qemu-nbd'], () => {
    it.each(targets)('%s', async (_title, start) => {
      for (const discard of ['ignore', 'unmap']) {
        const outcomes = [];
        for (const side of await startBoth(program)) {
          outcomes.push(await mirrored(side, discard, (server) => start(side, server)));
        }
        const [theirs, ours] = outcomes;
        expect(ours, discard).toEqual(theirs);
      }
    });
  });

  describePeers('and otherwise', ['qemu-io'], () => {
    it('marks no trim that a node below does not take', async () => {
      const counts = [];
      for (const side of await startBoth(program)) {
        const file = onFile(await side.newFile(), { discard: 'ignore' });
        await side.run('blockdev-add', {
          driver: 'raw',
          'node-name': 'top',
          discard: 'unmap',
          file,
        });
        await side.run('block-dirty-bitmap-add', { node: 'top', name: 'b' });
        await side.addExport('top');
        await side.io('top', 'discard 0 128k');
        const top = (await side.nodes()).find((node) => node['node-name'] === 'top');
        counts.push((top!['dirty-bitmaps'] as Message[])[0]!['count']);
      }
      expect(counts).toEqual([128 * KiB, 0]);
    });

    it('resets what a reopening leaves out', async () => {
      const kept = [];
      for (const side of await startBoth(program)) {
        const file = await side.newFile();
        const node = onFile(file, { 'node-name': 'top' });
        await side.run('blockdev-add', { ...node, discard: 'unmap' });
        await side.run('blockdev-reopen', { options: [node] });
        await side.addExport('top');
        await side.io('top', 'discard 0 128k');
        kept.push((await readFile(file))[0] !== 0);
      }
      expect(kept).toEqual([false, true]);
    });
  });
});
