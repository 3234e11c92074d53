import fc from 'fast-check';
import { describe, it } from 'vitest';
import { type RangeHold, RangeLock } from '../../src/block/range-lock.ts';

/**
 * The lock against a model that is obviously right: a list of claims in the order of their asking,
 * of which one holds its range exactly when no earlier one that is still there overlaps it.
 */
const DISK_BYTES = 64;

interface ModelClaim {
  readonly offset: number;
  readonly end: number;
  hold: RangeHold | undefined;
}

const command = fc.oneof(
  fc.record({ kind: fc.constantFrom('lock', 'tryLock'), a: fc.nat(63), b: fc.nat(15) }),
  fc.record({ kind: fc.constant('release'), a: fc.nat(1000), b: fc.constant(0) }),
);

function overlaps(one: ModelClaim, other: ModelClaim): boolean {
  return one.offset < other.end && other.offset < one.end;
}

function shouldHold(model: readonly ModelClaim[], claim: ModelClaim): boolean {
  const earlier = model.slice(0, model.indexOf(claim));
  return !earlier.some((other) => overlaps(other, claim));
}

class Run {
  readonly lock = new RangeLock();
  readonly model: ModelClaim[] = [];

  async step({ kind, a, b }: { kind: string; a: number; b: number }): Promise<void> {
    if (kind === 'release') this.#release(a);
    else this.#claim(kind, a, Math.min(a + 1 + b, DISK_BYTES));
    await new Promise(setImmediate);
    this.#check();
  }

  async finish(): Promise<void> {
    while (this.model.length > 0) await this.step({ kind: 'release', a: 0, b: 0 });
  }

  #claim(kind: string, offset: number, end: number): void {
    const claim: ModelClaim = { offset, end, hold: undefined };
    if (kind === 'tryLock') {
      claim.hold = this.lock.tryLock(offset, end - offset);
      const free = !this.model.some((other) => overlaps(other, claim));
      if (free !== (claim.hold !== undefined)) throw new Error('tryLock is wrong');
      if (free) this.model.push(claim);
      return;
    }
    this.model.push(claim);
    const hold = this.lock.lock(offset, end - offset);
    if (hold instanceof Promise) {
      void hold.then((granted) => {
        claim.hold = granted;
      });
    } else {
      claim.hold = hold;
    }
  }

  #release(choice: number): void {
    const holding = this.model.filter((claim) => claim.hold !== undefined);
    const claim = holding[choice % holding.length];
    if (claim === undefined) return;
    this.model.splice(this.model.indexOf(claim), 1);
    claim.hold!.release();
  }

  #check(): void {
    for (const claim of this.model) {
      const holds = claim.hold !== undefined;
      if (holds !== shouldHold(this.model, claim)) {
        throw new Error(`[${claim.offset}, ${claim.end}) ${holds ? 'holds' : 'waits'}`);
      }
    }
    const held = this.model.filter((claim) => claim.hold !== undefined).length;
    if (this.lock.held !== held) throw new Error(`${this.lock.held} held instead of ${held}`);
  }
}

describe('a range lock, against its model', () => {
  it('holds exactly what no earlier claim overlaps, and forgets nobody', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(command, { maxLength: 60 }), async (commands) => {
        const run = new Run();
        for (const one of commands) await run.step(one);
        await run.finish();
      }),
    );
  });
});
