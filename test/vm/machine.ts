/**
 * A virtual machine of a few seconds: Debian's kernel in qemu's plain emulation (no KVM needed),
 * with a root of busybox, nbd-client and mkfs.ext4 taken from this system, and `guest-init.sh` as
 * the only program. qemu's user network lets it reach the loopback of this host as 10.0.2.2, and
 * nothing else is asked of it.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { mustRun, type Scope } from '../support/process.ts';
import { cpioArchive } from './cpio.ts';

const KERNEL_FOLDER = fileURLToPath(new URL('../../.cache/vm/kernel', import.meta.url));
const GUEST_INIT = fileURLToPath(new URL('./guest-init.sh', import.meta.url));
const MODULES = ['crc32c_generic', 'virtio_pci', 'virtio_net', 'nbd', 'ext4'];
const BUSYBOX = 'busybox';
const PROGRAMS = ['nbd-client', 'mkfs.ext4'];
const EMPTY_FOLDERS = ['/proc', '/sys', '/dev', '/mnt', '/tmp', '/run', '/var/lock', '/etc'];
const MEMORY = '512M';
const RUN_MS_MAX = 240_000;

/** Programs of this system that a machine is made of. */
export const MACHINE_TOOLS = ['qemu-system-x86_64', BUSYBOX, ...PROGRAMS, 'ldd'];

interface Kernel {
  image: string;
  /** Module name -> file. */
  modules: ReadonlyMap<string, string>;
}

/** The kernel that scripts/fetch-kernel.mjs unpacked; undefined when there is none. */
export function findKernel(): Kernel | undefined {
  let files: string[];
  try {
    files = readdirSync(KERNEL_FOLDER, { recursive: true, encoding: 'utf8' });
  } catch {
    return undefined;
  }
  const image = files.find((file) => basename(file).startsWith('vmlinuz-'));
  if (image === undefined) return undefined;
  const modules = files.filter((file) => file.endsWith('.ko'));
  return {
    image: join(KERNEL_FOLDER, image),
    modules: new Map(
      modules.map((file) => [moduleName(basename(file, '.ko')), join(KERNEL_FOLDER, file)]),
    ),
  };
}

/** Runs the machine against the NBD server on `port` of the loopback; what its console said. */
export async function runMachine(scope: Scope, kernel: Kernel, port: number): Promise<string> {
  const root = join(await scope.tempDir(), 'initramfs');
  await writeFile(root, await rootArchive(kernel));
  const machine = await scope.startProcess('qemu-system-x86_64', [
    ...['-accel', 'tcg', '-cpu', 'max', '-m', MEMORY, '-nodefaults', '-no-reboot'],
    ...['-display', 'none', '-serial', 'stdio'],
    ...['-netdev', 'user,id=net', '-device', 'virtio-net-pci,netdev=net,romfile='],
    ...['-kernel', kernel.image, '-initrd', root],
    ...['-append', `console=ttyS0 quiet panic=-1 mitigations=off nbd_port=${port}`],
  ]);
  await machine.waitUntil(() => !machine.running, 'power-off', RUN_MS_MAX);
  await machine.exited;
  const console = machine.stdout;
  if (!console.includes('VM-OK')) throw machine.failure('the guest did not finish its work');
  return console;
}

async function rootArchive(kernel: Kernel): Promise<Buffer> {
  const files = new Map<string, Buffer>();
  const take = (from: string, to: string) => files.set(to, readFileSync(from));
  take(GUEST_INIT, '/init');
  take(await pathOf(BUSYBOX), `/bin/${BUSYBOX}`);
  for (const program of PROGRAMS) {
    const path = await pathOf(program);
    take(path, `/bin/${program}`);
    for (const library of await librariesOf(path)) take(library, library);
  }
  const order = MODULES.flatMap((name) => withDependencies(name, kernel));
  for (const name of order) take(kernel.modules.get(name)!, `/modules/${name}.ko`);
  const lines = [...new Set(order)].map((name) => `${name}.ko\n`).join('');
  files.set('/modules/order', Buffer.from(lines));
  return cpioArchive(files, EMPTY_FOLDERS);
}

async function pathOf(program: string): Promise<string> {
  const found = await mustRun('sh', ['-c', `PATH=$PATH:/usr/sbin:/sbin command -v ${program}`]);
  return found.trim();
}

/** The absolute paths in what ldd(1) prints, the dynamic loader among them. */
async function librariesOf(program: string): Promise<string[]> {
  const printed = await mustRun('ldd', [program]);
  return [...printed.matchAll(/(\/\S+) \(0x/g)].map((match) => match[1]!);
}

/** A module after those that it needs, as it says in its own `.modinfo`. */
function withDependencies(name: string, kernel: Kernel): string[] {
  const path = kernel.modules.get(name);
  if (path === undefined) throw new Error(`the unpacked kernel lacks the module ${name}`);
  const needs = /\0depends=([^\0]*)\0/.exec(readFileSync(path, 'latin1'))?.[1] ?? '';
  const names = needs.split(',').filter((need) => need !== '');
  return [...names.flatMap((need) => withDependencies(moduleName(need), kernel)), name];
}

function moduleName(text: string): string {
  return text.replaceAll('-', '_');
}
