import { join } from 'node:path';
import { expect, it, vi } from 'vitest';
import { Storage } from '../../../src/monitor/storage.ts';
import { dial } from '../../../src/net/dial.ts';
import { loadSyscalls } from '../../../src/sys/syscalls.ts';
import { systemClock } from '../../../src/util/clock.ts';
import { CLIENT_SEND_BUFFER_BYTES } from '../../../src/util/limits.ts';
import { silentLog } from '../../../src/util/log.ts';
import { currentScope, tempDir } from '../../support/peers.ts';

it('the send buffer of a client on a Unix socket is widened', async () => {
  const log = silentLog;
  const clock = systemClock;
  const syscalls = loadSyscalls({ ffi: true, log });
  const widen = vi.spyOn(syscalls, 'widenSendBuffer');
  const storage = new Storage({ syscalls, clock, log });
  currentScope().onClose(() => storage.close());
  const address = { type: 'unix', path: join(await tempDir(), 'nbd.sock') } as const;
  await storage.nbd.start({ addresses: [address] });
  const client = await dial(address, { clock, timeoutMs: 5000 });
  currentScope().onClose(async () => client.destroy());
  await client.read(1);
  expect(widen).toHaveBeenCalledExactlyOnceWith(expect.any(Number), CLIENT_SEND_BUFFER_BYTES);
});
