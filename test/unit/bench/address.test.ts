import { describe, expect, it, onTestFinished } from 'vitest';
import { addressOf, newUri, socketOf } from '../../bench/address.ts';
import { Scope } from '../../support/process.ts';

describe('where a server of the benchmark listens', () => {
  it('is a Unix socket of its own', async () => {
    const scope = new Scope();
    onTestFinished(() => scope.close());
    const [uri, another] = [await newUri(scope, 'unix'), await newUri(scope, 'unix')];
    expect(uri).toMatch(/^nbd\+unix:\/\/\/\?socket=\/.*\/nbd\.sock$/);
    expect(addressOf(uri)).toEqual({ type: 'unix', path: socketOf(uri) });
    expect(socketOf(another)).not.toBe(socketOf(uri));
  });

  it('is a port of the loopback, which a program for Unix sockets is not given', async () => {
    const uri = await newUri(new Scope(), 'tcp');
    const port = expect.stringMatching(/^[1-9]\d+$/);
    expect(addressOf(uri)).toEqual({ type: 'inet', host: '127.0.0.1', port });
    expect(() => socketOf(uri)).toThrow('is not on a Unix socket');
  });
});
