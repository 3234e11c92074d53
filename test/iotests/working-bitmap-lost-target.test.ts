import { expect, it } from 'vitest';
import { MemoryNode } from '../../src/block/memory-node.ts';
import { contents, pattern } from '../support/mirror-rig.ts';
import { startNbdRig } from '../support/nbd-rig.ts';
import { openNbdNode } from '../support/open-nbd-node.ts';
import { differing, GRANULE, QmpMirrorRig } from '../support/qmp-mirror-rig.ts';

const GRANULES = 8;
const SIZE = GRANULES * GRANULE;

/** A server whose disk forgets, when it crashes, what was never flushed. */
async function startServer(content: Buffer) {
  const disk = new MemoryNode('disk', { size: SIZE });
  await disk.write(0, content);
  const { server, socket } = await startNbdRig({ node: disk });
  return { disk, socket, crash: () => server.stop() };
}

it('a mirror goes on with its bitmap after the target has crashed and forgotten', async () => {
  const rig = new QmpMirrorRig({ size: SIZE });
  await rig.source.write(0, pattern(SIZE, 1));
  const bitmap = await rig.addBitmap('b', ...Array.from({ length: GRANULES }, (_, at) => at));
  const before = Buffer.alloc(SIZE);
  const first = await startServer(before);
  const target = rig.addNode('first', await openNbdNode(first.socket, { name: 'first' }));
  let writes = 0;
  target.meddle = (verb) => (verb === 'write' && ++writes === 4 ? first.crash() : undefined);
  const slowly = { 'buf-size': GRANULE, speed: 20 * GRANULE };
  await rig.mirror({ target: 'first', bitmap: 'b', ...slowly });
  await rig.told('BLOCK_JOB_COMPLETED', ({ error }) => error === 'Input/output error');
  await rig.status('null');
  expect(await contents(first.disk)).not.toEqual(before);

  const second = await startServer(before);
  rig.addNode('second', await openNbdNode(second.socket, { name: 'second' }));
  const lacking = await differing(rig.source.disk, second.disk);
  expect(lacking.filter((granule) => !bitmap.isDirty(granule * GRANULE))).toEqual([]);
  const from = rig.monitor.events.length;
  await rig.mirror({ target: 'second', bitmap: 'b' });
  await rig.told('BLOCK_JOB_READY', () => true, from);
  expect(await differing(rig.source.disk, second.disk)).toEqual([]);
});
