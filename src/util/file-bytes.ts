/** Where a file's bytes go. */
export interface TakingSocket {
  readonly descriptor: number;
  /**
   * TCP, and the peer is on this host. What sendfile(2) gives that wakes the peer every 64 KiB,
   * which costs more than a copy of it.
   */
  readonly isLoopbackTcp: boolean;
}

/**
 * Bytes that stand in a file and go from the page cache to a socket by a system call, so that they
 * never pass through our memory. Whoever made them says how.
 */
export interface FileBytes {
  readonly length: number;
  /** Why some of them could not be had: zeroes went out in their place, unless `orNothing`. */
  failure: Error | undefined;
  /** Zeroes would be taken for them: the connection ends where they begin. */
  orNothing?: boolean;
  /**
   * Gives the socket `head` and behind it, from `start` on, what it takes at once: how many bytes
   * of both; 0 if it cannot.
   */
  sendTo(socket: TakingSocket, head: Buffer, start: number): number;
  /** Fills the buffer from `start` on. */
  read(start: number, buffer: Buffer): void | Promise<void>;
  /** Nobody asks for any of it any more: once, by whoever has asked for the object. */
  end(): void;
}
