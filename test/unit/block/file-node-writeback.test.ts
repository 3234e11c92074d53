import { expect, it } from 'vitest';
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

it('what arrives waits on no disk that is being written to', () => {
  let isWritingBack = true;
  const written = { writtenBytes: 4096, takenBytes: 4096, unwritten: Buffer.alloc(0) };
  const syscalls = {
    ...portableSyscalls,
    isWritingBack: () => isWritingBack,
    receiveFile: () => written,
  };
  const clock = new FakeClock();
  const file = { syscalls, fd: -1, device: false, inMemory: false, zeroBlockBytes: 4096 };
  const disk = new BufferedDisk(file, clock);
  const arrived = { head: Buffer.alloc(0), socket: -1 };
  expect(disk.receive(0, 4096, arrived)).toBeUndefined();
  isWritingBack = false;
  clock.advance(50);
  expect(disk.receive(0, 4096, arrived)).toBe(written);
});
