import type { Socket } from 'node:net';

/**
 * Called with the descriptor of a connected Unix socket, to widen its send buffer. By default that
 * holds 208 KiB: the peer runs dry whenever the event loop looks away for as long as a memcpy. (TCP
 * finds its own size.)
 */
export type OnUnixSocket = (fd: number) => void;

/** Node has no documented way to it; where this one goes away, a default is kept. */
export function tellDescriptor(socket: Socket, listener: OnUnixSocket | undefined): void {
  const { _handle: handle } = socket as Socket & { _handle?: { fd?: number } };
  if (handle?.fd !== undefined && handle.fd >= 0) listener?.(handle.fd);
}
