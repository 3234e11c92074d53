import { connect, type Socket } from 'node:net';
import { expect, it } from 'vitest';
import { QMP_UNSENT_BYTES_MAX } from '../../../src/util/limits.ts';
import { makeMonitorRig } from '../../support/monitor-rig.ts';
import { tempDir } from '../../support/peers.ts';
import { QmpPeer } from '../../support/qmp-peer.ts';
import { WebSocketPeer } from '../../support/web-socket-peer.ts';

const EVENTS = 40_000;
/** Told at once; then everybody has a turn. */
const BURST = 100;

/** A client that negotiates and never reads again. */
async function deaf(socket: Socket): Promise<Socket> {
  socket.on('error', () => {});
  socket.write('{"execute":"qmp_capabilities"}');
  for (let lines = 0; lines < 2; ) {
    const chunk = await new Promise<Buffer>((resolve) => socket.once('data', resolve));
    lines += chunk.toString().split('\r\n').length - 1;
  }
  socket.pause();
  return socket;
}

it('who never reads costs bounded memory, and others none of their events or order', async () => {
  const rig = makeMonitorRig();
  const path = `${await tempDir()}/qmp`;
  await rig.monitor.listen({ type: 'unix', path });
  const loopback = { type: 'inet', host: '127.0.0.1', port: 0 } as const;
  const tcp = await rig.monitor.listen(loopback);
  const web = await rig.monitor.listen(loopback, { webSocket: true });
  if (tcp.type !== 'inet' || web.type !== 'inet') throw new Error('no ports');

  const readers = [await QmpPeer.connect(path), await WebSocketPeer.connect(web.port)];
  for (const reader of readers) await reader.execute('qmp_capabilities');
  const deafWeb = await WebSocketPeer.connect(web.port);
  await deafWeb.execute('qmp_capabilities');
  deafWeb.socket.pause();
  const deafTcp = await deaf(connect({ host: '127.0.0.1', port: tcp.port }));

  const before = process.memoryUsage().external;
  const id = (index: number) => `export-${index}`.padEnd(1000, '-');
  for (let sent = 0; sent < EVENTS; sent += BURST) {
    for (let index = sent; index < sent + BURST; index++) {
      rig.storage.events.emit('BLOCK_EXPORT_DELETED', { id: id(index) });
    }
    await readers[0]!.execute('query-block-jobs');
    await readers[1]!.execute('query-block-jobs');
  }
  expect(process.memoryUsage().external - before).toBeLessThan(8 * QMP_UNSENT_BYTES_MAX);
  for (const { events } of readers) {
    const ids = events.map((event) => (event['data'] as { id: string }).id);
    expect(ids.length).toBe(EVENTS);
    expect(ids.findIndex((told, index) => told !== id(index))).toBe(-1);
  }
  deafWeb.socket.terminate();
  deafTcp.destroy();
  await rig.close();
});
