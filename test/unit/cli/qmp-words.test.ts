import { expect, it } from 'vitest';
import { argumentsOf } from '../../../src/cli/qmp.ts';

/** The words behind `nbd-mirror qmp COMMAND`. */
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
  [['{"id":', '"m0"}'], { id: 'm0' }],
])('%j are %j', (words, expected) => {
  expect(argumentsOf(words)).toEqual(expected);
});

it.each([
  [['{"id":'], 'Cannot read the arguments as JSON'],
  [['id'], "Expected '=' after parameter 'id'"],
  [['a=1', 'a.b=2'], "Parameter 'a.b' clashes with 'a'"],
])('%j are refused', (words, message) => {
  expect(() => argumentsOf(words)).toThrow(message);
});
