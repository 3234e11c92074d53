import { describe, expect, it } from 'vitest';
import { checkArguments, checkValue } from '../../../../protocol/qmp/check-arguments.ts';
import type { CommandName } from '../../../../protocol/qmp/schema.ts';

const whyNot = (command: CommandName, given: object): string => {
  try {
    checkArguments(command, given);
  } catch (error) {
    return (error as Error).message;
  }
  return 'accepted';
};

describe('arguments that the schema does not have, in the words of qemu-storage-daemon', () => {
  it.each<[CommandName, object, string]>([
    ['job-pause', {}, "Parameter 'id' is missing"],
    ['job-pause', { id: 1 }, "Invalid parameter type for 'id', expected: string"],
    ['job-pause', { id: 'a', z: 1 }, "Parameter 'z' is unexpected"],
    ['job-pause', { z: 1 }, "Parameter 'id' is missing"],
    ['query-version', { x: 1 }, "Parameter 'x' is unexpected"],
    [
      'block-job-set-speed',
      { device: 'a', speed: 2n ** 60n },
      "Invalid parameter type for 'speed', expected: integer",
    ],
    [
      'block-job-cancel',
      { device: 'a', force: 1 },
      "Invalid parameter type for 'force', expected: boolean",
    ],
    [
      'block-dirty-bitmap-add',
      { node: 'a', name: 'b', granularity: -5 },
      "Parameter 'granularity' expects uint32_t",
    ],
    [
      'block-dirty-bitmap-add',
      { node: 'a', name: 'b', granularity: 2 ** 32 },
      "Parameter 'granularity' expects uint32_t",
    ],
    [
      'block-dirty-bitmap-add',
      { node: 'a', name: 'b', granularity: 1.5 },
      "Parameter 'granularity' expects uint64",
    ],
    [
      'block-dirty-bitmap-add',
      { node: 'a', name: 'b', granularity: 2n ** 53n + 1n },
      "Parameter 'granularity' expects uint32_t",
    ],
    [
      'nbd-server-start',
      { addr: { type: 'inet', data: { host: 'h', port: '1', to: 65_536 } } },
      "Parameter 'to' expects uint16_t",
    ],
    [
      'block-dirty-bitmap-merge',
      { node: 'a', target: 'b', bitmaps: 'c' },
      "Invalid parameter type for 'bitmaps', expected: array",
    ],
    [
      'block-dirty-bitmap-merge',
      { node: 'a', target: 'b', bitmaps: [5] },
      "Invalid parameter type for 'null', expected: BlockDirtyBitmapOrStr",
    ],
    [
      'block-dirty-bitmap-merge',
      { node: 'a', target: 'b', bitmaps: [{ node: 'g' }] },
      "Parameter 'bitmaps[0].name' is missing",
    ],
    [
      'block-dirty-bitmap-merge',
      { node: 'a', target: 'b', bitmaps: ['x', { node: 'g', name: 'b', y: 1 }] },
      "Parameter 'bitmaps[1].y' is unexpected",
    ],
    [
      'blockdev-mirror',
      { device: 'a', target: 'b', sync: 'foo' },
      "Parameter 'sync' does not accept value 'foo'",
    ],
    ['blockdev-add', {}, "Parameter 'driver' is missing"],
    ['blockdev-add', { driver: 'foo' }, "Parameter 'driver' does not accept value 'foo'"],
    ['blockdev-add', { driver: 'file', 'node-name': 'f0' }, "Parameter 'filename' is missing"],
    [
      'blockdev-add',
      { driver: 'file', filename: 'f', cache: { direct: 1 } },
      "Invalid parameter type for 'cache.direct', expected: boolean",
    ],
    [
      'blockdev-add',
      { driver: 'file', filename: 'f', cache: 1 },
      "Invalid parameter type for 'cache', expected: object",
    ],
    [
      'blockdev-add',
      { driver: 'file', filename: 'f', cache: { direct: true, y: 1 } },
      "Parameter 'cache.y' is unexpected",
    ],
    [
      'blockdev-add',
      { driver: 'raw', file: 5 },
      "Invalid parameter type for 'file', expected: BlockdevRef",
    ],
    [
      'blockdev-add',
      { driver: 'raw', file: { driver: 'file' } },
      "Parameter 'file.filename' is missing",
    ],
    [
      'blockdev-add',
      { driver: 'x-memory', size: -1 },
      "Parameter 'size' expects a non-negative number below 2^64",
    ],
    [
      'blockdev-add',
      { driver: 'nbd', server: { type: 'inet', host: 'h' } },
      "Parameter 'server.port' is missing",
    ],
    ['nbd-server-start', { addr: { type: 'unix', path: 'p' } }, "Parameter 'addr.data' is missing"],
    [
      'nbd-server-start',
      { addr: { type: 'foo', data: {} } },
      "Parameter 'type' does not accept value 'foo'",
    ],
    [
      'nbd-server-start',
      { addr: { type: 'inet', data: { host: 'h', port: 1 } } },
      "Invalid parameter type for 'addr.data.port', expected: string",
    ],
    ['qmp_capabilities', { enable: ['foo'] }, "Parameter 'null' does not accept value 'foo'"],
    [
      'qmp_capabilities',
      { enable: [1] },
      "Invalid parameter type for 'enable[0]', expected: string",
    ],
  ])('%s %o', (command, given, desc) => {
    expect(whyNot(command, given)).toBe(desc);
  });

  it('gives back what was asked for, in a plain object', () => {
    const given = {
      driver: 'raw',
      'node-name': 'r',
      file: { driver: 'file', filename: 'f' },
      size: 512,
    };
    expect(checkArguments('blockdev-add', given)).toEqual(given);
    expect(checkArguments('blockdev-add', given)).not.toBe(given);
  });

  it('does not take what an object inherits', () => {
    expect(whyNot('job-pause', Object.create({ id: 'a' }))).toBe("Parameter 'id' is missing");
    expect(whyNot('query-version', JSON.parse('{"__proto__": 1}'))).toBe(
      "Parameter '__proto__' is unexpected",
    );
  });
});

describe('values from a command line', () => {
  const check = (value: object) => checkValue('BlockdevOptions', value, { strings: true });

  it('are numbers, sizes and booleans where the schema says so', () => {
    const file = { driver: 'file', filename: '1', cache: { direct: 'on' }, 'read-only': 'off' };
    expect(check({ driver: 'raw', file, offset: '512' })).toEqual({
      driver: 'raw',
      file: { driver: 'file', filename: '1', cache: { direct: true }, 'read-only': false },
      offset: 512,
    });
    expect(check({ driver: 'x-memory', size: '64k' })).toMatchObject({ size: 65536 });
    expect(check({ driver: 'x-memory', size: '1G' })).toMatchObject({ size: 2 ** 30 });
  });

  it('may be hexadecimal', () => {
    const server = { type: 'unix', path: 's' };
    const nbd = { driver: 'nbd', server, 'open-timeout': '0x10' };
    expect(check(nbd)).toMatchObject({ 'open-timeout': 16 });
    const memory = { driver: 'x-memory', size: '0x1e00' };
    expect(check(memory)).toMatchObject({ size: 0x1e00 });
    const raw = { driver: 'raw', file: 'f', offset: '0x1e00', size: '0' };
    expect(check(raw)).toMatchObject({ offset: 0x1e00, size: 0 });
  });

  it.each([
    [
      { driver: 'nbd', server: { type: 'unix', path: 's' }, 'open-timeout': '010' },
      "Parameter 'open-timeout' expects integer",
    ],
    [
      { driver: 'nbd', server: { type: 'unix', path: 's' }, 'open-timeout': '-0x1' },
      "Parameter 'open-timeout' expects uint32_t",
    ],
    [
      { driver: 'x-memory', size: '0x10k' },
      "Parameter 'size' expects a non-negative number below 2^64",
    ],
    [
      { driver: 'x-memory', size: '1x' },
      "Parameter 'size' expects a non-negative number below 2^64",
    ],
    [{ driver: 'x-memory', size: '' }, "Parameter 'size' expects a non-negative number below 2^64"],
    [
      { driver: 'raw', file: 'f', 'read-only': 'maybe' },
      "Parameter 'read-only' expects 'on' or 'off'",
    ],
    [
      { driver: 'nbd', server: { type: 'unix', path: 'p' }, 'reconnect-delay': 'soon' },
      "Parameter 'reconnect-delay' expects integer",
    ],
  ])('%o', (value, desc) => {
    expect(() => check(value)).toThrow(desc);
  });
});
