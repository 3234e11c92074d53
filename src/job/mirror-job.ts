import type { MirrorListener } from '../block/mirror-listener.ts';
import type { CopyMode } from '../block/mirror-top.ts';
import type { BlockNode, DiskRange } from '../block/node.ts';
import { assert } from '../util/assert.ts';
import { BlockError, RefusedError } from '../util/errors.ts';
import { TARGET_CLUSTER_BYTES_MAX } from '../util/limits.ts';
import { Convergence } from './convergence.ts';
import { Copier, type CopierListener } from './copier.ts';
import { actionFor, BackOff, CONSEQUENCE } from './error-policy.ts';
import { Job, type JobHost, type JobOptions } from './job.ts';
import { lastAnswers, lastFlush } from './last-flush.ts';
import { assertMayPivot } from './may-pivot.ts';
import type { MirrorParts, MirrorSettings } from './mirror-parts.ts';
import { markInitial } from './mirror-scan.ts';
import { Throughput } from './throughput.ts';
import { TimeLeft } from './time-left.ts';

/**
 * Keeps a target equal to a source that clients go on writing to, until it is completed (clients
 * move to the target) or cancelled (with the target left as a copy of one instant).
 *
 *     begin   sizes, hand-over of the bitmap, what is dirty at first
 *     loop    copy what is dirty; when nothing is: flush, READY; then wait for writes and verbs
 *     end     hold clients back, copy the last of it, flush; pivot or not; hand the bitmap back
 */
export class MirrorJob extends Job implements MirrorListener, CopierListener {
  readonly type = 'mirror';
  #parts!: MirrorParts;
  readonly #settings: MirrorSettings;
  #copier!: Copier;
  readonly #backOff = new BackOff();
  readonly #throughput = new Throughput(this.clock);
  readonly #timeLeft = new TimeLeft(this.clock);
  #copyMode: CopyMode;
  #activelySynced = false;
  #fatal: BlockError | undefined;
  #pivots = false;
  #shouldEnd = false;
  readonly #convergence = new Convergence();
  /** The loop sleeps because there is nothing to do: a mark must wake it. */
  #idle = false;
  #activeBytes = 0;
  /** Begins with a forced cancel. */
  #parting: Promise<void> | undefined;
  #stopWatching = () => {};
  /** Waits no more for what the source had to do when the job began. */
  #leaveSource = () => {};

  constructor(host: JobHost, options: JobOptions, settings: MirrorSettings) {
    super(host, options);
    this.#settings = settings;
    this.#copyMode = settings.copyMode;
  }

  /** The filter needs the job and the job the filter: this ties the knot, before `start`. */
  attach(parts: MirrorParts): void {
    this.#parts = parts;
    parts.top.skipsZeroes = this.#settings.trustsZeroes;
    parts.pitfalls.noteMode(this.#copyMode);
    this.#copier = new Copier({
      top: parts.top,
      target: () => parts.target.node,
      window: this.#settings.window,
      clock: this.clock,
      listener: this,
    });
    this.#stopWatching = parts.target.node.watchReconnects(() => parts.top.markUnflushed());
    const [size, targetSize] = [parts.source.size, parts.target.node.size];
    if (size !== targetSize) {
      // The job fails when it begins, as QEMU's does; until then nothing may go to such a target.
      this.error = 'Source and target image have different sizes';
      this.#fatal = new BlockError('EINVAL', `${this.error} (${size}, ${targetSize})`);
    }
    this.#updateMode();
  }

  /** Members of `query-block-jobs` that only a mirror has; bytes, and bytes per second. */
  query() {
    return {
      'actively-synced': this.#activelySynced,
      'x-target': this.#parts.targetName,
      'x-copy-mode': this.#copyMode,
      'x-dirty-bytes': this.#dirtyBytes(),
      'x-copied-bytes': this.#copier.copiedBytes,
      'x-copy-rate': Math.round(this.#throughput.bytesPerSecond()),
      'x-seconds-left': this.#timeLeft.seconds(this, this.#parts.target.node),
      'x-warnings': this.#parts.pitfalls.warnings,
    };
  }

  /** Takes effect for writes that begin from now on; there is no way back (QEMU). */
  changeCopyMode(mode: CopyMode): void {
    this.assertVerb('change');
    if (mode === this.#copyMode) return;
    if (mode === 'background') {
      throw new RefusedError("Change to copy mode 'background' is not implemented");
    }
    this.#copyMode = mode;
    this.#parts.pitfalls.noteMode(mode);
    this.#updateMode();
    this.kick();
  }

  // --- what the filter tells ---

  onMarked(): void {
    this.#copier.clientWrote();
    this.#activelySynced = false;
    if (this.#idle) this.kick();
  }

  onActiveBegin(bytes: number): void {
    this.#activeBytes += bytes;
    this.#updateTotal();
  }

  onActiveEnd(bytes: number, copiedBytes: number): void {
    this.#activeBytes -= bytes;
    this.progressCurrent += copiedBytes;
    this.#copier.clientWrote();
    // A copy may have been waiting for the range that has just been let go.
    if (!this.#idle || !this.#parts.bitmap.isClean) this.kick();
  }

  onActiveError(error: BlockError): void {
    this.#handleError('target', error);
  }

  // --- what the copier asks and tells ---

  get wantsCopies(): boolean {
    return this.#fatal === undefined && !this.forceCancelled && this.ioStatus === 'ok';
  }

  onClaimed(dataBytes: number): void {
    this.rateLimit.charge(dataBytes);
  }

  onEnded(creditBytes: number, unspentBytes: number): void {
    this.progressCurrent += creditBytes;
    this.rateLimit.refund(unspentBytes);
    // Also in a pause: what is done is never more than all that there is to do.
    this.#updateTotal();
    if (creditBytes > 0) this.#backOff.succeeded();
    this.kick();
  }

  onError(side: 'source' | 'target', error: BlockError, range: DiskRange): void {
    this.#handleError(side, error, range);
  }

  // --- the life of the job ---

  protected async run(): Promise<void> {
    let isWell = false;
    try {
      await this.#begin();
      await this.#loop();
      isWell = !this.forceCancelled;
    } finally {
      // Also when it failed: nothing may be in flight when the ends are put together.
      await lastAnswers(this.#copier.idle(), this.#parts, this.clock, { copier: this.#copier });
      if (!isWell) await (this.#parting ?? lastFlush(this.#parts, this.clock));
    }
  }

  async #begin(): Promise<void> {
    const { target, top, bitmap } = this.#parts;
    if (this.#fatal !== undefined) throw this.#fatal;
    await this.#takeOver();
    if (this.forceCancelled) return;
    await this.pausePoint();
    if (this.#settings.sync !== 'none' && bitmap.name === undefined) {
      await this.#guardStart(() =>
        markInitial({
          sync: this.#settings.sync,
          source: top.child,
          target: target.node,
          targetIsZero: this.#settings.targetIsZero,
          trustsZeroes: this.#settings.trustsZeroes,
          flushTarget: () => top.flushTarget(),
          dirty: top.dirty,
          pausePoint: async () => {
            await this.letOthersIn();
            await this.pausePoint();
            return !this.forceCancelled;
          },
        }),
      );
    }
    this.#updateTotal();
  }

  /**
   * From "the node records" to "the filter marks", with no instant in which nobody does. Writes
   * that entered the source before the filter was there are seen only by the node: it records until
   * they have ended. From then on the filter sees every write, so parts of granules can be told
   * apart. Not with a caller's bitmap: its target may be a diff image, where what is around a part
   * would become zeroes that hide the base image; granules are what the caller chose.
   */
  async #takeOver(): Promise<void> {
    const { source, top, bitmap } = this.#parts;
    const isSettled = await new Promise<boolean>((resolve) => {
      void source.settled().then(() => resolve(true));
      this.#leaveSource = () => void this.clock.defer(() => resolve(false));
      if (this.forceCancelled) this.#leaveSource();
    });
    // The source may hang: then the node goes on recording, and keeps the bitmap.
    if (!isSettled) return;
    source.setRecording(bitmap, false);
    if (bitmap.name === undefined) {
      source.removeBitmap(bitmap);
      top.addBitmap(bitmap);
      top.dirty.refine();
    }
  }

  /** A scan that fails is an error of the source like any other: the policy decides. */
  async #guardStart(scan: () => Promise<void>): Promise<void> {
    for (;;) {
      try {
        await scan();
        return;
      } catch (error) {
        if (!(error instanceof BlockError)) throw error;
        this.#handleError('source', error);
      }
      if (this.#fatal !== undefined) throw this.#fatal;
      await this.#waitBackOff();
      await this.pausePoint();
      if (this.forceCancelled) return;
    }
  }

  async #loop(): Promise<void> {
    for (;;) {
      if (this.#fatal !== undefined) throw this.#fatal;
      await this.pausePoint();
      if (this.forceCancelled) return;
      this.#updateTotal();
      this.#throughput.note(this.#copier.copiedBytes);
      this.#timeLeft.note(this);
      if (!this.#parts.bitmap.isClean || !this.#copier.isIdle) {
        await this.#copySome();
        continue;
      }
      if (!this.isReady && !(await this.#tryBecomeReady())) continue;
      this.#noteSync();
      if (this.#shouldEnd) {
        if (await this.#tryEnd()) return;
        continue;
      }
      this.#idle = true;
      if (this.#parts.bitmap.isClean) await this.sleep();
      this.#idle = false;
    }
  }

  /** One burst of copies, then the wait for whatever allows the next one. */
  async #copySome(): Promise<void> {
    if (this.#isToConverge()) {
      if (!this.#convergence.wasFlushed) return this.#flushEarly();
      this.#setConverging(true);
    }
    const delayMs = Math.max(
      this.rateLimit.delayMs(),
      this.#backOff.remainingMs(this.clock.now()),
      this.#convergence.isOn ? 0 : this.#copier.restMs(),
    );
    if (delayMs > 0) return this.sleep(delayMs);
    // Nobody waits for copies in the background of what has been READY.
    const canWait = this.isReady && this.#copyMode === 'background';
    const restsFor = this.#convergence.restsFor(canWait, this.#parts.bitmap.dirtyBytes);
    const hasRoom = this.#copier.pump(this.rateLimit.quotaBytes, restsFor);
    // Something is in flight, or held by a client write: its end is a kick.
    await this.sleep(hasRoom ? 0 : undefined);
  }

  #isToConverge(): boolean {
    if (this.#convergence.isOn || this.isReady || !this.#copier.firstPassDone) return false;
    return this.#convergence.isNear(this.#parts.bitmap.count, this.#throughput.bytesPerSecond());
  }

  async #flushEarly(): Promise<void> {
    this.#convergence.wasFlushed = await this.#flushTarget();
    if (!this.#convergence.wasFlushed) await this.#waitBackOff();
  }

  async #tryBecomeReady(): Promise<boolean> {
    const { unflushed } = this.#parts.top;
    const { losses } = unflushed;
    // A server that was lost meanwhile flushes, when it is back, what it has left.
    if (!(await this.#flushTarget()) || unflushed.losses !== losses) {
      await this.#waitBackOff();
      return false;
    }
    if (this.forceCancelled || this.userPaused || this.#fatal !== undefined) return false;
    // With `len` as it was before the flush, so that READY says that it equals `offset` (QEMU).
    this.becomeReady();
    if (!this.#shouldEnd) this.#setConverging(false);
    return true;
  }

  /** Dirty is zero and nothing is in flight: in write-blocking mode that stays so. */
  #noteSync(): void {
    const { bitmap, top, source } = this.#parts;
    if (!bitmap.isClean || !this.#copier.isIdle || top.passiveWrites > 0) return;
    if (this.#copyMode === 'write-blocking' || source.size === 0) this.#activelySynced = true;
  }

  /** Holds clients back; true when the target equals the source then, and is flushed. */
  async #tryEnd(): Promise<boolean> {
    const { top, bitmap } = this.#parts;
    const equal = () => bitmap.isClean && this.#copier.isIdle && this.#fatal === undefined;
    // What may take long comes before: clients are held for a moment.
    if ((await this.#flushTarget()) && !this.userPaused) {
      await top.drain();
      if (!this.forceCancelled && equal() && (await this.#flushTarget()) && equal()) return true;
      top.undrain();
    }
    await this.#waitBackOff();
    return this.forceCancelled;
  }

  async #flushTarget(): Promise<boolean> {
    try {
      await this.#parts.top.flushTarget();
      return true;
    } catch (error) {
      if (!(error instanceof BlockError)) throw error;
      this.#handleError('target', error);
      return false;
    }
  }

  /** The pause after an ignored error, whatever kicks meanwhile; a verb ends it. */
  async #waitBackOff(): Promise<void> {
    for (;;) {
      const leftMs = this.#backOff.remainingMs(this.clock.now());
      if (leftMs <= 0 || this.forceCancelled || this.userPaused || this.#fatal) return;
      await this.sleep(leftMs);
    }
  }

  protected async quiesce(): Promise<void> {
    await this.#copier.idle();
  }

  protected onComplete(): void {
    assertMayPivot(this.id, this.#parts.top, this.#parts.graph);
    if (this.forceCancelled || this.#fatal || (this.#shouldEnd && !this.#pivots)) {
      throw new RefusedError(`The active block job '${this.id}' cannot be completed`);
    }
    this.#pivots = true;
    this.#parts.top.isLeaving = true;
    this.#end();
  }

  protected cancelSoftly(): void {
    this.#end();
  }

  #end(): void {
    this.#shouldEnd = true;
    this.#setConverging(true);
    this.kick();
  }

  protected onForceCancel(): void {
    const { top, source } = this.#parts;
    const copier = this.#copier;
    this.#updateMode();
    copier.cancel();
    top.cancel();
    source.hurry();
    this.#leaveSource();
    this.#parting = lastFlush(this.#parts, this.clock);
    void lastAnswers(this.ended, this.#parts, this.clock, { isForced: true, copier });
  }

  protected onResume(): void {
    this.#timeLeft.forget();
    this.#updateMode();
  }

  // --- the end ---

  protected prepare(): void {
    const { target, source, bitmap } = this.#parts;
    // A client's flush of the target may have failed while the job was pending.
    if (this.#fatal !== undefined) throw this.#fatal;
    if (!bitmap.isClean) throw new BlockError('EIO', 'The target lost what it had not flushed');
    this.#dissolve(this.#pivots ? target.node : this.#parts.top.child);
    if (this.#pivots) {
      // Another mirror's filter may have come along; what stands on the target is beside it.
      this.#parts.graph.useThroughFilter(target.node);
      this.log.info({ from: source.name, to: target.node.name }, 'clients moved to the target');
    }
  }

  protected abort(): void {
    this.#parts.top.cancel();
    this.#updateMode();
    this.#dissolve(this.#parts.top.child);
  }

  /** Takes the filter out of the graph in one go; recording is on again before the first write. */
  #dissolve(successor: BlockNode): void {
    const { graph, source, target, top, bitmap } = this.#parts;
    if (bitmap.name === undefined) {
      // The hand-over may not have come to its end: the private bitmap is then still on the source.
      const holder = top.bitmaps.includes(bitmap) ? top : source;
      holder.removeBitmap(bitmap);
    } else {
      source.setRecording(bitmap, true);
    }
    target.release();
    graph.replace(top, successor);
    graph.remove(top);
    top.retire(successor);
    top.undrain();
  }

  /**
   * Client writes that were below the filter when it went still mark the bitmap: then it is free.
   * Those that waited for their range go on to the source, through whatever filter is on it by now.
   */
  protected async clean(): Promise<void> {
    const { bitmap, top, pitfalls, sourceUse, target, unblock } = this.#parts;
    this.#activelySynced = false;
    this.#stopWatching();
    pitfalls.end();
    await this.#parting;
    if (top.child !== target.node) top.giveUpFlushes();
    await lastAnswers(top.idle(), this.#parts, this.clock);
    sourceUse.release();
    // Client writes may have reached the target after its last flush.
    if (this.#fatal !== undefined || this.forceCancelled) top.markUnflushed();
    bitmap.busy = false;
    unblock();
  }

  // --- errors and figures ---

  #handleError(side: 'source' | 'target', error: BlockError, range?: DiskRange): void {
    this.#activelySynced = false;
    if (this.forceCancelled || this.#fatal !== undefined) return;
    const { onSourceError, onTargetError } = this.#settings;
    const policy = side === 'source' ? onSourceError : onTargetError;
    const action = this.isSettling ? 'report' : actionFor(policy, error.code);
    // Copies that are in flight fail together; client writes go on failing while others back off.
    const isKnown = action === 'stop' && this.ioStatus !== 'ok';
    if (action === 'ignore' ? this.#backOff.failed(this.clock.now()) : !isKnown) {
      this.log.warn({ side, ...range }, `${error.message}: ${CONSEQUENCE[action]}`);
    }
    this.emit('BLOCK_JOB_ERROR', {
      device: this.id,
      operation: side === 'source' ? 'read' : 'write',
      action,
      'x-side': side,
      'x-errno': error.code,
      'x-reason': error.message,
      ...(range && { 'x-offset': range.offset, 'x-length': range.length }),
    });
    if (action === 'report') this.#fatal = error;
    else if (action === 'stop') this.pauseByError(error.code === 'ENOSPC' ? 'nospace' : 'failed');
    this.#updateMode();
    this.kick();
  }

  #setConverging(converging: boolean): void {
    this.#convergence.isOn = converging;
    this.#updateMode();
  }

  /** While the target is in trouble client writes do not wait for it: they are marked. */
  #updateMode(): void {
    const { top, bitmap } = this.#parts;
    const wanted = this.#copyMode === 'write-blocking' || this.#convergence.isOn;
    // Who has chosen granules and background gets whole granules, also while it converges.
    const wholeGranules = this.#copyMode === 'background' && bitmap.name !== undefined;
    top.writeUnitBytes = Math.max(
      top.dirty.clusterBytes,
      wholeGranules ? Math.min(bitmap.granularity, TARGET_CLUSTER_BYTES_MAX) : 1,
    );
    top.copiesSynchronously = wanted && this.wantsCopies;
    // In the background a client waits for no flush of the target, also while it converges.
    top.flushesTarget = this.#copyMode === 'write-blocking' && this.wantsCopies;
  }

  /** Dirty, or on its way to the target: its bits are clean from the beginning of the copy on. */
  #dirtyBytes(): number {
    return this.#parts.bitmap.count + this.#copier.creditInFlight;
  }

  #updateTotal(): void {
    this.progressTotal = this.progressCurrent + this.#dirtyBytes() + this.#activeBytes;
    assert(this.progressTotal >= this.progressCurrent, 'progress');
  }
}
