import type { DirtyBitmap } from '../bitmap/dirty-bitmap.ts';
import type { BlockGraph } from '../block/graph.ts';
import type { BlockNode } from '../block/node.ts';
import type { NbdExport } from '../nbd-server/export.ts';
import { NbdServer } from '../nbd-server/server.ts';
import { SHUTTING_DOWN } from '../nbd-server/validate.ts';
import type { SocketAddress } from '../net/address.ts';
import type { OnUnixSocket } from '../net/descriptor.ts';
import type { HotSockets } from '../net/hot-sockets.ts';
import type { Clock, Timer } from '../util/clock.ts';
import { BlockError, RefusedError } from '../util/errors.ts';
import { isWellFormedId } from '../util/identifier.ts';
import { NBD_STRING_BYTES_MAX } from '../util/limits.ts';
import type { Log } from '../util/log.ts';
import type { EventBus } from './event-bus.ts';
import { exportableBitmap, type WantedBitmap } from './export-bitmaps.ts';

/**
 * The one NBD server that QMP knows, and its exports as QMP sees them: by id, with the node and the
 * bitmaps that they hold on to.
 */
export interface ServerOptions {
  readonly addresses: readonly SocketAddress[];
  /** 0 for no bound. */
  readonly handshakeSecondsMax?: number | undefined;
  /** 0 for no bound. */
  readonly connectionsMax?: number | undefined;
}

export interface NewExport {
  readonly id: string;
  /** Name for clients. */
  readonly name: string;
  readonly description?: string | undefined;
  readonly node: BlockNode;
  readonly writable: boolean;
  /** Every write is on stable storage before it is answered. */
  readonly writethrough: boolean;
  readonly bitmaps: readonly WantedBitmap[];
  readonly allocationDepth: boolean;
}

/** How often a server that stops looks for what is held back. */
const TURN_AWAY_MS = 100;

interface Held {
  readonly exported: NbdExport;
  readonly server: NbdServer;
  readonly bitmaps: readonly DirtyBitmap[];
}

export class NbdService {
  readonly #graph: BlockGraph;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #events: EventBus;
  readonly #hotSockets: HotSockets | undefined;
  readonly #onUnixSocket: OnUnixSocket | undefined;
  readonly #held = new Map<string, Held>();
  #server: NbdServer | undefined;
  /** Ends when every stop so far has. */
  #stopped: Promise<void> = Promise.resolve();
  /** A start that waits for the system; nobody else may start meanwhile. */
  #starting = false;
  #isClosing = false;

  constructor(options: {
    readonly graph: BlockGraph;
    readonly clock: Clock;
    readonly log: Log;
    readonly events: EventBus;
    readonly hotSockets?: HotSockets | undefined;
    readonly onUnixSocket?: OnUnixSocket | undefined;
  }) {
    this.#graph = options.graph;
    this.#clock = options.clock;
    this.#log = options.log;
    this.#events = options.events;
    this.#hotSockets = options.hotSockets;
    this.#onUnixSocket = options.onUnixSocket;
  }

  /** Undefined while nothing listens. */
  get server(): NbdServer | undefined {
    return this.#server;
  }

  /** Newest first. */
  list(): readonly Held[] {
    return [...this.#held.values()].reverse();
  }

  /** There is one server, or none; what is wrong with another is not looked at. */
  assertNotRunning(): void {
    if (this.#server === undefined && !this.#starting) return;
    throw new RefusedError('NBD server already running');
  }

  async start(options: ServerOptions): Promise<void> {
    this.assertNotRunning();
    const { handshakeSecondsMax, connectionsMax } = options;
    this.#starting = true;
    try {
      const server = await NbdServer.start(options.addresses, {
        clock: this.#clock,
        log: this.#log,
        hotSockets: this.#hotSockets,
        onUnixSocket: this.#onUnixSocket,
        ...(handshakeSecondsMax !== undefined && {
          handshakeMsMax: orUnlimited(handshakeSecondsMax) * 1000,
        }),
        ...(connectionsMax !== undefined && { connectionsMax: orUnlimited(connectionsMax) }),
        onExportClosed: (closed) => this.#onExportClosed(closed),
      });
      if (this.#isClosing) {
        await server.stop();
        throw new RefusedError('No server is started while the daemon is closing');
      }
      this.#server = server;
    } finally {
      this.#starting = false;
    }
  }

  /**
   * Resolves when clients and exports are gone. Writes that the end of a mirror holds back are
   * refused: it may be who waits for this reply that is to go on with the mirror.
   */
  async stop(): Promise<void> {
    const server = this.#runningServer();
    const stopped = this.#stop(server);
    const reason = new BlockError(SHUTTING_DOWN.code, SHUTTING_DOWN.reason);
    let later: Timer | undefined;
    const turnAway = () => {
      // Where there are no writers of ours, a job may be the one that waits.
      for (const { writable, node } of server.exports()) if (writable) node.turnAway(reason);
      // Some come to be held back still: from a throttle, or when they have got their range.
      later = this.#clock.after(TURN_AWAY_MS, turnAway);
    };
    turnAway();
    await stopped.finally(() => later?.cancel());
  }

  #stop(server: NbdServer): Promise<void> {
    this.#server = undefined;
    const stopped = server.stop();
    this.#stopped = Promise.all([this.#stopped, stopped]).then(() => {});
    return stopped;
  }

  /** The end: a server that is being started does not come. Resolves as `stop`. */
  async close(): Promise<void> {
    this.#isClosing = true;
    // Nobody holds anything back any more when jobs have been cancelled.
    if (this.#server !== undefined) await this.#stop(this.#server);
    // Commands that stop one may have been overtaken by the end.
    await this.#stopped;
  }

  /** What is wrong with an id before anything else is looked at. */
  assertFree(id: string): void {
    if (!isWellFormedId(id)) throw new RefusedError('Invalid block export id');
    if (this.#held.has(id)) throw new RefusedError(`Block export id '${id}' is already in use`);
  }

  /**
   * A node that cannot be written to is not to be `writable`. What is wrong is told in QEMU's
   * order: id, server, name, description, bitmaps.
   */
  addExport(options: NewExport): void {
    const { id, name, description, node, writable, writethrough, allocationDepth } = options;
    this.assertFree(id);
    this.#graph.assertNotBlocked(node, { writable });
    if (writable) this.#graph.assertSeen(node);
    const server = this.#runningServer();
    assertText('export name', name);
    if (description !== undefined) assertText('description', description);
    server.assertNameFree(name);
    const bitmaps: DirtyBitmap[] = [];
    const use = this.#graph.use(node, { kind: 'export', name: id }, { writable });
    try {
      for (const wanted of options.bitmaps) {
        const bitmap = exportableBitmap(this.#graph, wanted, { node, writable });
        bitmap.busy = true;
        bitmaps.push(bitmap);
      }
      const exported = server.addExport({
        id,
        name,
        writable,
        writethrough,
        use,
        bitmaps,
        allocationDepth,
        ...(description !== undefined && { description }),
      });
      this.#held.set(id, { exported, bitmaps, server });
    } catch (error) {
      for (const bitmap of bitmaps) bitmap.busy = false;
      use.release();
      throw error;
    }
  }

  removeExport(id: string, mode: 'safe' | 'hard'): void {
    // Its server may be stopping, and not be the one that listens.
    const held = this.#held.get(id);
    if (held === undefined) throw new RefusedError(`Export '${id}' is not found`);
    held.server.removeExport(id, mode);
  }

  #runningServer(): NbdServer {
    if (this.#server === undefined) throw new RefusedError('NBD server not running');
    return this.#server;
  }

  #onExportClosed({ id }: NbdExport): void {
    for (const bitmap of this.#held.get(id)?.bitmaps ?? []) bitmap.busy = false;
    this.#held.delete(id);
    this.#events.emit('BLOCK_EXPORT_DELETED', { id });
  }
}

/** As the protocol wants the strings that clients are told. */
function assertText(what: string, text: string): void {
  if (text.includes('\0')) throw new RefusedError(`${what} contains NUL`);
  if (Buffer.byteLength(text) > NBD_STRING_BYTES_MAX) {
    throw new RefusedError(`${what} '${text}' too long`);
  }
}

function orUnlimited(value: number): number {
  return value === 0 ? Number.POSITIVE_INFINITY : value;
}
