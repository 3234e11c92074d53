import { expect, it } from 'vitest';
import { MemoryNode } from '../../../src/block/memory-node.ts';
import { isDone } from '../../support/is-done.ts';
import { ShakyNode } from '../../support/shaky-node.ts';

/** A disk whose every write waits until the test lets it go. */
function newDisk() {
  const node = new ShakyNode(new MemoryNode('disk0', { size: 65_536 }));
  const waiting: { go(): void; fail(): void }[] = [];
  node.meddle = () =>
    new Promise<void>((resolve, reject) => {
      waiting.push({ go: resolve, fail: () => reject(new Error('no')) });
    });
  const write = (offset: number) => node.write(offset, Buffer.alloc(512)) as Promise<void>;
  return { node, waiting, write };
}

it('waits for the writes that have begun and for no later ones', async () => {
  const { node, waiting, write } = newDisk();
  const first = write(0);
  const second = write(512);
  const settled = node.settled();
  const later = write(1024);

  waiting[0]!.go();
  await first;
  expect(await isDone(settled)).toBe(false);
  waiting[1]!.go();
  await second;
  expect(await isDone(settled)).toBe(true);

  waiting[2]!.go();
  await later;
});

it('does not mind writes that fail', async () => {
  const { node, waiting, write } = newDisk();
  const failing = write(0);
  const settled = node.settled();
  waiting[0]!.fail();
  await expect(failing).rejects.toThrow('no');
  await settled;
});
