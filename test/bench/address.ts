/** Where NBD servers listen. It is handed around as a URI, which is what clients take. */
import { join } from 'node:path';
import { freePort, type Scope } from '../support/process.ts';

/** How servers are reached; TCP is that of the loopback. */
export type Network = 'unix' | 'tcp';

/** As QMP has it, and qemu-storage-daemon's options. */
export type Address = { type: 'unix'; path: string } | { type: 'inet'; host: string; port: string };

/** Nobody listens there yet. */
export async function newUri(scope: Scope, network: Network): Promise<string> {
  if (network === 'tcp') return `nbd://127.0.0.1:${await freePort()}`;
  return unixUri(join(await scope.tempDir(), 'nbd.sock'));
}

export function unixUri(socket: string): string {
  return `nbd+unix:///?socket=${socket}`;
}

export function addressOf(uri: string): Address {
  const { hostname, port, searchParams } = new URL(uri);
  const path = searchParams.get('socket');
  return path === null ? { type: 'inet', host: hostname, port } : { type: 'unix', path };
}

/** For programs that know Unix sockets only. */
export function socketOf(uri: string): string {
  const address = addressOf(uri);
  if (address.type !== 'unix') throw new Error(`${uri} is not on a Unix socket`);
  return address.path;
}
