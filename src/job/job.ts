import { assert } from '../util/assert.ts';
import type { Clock, Timer } from '../util/clock.ts';
import { BlockError, RefusedError, strerror } from '../util/errors.ts';
import type { Log } from '../util/log.ts';
import { RateLimit } from './rate-limit.ts';
import { isAllowed, isTransition, type JobStatus, type JobVerb } from './status.ts';

/**
 * Long-running work with QEMU's states, verbs and events. A subclass says what the work is (`run`)
 * and what its end means (`prepare`, `abort`, `clean`); this class owns the states, the
 * pausing and waiting, and the order in which events are told.
 */
export interface JobEvent {
  readonly name:
    | 'JOB_STATUS_CHANGE'
    | 'BLOCK_JOB_READY'
    | 'BLOCK_JOB_COMPLETED'
    | 'BLOCK_JOB_CANCELLED'
    | 'BLOCK_JOB_ERROR'
    | 'BLOCK_JOB_PENDING';
  readonly data: Readonly<Record<string, unknown>>;
}

/** Work that never has to wait keeps everybody else from their turn for so long at most. */
const TURN_MS = 2;

export interface JobOptions {
  readonly id: string;
  readonly autoFinalize?: boolean | undefined;
  readonly autoDismiss?: boolean | undefined;
  /** Bytes per second; 0 is no limit. */
  readonly speed?: number | undefined;
}

/** What a job needs from the process around it. */
export interface JobHost {
  readonly clock: Clock;
  readonly log: Log;
  onEvent(event: JobEvent): void;
  /** The job has become `null`: it is in no list any more. */
  onGone(job: Job): void;
}

export type IoStatus = 'ok' | 'failed' | 'nospace';

export abstract class Job {
  abstract readonly type: string;
  readonly id: string;
  readonly autoFinalize: boolean;
  readonly autoDismiss: boolean;
  /** Bytes done. QMP: `offset`, `current-progress`. Never falls. */
  progressCurrent = 0;
  /** Bytes done and to be done, as far as is known. QMP: `len`, `total-progress`. */
  progressTotal = 0;
  ioStatus: IoStatus = 'ok';
  /** Why the job failed, from the moment that is known. */
  error: string | undefined;
  /** The same as a sentence: what could not be done, where, and why. */
  reason: string | undefined;

  protected readonly clock: Clock;
  protected readonly log: Log;
  protected readonly rateLimit: RateLimit;
  readonly #host: JobHost;
  #status: JobStatus = 'undefined';
  #speed = 0;
  #userPaused = false;
  #sleeping = true;
  #forceCancelled = false;
  #wake: (() => void) | undefined;
  #kicked = false;
  /** Ends with a turn of the event loop, which is due from a moment of the clock on. */
  #turn: Promise<void> | undefined;
  #turnDue = 0;
  #turnTimer: Timer | undefined;
  #finalized = false;
  /** What is left to do cannot fail, and takes no notice of anybody. */
  #hasSucceeded = false;
  #dismissed = false;
  #ended: Promise<void> = Promise.resolve();

  constructor(host: JobHost, options: JobOptions) {
    this.#host = host;
    this.id = options.id;
    this.autoFinalize = options.autoFinalize ?? true;
    this.autoDismiss = options.autoDismiss ?? true;
    this.clock = host.clock;
    this.log = host.log.child({ job: options.id });
    this.rateLimit = new RateLimit(host.clock);
    this.#speed = options.speed ?? 0;
    this.rateLimit.setSpeed(this.#speed);
  }

  get status(): JobStatus {
    return this.#status;
  }

  get speed(): number {
    return this.#speed;
  }

  get isReady(): boolean {
    return this.#status === 'ready' || this.#status === 'standby';
  }

  get userPaused(): boolean {
    return this.#userPaused;
  }

  /** On its way out: it pauses no more, and tries nothing again. */
  protected get isSettling(): boolean {
    return this.#status === 'waiting' || this.#status === 'pending';
  }

  /** Whether the job is at work at this moment, as opposed to waiting for something. */
  get busy(): boolean {
    return !this.#sleeping;
  }

  get forceCancelled(): boolean {
    return this.#forceCancelled;
  }

  /** Resolves when the job has concluded. */
  get ended(): Promise<void> {
    return this.#ended;
  }

  /** The work. Returns when it is done or force-cancelled; throws when it failed. */
  protected abstract run(): Promise<void>;
  /** The last step that may fail, in one go: after it the job has succeeded, whoever cancels. */
  protected abstract prepare(): void;
  /** Undoes what success would have kept. */
  protected abstract abort(): void;
  /** Gives back what the job held, after success and after failure. */
  protected abstract clean(): Promise<void>;
  /** A cancel without force, when the job is READY: it ends in order, and well. */
  protected abstract cancelSoftly(): void;
  /** A forced cancel has begun: let go of whoever makes us wait. */
  protected abstract onForceCancel(): void;
  protected abstract onComplete(): void;
  protected abstract onResume(): void;
  /** Stops work in flight before the job shows itself as paused. */
  protected abstract quiesce(): Promise<void>;

  /** S:created, S:running; the work goes on by itself. */
  start(): void {
    this.transition('created');
    this.transition('running');
    this.#ended = this.#live();
  }

  pause(): void {
    this.assertVerb('pause');
    if (this.#userPaused) throw new RefusedError('Job is already paused');
    this.#userPaused = true;
    this.kick();
  }

  resume(): void {
    if (!this.#userPaused) {
      throw new RefusedError("Can't resume a job that was not paused");
    }
    this.assertVerb('resume');
    this.#unpause();
  }

  complete(): void {
    this.assertVerb('complete');
    this.onComplete();
    this.kick();
  }

  /**
   * Without force a READY job ends in order (soft cancel); in every other state, and with force,
   * it is abandoned.
   */
  cancel({ force }: { force: boolean }): void {
    if (!force && this.#userPaused) {
      throw new RefusedError(`The block job for device '${this.id}' is currently paused`);
    }
    this.assertVerb('cancel');
    if (!force && this.isReady) {
      this.cancelSoftly();
      this.kick();
      return;
    }
    this.#forceCancelled = true;
    this.onForceCancel();
    if (this.#userPaused) this.#unpause();
    this.kick();
  }

  finalize(): void {
    this.assertVerb('finalize');
    this.#finalized = true;
    this.kick();
  }

  dismiss(): void {
    this.assertVerb('dismiss');
    this.#dismissed = true;
    if (this.#status !== 'concluded') return;
    this.transition('null');
    this.#host.onGone(this);
  }

  setSpeed(bytesPerSecond: number): void {
    this.assertVerb('set-speed');
    if (bytesPerSecond < 0) {
      throw new RefusedError("Parameter 'speed' expects a non-negative value");
    }
    this.#speed = bytesPerSecond;
    this.rateLimit.setSpeed(bytesPerSecond);
    this.kick();
  }

  allows(verb: JobVerb): boolean {
    return isAllowed(verb, this.#verbStatus);
  }

  assertVerb(verb: JobVerb): void {
    if (this.allows(verb)) return;
    throw new RefusedError(
      `Job '${this.id}' in state '${this.#verbStatus}' cannot accept command verb '${verb}'`,
    );
  }

  /** For commands that came together: QEMU's `job-finalize` is answered when the job has ended. */
  get #verbStatus(): JobStatus {
    return this.#hasSucceeded && this.#status === 'pending' ? 'concluded' : this.#status;
  }

  /** Wakes the work if it sleeps; if it does not, its next sleep ends at once. */
  kick(): void {
    this.#kicked = true;
    this.#wake?.();
  }

  /** Waits for a kick, or for `delayMs` when that is given. */
  protected async sleep(delayMs?: number): Promise<void> {
    if (!this.#kicked) {
      this.#sleeping = true;
      let timer: Timer | undefined;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
        if (delayMs !== undefined) timer = this.clock.after(delayMs, resolve);
      });
      timer?.cancel();
      this.#wake = undefined;
      this.#sleeping = false;
    }
    this.#kicked = false;
    await this.letOthersIn();
  }

  /** Work that ends at once, again and again, would go on without a turn of the event loop. */
  protected async letOthersIn(): Promise<void> {
    if (this.#turn !== undefined) {
      if (this.clock.now() >= this.#turnDue) await this.#turn;
      return;
    }
    this.#turnDue = this.clock.now() + TURN_MS;
    this.#turn = new Promise((resolve) => {
      this.#turnTimer = this.clock.after(TURN_MS, () => {
        this.#turn = undefined;
        resolve();
      });
    });
  }

  /** Where a pause takes effect: nothing is in flight and S:paused (or standby) is told. */
  protected async pausePoint(): Promise<void> {
    if (!this.#userPaused || this.#forceCancelled) return;
    await this.quiesce();
    // A resume or a cancel may have come while the last work ended.
    if (!this.#userPaused || this.#forceCancelled) return;
    const before = this.#status;
    this.transition(before === 'ready' ? 'standby' : 'paused');
    while (this.#userPaused && !this.#forceCancelled) await this.sleep();
    this.transition(before);
  }

  protected becomeReady(): void {
    this.transition('ready');
    this.emitBlockJob('BLOCK_JOB_READY');
  }

  /** An error with policy `stop`: the job is paused as if by the operator. */
  protected pauseByError(ioStatus: IoStatus): void {
    if (this.ioStatus === 'ok') this.ioStatus = ioStatus;
    this.#userPaused = true;
    this.kick();
  }

  protected emit(name: JobEvent['name'], data: JobEvent['data']): void {
    this.#host.onEvent({ name, data });
  }

  protected transition(to: JobStatus): void {
    if (this.#status === to) return;
    assert(isTransition(this.#status, to), `job ${this.id}: ${this.#status} -> ${to}`);
    this.#status = to;
    this.log.debug({ status: to }, 'job status');
    this.emit('JOB_STATUS_CHANGE', { id: this.id, status: to });
  }

  #unpause(): void {
    this.#userPaused = false;
    this.ioStatus = 'ok';
    this.onResume();
    this.kick();
  }

  /** The whole life after `start`. Bugs of ours (not `BlockError`s) end the process. */
  async #live(): Promise<void> {
    this.#sleeping = false;
    let failure = await this.#attempt(() => this.run());
    if (failure === undefined) failure = await this.#settle();
    if (failure !== undefined) {
      this.error ??= strerror(failure.code);
      this.reason = failure.message;
      this.transition('aborting');
      this.abort();
    }
    await this.clean();
    this.#turnTimer?.cancel();
    this.#sleeping = true;
    this.#tellEnd(failure);
    this.transition('concluded');
    if (this.autoDismiss || this.#dismissed) this.dismiss();
  }

  /** waiting, pending, and the wait for `finalize`; returns why it failed after all. */
  async #settle(): Promise<BlockError | undefined> {
    this.transition('waiting');
    this.transition('pending');
    if (!this.autoFinalize) {
      this.emit('BLOCK_JOB_PENDING', { type: this.type, id: this.id });
      while (!this.#finalized && !this.#forceCancelled) await this.sleep();
    }
    return this.#attempt(async () => {
      this.prepare();
      this.#hasSucceeded = true;
    });
  }

  async #attempt(step: () => Promise<void>): Promise<BlockError | undefined> {
    try {
      if (!this.#forceCancelled) await step();
    } catch (error) {
      if (!(error instanceof BlockError)) throw error;
      if (!this.#forceCancelled) return error;
    }
    return this.#forceCancelled
      ? new BlockError('ECANCELED', `Job '${this.id}' was cancelled`)
      : undefined;
  }

  #tellEnd(failure: BlockError | undefined): void {
    if (this.#forceCancelled) {
      this.log.info({}, 'job cancelled');
      this.emitBlockJob('BLOCK_JOB_CANCELLED');
    } else if (failure !== undefined) {
      this.log.error({ error: failure.message }, 'job failed');
      this.emitBlockJob('BLOCK_JOB_COMPLETED', { error: this.error });
    } else {
      this.log.info({}, 'job completed');
      this.emitBlockJob('BLOCK_JOB_COMPLETED');
    }
  }

  protected emitBlockJob(name: JobEvent['name'], more: JobEvent['data'] = {}): void {
    this.emit(name, {
      type: this.type,
      device: this.id,
      len: this.progressTotal,
      offset: this.progressCurrent,
      speed: this.#speed,
      ...more,
    });
  }
}
