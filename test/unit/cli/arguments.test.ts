import { expect, it } from 'vitest';
import { endpointOption } from '../../../src/cli/arguments.ts';

const inet = (webSocket: boolean) => ({
  address: { type: 'inet', host: 'localhost', port: 4444 },
  webSocket,
});

it.each([
  ['unix:/run/q/', { address: { type: 'unix', path: '/run/q/' }, webSocket: false }],
  ['tcp:localhost:4444', inet(false)],
  ['ws://localhost:4444', inet(true)],
  ['ws://localhost:4444/', inet(true)],
])('%s is where QMP is', (text, endpoint) => {
  expect(endpointOption(text)).toEqual(endpoint);
});

it.each(['tcp:localhost:4444/', 'ws://localhost:4444/qmp', 'ws:/', 'unix:'])(
  '%s is nowhere',
  (text) => {
    expect(() => endpointOption(text)).toThrow('Expected unix:PATH');
  },
);
