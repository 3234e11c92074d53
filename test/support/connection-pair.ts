import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import type { SocketAddress } from '../../src/net/address.ts';
import type { Connection } from '../../src/net/connection.ts';
import { ConnectionLimit } from '../../src/net/connection-limit.ts';
import type { HotSockets } from '../../src/net/hot-sockets.ts';
import { listen } from '../../src/net/listen.ts';
import { currentScope, tempDir } from './peers.ts';

/** A connection, and the socket at its other end, which is not read yet. */
export async function connectionPair(
  hotSockets?: HotSockets,
  network: 'unix' | 'inet' = 'unix',
): Promise<{ connection: Connection; peer: Socket }> {
  const path = join(await tempDir(), 'socket');
  let accept: (connection: Connection) => void = () => {};
  const accepted = new Promise<Connection>((resolve) => {
    accept = resolve;
  });
  const limit = new ConnectionLimit(1);
  const options = { limit, onConnection: accept, hotSockets };
  const address: SocketAddress =
    network === 'unix' ? { type: 'unix', path } : { type: 'inet', host: '127.0.0.1', port: 0 };
  const listener = await listen(address, options);
  const where = listener.address.type === 'inet' ? listener.address : { path };
  const peer = connect({ ...where, allowHalfOpen: true });
  const connection = await accepted;
  currentScope().onClose(async () => {
    peer.destroy();
    connection.destroy();
    listener.close();
  });
  return { connection, peer };
}
