import { isNbdUri, NbdUriError, parseNbdUri } from '../../protocol/nbd/uri.ts';
import type { Arguments } from '../../protocol/qmp/schema.ts';
import type { NbdOptions, NodeOptions } from '../block/open-node.ts';
import { toTextAddress } from '../net/text-address.ts';
import { RefusedError } from '../util/errors.ts';

const FORMATS = new Set(['raw', 'nbd']);

/**
 * The node that `drive-mirror` opens as its target, from the command's own words. The order of the
 * checks is QEMU's. Throws `RefusedError`.
 *
 * A server's export cannot be created, so `absolute-paths` takes the one that is there, as QEMU
 * does with NBD.
 */
export function driveOptions(given: Arguments<'drive-mirror'>, sourceDriver: string): NodeOptions {
  const { target, format, 'node-name': name, mode = 'absolute-paths' } = given;
  if (given.replaces !== undefined && name === undefined) {
    throw new RefusedError('a node-name must be provided when replacing a named node of the graph');
  }
  if (mode === 'absolute-paths') {
    if (format !== undefined && !FORMATS.has(format)) {
      throw new RefusedError(`Unknown file format '${format}'`);
    }
    if (given.sync === 'none') {
      const created = format ?? sourceDriver;
      throw new RefusedError(`Backing file not supported for file format '${created}'`);
    }
  }
  const server = serverOptions(target);
  switch (format) {
    case 'raw':
      return { driver: 'raw', 'node-name': name, file: server };
    // Nothing is probed: what a server exports is a disk.
    case undefined:
    case 'nbd':
      return { ...server, 'node-name': name };
    default:
      throw new RefusedError(`Unknown driver '${format}'`);
  }
}

function serverOptions(target: string): NbdOptions {
  if (!isNbdUri(target)) {
    throw new RefusedError(
      `Cannot mirror to '${target}': drive-mirror takes nbd://, nbd+unix:// and nbd:HOST:PORT; ` +
        'other disks are added by blockdev-add and mirrored to by blockdev-mirror',
    );
  }
  const { address, exportName, tls } = readUri(target);
  if (tls) throw new RefusedError(`Cannot mirror to '${target}': TLS is not supported`);
  return { driver: 'nbd', server: toTextAddress(address), export: exportName };
}

function readUri(text: string) {
  try {
    return parseNbdUri(text);
  } catch (error) {
    if (error instanceof NbdUriError) throw new RefusedError(error.message);
    throw error;
  }
}
