import type { BlockError } from '../util/errors.ts';

/** The job behind a mirror's filter, as the filter sees it. */
export interface MirrorListener {
  /** A client write has left something to copy. */
  onMarked(): void;
  /** A synchronous write of so many bytes to the target begins. */
  onActiveBegin(bytes: number): void;
  /**
   * A synchronous write has let go of its range; `copiedBytes` of its `bytes` are on the target.
   */
  onActiveEnd(bytes: number, copiedBytes: number): void;
  /**
   * A synchronous request to the target has failed; its range is marked by now. Comes while a
   * request is begun, or a reply is read: nobody may end a connection here.
   */
  onActiveError(error: BlockError): void;
}
