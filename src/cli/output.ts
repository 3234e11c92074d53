import process from 'node:process';

/**
 * What becomes of us when nobody takes what we print: a pipe's reader has gone, a log's disk is
 * full. Node throws then, wherever it happens to be.
 */

/** No reason for a server to leave its clients, nor for a copy to stop. */
export function outliveOutput(): void {
  // There is nowhere to say so.
  process.stderr.on('error', () => {});
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') return;
    process.stderr.write(`nbd-mirror: Cannot write to standard output: ${error.message}\n`);
    process.exitCode = 1;
  });
}

/** For a command that does nothing but print, as others in a pipe. */
export function endWithReader(): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit();
  });
}

/** A line for people. On a terminal it takes the place of a line of progress that stands there. */
export function sayLine(line: string): void {
  process.stderr.write(`${process.stderr.isTTY ? '\r\x1b[K' : ''}${line}\n`);
}
