import type { EXPORT_COMMANDS } from '../../../protocol/qmp/schema/exports.ts';
import type { Arguments, Qmp } from '../../../protocol/qmp/schema.ts';
import type { BlockGraph } from '../../block/graph.ts';
import { MirrorTop } from '../../block/mirror-top.ts';
import type { BlockNode } from '../../block/node.ts';
import type { NbdExport } from '../../nbd-server/export.ts';
import { fromTextAddress } from '../../net/text-address.ts';
import { RefusedError } from '../../util/errors.ts';
import type { Handlers } from '../handlers.ts';
import type { NbdService } from '../nbd-service.ts';
import type { ObjectStore } from '../object-store.ts';

/** The NBD server and its exports. */
export function exportCommands(
  graph: BlockGraph,
  nbd: NbdService,
  objects: ObjectStore,
): Handlers<keyof typeof EXPORT_COMMANDS> {
  return {
    'nbd-server-start': async (given) => {
      await startNbdServer(nbd, given);
      return undefined;
    },
    'nbd-server-stop': async () => {
      await nbd.stop();
      return undefined;
    },
    'nbd-server-add': (given) => {
      addByDevice(graph, nbd, given);
    },
    'nbd-server-remove': ({ name, mode = 'safe' }) => {
      nbd.removeExport(name, mode);
    },
    'block-export-add': (given) => {
      addExport(graph, nbd, objects, given);
    },
    'block-export-del': ({ id, mode = 'safe' }) => {
      nbd.removeExport(id, mode);
    },
    'query-block-exports': () => nbd.list().map(({ exported }) => describeExport(exported)),
  };
}

function describeExport(exported: NbdExport): Qmp<'BlockExportInfo'> {
  const { reads, readBytes, writes, writtenBytes, flushes, discards, errors } = exported.counters;
  return {
    id: exported.id,
    type: 'nbd',
    'node-name': shownNode(exported.node).name,
    'shutting-down': exported.shuttingDown,
    'x-clients': [...exported.clients].map(({ peer }) => peer),
    'x-requests': {
      reads,
      'read-bytes': readBytes,
      writes,
      'written-bytes': writtenBytes,
      flushes,
      discards,
      errors,
    },
  };
}

/** The node that clients are on now: a filter that nobody has named is not there to be seen. */
function shownNode(node: BlockNode): BlockNode {
  return node instanceof MirrorTop && node.implicit ? shownNode(node.child) : node;
}

async function startNbdServer(
  nbd: NbdService,
  given: Arguments<'nbd-server-start'>,
): Promise<void> {
  nbd.assertNotRunning();
  if (given['tls-creds'] !== undefined) {
    throw new RefusedError(`No TLS credentials with id '${given['tls-creds']}'`);
  }
  const { addr } = given;
  const address =
    addr.type === 'unix'
      ? ({ type: 'unix', path: addr.data.path } as const)
      : ({ type: 'inet', ...addr.data } as const);
  await nbd.start({
    addresses: [fromTextAddress(address)],
    handshakeSecondsMax: given['handshake-max-seconds'],
    connectionsMax: given['max-connections'],
  });
}

function addExport(
  graph: BlockGraph,
  nbd: NbdService,
  objects: ObjectStore,
  given: Arguments<'block-export-add'>,
): void {
  const { id, 'node-name': nodeName, description } = given;
  nbd.assertFree(id);
  const node = graph.find(nodeName);
  if (node === undefined) {
    throw new RefusedError(`Cannot find device='' nor node-name='${nodeName}'`);
  }
  const { writable = false } = given;
  if (writable && node.readOnly) {
    throw new RefusedError('Cannot export read-only node as writable');
  }
  checkIothread(objects, given);
  nbd.addExport({
    id,
    name: given.name ?? nodeName,
    description,
    node,
    writable,
    writethrough: given.writethrough ?? false,
    allocationDepth: given['allocation-depth'] ?? false,
    bitmaps: given.bitmaps ?? [],
  });
}

/** One thread serves all exports, so an iothread is a hint; "this one or none" is a demand. */
function checkIothread(objects: ObjectStore, given: Arguments<'block-export-add'>): void {
  const { id, iothread, 'fixed-iothread': fixed } = given;
  if (iothread === undefined) return;
  if (!objects.hasIothread(iothread)) throw new RefusedError(`iothread "${iothread}" not found`);
  if (!fixed) return;
  throw new RefusedError(
    `Cannot fix export '${id}' to iothread '${iothread}': one thread serves all exports`,
  );
}

/** The old command: its export is read-only, without a word, when the node is. */
function addByDevice(graph: BlockGraph, nbd: NbdService, given: Arguments<'nbd-server-add'>): void {
  const { device, name = device, description, bitmap } = given;
  const node = graph.find(device);
  if (node === undefined) {
    throw new RefusedError(`Cannot find device='${device}' nor node-name='${device}'`);
  }
  nbd.addExport({
    id: name,
    name,
    description,
    node,
    writable: (given.writable ?? false) && !node.readOnly,
    writethrough: false,
    allocationDepth: false,
    bitmaps: bitmap === undefined ? [] : [bitmap],
  });
}
