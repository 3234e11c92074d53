import { expect, it } from 'vitest';
import { Output } from '../../../src/nbd-server/output.ts';
import { BufferPool } from '../../../src/util/buffer-pool.ts';
import { MiB } from '../../../src/util/limits.ts';

it('a small reply that waits counts for more than its bytes, until it has been taken', () => {
  const taken: (() => void)[] = [];
  const connection = {
    write: (_data: Buffer, onWritten?: () => void) => void taken.push(onWritten!),
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
