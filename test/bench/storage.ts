/** Disks for which the page cache does not help. */
import { open } from 'node:fs/promises';
import { attachLoop } from '../support/loop-device.ts';
import { mustRun, type Scope } from '../support/process.ts';

export interface Storage {
  /** As workloads call it. */
  name: string;
  /** First options of `--blockdev`, before the name of the file. */
  driver: string;
  /** From an image to what is opened. */
  prepare(scope: Scope, file: string): Promise<string>;
}

export const STORAGES: readonly Storage[] = [
  { name: 'cold file', driver: 'driver=file', prepare: forget },
  { name: 'O_DIRECT', driver: 'driver=file,cache.direct=on', prepare: forget },
  { name: 'loop device', driver: 'driver=host_device', prepare: attach },
];

/** Has the page cache forget the file (root, as for loop devices). */
export async function forget(_scope: Scope, file: string): Promise<string> {
  await mustRun('sync', [file]);
  const caches = await open('/proc/sys/vm/drop_caches', 'w');
  try {
    await caches.write('1');
  } finally {
    await caches.close();
  }
  return file;
}

async function attach(scope: Scope, file: string): Promise<string> {
  await forget(scope, file);
  return forget(scope, attachLoop(scope, file).path);
}
