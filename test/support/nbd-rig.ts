import { join } from 'node:path';
import { BlockGraph } from '../../src/block/graph.ts';
import { MemoryNode } from '../../src/block/memory-node.ts';
import type { BlockNode } from '../../src/block/node.ts';
import type { ExportOptions, NbdExport } from '../../src/nbd-server/export.ts';
import { NbdServer, type NbdServerOptions } from '../../src/nbd-server/server.ts';
import type { InetAddress, SocketAddress } from '../../src/net/address.ts';
import { systemClock } from '../../src/util/clock.ts';
import { MiB } from '../../src/util/limits.ts';
import { silentLog } from '../../src/util/log.ts';
import { currentScope, nbdUri, tempDir } from './peers.ts';
import { RawNbdClient } from './raw-nbd-client.ts';

/** An NBD server on a Unix socket and a port of its own, with one export; gone with the test. */
export interface NbdRig {
  server: NbdServer;
  export: NbdExport;
  node: BlockNode;
  graph: BlockGraph;
  socket: string;
  uri: string;
  port: number;
  /** A scripted client, connected to the Unix socket. */
  connect(): Promise<RawNbdClient>;
  connectTcp(): Promise<RawNbdClient>;
}

export interface NbdRigOptions {
  node?: BlockNode;
  export?: Partial<Omit<ExportOptions, 'use'>>;
  server?: Partial<NbdServerOptions>;
}

export async function startNbdRig(options: NbdRigOptions = {}): Promise<NbdRig> {
  const socket = join(await tempDir(), 'nbd.sock');
  const addresses: SocketAddress[] = [
    { type: 'unix', path: socket },
    { type: 'inet', host: '127.0.0.1', port: 0 },
  ];
  const server = await NbdServer.start(addresses, {
    clock: systemClock,
    log: silentLog,
    ...options.server,
  });
  currentScope().onClose(() => server.stop());
  const graph = new BlockGraph();
  const node = options.node ?? new MemoryNode('disk', { size: 4 * MiB });
  graph.add(node);
  const offer = { id: 'exp0', name: '', writable: true, ...options.export };
  const use = graph.use(node, { kind: 'export', name: offer.id }, { writable: offer.writable });
  const added = server.addExport({ ...offer, use });
  const clients: RawNbdClient[] = [];
  currentScope().onClose(async () => {
    for (const client of clients) client.close();
  });
  const connect = async (where: { path: string } | { port: number }) => {
    const client = await RawNbdClient.connect(where);
    clients.push(client);
    return client;
  };
  const { port } = server.addresses[1] as InetAddress;
  return {
    server,
    export: added,
    node,
    graph,
    socket,
    uri: nbdUri(socket, offer.name),
    port,
    connect: () => connect({ path: socket }),
    connectTcp: () => connect({ port }),
  };
}
