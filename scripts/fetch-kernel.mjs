/**
 * Debian's kernel for the virtual machine of `npm run test:vm`: downloaded by apt-get from wherever
 * this machine gets its packages, unpacked (not installed) under `.cache/vm/kernel`.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { apt, hasTool, mayInstall, ROOT, say } from './setup.mjs';

const CACHE = join(ROOT, '.cache', 'vm');
const KERNEL = join(CACHE, 'kernel');
// The network card, the NBD client and the file system, with what they depend on.
const MODULES = [
  ...['block/nbd', 'net/virtio_net', 'net/net_failover', 'core/failover', 'virtio/[^/]*'],
  ...['ext4/ext4', 'jbd2/jbd2', 'mbcache', 'crc16', 'crc32c_generic', 'crc32c-intel'],
];
const WANTED = new RegExp(`/boot/vmlinuz-|/(?:${MODULES.join('|')})\\.ko(?:\\.xz)?$`);
const FILES_MAX_BYTES = 64 * 1024 * 1024;

/** Without it the test is skipped and says so: never an error. */
export function fetchKernel() {
  if (existsSync(KERNEL)) return;
  if (!hasTool('apt-get') || !hasTool('dpkg-deb')) {
    say('no Debian package tools here, so no kernel for the virtual machine');
    return;
  }
  say('fetching the kernel for the virtual machine');
  const directory = join(CACHE, `new-${process.pid}`);
  rmSync(directory, { recursive: true, force: true });
  mkdirSync(directory, { recursive: true });
  try {
    if (!download(directory)) {
      say('no kernel for the virtual machine: linux-image-amd64 could not be downloaded');
    } else if (unpack(directory)) {
      // Only when it is complete; another run may have been faster.
      if (!existsSync(KERNEL)) renameSync(join(directory, 'kernel'), KERNEL);
    } else say('no kernel for the virtual machine: it could not be unpacked');
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** With the lists of packages that are here, or with new ones: old ones know what is gone. */
function download(directory) {
  const get = () => {
    const name = kernelPackage();
    return name !== undefined && apt(['download', '-q', name], { cwd: directory });
  };
  return get() || (mayInstall() && apt(['update', '-q']) && get());
}

/** `linux-image-amd64` depends on the kernel of the day. */
function kernelPackage() {
  const env = { ...process.env, LC_ALL: 'C' };
  const asked = ['depends', 'linux-image-amd64'];
  const { stdout } = spawnSync('apt-cache', asked, { encoding: 'utf8', env });
  return /Depends: (linux-image-\S+)/.exec(stdout ?? '')?.[1];
}

function unpack(directory) {
  const [archive] = readdirSync(directory).filter((name) => name.endsWith('.deb'));
  mkdirSync(join(directory, 'kernel'));
  const inside = (script, input) =>
    spawnSync('bash', ['-c', `set -o pipefail; dpkg-deb --fsys-tarfile '${archive}' | ${script}`], {
      cwd: directory,
      encoding: 'utf8',
      maxBuffer: FILES_MAX_BYTES,
      env: { ...process.env, NAMES: input },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
  const listed = inside('tar --list', '');
  const names = listed.stdout.split('\n').filter((name) => WANTED.test(name));
  if (listed.status !== 0 || names.length === 0) return false;
  const unpacked = inside(
    'tar --extract --directory kernel --files-from <(echo "$NAMES")',
    names.join('\n'),
  );
  if (unpacked.status !== 0) return false;
  // As later kernels have them.
  const packed = names.filter((name) => name.endsWith('.xz'));
  if (packed.length === 0) return true;
  const expanded = spawnSync('xz', ['--decompress', ...packed], {
    cwd: join(directory, 'kernel'),
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  return expanded.status === 0;
}
