/** Writes a cpio archive in the "newc" form, which is what the kernel unpacks as its first root. */
const DIRECTORY = 0o040755;
const EXECUTABLE = 0o100755;
const TRAILER = 'TRAILER!!!';

/** `files` by absolute path; the directories above them are made. */
export function cpioArchive(
  files: ReadonlyMap<string, Buffer>,
  directories: readonly string[],
): Buffer {
  const folders = new Set(directories.flatMap(withParents));
  for (const path of files.keys()) {
    for (const folder of withParents(parentOf(path))) folders.add(folder);
  }
  const parts: Buffer[] = [];
  let inode = 1;
  for (const path of [...folders].sort()) parts.push(entry(inode++, path, DIRECTORY));
  for (const [path, content] of files) parts.push(entry(inode++, path, EXECUTABLE, content));
  parts.push(entry(0, TRAILER, 0));
  return Buffer.concat(parts);
}

function entry(
  inode: number,
  path: string,
  mode: number,
  content: Buffer = Buffer.alloc(0),
): Buffer {
  const name = Buffer.from(`${path.replace(/^\//, '')}\0`);
  // inode, mode, uid, gid, links, mtime, size, device, device of the node, name's length, checksum
  const fields = [inode, mode, 0, 0, 1, 0, content.length, 0, 0, 0, 0, name.length, 0];
  const hex = fields.map((field) => field.toString(16).padStart(8, '0')).join('');
  const head = Buffer.concat([Buffer.from(`070701${hex}`), name]);
  return Buffer.concat([head, padding(head.length), content, padding(content.length)]);
}

function padding(length: number): Buffer {
  return Buffer.alloc((4 - (length % 4)) % 4);
}

function withParents(path: string): string[] {
  if (path === '' || path === '/') return [];
  return [...withParents(parentOf(path)), path];
}

function parentOf(path: string): string {
  return path.slice(0, path.lastIndexOf('/'));
}
