/** What another client of the same server notices of a load: its longest wait for a small read. */
import { setTimeout as pause } from 'node:timers/promises';
import { NBD_CMD_READ } from '../../protocol/nbd/constants.ts';
import { RawNbdClient } from '../support/raw-nbd-client.ts';
import { socketOf } from './address.ts';

const LENGTH = 4096;
const PAUSE_MS = 2;

/** Milliseconds; the same block is read again and again, so it is in the page cache if any is. */
export async function longestWait(uri: string, offset: number, load: Promise<unknown>) {
  const client = await RawNbdClient.connect({ path: socketOf(uri) });
  await client.go();
  let isOver = false;
  const over = load.finally(() => {
    isOver = true;
  });
  over.catch(() => {}); // Told below.
  let longest = 0;
  for (let reads = 0; !isOver; reads++) {
    const start = performance.now();
    client.request({ type: NBD_CMD_READ, offset, length: LENGTH });
    const { error } = await client.reply(LENGTH);
    if (error !== 0) throw new Error(`${uri} answered a read with error ${error}`);
    // The first one fills the cache.
    if (reads > 0) longest = Math.max(longest, performance.now() - start);
    await pause(PAUSE_MS);
  }
  client.close();
  await over;
  return longest;
}
