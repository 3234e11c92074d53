/** The table of rooms in docs/ARCHITECTURE.md, and whether the imports keep to it. */
import { importsOf, type SourceFile } from './source-files.ts';

export interface Room {
  /** `src/net` */
  folder: string;
  /** Folders of the rooms that it may import. */
  mayImport: ReadonlySet<string>;
}

/** Reads the rows of `| room | owns | may import |`; a cell that names no room is an error. */
export function parseRooms(markdown: string): Room[] {
  const lines = markdown.split('\n');
  const header = lines.findIndex((line) =>
    /^\|\s*room\s*\|\s*owns\s*\|\s*may import\s*\|/.test(line),
  );
  if (header < 0) throw new Error('no table of rooms');
  const rest = lines.slice(header + 2);
  const end = rest.findIndex((line) => !line.startsWith('|'));
  const rows = (end < 0 ? rest : rest.slice(0, end)).map((line) => line.split('|').slice(1, -1));
  const folders = rows.map((cells) => cells[0]!.trim().replaceAll('`', ''));
  return rows.map((cells, index) => ({
    folder: folders[index]!,
    mayImport: new Set(allowed(cells[2]!.trim(), folders, index)),
  }));
}

/** One sentence for each import that the table does not allow. */
export function forbiddenImports(files: readonly SourceFile[], rooms: readonly Room[]): string[] {
  return files.flatMap((file) => {
    const own = roomOf(file.path, rooms);
    if (own === undefined) return [`${file.path} is in no room`];
    return importsOf(file)
      .map((imported) => ({ imported, why: whyForbidden(imported, own, rooms) }))
      .filter(({ why }) => why !== undefined)
      .map(({ imported, why }) => `${file.path} imports ${imported}: ${why}`);
  });
}

function whyForbidden(imported: string, own: Room, rooms: readonly Room[]): string | undefined {
  const pure = own.folder.startsWith('protocol/');
  if (imported.startsWith('node:')) return pure ? 'protocol is pure' : undefined;
  if (!/^(?:src|protocol)\//.test(imported)) {
    if (pure) return 'protocol is pure';
    if (imported === 'koffi' && own.folder !== 'src/sys') return 'only src/sys sees the FFI';
    return undefined;
  }
  const room = roomOf(imported, rooms);
  if (room === undefined) return 'it is in no room';
  if (room === own || own.mayImport.has(room.folder)) return undefined;
  return `${own.folder} may not import ${room.folder}`;
}

function roomOf(path: string, rooms: readonly Room[]): Room | undefined {
  return rooms.find((room) => path.startsWith(`${room.folder}/`));
}

function allowed(cell: string, folders: readonly string[], index: number): string[] {
  if (cell === '-' || cell.startsWith('nothing')) return [];
  if (cell === 'all above') return folders.slice(0, index);
  return cell.split(',').map((part) => {
    const name = part.trim().replaceAll('`', '');
    const folder = folders.find((known) => known === name || known === `src/${name}`);
    if (folder === undefined) throw new Error(`the table of rooms names ${name}, which is no room`);
    return folder;
  });
}
