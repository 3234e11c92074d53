import { expect, it } from 'vitest';
import { BlockGraph } from '../../../src/block/graph.ts';
import { MemoryNode } from '../../../src/block/memory-node.ts';
import { NbdNode } from '../../../src/block/nbd-node.ts';
import { ThrottleGroup } from '../../../src/block/throttle-group.ts';
import { ThrottleNode } from '../../../src/block/throttle-node.ts';
import { loadSyscalls } from '../../../src/sys/syscalls.ts';
import { systemClock } from '../../../src/util/clock.ts';
import { silentLog } from '../../../src/util/log.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { startNbdRig } from '../../support/nbd-rig.ts';

it('an export of a throttle node answers as many requests as the limit allows', async () => {
  const clock = new FakeClock();
  const disk = new MemoryNode('disk', { size: 1 << 20 });
  const use = new BlockGraph().use(disk, { kind: 'node', name: 't' }, { writable: true });
  const group = new ThrottleGroup('tg', { 'iops-total': 10 }, clock);
  const { socket } = await startNbdRig({ node: new ThrottleNode('t', use, group) });
  const client = await NbdNode.open({
    name: 'client',
    address: { type: 'unix', path: socket },
    exportName: '',
    syscalls: loadSyscalls({ ffi: true, log: silentLog }),
    clock: systemClock,
    log: silentLog,
  });
  let answered = 0;
  const all = Array.from({ length: 30 }, async (_, at) => {
    await client.write(at * 4096, Buffer.alloc(4096, 1));
    answered++;
  });
  // A tenth of a second, and the one that overflows; then ten a second.
  await expect.poll(() => answered).toBe(2);
  for (const expected of [12, 22]) {
    clock.advance(1000);
    await expect.poll(() => answered).toBe(expected);
  }
  clock.advance(1000);
  await Promise.all(all);
  await client.close();
});
