/**
 * A connected socket past the event loop. Failures are thrown as Node's: the system tells of each
 * only once.
 */
export interface SocketCalls {
  /** How many bytes were there for the beginning of `buffer`; 0 also at the end of the stream. */
  receive(socket: number, buffer: Buffer): number;
  /** How many bytes the system took at once. */
  send(socket: number, data: Buffer): number;
  /**
   * Sleeps until something can be had of one of the sockets (a descriptor below zero has nothing),
   * or the event loop has something of what it has told the system to wait for, but not longer than
   * so many whole milliseconds. Timers do not end it, nor what the event loop will tell next.
   * Returns whether it was for one of these reasons.
   */
  wait(sockets: readonly { readonly descriptor: number }[], waitMs: number): boolean;
  /** Whether the latest `wait` found something of the socket with this index: bytes or an end. */
  isReady(index: number): boolean;
  /** Whether it found something for the event loop. */
  isLoopReady(): boolean;
  /**
   * The event loop is told no more of the socket. Only while it waits for nothing of it, neither
   * for bytes nor for room: then libuv will add it to its set when it does again; else it would
   * find out that what it believes to be in the set is not, and abort.
   */
  unwatch(socket: number): void;
}
