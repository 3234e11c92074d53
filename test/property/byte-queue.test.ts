import fc from 'fast-check';
import { expect, it } from 'vitest';
import { ByteQueue } from '../../src/net/byte-queue.ts';

it('a byte queue gives back what was put in, however it is cut', () => {
  const chunk = fc.uint8Array({ maxLength: 12 }).map((bytes) => Buffer.from(bytes));
  const step = fc.oneof(
    chunk.map((bytes) => ({ push: bytes })),
    fc.record({ how: fc.constantFrom('consume', 'into', 'shift'), bytes: fc.nat(20) }),
  );
  fc.assert(
    fc.property(fc.array(step), (steps) => {
      const queue = new ByteQueue();
      let model = Buffer.alloc(0);
      const take = (bytes: number) => {
        const taken = model.subarray(0, bytes);
        model = model.subarray(bytes);
        return taken;
      };
      for (const action of steps) {
        if ('push' in action) {
          queue.push(action.push);
          model = Buffer.concat([model, action.push]);
          continue;
        }
        const bytes = Math.min(action.bytes, model.length);
        if (action.how === 'consume') expect(queue.consume(bytes)).toEqual(take(bytes));
        else if (action.how === 'shift') {
          const first = queue.shift();
          expect(first ?? Buffer.alloc(0)).toEqual(take(first?.length ?? 0));
        } else {
          const target = Buffer.alloc(action.bytes);
          const filled = queue.consumeInto(target);
          expect(filled).toBe(bytes);
          expect(target.subarray(0, filled)).toEqual(take(bytes));
        }
        expect(queue.length).toBe(model.length);
      }
    }),
  );
});
