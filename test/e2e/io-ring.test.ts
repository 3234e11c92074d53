import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { kernelHasRings } from '../support/io-ring.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** Reads the beginning of Node itself, twice, in a process of its own; what that prints. */
async function run(before: string): Promise<string> {
  const script = `
    import fs from 'node:fs';
    import { loadSyscalls } from '${root}/src/sys/syscalls.ts';
    const log = { warn: (details, text) => console.log(text) };
    const syscalls = loadSyscalls({ ffi: true, log });
    const fd = fs.openSync(process.execPath);
    const rings = () => fs.readdirSync('/proc/self/fd').filter((name) => {
      try { return fs.readlinkSync('/proc/self/fd/' + name).includes('io_uring'); }
      catch { return false; }
    }).length;
    const before = [];
    ${before}
    const buffer = Buffer.alloc(4);
    await syscalls.read(fd, buffer, 0);
    await syscalls.read(fd, buffer, 0);
    for (const open of before) fs.closeSync(open);
    console.log(rings(), buffer.toString('latin1', 1));`;
  const { stdout } = await promisify(execFile)(
    'prlimit',
    ['--nofile=64', process.execPath, '--import', 'tsx', '--input-type=module', '-e', script],
    { cwd: root, timeout: 20_000 },
  );
  return stdout.trim();
}

describe('waiting for disks', () => {
  it('has one ring in a process, which does not keep it alive', async () => {
    expect(await run('')).toBe(`${kernelHasRings() ? 1 : 0} ELF`);
  });

  it('goes without one where the kernel refuses it', async () => {
    const exhaust = `try { for (;;) before.push(fs.openSync('/dev/null')); } catch {}`;
    expect(await run(exhaust)).toBe('0 ELF');
  });

  it.runIf(kernelHasRings())('ends the process when nobody knows what is in flight', async () => {
    // The kernel's side of the ring is gone behind its back.
    const lose = `await syscalls.read(fd, Buffer.alloc(4), 0);
      for (const name of fs.readdirSync('/proc/self/fd')) {
        try {
          if (fs.readlinkSync('/proc/self/fd/' + name).includes('io_uring')) fs.closeSync(+name);
        } catch {}
      }`;
    await expect(run(lose)).rejects.toThrow('io_uring_enter');
  });
});
