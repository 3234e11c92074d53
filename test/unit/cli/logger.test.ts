import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { makeLateLog, makeLog } from '../../../src/cli/logger.ts';
import type { Log } from '../../../src/util/log.ts';

describe.each([
  ['the log', makeLog],
  ['the log of a short command', makeLateLog],
])('%s', (_name, make) => {
  let written: string[];
  beforeEach(() => {
    written = [];
    vi.spyOn(process.stderr, 'write').mockImplementation((line) => {
      written.push(String(line).replace(/^[\dTZ:.-]+ /, ''));
      return true;
    });
  });
  afterEach(() => {
    vi.restoreAllMocks();
  });

  /** A line of each level, by a log and by its child. */
  function sayAll(log: Log): void {
    for (const each of [log, log.child({ job: 'a b' })]) {
      each.debug({}, 'looks');
      each.info({}, 'tells');
      each.warn({ side: 'target' }, 'warns');
      each.error({}, 'fails');
    }
  }

  it('has the lines from its level on, with what its parents add', () => {
    sayAll(make({ logLevel: 'warn', logFormat: 'text' }));
    const own = ['warn warns side=target\n', 'error fails\n'];
    const ofChild = ['warn warns job="a b" side=target\n', 'error fails job="a b"\n'];
    expect(written).toEqual([...own, ...ofChild]);
  });

  it('has them all, if that is wanted, or none', () => {
    sayAll(make({ logLevel: 'debug', logFormat: 'text' }));
    expect(written).toHaveLength(8);
    written.length = 0;
    sayAll(make({ logLevel: 'silent', logFormat: 'text' }));
    expect(written).toEqual([]);
  });
});

it('on a terminal takes the place of the line of progress', () => {
  const { stderr } = process;
  const before = Object.getOwnPropertyDescriptor(stderr, 'isTTY');
  const said = vi.spyOn(stderr, 'write').mockReturnValue(true);
  Object.defineProperty(stderr, 'isTTY', { value: true, configurable: true });
  try {
    makeLog({ logLevel: 'warn' }).warn({}, 'warns');
    const line = String(said.mock.calls[0]?.[0]);
    const erase = '\r\x1b[K';
    expect(line.startsWith(erase)).toBe(true);
    expect(line.slice(erase.length)).toMatch(/^[\dTZ:.-]+ warn warns\n$/);
  } finally {
    vi.restoreAllMocks();
    if (before === undefined) Reflect.deleteProperty(stderr, 'isTTY');
    else Object.defineProperty(stderr, 'isTTY', before);
  }
});
