/** Bytes that have arrived from a peer, to go on to a disk past our memory. */
export interface Arrived {
  /** Those that were read of the socket already. */
  readonly head: Buffer;
  /** A descriptor; what it has comes behind the head. */
  readonly socket: number;
  readonly write: ArrivingWrite;
}

/** A client's WRITE whose parts go to the disk one by one: until it is answered it is in flight. */
export interface ArrivingWrite {
  hasEnded: boolean;
}

/** What became of them. */
export interface Received {
  /** So many are written, from the head's first on; 0: too few are there. */
  readonly writtenBytes: number;
  /** So many came off the socket. */
  readonly takenBytes: number;
  /** What is neither written nor there any more: it has to be written as any other data. */
  readonly unwritten: Buffer;
}

/** How many bytes of the disk may have changed: what was not written may be so in part. */
export function touchedBytes({ writtenBytes, unwritten }: Received): number {
  return writtenBytes + unwritten.length;
}
