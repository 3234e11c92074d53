import { expect, it } from 'vitest';
import { type Log, silentLog } from '../../../src/util/log.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { openNbdNode } from '../../support/open-nbd-node.ts';
import { startScriptedServer } from '../../support/scripted-server.ts';

/** What is told of a server that has gone away. */
async function lose(reconnectDelaySeconds: number) {
  const clock = new FakeClock();
  const told: string[] = [];
  const log: Log = {
    ...silentLog,
    warn: (_fields, what) => told.push(what),
    child: () => log,
  };
  const server = await startScriptedServer(async (peer, connection) => {
    if (connection > 0) return;
    await peer.negotiate();
    await peer.forever();
  });
  const node = await openNbdNode(server.address.path, { clock, log, reconnectDelaySeconds });
  server.cut();
  await expect.poll(() => node.unreachable).toBeDefined();
  return { clock, node, told };
}

it('is for how long requests still wait for it', async () => {
  const { clock, node, told } = await lose(30);
  expect(told).toEqual(['lost the NBD server: requests wait for it for 30 s']);
  expect(node.unreachable).toMatch(/ \(waited for 30 s more\)$/);
  clock.advance(6500);
  expect(node.unreachable).toMatch(/ \(waited for 24 s more\)$/);
  clock.advance(23_500);
  expect(node.unreachable).toBeDefined();
  expect(node.unreachable).not.toContain('waited for');
});

it('is that they fail where nobody waits', async () => {
  const { node, told } = await lose(0);
  expect(told).toEqual(['lost the NBD server: requests fail until it is back']);
  expect(node.unreachable).not.toContain('waited for');
});
