import { describe, expect, it } from 'vitest';
import { argumentsOf, messageOf, splitLine } from '../../../src/cli/qmp-words.ts';

/** The words behind `nbd-mirror qmp COMMAND`. */
describe('for a command that the schema does not know', () => {
  it.each<[string[], unknown]>([
    [[], undefined],
    [['id=m0'], { id: 'm0' }],
    [
      ['server.type=unix', 'server.path=/run/a,b.sock'],
      { server: { type: 'unix', path: '/run/a,b.sock' } },
    ],
    [['addresses.0.port=1', 'addresses.1.port=2'], { addresses: [{ port: 1 }, { port: 2 }] }],
    [['speed=0', 'offset=-5', 'id=007x'], { speed: 0, offset: -5, id: '007x' }],
    [
      ['force=on', 'read-only=off', 'auto=true', 'x=false'],
      { force: true, 'read-only': false, auto: true, x: false },
    ],
    [['granularity=64K'], { granularity: '64K' }],
    [['{"id":', '"m0"}'], { id: 'm0' }],
  ])('%j are %j', (words, expected) => {
    expect(argumentsOf('not-our-command', words)).toEqual(expected);
  });

  it('nor JavaScript for another', () => {
    expect(argumentsOf('constructor', ['id=5'])).toEqual({ id: 5 });
  });

  it.each([
    [['{"id":'], 'Cannot read the arguments as JSON'],
    [['id'], "Expected '=' after parameter 'id'"],
    [['a=1', 'a.b=2'], "Parameter 'a.b' clashes with 'a'"],
  ])('%j are refused', (words, message) => {
    expect(() => argumentsOf('not-our-command', words)).toThrow(message);
  });
});

describe('the schema knows what', () => {
  it.each<[string, unknown]>([
    ['job-pause id=5', { id: '5' }],
    ['block-dirty-bitmap-add node=on name=123', { node: 'on', name: '123' }],
    [
      'block-dirty-bitmap-add node=n name=b granularity=65536 persistent=yes',
      { node: 'n', name: 'b', granularity: 65536, persistent: true },
    ],
    [
      'nbd-server-start addr.type=inet addr.data.host=::1 addr.data.port=10809 max-connections=1',
      {
        addr: { type: 'inet', data: { host: '::1', port: '10809' } },
        'max-connections': 1,
      },
    ],
    [
      'blockdev-add driver=nbd export=7 server.type=inet server.host=h server.port=1 read-only=n',
      {
        driver: 'nbd',
        export: '7',
        server: { type: 'inet', host: 'h', port: '1' },
        'read-only': false,
      },
    ],
    ['blockdev-add driver=raw file=8 offset=1K', { driver: 'raw', file: '8', offset: 1024 }],
    [
      'blockdev-add driver=raw file.driver=file file.filename=9',
      { driver: 'raw', file: { driver: 'file', filename: '9' } },
    ],
    [
      'block-dirty-bitmap-merge node=n target=1 bitmaps.0=2 bitmaps.1.node=3 bitmaps.1.name=off',
      { node: 'n', target: '1', bitmaps: ['2', { node: '3', name: 'off' }] },
    ],
    [
      'transaction actions.0.type=block-dirty-bitmap-add actions.0.data.node=1',
      { actions: [{ type: 'block-dirty-bitmap-add', data: { node: '1' } }] },
    ],
  ])('%s wants', (line, expected) => {
    const [command, ...words] = line.split(' ');
    expect(argumentsOf(command!, words)).toEqual(expected);
  });

  it.each<[string, unknown]>([
    ['granularity=64K', { granularity: 65536 }],
    ['speed=1.5M', { speed: 1.5 * 1024 * 1024 }],
    ['speed=-1', { speed: -1 }],
  ])('a byte count is: %s', (word, expected) => {
    expect(argumentsOf('blockdev-mirror', [word])).toEqual(expected);
  });

  it.each<[string, string, unknown]>([
    ['what is no number', 'job-id=m speed=fast', { 'job-id': 'm', speed: 'fast' }],
    ['what is neither on nor off', 'target-is-zero=5', { 'target-is-zero': '5' }],
    ['members that are not in it', 'x-new=5 constructor=on', { 'x-new': 5, constructor: true }],
    ['a list where none belongs', 'device.0=5', { device: [5] }],
    ['an object where none belongs', 'device.x=5', { device: { x: 5 } }],
    ['no object where one belongs', 'sync=full', { sync: 'full' }],
  ])('leaves to the server %s', (_what, words, expected) => {
    expect(argumentsOf('blockdev-mirror', words.split(' '))).toEqual(expected);
  });

  it.each(['qcow2', 'constructor'])('leaves the driver %s to the server', (driver) => {
    const words = [`driver=${driver}`, 'node-name=1', 'file=2', 'length=3'];
    const guessed = { driver, 'node-name': '1', file: 2, length: 3 };
    expect(argumentsOf('blockdev-add', words)).toEqual(guessed);
  });
});

describe('a line', () => {
  it.each<[string, string, string[]]>([
    ['query-jobs', 'query-jobs', []],
    ['  job-pause   id=a \t id=b ', 'job-pause', ['id=a', 'id=b']],
    ['job-pause {"id":"a  b"} ', 'job-pause', ['{"id":"a  b"}']],
    ['job-pause\t{"id": "a\tb"}', 'job-pause', ['{"id": "a\tb"}']],
  ])('%j is %s with %j', (line, command, words) => {
    expect(splitLine(line)).toEqual({ command, words });
  });

  it.each<[string, object]>([
    ['query-jobs', { execute: 'query-jobs' }],
    ['job-pause id=5', { execute: 'job-pause', arguments: { id: '5' } }],
    [' {"execute": "job-pause", "id": 1} ', { execute: 'job-pause', id: 1 }],
  ])('%j says %j', (line, message) => {
    expect(messageOf(line)).toEqual(message);
  });

  it('of half a message says nothing', () => {
    expect(() => messageOf('{"execute":')).toThrow('Cannot read the line as JSON: ');
  });
});
