import { createServer } from 'node:net';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { dial } from '../../../src/net/dial.ts';
import { loadSyscalls } from '../../../src/sys/syscalls.ts';
import { systemClock } from '../../../src/util/clock.ts';
import { MiB } from '../../../src/util/limits.ts';
import { silentLog } from '../../../src/util/log.ts';
import { currentScope, tempDir } from '../../support/peers.ts';
import { freePort } from '../../support/process.ts';

/** How much of 64 MiB the system takes at once from a client whose peer never reads. */
async function bytesTaken(onUnixSocket?: (fd: number) => void): Promise<number> {
  const path = join(await tempDir(), 'socket');
  const server = createServer((peer) => peer.pause().on('error', () => {}));
  await new Promise<void>((resolve) => server.listen(path, resolve));
  const options = { clock: systemClock, timeoutMs: 5000, ...(onUnixSocket && { onUnixSocket }) };
  const connection = await dial({ type: 'unix', path }, options);
  currentScope().onClose(async () => {
    connection.destroy();
    server.close();
  });
  let taken = 0;
  const piece = Buffer.alloc(64 * 1024);
  while (taken < 64 * MiB) {
    connection.write(piece);
    if (connection.unsentBytes > 0) break;
    taken += piece.length;
  }
  return taken;
}

describe('dialling', () => {
  it.each([1, 999.5, 4999.37])('takes any time: %d ms', async (timeoutMs) => {
    const port = await freePort();
    const dialled = dial(
      { type: 'inet', host: '127.0.0.1', port },
      { clock: systemClock, timeoutMs },
    );
    await expect(dialled).rejects.toThrow(/connection refused|no answer within/);
  });
});

describe('dialling a Unix socket', () => {
  it('is refused where the system would cut its path off, and find another', async () => {
    const path = `/tmp/${'x'.repeat(103)}`;
    const options = { clock: systemClock, timeoutMs: 5000 };
    await expect(dial({ type: 'unix', path }, options)).rejects.toMatchObject({
      code: 'EINVAL',
      message: `Cannot connect to unix:${path}: a socket's path has at most 107 bytes`,
    });
    await expect(dial({ type: 'unix', path: path.slice(0, -1) }, options)).rejects.toMatchObject({
      code: 'ENOENT',
    });
  });

  it('hands out its descriptor, by which the send buffer is widened', async () => {
    const syscalls = loadSyscalls({ ffi: true, log: silentLog });
    const usual = await bytesTaken();
    const widened = await bytesTaken((fd) => syscalls.widenSendBuffer(fd, 4 * MiB));
    // Without privileges the system allows twice as much as it gives by default.
    expect(widened).toBeGreaterThan(1.5 * usual);
  });
});
