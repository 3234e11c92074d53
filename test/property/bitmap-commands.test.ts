import fc from 'fast-check';
import { expect, it } from 'vitest';
import type { Qmp } from '../../protocol/qmp/schema.ts';
import { MemoryNode } from '../../src/block/memory-node.ts';
import { makeMonitorRig } from '../support/monitor-rig.ts';
import { granulesOf } from '../support/qmp-mirror-rig.ts';

/**
 * Random scripts of bitmap commands, transactions, writes and changes of flags, compared after each
 * step with a model that knows bitmaps as sets of granules and takes a transaction back by throwing
 * away a copy.
 */
type Action = Qmp<'TransactionAction'>;
type Flag = 'busy' | 'readOnly' | 'inconsistent';
type Step =
  | { readonly kind: 'command'; readonly action: Action }
  | { readonly kind: 'transaction'; readonly actions: Action[] }
  | { readonly kind: 'write'; readonly node: string; readonly offset: number; length: number }
  | { readonly kind: 'flag'; readonly node: string; name: string; flag: Flag; value: boolean };

const SIZES: Record<string, number> = { a: 1 << 20, b: 1 << 20, small: (1 << 19) + 512 };
const GRANULARITIES = [512, 4096, 65_536, 1 << 21];

interface ModelBitmap {
  name: string;
  granularity: number;
  enabled: boolean;
  busy: boolean;
  readOnly: boolean;
  inconsistent: boolean;
  dirty: Set<number>;
}

class Model {
  bitmaps: Record<string, ModelBitmap[]> = { a: [], b: [], small: [] };

  run(step: Step): void {
    if (step.kind === 'command') {
      this.#act(step.action, false);
    } else if (step.kind === 'transaction') {
      this.#transact(step.actions);
    } else if (step.kind === 'write') {
      for (const bitmap of this.bitmaps[step.node]!) {
        if (bitmap.enabled) mark(bitmap, step.offset, step.length);
      }
    } else {
      const bitmap = this.bitmaps[step.node]!.find(({ name }) => name === step.name);
      if (bitmap !== undefined) bitmap[step.flag] = step.value;
    }
  }

  #transact(actions: readonly Action[]): void {
    const before = structuredClone(this.bitmaps);
    try {
      for (const action of actions) this.#act(action, true);
    } catch (error) {
      this.bitmaps = before;
      throw error;
    }
    for (const action of actions) {
      if (action.type === 'block-dirty-bitmap-remove') this.#drop(action.data);
    }
  }

  #drop({ node, name }: Qmp<'BlockDirtyBitmap'>): void {
    this.bitmaps[node] = this.bitmaps[node]!.filter((bitmap) => bitmap.name !== name);
  }

  #act(action: Action, inTransaction: boolean): void {
    switch (action.type) {
      case 'abort':
        throw new Error('Transaction aborted using Abort action');
      case 'block-dirty-bitmap-add':
        this.#add(action.data);
        break;
      case 'block-dirty-bitmap-remove': {
        const bitmap = this.#find(action.data);
        check(bitmap, 'busy', 'readOnly');
        if (inTransaction) bitmap.busy = true;
        else this.#drop(action.data);
        break;
      }
      case 'block-dirty-bitmap-clear': {
        const bitmap = this.#find(action.data);
        check(bitmap, 'busy', 'readOnly', 'inconsistent');
        bitmap.dirty.clear();
        break;
      }
      case 'block-dirty-bitmap-enable':
      case 'block-dirty-bitmap-disable': {
        const bitmap = this.#find(action.data);
        check(bitmap, 'busy', 'inconsistent');
        bitmap.enabled = action.type === 'block-dirty-bitmap-enable';
        break;
      }
      case 'block-dirty-bitmap-merge':
        this.#merge(action.data);
        break;
    }
  }

  #add({ node, name, granularity = 65_536, disabled = false }: Qmp<'BlockDirtyBitmapAdd'>): void {
    const bitmaps = this.bitmaps[node];
    if (bitmaps === undefined) {
      throw new Error(`Cannot find device='${node}' nor node-name='${node}'`);
    }
    if (bitmaps.some((one) => one.name === name)) throw new Error(`Bitmap already exists: ${name}`);
    const flags = { busy: false, readOnly: false, inconsistent: false };
    bitmaps.push({ name, granularity, enabled: !disabled, ...flags, dirty: new Set() });
  }

  #merge({ node, target: name, bitmaps }: Qmp<'BlockDirtyBitmapMerge'>): void {
    const target = this.#find({ node, name });
    const sources = bitmaps.map((given) => {
      const where = typeof given === 'string' ? { node, name: given } : given;
      return { where, bitmap: this.#find(where) };
    });
    for (const { where, bitmap } of sources) {
      check(target, 'busy', 'readOnly', 'inconsistent');
      check(bitmap, 'busy', 'inconsistent');
      const [ours, theirs] = [SIZES[node]!, SIZES[where.node]!];
      if (ours === theirs) continue;
      throw new Error(
        `Bitmaps are of different sizes (destination size is ${ours}, ` +
          `source size is ${theirs}) and can't be merged`,
      );
    }
    for (const { where, bitmap } of sources) {
      for (const granule of [...bitmap.dirty]) {
        const offset = granule * bitmap.granularity;
        mark(target, offset, Math.min(bitmap.granularity, SIZES[where.node]! - offset));
      }
    }
  }

  #find({ node, name }: Qmp<'BlockDirtyBitmap'>): ModelBitmap {
    const bitmaps = this.bitmaps[node];
    if (bitmaps === undefined) throw new Error(`Node '${node}' not found`);
    const bitmap = bitmaps.find((one) => one.name === name);
    if (bitmap === undefined) throw new Error(`Dirty bitmap '${name}' not found`);
    return bitmap;
  }
}

const COMPLAINTS: Record<Flag, string> = {
  busy: 'is currently in use by another operation and cannot be used',
  readOnly: 'is readonly and cannot be modified',
  inconsistent: 'is inconsistent and cannot be used',
};

function check(bitmap: ModelBitmap, ...flags: Flag[]): void {
  for (const flag of flags) {
    if (bitmap[flag]) throw new Error(`Bitmap '${bitmap.name}' ${COMPLAINTS[flag]}`);
  }
}

function mark({ granularity, dirty }: ModelBitmap, offset: number, length: number): void {
  for (let at = Math.floor(offset / granularity); at * granularity < offset + length; at++) {
    dirty.add(at);
  }
}

const name = fc.constantFrom('x', 'y', 'z');
const node = fc.constantFrom('a', 'a', 'b', 'small');
const maybeNode = fc.oneof({ weight: 20, arbitrary: node }, fc.constant('nowhere'));
const granularity = fc.constantFrom(...GRANULARITIES);
const where = fc.record({ node: maybeNode, name });
const actionOf = (
  type:
    | 'block-dirty-bitmap-remove'
    | 'block-dirty-bitmap-clear'
    | 'block-dirty-bitmap-enable'
    | 'block-dirty-bitmap-disable',
): fc.Arbitrary<Action> => where.map((data) => ({ type, data }));
const action: fc.Arbitrary<Action> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc
      .record({ node: maybeNode, name, granularity, disabled: fc.boolean() })
      .map((data) => ({ type: 'block-dirty-bitmap-add' as const, data })),
  },
  {
    weight: 4,
    arbitrary: fc
      .record({
        node: maybeNode,
        target: name,
        bitmaps: fc.array(fc.oneof<fc.Arbitrary<Qmp<'BlockDirtyBitmapOrStr'>>[]>(name, where), {
          maxLength: 3,
        }),
      })
      .map((data) => ({ type: 'block-dirty-bitmap-merge' as const, data })),
  },
  { weight: 2, arbitrary: actionOf('block-dirty-bitmap-clear') },
  { weight: 1, arbitrary: actionOf('block-dirty-bitmap-remove') },
  { weight: 1, arbitrary: actionOf('block-dirty-bitmap-enable') },
  { weight: 1, arbitrary: actionOf('block-dirty-bitmap-disable') },
);
/** So that most commands find something. */
const BEGINNING: Step[] = [
  { node: 'a', name: 'x', granularity: 4096 },
  { node: 'a', name: 'y' },
  { node: 'b', name: 'x', granularity: 16_384 },
].map((data) => ({ kind: 'command', action: { type: 'block-dirty-bitmap-add', data } }));
const abort: Action = { type: 'abort', data: {} };
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 5, arbitrary: action.map((one) => ({ kind: 'command' as const, action: one })) },
  {
    weight: 3,
    arbitrary: fc
      .array(fc.oneof({ weight: 12, arbitrary: action }, fc.constant(abort)), { maxLength: 5 })
      .map((actions) => ({ kind: 'transaction' as const, actions })),
  },
  {
    weight: 4,
    arbitrary: fc
      .tuple(node, fc.nat((1 << 19) + 511), fc.integer({ min: 1, max: 100_000 }))
      .map(([on, offset, length]) => ({
        kind: 'write' as const,
        node: on,
        offset,
        length: Math.min(length, SIZES[on]! - offset),
      })),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant('flag' as const),
      node,
      name,
      flag: fc.constantFrom<Flag>('busy', 'readOnly', 'inconsistent'),
      value: fc.boolean(),
    }),
  },
);

it('bitmap commands and transactions do what a model of sets does', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 20 }), async (steps) => {
      const { storage, dispatcher } = makeMonitorRig();
      const { graph } = storage;
      for (const [on, size] of Object.entries(SIZES)) graph.add(new MemoryNode(on, { size }));
      const model = new Model();
      const perform = async (one: Step): Promise<void> => {
        if (one.kind === 'command') await dispatcher.execute(one.action.type, one.action.data);
        else if (one.kind === 'transaction') {
          await dispatcher.call('transaction', { actions: one.actions });
        } else if (one.kind === 'write') {
          await graph.find(one.node)!.write(one.offset, Buffer.alloc(one.length));
        } else {
          const bitmap = graph.find(one.node)!.findBitmap(one.name);
          if (bitmap !== undefined) bitmap[one.flag] = one.value;
        }
      };
      for (const one of [...BEGINNING, ...steps]) {
        const expected = await outcomeOf(async () => model.run(one));
        expect(await outcomeOf(() => perform(one))).toBe(expected);
        for (const [on, bitmaps] of Object.entries(model.bitmaps)) {
          const actual = graph.find(on)!.bitmaps.map((bitmap) => ({
            name: bitmap.name,
            granularity: bitmap.granularity,
            enabled: bitmap.enabled,
            busy: bitmap.busy,
            readOnly: bitmap.readOnly,
            inconsistent: bitmap.inconsistent,
            dirty: granulesOf(bitmap).join(),
            count: bitmap.count,
          }));
          const wanted = bitmaps.map(({ dirty, ...rest }) => ({
            ...rest,
            dirty: [...dirty].sort((one, other) => one - other).join(),
            count: dirty.size * rest.granularity,
          }));
          expect(actual).toEqual(wanted);
        }
      }
    }),
    { numRuns: 1000 },
  );
});

async function outcomeOf(work: () => Promise<void>): Promise<string> {
  try {
    await work();
    return 'done';
  } catch (error) {
    return (error as Error).message;
  }
}
