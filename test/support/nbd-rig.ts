import { join } from 'node:path';
import { BlockGraph } from '../../src/block/graph.ts';
import { MemoryNode } from '../../src/block/memory-node.ts';
import type { BlockNode } from '../../src/block/node.ts';
import type { ExportOptions, NbdExport } from '../../src/nbd-server/export.ts';
import { NbdServer, type NbdServerOptions } from '../../src/nbd-server/server.ts';
import { systemClock } from '../../src/util/clock.ts';
import { MiB } from '../../src/util/limits.ts';
import { silentLog } from '../../src/util/log.ts';
import { currentScope, nbdUri, tempDir } from './peers.ts';
import { RawNbdClient } from './raw-nbd-client.ts';

/** An NBD server on a Unix socket of its own, with one export; all gone when the test ends. */
export interface NbdRig {
  server: NbdServer;
  export: NbdExport;
  node: BlockNode;
  graph: BlockGraph;
  socket: string;
  uri: string;
  /** A scripted client, connected. */
  connect(): Promise<RawNbdClient>;
}

export interface NbdRigOptions {
  node?: BlockNode;
  export?: Partial<Omit<ExportOptions, 'use'>>;
  server?: Partial<NbdServerOptions>;
}

export async function startNbdRig(options: NbdRigOptions = {}): Promise<NbdRig> {
  const socket = join(await tempDir(), 'nbd.sock');
  const server = await NbdServer.start([{ type: 'unix', path: socket }], {
    clock: systemClock,
    log: silentLog,
    ...options.server,
  });
  currentScope().onClose(() => server.stop());
  const graph = new BlockGraph();
  const node = options.node ?? new MemoryNode('disk', { size: 4 * MiB });
  graph.add(node);
  const offer = { id: 'exp0', name: '', writable: true, ...options.export };
  const use = graph.use(node, `export ${offer.id}`, { writable: offer.writable });
  const added = server.addExport({ ...offer, use });
  const clients: RawNbdClient[] = [];
  currentScope().onClose(async () => {
    for (const client of clients) client.close();
  });
  return {
    server,
    export: added,
    node,
    graph,
    socket,
    uri: nbdUri(socket, offer.name),
    async connect() {
      const client = await RawNbdClient.connect(socket);
      clients.push(client);
      return client;
    },
  };
}
