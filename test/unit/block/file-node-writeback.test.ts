import { describe, expect, it } from 'vitest';
import { SharedFlush } from '../../../src/block/file-node-flush.ts';
import { BufferedDisk } from '../../../src/block/file-node-io.ts';
import { WritebackWatch } from '../../../src/block/file-node-writeback.ts';
import { portableSyscalls } from '../../../src/sys/portable.ts';
import { FakeClock } from '../../support/fake-clock.ts';

it('asks the kernel now and then, not for every write', () => {
  const clock = new FakeClock();
  let asked = 0;
  const watch = new WritebackWatch(clock, () => ++asked % 2 === 1);
  expect([watch.isOn, watch.isOn]).toEqual([true, true]);
  clock.advance(49);
  expect(watch.isOn).toBe(true);
  clock.advance(1);
  expect(watch.isOn).toBe(false);
  expect(asked).toBe(2);
});

const NOTHING = Buffer.alloc(0);
const arrived = { head: NOTHING, socket: -1, write: { hasEnded: false } };

/** A disk that receives what and when the test says. */
function receivingDisk(
  options: { blockBytes?: number; asksSomebody?: boolean; isWritingBack?: () => boolean } = {},
) {
  const { blockBytes = 4096, asksSomebody = false, isWritingBack = () => false } = options;
  const clock = new FakeClock();
  const next = { writtenBytes: 4096, takesMs: 0 };
  const receiveFile = () => {
    clock.advance(next.takesMs);
    return { writtenBytes: next.writtenBytes, takenBytes: next.writtenBytes, unwritten: NOTHING };
  };
  const syscalls = { ...portableSyscalls, isWritingBack, receiveFile };
  const kind = { device: false, inMemory: false, asksSomebody, blockBytes, zeroBlockBytes: 1 };
  const disk = new BufferedDisk(
    { syscalls, flush: new SharedFlush(async () => {}), fd: -1, ...kind },
    clock,
  );
  return { clock, next, receive: () => disk.receive(0, 4096, arrived) };
}

describe('what arrives for a disk', () => {
  it('waits for none that is written back to', () => {
    let isWritingBack = true;
    const { clock, receive } = receivingDisk({ isWritingBack: () => isWritingBack });
    expect(receive()).toBeUndefined();
    isWritingBack = false;
    clock.advance(50);
    expect(receive()).toMatchObject({ writtenBytes: 4096 });
  });

  it('does not wait for who is asked by the file system', () => {
    expect(receivingDisk({ asksSomebody: true }).receive()).toBeUndefined();
  });

  it('is not cut where a file system would have to read the rest of a block', () => {
    expect(receivingDisk({ blockBytes: 128 * 1024 }).receive()).toBeUndefined();
  });

  it('rests longer after each slow part, also when some bring nothing', () => {
    const { clock, next, receive } = receivingDisk();
    const rests = [];
    for (let round = 0; round < 3; round++) {
      Object.assign(next, { writtenBytes: 4096, takesMs: 10 });
      receive();
      const start = clock.now();
      Object.assign(next, { writtenBytes: 0, takesMs: 0 });
      while (receive() === undefined) clock.advance(1);
      rests.push(clock.now() - start);
    }
    expect(rests).toEqual([80, 160, 320]);
  });
});
