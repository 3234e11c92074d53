import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { ZERO_MAY_UNMAP, ZERO_NO_FALLBACK } from '../../../src/block/node.ts';
import { makeDiskFile, openFileNode } from '../../conformance/make-file-node.ts';
import { attachLoop, lackForLoopDevice } from '../../support/loop-device.ts';
import { makeMonitorRig } from '../../support/monitor-rig.ts';
import { Scope } from '../../support/process.ts';

const MIB = 1 << 20;
const lack = lackForLoopDevice();

async function onLoop(
  options: readonly string[],
  action: (device: string, scope: Scope) => Promise<void>,
): Promise<void> {
  const scope = new Scope();
  const file = makeDiskFile(64 * MIB);
  scope.owns(file.remove);
  try {
    await action(attachLoop(scope, file.filename, options).path, scope);
  } finally {
    await scope.close();
  }
}

const unsupported = async () => {
  throw Object.assign(new Error('no'), { code: 'EOPNOTSUPP' });
};

describe.skipIf(lack !== undefined)(`a device${lack ? ` [missing: ${lack}]` : ''}`, () => {
  it.each([true, false])('that is read-only is not opened for writing, with the FFI: %s', (ffi) =>
    onLoop(['--read-only'], async (device) => {
      await expect(openFileNode(device, false, { ffi })).rejects.toMatchObject({
        code: 'EPERM',
        message: `Could not open "${device}": the device is read-only`,
      });
      const node = await openFileNode(device, true, { ffi });
      if (ffi) expect(() => node.setReadOnly(false)).toThrow('the device is read-only');
      await node.close();
    }),
  );

  it('that is read-only may be opened so where that is allowed', () =>
    onLoop(['--read-only'], async (filename) => {
      const { dispatcher, close } = makeMonitorRig();
      const options = { driver: 'host_device', filename, 'node-name': 'n' } as const;
      await dispatcher.call('blockdev-add', { ...options, 'auto-read-only': true });
      expect(await dispatcher.call('query-named-block-nodes')).toMatchObject([{ ro: true }]);
      await close();
    }));

  it('of large sectors takes small writes past the page cache', () =>
    onLoop(['--sector-size', '4096'], async (device) => {
      const node = await openFileNode(device, false, { direct: true });
      await node.write(512, Buffer.alloc(512, 1));
      await node.close();
    }));

  it.each([0, MIB])('of large sectors carries a sparse file with data at %i', (dataAt) =>
    onLoop(['--sector-size', '4096'], async (device, scope) => {
      execFileSync('mkfs.ext4', ['-q', device]);
      const mountPoint = fs.mkdtempSync(path.join(os.tmpdir(), 'mnt-'));
      execFileSync('mount', [device, mountPoint]);
      scope.owns(() => {
        execFileSync('umount', [mountPoint]);
        fs.rmdirSync(mountPoint);
      });
      const file = path.join(mountPoint, 'disk.raw');
      fs.writeFileSync(file, '');
      fs.truncateSync(file, 4 * MIB);
      if (dataAt > 0) {
        const fd = fs.openSync(file, 'r+');
        fs.writeSync(fd, Buffer.alloc(4096, 1), 0, 4096, dataAt);
        fs.closeSync(fd);
      }
      const node = await openFileNode(file, false, { direct: true });
      await node.write(4096, Buffer.alloc(512, 2));
      await node.close();
    }),
  );

  it('without zeroes of its own has none that are fast', () =>
    onLoop([], async (device) => {
      let zeroed = 0;
      const zeroRange = async () => void zeroed++;
      const node = await openFileNode(device, false, {
        syscalls: { punchHole: unsupported, zeroRange },
      });
      const flags = ZERO_MAY_UNMAP | ZERO_NO_FALLBACK;
      const fast = async () => node.writeZeroes(0, MIB, flags);
      await expect(fast()).rejects.toMatchObject({ code: 'ENOTSUP' });
      expect(zeroed).toBe(0);
      expect(node.features).toMatchObject({ fastZero: false, cheapZero: true });
      await node.writeZeroes(0, MIB, ZERO_MAY_UNMAP);
      expect(zeroed).toBe(1);
      await node.close();
    }));
});
