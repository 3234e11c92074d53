/** How late a Node process's event loop is, as the process itself notices. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { Scope } from '../support/process.ts';
import type { Contender } from './peers.ts';

const WATCH = fileURLToPath(new URL('loop-delay-watch.cjs', import.meta.url));
/** The watch writes a line ten times a second. */
const LINE_MS = 100;

export class LoopDelay {
  readonly #file: string;

  private constructor(file: string) {
    this.#file = file;
  }

  static async prepare(scope: Scope): Promise<LoopDelay> {
    return new LoopDelay(join(await scope.tempDir(), 'loop-delay'));
  }

  /** The same program, watched. */
  watch({ name, command: [node, ...program] }: Contender): Contender {
    const watched = ['env', `LOOP_DELAY_FILE=${this.#file}`, node!, '--require', WATCH];
    return { name, command: [...watched, ...program] };
  }

  /** A process that has nothing to do: how late it is, the machine is. */
  async watchIdle(scope: Scope): Promise<void> {
    const idle = [process.execPath, '--eval', 'setInterval(() => {}, 2 ** 30)'];
    const { command } = this.watch({ name: 'an idle event loop', command: idle });
    await scope.startProcess(command[0]!, command.slice(1), { readyFile: this.#file });
  }

  /** For `longestSince`; what the program did to start is told by then. */
  async beginning(): Promise<number> {
    await pause(2 * LINE_MS);
    return this.#lines().length;
  }

  /** Milliseconds. Fails when the watch has said nothing. */
  async longestSince(beginning: number): Promise<number> {
    await pause(2 * LINE_MS);
    const lines = this.#lines().slice(beginning);
    if (lines.length === 0) throw new Error('the event loop was not watched');
    return Math.max(...lines.map(Number));
  }

  #lines(): string[] {
    return readFileSync(this.#file, 'utf8').trimEnd().split('\n');
  }
}
