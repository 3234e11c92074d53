import {
  NBD_FLAG_CAN_MULTI_CONN,
  NBD_FLAG_HAS_FLAGS,
  NBD_FLAG_READ_ONLY,
  NBD_FLAG_SEND_CACHE,
  NBD_FLAG_SEND_DF,
  NBD_FLAG_SEND_FAST_ZERO,
  NBD_FLAG_SEND_FLUSH,
  NBD_FLAG_SEND_FUA,
  NBD_FLAG_SEND_TRIM,
  NBD_FLAG_SEND_WRITE_ZEROES,
} from '../../protocol/nbd/constants.ts';
import type { DirtyBitmap } from '../bitmap/dirty-bitmap.ts';
import type { NodeUse } from '../block/graph.ts';
import { type BlockNode, WRITE_FUA } from '../block/node.ts';
import type { Clock } from '../util/clock.ts';
import type { ServedClient } from './client.ts';
import {
  allocationContext,
  allocationDepthContext,
  dirtyBitmapContext,
  type MetaContext,
} from './meta-context.ts';
import { RequestFailures } from './request-failures.ts';

/** A node offered under a name. The use of the node is the export's: it ends with the export. */
export interface ExportOptions {
  /** Name for QMP. */
  readonly id: string;
  /** Name for clients; empty for the default export. */
  readonly name: string;
  readonly description?: string;
  readonly writable: boolean;
  /** Every write counts as one with FUA: it is on stable storage before it is answered. */
  readonly writethrough?: boolean;
  readonly use: NodeUse;
  /** Offered as `qemu:dirty-bitmap:NAME`. */
  readonly bitmaps?: readonly DirtyBitmap[];
  /** Offers `qemu:allocation-depth`. */
  readonly allocationDepth?: boolean;
}

/** What clients have asked of an export since it exists; what was refused is an error alone. */
export interface ExportCounters {
  reads: number;
  readBytes: number;
  writes: number;
  writtenBytes: number;
  flushes: number;
  /** Trim and write-zeroes. */
  discards: number;
  /** Of all kinds: refused, or failed; not what the disk cannot do, for clients try that. */
  errors: number;
}

export class NbdExport {
  readonly id: string;
  readonly name: string;
  readonly description: string;
  readonly writable: boolean;
  /** Flags that every write-like request gets, whatever the client says. */
  readonly writeFlags: number;
  /** Exact length in bytes; what clients were told stays true whatever the node becomes. */
  readonly size: number;
  readonly use: NodeUse;
  readonly contexts: readonly MetaContext[];
  readonly clients = new Set<ServedClient>();
  readonly counters: ExportCounters = {
    reads: 0,
    readBytes: 0,
    writes: 0,
    writtenBytes: 0,
    flushes: 0,
    discards: 0,
    errors: 0,
  };
  readonly failures: RequestFailures;
  /** It takes no new clients and goes when the last one has gone. */
  shuttingDown = false;

  constructor(options: ExportOptions, clock: Clock) {
    this.failures = new RequestFailures(clock, options.id);
    this.id = options.id;
    this.name = options.name;
    this.description = options.description ?? '';
    this.writable = options.writable;
    this.writeFlags = options.writethrough ? WRITE_FUA : 0;
    this.use = options.use;
    this.size = options.use.node.size;
    this.contexts = [
      allocationContext(options.use),
      ...(options.allocationDepth ? [allocationDepthContext()] : []),
      ...(options.bitmaps ?? []).map(dirtyBitmapContext),
    ];
  }

  /** The node that requests go to now: a filter may have come or gone since the last one. */
  get node(): BlockNode {
    return this.use.node;
  }

  transmissionFlags(agreed: { structured: boolean; multiConn: boolean }): number {
    const access = this.writable
      ? NBD_FLAG_SEND_TRIM | NBD_FLAG_SEND_WRITE_ZEROES | NBD_FLAG_SEND_FAST_ZERO
      : NBD_FLAG_READ_ONLY;
    return (
      NBD_FLAG_HAS_FLAGS |
      NBD_FLAG_SEND_FLUSH |
      NBD_FLAG_SEND_FUA |
      NBD_FLAG_SEND_CACHE |
      access |
      (agreed.structured ? NBD_FLAG_SEND_DF : 0) |
      (agreed.multiConn ? NBD_FLAG_CAN_MULTI_CONN : 0)
    );
  }
}
