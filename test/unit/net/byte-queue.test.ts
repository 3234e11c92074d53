import { describe, expect, it, vi } from 'vitest';
import { ByteQueue } from '../../../src/net/byte-queue.ts';

function queueOf(...chunks: string[]): ByteQueue {
  const queue = new ByteQueue();
  for (const chunk of chunks) queue.push(Buffer.from(chunk));
  return queue;
}

describe('ByteQueue', () => {
  it('gives a whole first chunk as it is', () => {
    const chunk = Buffer.from('abc');
    const queue = new ByteQueue();
    queue.push(chunk);
    queue.push(Buffer.from('d'));
    expect(queue.consume(3)).toBe(chunk);
    expect(queue.length).toBe(1);
  });

  it('gives a part of the first chunk as a view', () => {
    const chunk = Buffer.from('abcd');
    const queue = new ByteQueue();
    queue.push(chunk);
    const part = queue.consume(2);
    expect(part.toString()).toBe('ab');
    expect(part.buffer).toBe(chunk.buffer);
    expect(queue.consume(2).toString()).toBe('cd');
  });

  it('joins chunks when it must', () => {
    const queue = queueOf('ab', 'cd', 'ef');
    expect(queue.consume(5).toString()).toBe('abcde');
    expect(queue.length).toBe(1);
    expect(queue.consume(1).toString()).toBe('f');
  });

  it('gives nothing when asked for nothing', () => {
    expect(queueOf().consume(0).length).toBe(0);
    expect(queueOf('a').consume(0).length).toBe(0);
  });

  it('fills a buffer as far as it can', () => {
    const queue = queueOf('ab', 'c');
    const target = Buffer.alloc(5, '.');
    expect(queue.consumeInto(target)).toBe(3);
    expect(target.toString()).toBe('abc..');
    expect(queue.length).toBe(0);
  });

  it('takes back what was not used', () => {
    const queue = queueOf('cd');
    queue.unshift(Buffer.from('ab'));
    queue.unshift(Buffer.alloc(0));
    expect(queue.length).toBe(4);
    expect(queue.shift()!.toString()).toBe('ab');
    expect(queue.length).toBe(2);
  });

  it('is empty after clear', () => {
    const queue = queueOf('ab', 'cd');
    queue.clear();
    expect(queue.length).toBe(0);
    expect(queue.shift()).toBeUndefined();
  });

  it('takes many chunks together: each shift of a long array moves the rest of it', () => {
    const queue = queueOf(...Array.from({ length: 1000 }, () => 'a'));
    const shift = vi.spyOn(Array.prototype, 'shift');
    const joined = queue.consume(999);
    const shifts = shift.mock.calls.length;
    shift.mockRestore();
    expect(joined.toString()).toBe('a'.repeat(999));
    expect(shifts).toBe(0);
  });
});
