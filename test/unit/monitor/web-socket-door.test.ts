import { expect, it } from 'vitest';
import { Token } from '../../../src/monitor/token.ts';
import { whyNotWelcome } from '../../../src/monitor/web-socket-door.ts';

const SECRET = 'correct-horse-battery';
const token = Token.parse(`${SECRET}\n`);

it.each([
  [{ host: 'localhost:4444' }, undefined],
  [{ host: '127.0.0.1:4444', origin: 'http://127.0.0.1:4444' }, undefined],
  [{ host: '[::1]:4444', origin: 'http://[::1]:4444' }, undefined],
  [{ host: '127.0.0.1:4444', origin: 'http://127.0.0.1:8000' }, 403],
  [{ host: '127.0.0.1:4444', origin: 'https://example.org' }, 403],
  [{ host: 'rebound.example.org:4444', origin: 'http://rebound.example.org:4444' }, 403],
  [{ host: '127.0.0.1:4444', origin: 'null' }, 403],
  [{ origin: 'http://127.0.0.1:4444' }, 403],
])('without a token %o is answered %o', (headers, status) => {
  expect(whyNotWelcome(headers, undefined)).toBe(status);
});

const host = 'disks.example.org:4444';
it.each([
  [{ host }, 401],
  [{ host, authorization: `Bearer ${SECRET}` }, undefined],
  [{ host, authorization: `Bearer ${SECRET}x` }, 401],
  [{ host, authorization: `Basic ${SECRET}` }, 401],
  [{ host, 'sec-websocket-protocol': `qmp, bearer.${SECRET}` }, undefined],
  [{ host, 'sec-websocket-protocol': 'qmp, bearer.wrong' }, 401],
  [{ host, 'sec-websocket-protocol': 'qmp' }, 401],
  [{ host, authorization: `Bearer ${SECRET}`, origin: `http://${host}` }, undefined],
  [{ host, authorization: `Bearer ${SECRET}`, origin: 'http://example.org' }, 403],
])('with a token %o is answered %o', (headers, status) => {
  expect(whyNotWelcome(headers, token)).toBe(status);
});

it.each(['', 'short', 'two words of a secret', 'with/slashes/and=signs', 'x'.repeat(257)])(
  '%o is no token',
  (text) => {
    expect(() => Token.parse(text)).toThrow('a token is one line of 16 to 256');
  },
);
