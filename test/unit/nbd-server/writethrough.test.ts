import { describe, expect, it } from 'vitest';
import * as wire from '../../../protocol/nbd/constants.ts';
import { MemoryNode } from '../../../src/block/memory-node.ts';
import { type Completion, WRITE_FUA } from '../../../src/block/node.ts';
import { startNbdRig } from '../../support/nbd-rig.ts';

/** A disk with a cache: counts the requests of which it may lose something. */
class CachingDisk extends MemoryNode {
  volatile = 0;
  durable = 0;

  #count(flags: number): void {
    if ((flags & WRITE_FUA) === 0) this.volatile++;
    else this.durable++;
  }
  protected override doWrite(offset: number, data: Buffer, flags = 0): void {
    this.#count(flags);
    super.doWrite(offset, data);
  }
  protected override doWriteZeroes(offset: number, length: number, flags: number): void {
    this.#count(flags);
    super.doWriteZeroes(offset, length, flags);
  }
  protected override doDiscard(offset: number, length: number, flags = 0): Completion {
    this.#count(flags);
    super.doDiscard(offset, length);
  }
}

async function writeOnceEach(writethrough: boolean): Promise<CachingDisk> {
  const node = new CachingDisk('disk', { size: 1 << 20 });
  const client = await (await startNbdRig({ node, export: { writethrough } })).connect();
  await client.go();
  client.request({ type: wire.NBD_CMD_WRITE, length: 4 }, 'data');
  client.request({ type: wire.NBD_CMD_WRITE_ZEROES, offset: 512, length: 512 });
  client.request({ type: wire.NBD_CMD_TRIM, offset: 1024, length: 512 });
  for (let count = 0; count < 3; count++) expect((await client.reply()).error).toBe(0);
  return node;
}

describe('a client that never flushes and never asks for FUA', () => {
  it('has everything on stable storage when the export is writethrough', async () => {
    expect(await writeOnceEach(true)).toMatchObject({ durable: 3, volatile: 0 });
  });

  it('has nothing there otherwise', async () => {
    expect(await writeOnceEach(false)).toMatchObject({ durable: 0, volatile: 3 });
  });
});
