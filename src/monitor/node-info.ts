import { writeJson } from '../../protocol/qmp/json-writer.ts';
import type { Qmp } from '../../protocol/qmp/schema.ts';
import type { DirtyBitmap } from '../bitmap/dirty-bitmap.ts';
import { FileNode } from '../block/file-node.ts';
import { MirrorTop } from '../block/mirror-top.ts';
import { NbdNode } from '../block/nbd-node.ts';
import type { BlockNode } from '../block/node.ts';
import type { NodeOptions } from '../block/open-node.ts';
import { formatAddress } from '../net/address.ts';

/** A node as `query-named-block-nodes` shows it. */
const UNLIMITED = { bps: 0, bps_rd: 0, bps_wr: 0, iops: 0, iops_rd: 0, iops_wr: 0 } as const;

/** What a node was opened with, unless it is a filter. */
type OptionsOf = (node: BlockNode) => NodeOptions | undefined;

export function describeNode(node: BlockNode, optionsOf: OptionsOf): Qmp<'BlockDeviceInfo'> {
  const options = optionsOf(node);
  const file = filenameOf(node, optionsOf);
  return {
    ...UNLIMITED,
    file,
    'node-name': node.name,
    ro: node.readOnly,
    drv: node.driver,
    backing_file_depth: 0,
    children: childrenOf(node),
    active: true,
    encrypted: false,
    detect_zeroes: node.space.detectZeroes,
    image: { filename: file, format: node.driver, 'virtual-size': node.size, 'dirty-flag': false },
    cache: {
      writeback: true,
      direct: options?.cache?.direct ?? false,
      'no-flush': options?.cache?.['no-flush'] ?? false,
    },
    write_threshold: 0,
    // Newest first; without any the member is absent.
    'dirty-bitmaps':
      node.bitmaps.length === 0 ? undefined : node.bitmaps.map(describeBitmap).reverse(),
    'x-unreachable': node.unreachable,
  };
}

/** A mirror's filter has its child where QEMU's has it. */
function childrenOf(node: BlockNode): Qmp<'BlockdevChild'>[] {
  if (node.child === undefined) return [];
  const child = node instanceof MirrorTop ? 'backing' : 'file';
  return [{ child, 'node-name': node.child.name }];
}

function describeBitmap(bitmap: DirtyBitmap): Qmp<'BlockDirtyInfo'> {
  return {
    name: bitmap.name,
    count: bitmap.count,
    granularity: bitmap.granularity,
    recording: bitmap.enabled,
    busy: bitmap.busy,
    persistent: false,
    inconsistent: bitmap.inconsistent || undefined,
  };
}

/** A file's name, also through a filter or a window on all of it; else the options as JSON. */
function filenameOf(node: BlockNode, optionsOf: OptionsOf): string {
  if (node instanceof FileNode) return node.filename;
  if (node instanceof NbdNode) return uriOf(node);
  const options = optionsOf(node);
  if (options === undefined || isPlainRaw(options)) {
    return node.child === undefined ? node.name : filenameOf(node.child, optionsOf);
  }
  return `json:${writeJson({ ...options, 'node-name': undefined })}`;
}

function isPlainRaw(options: NodeOptions): boolean {
  return options.driver === 'raw' && !options.offset && options.size === undefined;
}

/** As QEMU writes it: `nbd://HOST:PORT/EXPORT`, `nbd+unix:///EXPORT?socket=PATH`. */
function uriOf({ address, exportName }: NbdNode): string {
  const name = encodeURI(exportName);
  if (address.type === 'unix') return `nbd+unix:///${name}?socket=${encodeURI(address.path)}`;
  return `nbd://${formatAddress(address)}/${name}`;
}
