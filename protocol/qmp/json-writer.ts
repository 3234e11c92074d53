/**
 * A value as QEMU writes it: `": "` and `", "` between, nothing but ASCII. Members that are
 * undefined are left out.
 */
export function writeJson(value: unknown): string {
  if (typeof value === 'string') return writeString(value);
  if (typeof value === 'bigint') return value.toString();
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map(writeJson).join(', ')}]`;
  const members: string[] = [];
  for (const [key, member] of Object.entries(value)) {
    if (member !== undefined) members.push(`${writeString(key)}: ${writeJson(member)}`);
  }
  return `{${members.join(', ')}}`;
}

/** One message of the wire: a value and CRLF. */
export function writeLine(value: unknown): string {
  return `${writeJson(value)}\r\n`;
}

/** V8 ends the process when one `replace` finds more than 2^26 places. */
const PIECE_UNITS = 2 ** 24;

function writeString(text: string): string {
  const json = JSON.stringify(text);
  if (json.length <= PIECE_UNITS) return escapePiece(json);
  let escaped = '';
  for (let at = 0; at < json.length; at += PIECE_UNITS) {
    escaped += escapePiece(json.slice(at, at + PIECE_UNITS));
  }
  return escaped;
}

function escapePiece(json: string): string {
  return json.replace(/[\u007f-\uffff]/g, escapeUnit);
}

function escapeUnit(unit: string): string {
  return `\\u${unit.charCodeAt(0).toString(16).toUpperCase().padStart(4, '0')}`;
}
