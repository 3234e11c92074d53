import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { PidFile } from '../../../src/daemon/pid-file.ts';
import { UsageError } from '../../../src/util/errors.ts';
import { currentScope, tempDir } from '../../support/peers.ts';

describe('a pid file', () => {
  it('is there from when it is published on, and gone at the end', async () => {
    const directory = await tempDir();
    const path = join(directory, 'pid');
    const file = PidFile.prepare(path, 1234);
    expect(existsSync(path)).toBe(false);
    file.publish();
    expect(readFileSync(path, 'utf8')).toBe('1234\n');
    file.remove();
    expect(readdirSync(directory)).toEqual([]);
  });

  it('leaves nothing when it was never published', async () => {
    const directory = await tempDir();
    PidFile.prepare(join(directory, 'pid'), 1234).remove();
    expect(readdirSync(directory)).toEqual([]);
  });

  it('replaces one of a process that has gone, or of another program', async () => {
    const path = join(await tempDir(), 'pid');
    const other = spawn('sleep', ['60']);
    currentScope().onClose(async () => void other.kill());
    for (const owner of [2 ** 30, other.pid]) {
      writeFileSync(path, `${owner}\n`);
      PidFile.prepare(path, 1234).publish();
      expect(readFileSync(path, 'utf8')).toBe('1234\n');
    }
  });

  it('is not removed when somebody else has it by now', async () => {
    const path = join(await tempDir(), 'pid');
    const file = PidFile.prepare(path, 1234);
    file.publish();
    writeFileSync(path, '4321\n');
    file.remove();
    expect(readFileSync(path, 'utf8')).toBe('4321\n');
  });

  it('is refused where there is no directory, or no file', async () => {
    const directory = await tempDir();
    mkdirSync(join(directory, 'd'));
    const none = join(directory, 'none', 'pid');
    expect(() => PidFile.prepare(none, 1)).toThrow(
      new UsageError(`Cannot write pid file ${none}: ENOENT: no such file or directory`),
    );
    for (const path of [join(directory, 'd'), '/dev/null']) {
      expect(() => PidFile.prepare(path, 1)).toThrow('not a file');
    }
    expect(readdirSync(directory)).toEqual(['d']);
  });
});
