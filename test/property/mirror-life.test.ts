import { describe, expect, it } from 'vitest';
import { DirtyBitmap } from '../../src/bitmap/dirty-bitmap.ts';
import { BlockGraph, type NodeUse } from '../../src/block/graph.ts';
import type { MirrorTop } from '../../src/block/mirror-top.ts';
import {
  type DiskRange,
  WRITE_FUA,
  ZERO_MAY_UNMAP,
  ZERO_NO_FALLBACK,
} from '../../src/block/node.ts';
import type { JobEvent } from '../../src/job/job.ts';
import type { MirrorJob } from '../../src/job/mirror-job.ts';
import { JobRegistry } from '../../src/job/registry.ts';
import { type MirrorOptions, startMirror } from '../../src/job/start-mirror.ts';
import { BlockError, RefusedError } from '../../src/util/errors.ts';
import { silentLog } from '../../src/util/log.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { MirrorLaws } from '../support/mirror-laws.ts';
import { pattern } from '../support/mirror-rig.ts';
import { Random } from '../support/random.ts';
import { turns } from '../support/turns.ts';
import { VolatileNode } from '../support/volatile-node.ts';

/**
 * The whole life of a mirror, from its beginning beside busy clients to any of its ends, between
 * disks that fail, and lose what was not flushed when they crash. Sizes, granularities, clusters,
 * policies and what the operator does are random, and the laws are looked at after every answer.
 *
 * A seed tells the same story each time: time passes by turns of the event loop. To run some again:
 *
 *     MIRROR_SEEDS=17 npx vitest run test/property/mirror-life.test.ts
 *     MIRROR_SEEDS=1000-2000 npx vitest run test/property/mirror-life.test.ts
 */
const [FIRST_SEED = 0, LAST_SEED = FIRST_SEED] = (process.env['MIRROR_SEEDS'] ?? '0-179')
  .split('-')
  .map(Number);

const CLIENTS = 5;
const REQUESTS_EACH = 25;
const SIZE_MAX = 400_000;
/** Whoever has not ended by then never will. */
const TURNS_MAX = 30_000;
/** What an operator does before the disks recover. */
const DEEDS_SHAKY = 80;
/** And before the job is left alone. */
const DEEDS_MAX = 120;

type End = 'forced' | 'completed' | 'cancelled' | 'hurried';
const ENDS: readonly End[] = ['forced', 'completed', 'completed', 'cancelled', 'hurried'];

/** Looking at it takes time: work that does not wait takes some, too. */
class WorkClock extends FakeClock {
  #spentMs = 0;

  override now(): number {
    this.#spentMs += 0.002;
    return super.now() + this.#spentMs;
  }
}

/** Who waits has been forgotten: nothing more is to be learnt of this life. */
class Hang extends Error {}

class Life {
  readonly #random: Random;
  readonly #clock = new WorkClock();
  readonly #size: number;
  readonly #source: VolatileNode;
  readonly #target: VolatileNode;
  readonly #graph = new BlockGraph();
  readonly #client: NodeUse;
  readonly #jobs: JobRegistry;
  readonly #events: string[] = [];
  readonly #unanswered = new Set<DiskRange>();
  readonly #hasCallersBitmap: boolean;
  readonly #granularity: number;
  readonly #errorRate: number;
  readonly #msPerTurn: number;
  #job!: MirrorJob;
  #laws: MirrorLaws | undefined;
  #hasEnded = false;
  #isGivenUp = false;
  /** Errors that nobody may get to see. */
  readonly #surprises: string[] = [];
  #isToComplete = false;

  constructor(seed: number) {
    const random = new Random(seed);
    this.#random = random;
    this.#size = random.chance(0.05) ? random.below(3) * 512 : 1 + random.below(SIZE_MAX);
    this.#source = this.#disk('source');
    this.#target = this.#disk('target');
    this.#target.zeroesAreCheap = random.chance(0.7);
    this.#client = this.#graph.use(this.#source, { kind: 'export', name: 'e' }, { writable: true });
    this.#jobs = new JobRegistry({
      clock: this.#clock,
      log: silentLog,
      onEvent: (event) => this.#onEvent(event),
    });
    this.#hasCallersBitmap = random.chance(0.6);
    this.#granularity = 512 * 2 ** random.below(12);
    this.#errorRate = random.chance(0.5) ? 0.02 * 4 ** random.below(2) : 0;
    this.#msPerTurn = 0.05 * 4 ** random.below(3);
  }

  async run(): Promise<readonly string[]> {
    this.#target.errorRate = this.#errorRate;
    const clients = Array.from({ length: CLIENTS }, () => this.#runClient());
    await turns(this.#random.below(5));
    if (this.#random.chance(0.5)) this.#source.errorRate = this.#errorRate / 2;
    const laws = this.#start();
    const verbs = [this.#operate(), this.#end(ENDS[this.#random.below(ENDS.length)]!)];
    try {
      await this.#until(
        'the job',
        this.#job.ended.then(() => this.#onEnded(laws)),
      );
      this.#source.calm();
      this.#target.calm();
      await this.#until('the clients', Promise.all(clients));
      await this.#until('the operator', Promise.all(verbs));
      laws.lookAtRest();
      laws.lookAtEnd(this.#hasPivoted);
    } catch (error) {
      if (!(error instanceof Hang)) throw error;
      laws.broken(error.message);
    } finally {
      this.#isGivenUp = true;
    }
    return [...this.#surprises, ...laws.breaches];
  }

  get #hasPivoted(): boolean {
    return this.#client.node === this.#target;
  }

  /** A disk that has something here and there. */
  #disk(name: string): VolatileNode {
    const disk = new VolatileNode(name, this.#size, this.#random);
    for (let n = 0; n < 6; n++) {
      const { offset, length } = this.#range(80_000);
      disk.preset(offset, this.#pattern(length));
    }
    this.#graph.add(disk);
    return disk;
  }

  #range(lengthEnd: number): DiskRange {
    const length = Math.min(this.#size, this.#random.below(lengthEnd));
    return { offset: this.#random.below(this.#size - length + 1), length };
  }

  #pattern(length: number): Buffer {
    return pattern(length, this.#random.below(1e6));
  }

  #start(): MirrorLaws {
    this.#job = startMirror(this.#jobs, this.#graph, this.#options());
    const top = this.#graph.find('top') as MirrorTop;
    this.#laws = new MirrorLaws(
      {
        graph: this.#graph,
        source: this.#source,
        target: this.#target,
        job: this.#job,
        unanswered: this.#unanswered,
        hasCallersBitmap: this.#hasCallersBitmap,
      },
      top,
    );
    return this.#laws;
  }

  #options(): MirrorOptions {
    const random = this.#random;
    const policies = ['ignore', 'stop', 'enospc', 'report'] as const;
    // With the last two a life is short.
    const policy = () => policies[random.below(random.chance(0.7) ? 2 : 4)];
    return {
      id: 'mirror0',
      source: this.#source,
      target: this.#target,
      sync: 'full',
      filterNodeName: 'top',
      ...(this.#hasCallersBitmap ? this.#callersBitmap() : { granularity: this.#granularity }),
      copyMode: random.chance(0.5) ? 'background' : 'write-blocking',
      targetClusterSize: random.chance(0.5) ? undefined : 512 * 2 ** random.below(12),
      bufSize: random.chance(0.7) ? 1 + random.below(4 ** (4 + random.below(7))) : 0,
      speed: random.chance(0.2) ? 5_000_000 : 0,
      unmap: random.chance(0.7),
      onSourceError: policy(),
      onTargetError: policy(),
      autoFinalize: random.chance(0.7),
    };
  }

  #callersBitmap(): { bitmap: string } {
    const name = 'b0';
    const bitmap = new DirtyBitmap({ name, size: this.#size, granularity: this.#granularity });
    this.#source.addBitmap(bitmap);
    bitmap.set(0, this.#size);
    return { bitmap: name };
  }

  async #runClient(): Promise<void> {
    const random = this.#random;
    const pause = random.chance(0.5) ? 10 : 100;
    for (let n = 0; n < REQUESTS_EACH; n++) {
      const range = this.#range(random.chance(0.3) ? 100_000 : 5000);
      this.#unanswered.add(range);
      await this.#attempt(() => this.#request(range));
      this.#unanswered.delete(range);
      this.#laws?.look();
      if (random.chance(0.3)) await turns(random.below(pause));
    }
  }

  async #request({ offset, length }: DiskRange): Promise<void> {
    const random = this.#random;
    const { node } = this.#client;
    const flags = random.chance(0.2) ? WRITE_FUA : 0;
    const kind = random.below(10);
    if (kind === 0) await node.writeZeroes(offset, length, flags | this.#zeroFlags());
    else if (kind === 1) await node.discard(offset, length, flags);
    else if (kind === 2) await node.flush();
    else await node.write(offset, this.#pattern(length), flags);
  }

  #zeroFlags(): number {
    const mayUnmap = this.#random.chance(0.5) ? ZERO_MAY_UNMAP : 0;
    return mayUnmap | (this.#random.chance(0.3) ? ZERO_NO_FALLBACK : 0);
  }

  /** Disks may fail, and verbs be refused; nothing else. */
  async #attempt(act: () => void | Promise<void>): Promise<void> {
    try {
      await act();
    } catch (error) {
      if (error instanceof BlockError || error instanceof RefusedError) return;
      this.#surprises.push(error instanceof Error ? `${error.stack}` : `${error}`);
    }
  }

  /** Somebody who pauses, resumes and changes things now and then, and a server that crashes. */
  async #operate(): Promise<void> {
    for (let deeds = 0; !this.#isOver; deeds++) {
      await turns(5 + this.#random.below(100));
      if (this.#isOver) return;
      await this.#attempt(() => (deeds < DEEDS_MAX ? this.#doSomething() : this.#letGo()));
      if (this.#job.status === 'pending') {
        await turns(this.#random.below(30));
        await this.#attempt(() => this.#job.finalize());
      }
      if (deeds === DEEDS_SHAKY) this.#calm();
    }
  }

  #doSomething(): void | Promise<void> {
    const random = this.#random;
    const job = this.#job;
    switch (random.below(9)) {
      case 0:
        return job.pause();
      case 1:
      case 2:
      case 3:
        return this.#letGo();
      case 4:
        if (random.chance(0.3)) job.changeCopyMode('write-blocking');
        return;
      case 5:
        return job.setSpeed(random.chance(0.5) ? 0 : 10_000_000);
      case 6:
      case 7:
        return this.#hasPivoted ? undefined : this.#target.crash();
      default:
        return this.#client.node.flush();
    }
  }

  #letGo(): void {
    if (this.#job.userPaused) this.#job.resume();
  }

  #calm(): void {
    this.#source.calm();
    this.#target.errorRate = 0;
  }

  /** Somebody who wants the job to end, and tries until it does. */
  async #end(how: End): Promise<void> {
    const random = this.#random;
    if (how === 'forced') await turns(random.below(1000));
    else while (!this.#job.isReady && !this.#isOver) await turns(5);
    await turns(random.below(400));
    while (!this.#isOver) {
      const completes = how === 'completed' || (how === 'hurried' && random.chance(0.5));
      if (how !== 'forced') await this.#attempt(() => this.#endWell(completes));
      if (how === 'hurried') await turns(random.below(60));
      if (how === 'forced' || how === 'hurried') {
        await this.#attempt(() => this.#job.cancel({ force: true }));
      }
      await turns(50 + random.below(100));
    }
  }

  #endWell(completes: boolean): void {
    if (completes) {
      this.#job.complete();
      this.#isToComplete = true;
    } else {
      this.#job.cancel({ force: false });
    }
  }

  get #isOver(): boolean {
    return this.#hasEnded || this.#isGivenUp;
  }

  #onEvent({ name, data }: JobEvent): void {
    if (name === 'JOB_STATUS_CHANGE') this.#events.push(`S:${data['status']}`);
    else if (name !== 'BLOCK_JOB_ERROR') this.#events.push(name);
    else if (data['action'] !== 'ignore') this.#events.push(`${data['x-side']} ${data['action']}`);
    if (data['status'] === 'pending') this.#laws?.lookAtPending();
  }

  /** In the instant in which it has. */
  #onEnded(laws: MirrorLaws): void {
    this.#hasEnded = true;
    const pivots = this.#isToComplete && this.#job.error === undefined;
    if (pivots !== this.#hasPivoted) {
      laws.broken(`end: clients are on the ${this.#client.node.name} (${this.#story})`);
    }
    laws.lookAtEnd(pivots);
  }

  get #story(): string {
    return this.#events.slice(-12).join(' ');
  }

  /** Lets time pass, and looks. */
  async #until(who: string, done: Promise<unknown>): Promise<void> {
    let isDone = false;
    const end = done.then(() => {
      isDone = true;
    });
    for (let turn = 0; !isDone; turn++) {
      if (turn === TURNS_MAX) throw new Hang(`${who} hung (${this.#state})`);
      await Promise.race([end, turns(1)]);
      this.#clock.advance(this.#msPerTurn);
      if (this.#random.chance(0.2)) this.#laws?.look();
    }
  }

  get #state(): string {
    const { lock, writesInFlight, dirty } = this.#graph.find('top') as MirrorTop;
    const { status, userPaused } = this.#job;
    const claims = `${lock.held} held, ${lock.waiting} waiting, ${writesInFlight} writes`;
    return `${status} ${userPaused} ${dirty.bitmap.count} dirty, ${claims}: ${this.#story}`;
  }
}

describe('the life of a mirror', () => {
  const seeds = Array.from({ length: LAST_SEED - FIRST_SEED + 1 }, (_, n) => FIRST_SEED + n);
  it.each(seeds)('keeps the laws, seed %d', async (seed) => {
    expect(await new Life(seed).run(), `MIRROR_SEEDS=${seed}`).toEqual([]);
  });
});
