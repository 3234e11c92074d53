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

/**
 * Of an open socket. Node has no documented way to it; where this one goes away, sockets keep the
 * system's buffers, and bytes of files are copied.
 */
export function descriptorOf(socket: Socket): number | undefined {
  const { _handle: handle } = socket as Socket & { _handle?: { fd?: number } | null };
  return handle?.fd !== undefined && handle.fd >= 0 ? handle.fd : undefined;
}
