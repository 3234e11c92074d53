import type { Socket } from 'node:net';

/**
 * Called with the descriptor of a connected Unix socket, to widen its send buffer. By default that
 * holds 208 KiB: the peer runs dry whenever the event loop looks away for as long as a memcpy. (TCP
 * finds its own size.)
 */
export type OnUnixSocket = (fd: number) => void;

export function tellDescriptor(socket: Socket, listener: OnUnixSocket | undefined): void {
  const descriptor = descriptorOf(socket);
  if (descriptor !== undefined) listener?.(descriptor);
}

/** Node has no documented way to any of it; all may go away. */
interface Internals {
  readonly _handle?: {
    readonly fd?: number;
    readonly reading?: boolean;
    readonly bytesWritten?: number;
    readonly writeQueueSize?: number;
  } | null;
}

/** Of an open socket. Without it sockets keep the system's buffers, and files are copied. */
export function descriptorOf(socket: Socket): number | undefined {
  const { _handle: handle } = socket as Internals;
  return handle?.fd !== undefined && handle.fd >= 0 ? handle.fd : undefined;
}

/** Both ends are on this host, and no Unix sockets, which have no address. */
export function isLoopbackTcp({ localAddress, remoteAddress }: Socket): boolean {
  return localAddress !== undefined && localAddress === remoteAddress;
}

/** What the event loop has got to write: how much of it has no room in the system yet. */
export function writingOf(socket: Socket): { bytesGiven: number; bytesWaiting: number } {
  const { _handle: handle } = socket as Internals;
  return { bytesGiven: handle?.bytesWritten ?? 0, bytesWaiting: handle?.writeQueueSize ?? 0 };
}

/** Whether the event loop reads the socket, as far as one can see. */
export function mayBeRead(socket: Socket): boolean {
  const { _handle: handle } = socket as Internals;
  return handle?.reading !== false;
}
