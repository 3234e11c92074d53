import { expect, it } from 'vitest';
import { Output } from '../../../src/nbd-server/output.ts';
import { BufferPool } from '../../../src/util/buffer-pool.ts';
import { MiB } from '../../../src/util/limits.ts';

it('a small reply that waits counts for more than its bytes, until it has been taken', () => {
  const taken: (() => void)[] = [];
  const connection = {
    write: (_data: Buffer, onWritten?: () => void) => void taken.push(onWritten!),
    writeFile: () => false,
  };
  const output = new Output(connection, new BufferPool(MiB), () => {});
  for (let more = 0; more < 100; more++) {
    output.append(Buffer.alloc(16));
    output.flush();
  }
  expect(output.unsentBytes).toBeGreaterThan(100 * 300);
  for (const tell of taken) tell();
  expect(output.unsentBytes).toBe(0);
});

it('what the system takes at once is told of later: who sends is not to be called', async () => {
  const connection = { write: () => {}, writeFile: () => true };
  let told = 0;
  const output = new Output(connection, new BufferPool(MiB), () => told++);
  const bytes = { length: MiB, failure: undefined, sendTo: () => 0, read() {}, end() {} };
  output.sendFile(Buffer.alloc(16), bytes, () => told++);
  expect(told).toBe(0);
  expect(output.unsentBytes).toBeGreaterThan(MiB);
  await Promise.resolve();
  await new Promise(process.nextTick);
  expect(told).toBe(2);
  expect(output.unsentBytes).toBe(0);
});
