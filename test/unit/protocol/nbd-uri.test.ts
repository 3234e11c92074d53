import { describe, expect, it } from 'vitest';
import { formatNbdUri, type NbdUri, parseNbdUri } from '../../../protocol/nbd/uri.ts';

const inet = (host: string, port = 10809) => ({ type: 'inet' as const, host, port });
const unix = (path: string) => ({ type: 'unix' as const, path });

const GOOD: [text: string, uri: NbdUri][] = [
  ['nbd://host', { address: inet('host'), exportName: '', tls: false }],
  ['nbd://host/', { address: inet('host'), exportName: '', tls: false }],
  ['nbd://host:', { address: inet('host'), exportName: '', tls: false }],
  ['nbd://', { address: inet('localhost'), exportName: '', tls: false }],
  ['NBD://host:1/a', { address: inet('host', 1), exportName: 'a', tls: false }],
  ['nbd://host:10810/disk0', { address: inet('host', 10810), exportName: 'disk0', tls: false }],
  ['nbd://host//disk', { address: inet('host'), exportName: '/disk', tls: false }],
  ['nbd://host/a/b', { address: inet('host'), exportName: 'a/b', tls: false }],
  ['nbd://host/a%20b%3Fc', { address: inet('host'), exportName: 'a b?c', tls: false }],
  ['nbd://host/%E2%82%AC', { address: inet('host'), exportName: '€', tls: false }],
  ['nbd://[::1]/', { address: inet('::1'), exportName: '', tls: false }],
  ['nbd://[fe80::1%25eth0]:9/x', { address: inet('fe80::1%eth0', 9), exportName: 'x', tls: false }],
  ['nbds://host/x', { address: inet('host'), exportName: 'x', tls: true }],
  ['nbds://alice@host/', { address: inet('host'), exportName: '', tls: true, user: 'alice' }],
  [
    'nbds://host/?tls-psk-file=/etc/psk&tls-verify-peer=0',
    {
      address: inet('host'),
      exportName: '',
      tls: true,
      tlsParameters: { 'tls-psk-file': '/etc/psk', 'tls-verify-peer': '0' },
    },
  ],
  ['nbd+unix:///?socket=/run/nbd', { address: unix('/run/nbd'), exportName: '', tls: false }],
  ['nbd+unix:///d?socket=/a%20b', { address: unix('/a b'), exportName: 'd', tls: false }],
  ['nbd+unix://?socket=s', { address: unix('s'), exportName: '', tls: false }],
  ['nbds+unix:///?socket=/s', { address: unix('/s'), exportName: '', tls: true }],
  ['nbd:host:10809', { address: inet('host'), exportName: '', tls: false }],
  ['nbd:[::1]:5:exportname=x', { address: inet('::1', 5), exportName: 'x', tls: false }],
  ['nbd:h:5:exportname=a:b=%20', { address: inet('h', 5), exportName: 'a:b=%20', tls: false }],
  ['nbd:unix:/run/nbd', { address: unix('/run/nbd'), exportName: '', tls: false }],
  ['nbd:unix:/a:b:exportname=x', { address: unix('/a:b'), exportName: 'x', tls: false }],
];

const BAD: [text: string, why: string][] = [
  ['', 'does not look like'],
  ['http://host/', 'does not look like'],
  ['nbd', 'does not look like'],
  ['nbd:host', 'does not look like nbd:host:port'],
  ['nbd:host:port', 'does not look like nbd:host:port'],
  ['nbd:unix:', 'path of the socket is missing'],
  ['nbd://host:0/', '0 is not a port'],
  ['nbd://host:65536/', '65536 is not a port'],
  ['nbd://::1/', 'IPv6 goes in brackets'],
  ['nbd://host:x/', 'is not host[:port]'],
  ['nbd://host/#x', 'fragment'],
  ['nbd://host/%zz', 'percent-encoded'],
  ['nbd://host/%ff', 'percent-encoded UTF-8'],
  ['nbd://host/a%00b', 'NUL'],
  [`nbd://host/${'x'.repeat(4097)}`, 'at most 4096 bytes'],
  ['nbd://host/?sokcet=/x', '"sokcet" is unknown'],
  ['nbd://host/?x-ours=1', '"x-ours" is unknown'],
  ['nbd://host/?tls-type', 'has no value'],
  ['nbd://host/?tls-type=psk&tls-type=psk', 'twice'],
  ['nbd://host/?tls-hostname=h', 'TLS parameters go with nbds'],
  ['nbd://alice@host/', 'a user goes with nbds'],
  ['nbd://host/?socket=/x', 'goes with nbd+unix'],
  ['nbd+unix:///disk', '?socket=PATH is missing'],
  ['nbd+unix:///disk?socket=', '?socket=PATH is missing'],
  ['nbd+unix://host/disk?socket=/x', 'there is no host'],
  ['nbd+unix://:77/disk?socket=/x', 'there is no host'],
  ['nbd+unix:///?socket=%00abs', 'no paths with NUL, nor abstract sockets'],
  ['nbd+unix:///?socket=/a%00b', 'no paths with NUL, nor abstract sockets'],
  ['nbd:unix:/a\0b', 'no paths with NUL, nor abstract sockets'],
  ['nbd://[]:5/', 'is not host[:port]'],
  ['nbd://[host]/', 'is not host[:port]'],
  ['nbd:[]:1', 'does not look like nbd:host:port'],
  ['nbds://a@b@h/', 'is not host[:port]'],
  ['nbd://h%00/', 'is not a host'],
  ['nbd://h%2Fx/', 'is not a host'],
  ['nbd://h%40x/', 'is not a host'],
  ['nbd:a b:1', '"a b" is not a host'],
  ['nbd+vsock://2:10809/', 'vsock sockets are not supported'],
  ['nbd+ssh://host/', '"ssh" is not a transport'],
];

describe('an NBD URI', () => {
  it.each(GOOD)('%s is read', (text, uri) => {
    expect(parseNbdUri(text)).toEqual(uri);
  });

  it.each(GOOD)('%s is written so that it is read back', (_text, uri) => {
    expect(parseNbdUri(formatNbdUri(uri))).toEqual(uri);
  });

  it.each(BAD)('%s is refused', (text, why) => {
    expect(() => parseNbdUri(text)).toThrow(why);
  });

  it('is written in its short form', () => {
    expect(formatNbdUri({ address: inet('::1'), exportName: '/a b', tls: false })).toBe(
      'nbd://[::1]//a%20b',
    );
    expect(formatNbdUri({ address: unix('/run/x'), exportName: 'd', tls: false })).toBe(
      'nbd+unix:///d?socket=/run/x',
    );
  });
});
