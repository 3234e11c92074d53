import { expect, it } from 'vitest';
import * as wire from '../../../protocol/nbd/constants.ts';
import { MemoryNode } from '../../../src/block/memory-node.ts';
import { RequestFailures } from '../../../src/nbd-server/request-failures.ts';
import { BlockError } from '../../../src/util/errors.ts';
import { type Log, silentLog } from '../../../src/util/log.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { startNbdRig } from '../../support/nbd-rig.ts';

const FAST = wire.NBD_CMD_FLAG_FAST_ZERO;

function recording(): { log: Log; told: [fields: object, message: string][] } {
  const told: [object, string][] = [];
  const log: Log = {
    ...silentLog,
    warn: (fields, message) => void told.push([fields, message]),
    child: () => log,
  };
  return { log, told };
}

it('are told at once, then now and then, with how many there were', () => {
  const clock = new FakeClock();
  const { log, told } = recording();
  const failures = new RequestFailures(clock, 'e0');
  const fields = { export: 'e0', code: 'EIO' };
  const message = "a client's request failed: no";
  for (let i = 0; i < 1000; i++) failures.add(log, 'EIO', 'no');
  expect(told).toEqual([[fields, message]]);
  clock.advance(9_999);
  failures.add(log, 'EIO', 'no');
  expect(told).toHaveLength(1);
  clock.advance(1);
  failures.add(log, 'EIO', 'no');
  expect(told.slice(1)).toEqual([[{ ...fields, moreSinceTheLast: 1000 }, message]]);
  clock.advance(10_000);
  failures.add(log, 'EIO', 'no');
  expect(told.slice(2)).toEqual([[fields, message]]);
});

class FailingNode extends MemoryNode {
  protected override doFlush(): never {
    throw new BlockError('EIO', 'Cannot flush');
  }

  protected override doWriteZeroes(): never {
    throw new BlockError('ENOTSUP', 'Cannot zero faster than by writing');
  }
}

it('are what the disk fails and what is refused, and not what it cannot do', async () => {
  const { log, told } = recording();
  const node = new FailingNode('disk', { size: 4096 });
  const rig = await startNbdRig({ node, server: { log } });
  const client = await rig.connect();
  await client.go();
  const ask = async (type: number, offset: number, flags = 0) => {
    client.request({ type, flags, offset, length: 512 });
    return (await client.reply()).error;
  };
  expect(await ask(wire.NBD_CMD_WRITE_ZEROES, 0, FAST)).toBe(wire.NBD_ENOTSUP);
  expect([told, rig.export.counters.errors]).toEqual([[], 0]);
  expect(await ask(wire.NBD_CMD_READ, 4096)).toBe(wire.NBD_EINVAL);
  expect(told).toEqual([[{ export: 'exp0', code: 'EINVAL' }, expect.stringContaining('4096')]]);
  client.request({ type: wire.NBD_CMD_FLUSH });
  expect(await client.reply()).toMatchObject({ error: wire.NBD_EIO });
  expect(rig.export.counters.errors).toBe(2);
});
