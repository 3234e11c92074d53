/** What no mirror can beat: how fast a target takes data from a program that only sends. */
import { NBD_CMD_WRITE } from '../../protocol/nbd/constants.ts';
import { encodeRequest, RawNbdClient } from '../support/raw-nbd-client.ts';
import { MiB } from './images.ts';
import { socketOf } from './peers.ts';

const IN_FLIGHT = 16;

/** Writes `size` bytes to the export, in requests of 1 MiB that are all the same; seconds. */
export async function onlySend(uri: string, size: number): Promise<number> {
  const client = await RawNbdClient.connect({ path: socketOf(uri) });
  await client.go();
  const payload = Buffer.alloc(MiB, 0x5a);
  const start = performance.now();
  for (let sent = 0, answered = 0; answered < size; answered += MiB) {
    for (; sent < Math.min(size, answered + IN_FLIGHT * MiB); sent += MiB) {
      client.socket.write(encodeRequest({ type: NBD_CMD_WRITE, offset: sent, length: MiB }));
      client.socket.write(payload);
    }
    const { error } = await client.reply();
    if (error !== 0) throw new Error(`${uri} answered a write with error ${error}`);
  }
  const seconds = (performance.now() - start) / 1000;
  client.close();
  return seconds;
}
