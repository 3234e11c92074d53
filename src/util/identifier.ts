/** QEMU's `id_wellformed`: a letter, then letters, digits, `-`, `.` and `_`. */
const WELL_FORMED = /^[A-Za-z][A-Za-z0-9\-._]*$/;

/** Whether a name can be the id of a job, an export or a node. */
export function isWellFormedId(name: string): boolean {
  return WELL_FORMED.test(name);
}
