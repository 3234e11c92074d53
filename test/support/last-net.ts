/**
 * For every file of tests: whoever ends its process by a signal (vitest does, after Ctrl-C or when
 * a hook takes too long) leaves no program, device, mount or directory behind.
 */
import { removeAll } from './process.ts';

const SIGNALS = ['SIGINT', 'SIGTERM'] as const;
let isEnding = false;

const end = (signal: NodeJS.Signals) => {
  // They come from several sides; the second must not cut the first short.
  if (isEnding) return;
  isEnding = true;
  removeAll();
  for (const each of SIGNALS) process.off(each, end);
  process.kill(process.pid, signal);
};

for (const signal of SIGNALS) process.on(signal, end);
