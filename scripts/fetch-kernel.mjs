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
const WANTED = ['boot/vmlinuz-*'].concat(
  ['block/nbd', 'net/virtio_net', 'net/net_failover', 'core/failover', 'virtio/*'].map(module),
  ['ext4/ext4', 'jbd2/jbd2', 'mbcache', 'crc16', 'crc32c_generic', 'crc32c-intel'].map(module),
);

/** Without it the test is skipped and says so: never an error. */
export function fetchKernel() {
  if (existsSync(KERNEL)) return;
  if (!hasTool('apt-get') || !hasTool('dpkg-deb')) {
    say('no Debian package tools here, so no kernel for the virtual machine');
    return;
  }
  say('fetching the kernel for the virtual machine');
  rmSync(CACHE, { recursive: true, force: true });
  mkdirSync(CACHE, { recursive: true });
  if (!download()) {
    say('no kernel for the virtual machine: linux-image-amd64 could not be downloaded');
    return;
  }
  unpack();
}

function download() {
  const name = kernelPackage() ?? (mayInstall() && apt(['update', '-q']) && kernelPackage());
  return Boolean(name) && apt(['download', '-q', name], { cwd: CACHE });
}

/** `linux-image-amd64` depends on the kernel of the day. */
function kernelPackage() {
  const { stdout } = spawnSync('apt-cache', ['depends', 'linux-image-amd64'], { encoding: 'utf8' });
  return /Depends: (linux-image-\S+)/.exec(stdout ?? '')?.[1];
}

function unpack() {
  const [archive] = readdirSync(CACHE).filter((name) => name.endsWith('.deb'));
  const partial = join(CACHE, 'partial');
  mkdirSync(partial);
  const patterns = WANTED.map((wanted) => `'*/${wanted}'`).join(' ');
  const pipeline = `set -o pipefail
    dpkg-deb --fsys-tarfile '${archive}' | tar -x -C partial --wildcards ${patterns}`;
  const result = spawnSync('bash', ['-c', pipeline], { cwd: CACHE, encoding: 'utf8' });
  if (result.stderr) say(result.stderr);
  rmSync(join(CACHE, archive));
  // Renamed when complete, so that an interrupted run is repeated and not believed.
  if (existsSync(join(partial, 'boot'))) renameSync(partial, KERNEL);
}

function module(path) {
  return `${path}.ko*`;
}
