import {
  cpSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { PROGRAM } from '../support/nbd-mirror.ts';
import { tempDir } from '../support/peers.ts';
import { mustRun } from '../support/process.ts';

const byteCodeName: string = createRequire(import.meta.url)('../../bin/byte-code-name.cjs');

describe('the byte code that the build leaves beside the program', () => {
  it('is what a start runs', async () => {
    expect(await bytesTaken(PROGRAM)).toContain(statSync(join('dist', byteCodeName)).size);
  });

  it('is not missed where it was lost', async () => {
    const program = await copyOfProgram();
    rmSync(join(program, '../../dist', byteCodeName));
    expect(await mustRun(process.execPath, [program, '--help'])).toContain('Exports a disk');
  });

  it('is passed over by a V8 with other flags', async () => {
    const taken = await bytesTaken('--interrupt-budget=100000', PROGRAM);
    expect(taken).not.toContain(statSync(join('dist', byteCodeName)).size);
  });

  it('is passed over by another build of Node, which it might crash', async () => {
    const node = join(await tempDir(), 'node');
    cpSync(process.execPath, node);
    utimesSync(node, 1, 1);
    const told = await mustRun(node, ['--profile-deserialization', PROGRAM, '--version']);
    expect(told).not.toContain(`from ${statSync(join('dist', byteCodeName)).size} bytes`);
  });

  it('is passed over where the program was changed after it', async () => {
    const program = await copyOfProgram();
    const compiled = join(program, '../../dist/main.cjs');
    // As long as before: all that V8 compares.
    const changed = readFileSync(compiled, 'utf8').replace('Exports a disk', 'EXPORTS A DISK');
    writeFileSync(compiled, changed);
    const later = new Date(statSync(join(program, '../../dist', byteCodeName)).mtimeMs + 1000);
    utimesSync(compiled, later, later);
    expect(await mustRun(process.execPath, [program, '--help'])).toContain('EXPORTS A DISK');
  });
});

/** How long each piece of byte code is that Node and the program take instead of compiling. */
async function bytesTaken(...args: readonly string[]): Promise<number[]> {
  const told = await mustRun(process.execPath, ['--profile-deserialization', ...args, '--version']);
  return [...told.matchAll(/Deserializing from (\d+) bytes/g)].map(([, bytes]) => Number(bytes));
}

async function copyOfProgram(): Promise<string> {
  const directory = await tempDir();
  for (const name of ['bin', 'dist', 'package.json']) {
    cpSync(name, join(directory, name), { recursive: true, preserveTimestamps: true });
  }
  symlinkSync(resolve('node_modules'), join(directory, 'node_modules'));
  return join(directory, 'bin/nbd-mirror');
}
