import { expect, it } from 'vitest';
import { QMP_UNSENT_BYTES_MAX } from '../../../src/util/limits.ts';
import { makeMonitorRig } from '../../support/monitor-rig.ts';

it('closes a client that does not read, and keeps the others', async () => {
  const rig = makeMonitorRig();
  const slow = await rig.connect();
  const other = await rig.connect();
  slow.reads = false;
  let sent = 0;
  while (!slow.isClosed && sent < 100_000) {
    rig.storage.events.emit('BLOCK_EXPORT_DELETED', { id: `export-${sent++}`.padEnd(200, '-') });
  }
  expect(slow.isClosed).toBe(true);
  expect(slow.unsentBytes).toBeGreaterThan(QMP_UNSENT_BYTES_MAX);
  expect(slow.unsentBytes).toBeLessThan(QMP_UNSENT_BYTES_MAX + 1000);
  expect(other.received.length).toBe(sent);
  await rig.close();
});
