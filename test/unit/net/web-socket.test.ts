import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { expect, it } from 'vitest';
import { WebSocket, WebSocketServer } from 'ws';
import { WebSocketConnection } from '../../../src/net/web-socket.ts';
import { WEB_SOCKET_PING_MS } from '../../../src/util/limits.ts';
import { FakeClock } from '../../support/fake-clock.ts';

it('pings its peer again and again, until it is closed', async () => {
  const clock = new FakeClock();
  const server = new WebSocketServer({ host: '127.0.0.1', port: 0 });
  await once(server, 'listening');
  const socket = new WebSocket(`ws://127.0.0.1:${(server.address() as AddressInfo).port}`);
  const [accepted] = (await once(server, 'connection')) as [WebSocket];
  if (socket.readyState !== WebSocket.OPEN) await once(socket, 'open');
  const connection = new WebSocketConnection(accepted, { peer: 'p', clock });
  for (let pings = 0; pings < 3; pings++) {
    const pinged = once(socket, 'ping');
    clock.advance(WEB_SOCKET_PING_MS);
    await pinged;
  }
  connection.destroy();
  await connection.closed;
  expect(clock.timers).toBe(0);
  server.close();
});
