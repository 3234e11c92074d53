import { type FileHandle, open } from 'node:fs/promises';
import { isNbdUri } from '../../protocol/nbd/uri.ts';

/**
 * A file whose bytes are not a disk's but an image of one. We know raw disks only, and do not
 * guess as QEMU once did: a client that writes the beginning of a disk could make it look like an
 * image that shows him other files. But who mirrors or overwrites one by mistake shall hear of it.
 */
const MAGICS: readonly [format: string, offset: number, magic: string][] = [
  ['qcow2', 0, 'QFI\xfb'],
  ['vmdk', 0, 'KDMV'],
  ['vmdk', 0, '# Disk DescriptorFile'],
  ['vhdx', 0, 'vhdxfile'],
  ['vdi', 64, '\x7f\x10\xda\xbe'],
  ['qed', 0, 'QED\0'],
];
const HEAD_BYTES = 68;

/** One line for a disk of the command line that is open by now and looks like an image. */
export async function tellImage(disk: string): Promise<void> {
  const format = isNbdUri(disk) ? undefined : await imageFormat(disk);
  if (format === undefined) return;
  process.stderr.write(
    `nbd-mirror: ${disk} looks like a ${format} image: its bytes are taken as they are ` +
      '(qemu-nbd exports what is in it)\n',
  );
}

export async function imageFormat(path: string): Promise<string | undefined> {
  const head = await headOf(path);
  return MAGICS.find(([, offset, magic]) => head.startsWith(magic, offset))?.[0];
}

/** A character a byte; nothing of what cannot be read. */
async function headOf(path: string): Promise<string> {
  let file: FileHandle | undefined;
  try {
    file = await open(path);
    const { buffer, bytesRead } = await file.read(Buffer.alloc(HEAD_BYTES));
    return buffer.toString('latin1', 0, bytesRead);
  } catch {
    return '';
  } finally {
    await file?.close();
  }
}
