import { describe, expect, it } from 'vitest';
import { AlignedAccess, type BlockwiseDisk } from '../../../src/block/aligned.ts';
import { WRITE_FUA, ZERO_MAY_UNMAP, ZERO_NO_FALLBACK } from '../../../src/block/node.ts';

const BLOCK = 512;

/** A disk of blocks that notes what it was asked, refuses parts of blocks, and takes its time. */
class Blocks implements BlockwiseDisk {
  readonly blockBytes = BLOCK;
  readonly log: string[] = [];
  readonly bytes = Buffer.alloc(16 * BLOCK, 0x11);
  failAt = -1;

  allocate(bytes: number): Buffer {
    return Buffer.alloc(bytes);
  }

  async read(offset: number, buffer: Buffer): Promise<void> {
    await this.#begin('read', offset, buffer.length);
    this.bytes.copy(buffer, 0, offset);
  }

  async write(offset: number, data: Buffer, flags: number): Promise<void> {
    await this.#begin('write', offset, data.length, flags);
    data.copy(this.bytes, offset);
  }

  async writeZeroes(offset: number, length: number, flags: number): Promise<void> {
    await this.#begin('zero', offset, length, flags);
    this.bytes.fill(0, offset, offset + length);
  }

  async discard(offset: number, length: number, flags: number): Promise<void> {
    await this.#begin('discard', offset, length, flags);
  }

  #begin(verb: string, offset: number, length: number, flags = 0): Promise<void> {
    const range = `${offset / BLOCK}+${length / BLOCK}`;
    this.log.push(`${verb} ${range}${flags === 0 ? '' : ` flags ${flags}`}`);
    if (offset === this.failAt) throw new Error('this block is bad');
    if ((offset | length) % BLOCK !== 0) throw new Error('not whole blocks');
    return new Promise(setImmediate);
  }
}

describe('aligned access', () => {
  it('passes whole blocks through', async () => {
    const disk = new Blocks();
    const access = new AlignedAccess(disk);
    await access.write(512, Buffer.alloc(1024, 1), WRITE_FUA);
    await access.read(0, Buffer.alloc(512));
    await access.writeZeroes(0, 512, ZERO_MAY_UNMAP);
    expect(disk.log).toEqual([`write 1+2 flags ${WRITE_FUA}`, 'read 0+1', 'zero 0+1 flags 2']);
  });

  it('reads parts of blocks', async () => {
    const access = new AlignedAccess(new Blocks());
    const buffer = Buffer.alloc(1000);
    await access.read(1500, buffer);
    expect(buffer.equals(Buffer.alloc(1000, 0x11))).toBe(true);
  });

  it('changes the two ends of a write and passes the middle through', async () => {
    const disk = new Blocks();
    const access = new AlignedAccess(disk);
    await access.write(511, Buffer.alloc(514, 0x22), WRITE_FUA);
    const expected = Buffer.alloc(16 * BLOCK, 0x11).fill(0x22, 511, 511 + 514);
    expect(disk.bytes.equals(expected)).toBe(true);
    expect(disk.log.filter((line) => line.startsWith('write'))).toEqual([
      'write 1+1 flags 1',
      'write 0+1 flags 1',
      'write 2+1 flags 1',
    ]);
  });

  it('zeroes the two ends by writing', async () => {
    const disk = new Blocks();
    await new AlignedAccess(disk).writeZeroes(700, 1100, ZERO_MAY_UNMAP);
    const expected = Buffer.alloc(16 * BLOCK, 0x11).fill(0, 700, 1800);
    expect(disk.bytes.equals(expected)).toBe(true);
    expect(disk.log).toContain('zero 2+1 flags 2');
    expect(disk.log).toContain('write 1+1');
  });

  it('does not zero parts of blocks when only a fast way will do', () => {
    const disk = new Blocks();
    const access = new AlignedAccess(disk);
    expect(() => access.writeZeroes(1, 2048, ZERO_NO_FALLBACK)).toThrow(
      expect.objectContaining({ code: 'ENOTSUP' }),
    );
    expect(disk.log).toEqual([]);
  });

  it('discards whole blocks only', async () => {
    const disk = new Blocks();
    const access = new AlignedAccess(disk);
    await access.discard(1, 1023, 0);
    await access.discard(1, 1022, 0);
    await access.discard(100, 200, 0);
    expect(disk.log).toEqual(['discard 1+1']);
  });

  it('loses no write to another part of the same block', async () => {
    const disk = new Blocks();
    const access = new AlignedAccess(disk);
    const expected = Buffer.alloc(16 * BLOCK, 0x11);
    const writes = [];
    for (let at = 100; at < 2000; at += 100) {
      expected.fill(at % 251, at, at + 100);
      writes.push(access.write(at, Buffer.alloc(100, at % 251), 0));
    }
    await Promise.all(writes);
    expect(disk.bytes.equals(expected)).toBe(true);
  });

  it('loses no whole block to a change of a part of it', async () => {
    const disk = new Blocks();
    const access = new AlignedAccess(disk);
    await Promise.all([
      access.write(10, Buffer.alloc(10, 0x22), 0),
      access.write(0, Buffer.alloc(512, 0x33), 0),
      access.writeZeroes(512, 512, 0),
      access.write(1000, Buffer.alloc(1, 0x44), 0),
    ]);
    expect(disk.bytes[100]).toBe(0x33);
    expect(disk.bytes[600]).toBe(0);
    expect(disk.bytes[1000]).toBe(0x44);
  });

  it('fails as a whole when a part fails, once the other parts have ended', async () => {
    const disk = new Blocks();
    const access = new AlignedAccess(disk);
    disk.failAt = 0;
    await expect(access.write(100, Buffer.alloc(1000, 0x22), 0)).rejects.toThrow('bad');
    expect(disk.bytes[1024]).toBe(0x22);
  });

  it('does not begin a write that was cancelled while it waited for its block', async () => {
    const disk = new Blocks();
    const access = new AlignedAccess(disk);
    const first = access.write(0, Buffer.alloc(512, 0x22), 0);
    const second = access.write(0, Buffer.alloc(512, 0x33), 0);
    access.cancelWaiting(new Error('cancelled'));
    const third = access.write(0, Buffer.alloc(512, 0x44), 0);
    await expect(second).rejects.toThrow('cancelled');
    await Promise.all([first, third]);
    expect(disk.log).toEqual(['write 0+1', 'write 0+1']);
    expect(disk.bytes[0]).toBe(0x44);
  });

  it('lets the block go after a failure', async () => {
    const disk = new Blocks();
    const access = new AlignedAccess(disk);
    disk.failAt = 0;
    await expect(access.write(100, Buffer.alloc(10), 0)).rejects.toThrow('bad');
    disk.failAt = -1;
    await access.write(100, Buffer.alloc(10, 0x55), 0);
    expect(disk.bytes[100]).toBe(0x55);
  });
});
