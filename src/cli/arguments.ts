import { statSync } from 'node:fs';
import { InvalidArgumentError } from 'commander';
import { isNbdUri, NbdUriError, parseNbdUri } from '../../protocol/nbd/uri.ts';
import { parsePort } from '../net/address.ts';
import type { Endpoint } from '../net/endpoint.ts';
import { toTextAddress } from '../net/text-address.ts';
import { UsageError } from '../util/errors.ts';
import { parseSize } from '../util/units.ts';

/** Option values of the command line, checked where they are read. */
export function sizeOption(text: string): number {
  const bytes = parseSize(text);
  if (bytes === undefined) throw new InvalidArgumentError('Expected a size such as 64K or 1G.');
  return bytes;
}

export function portOption(text: string): number {
  const port = parsePort(text);
  if (port === undefined) {
    throw new InvalidArgumentError('Expected a port number from 0 to 65535.');
  }
  return port;
}

/** A variable of a script that is not set would listen on every address. */
export function hostOption(text: string): string {
  if (text === '')
    throw new InvalidArgumentError('Expected a host; 0.0.0.0 or :: is every address.');
  // As in a URI.
  return text.replace(/^\[(.*:.*)\]$/, '$1');
}

export function pathOption(text: string): string {
  if (text === '') throw new InvalidArgumentError('Expected a path.');
  return text;
}

/** A number of things; 0 is no limit. */
export function countOption(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError('Expected a number, 0 for no limit.');
  return Number(text);
}

/** As `reconnect-delay` of an NBD node; 0 does not wait. */
export function secondsOption(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError('Expected a number of seconds.');
  return Number(text);
}

/** `unix:PATH`, `tcp:HOST:PORT` or `ws://HOST:PORT`. */
export function endpointOption(text: string): Endpoint {
  if (text.startsWith('unix:') && text.length > 5) {
    return { address: { type: 'unix', path: text.slice(5) }, webSocket: false };
  }
  // Browsers write a URL with the slash of its path.
  const address = text.replace(/^(ws:.*)\/$/, '$1');
  const match = /^(tcp:|ws:\/\/)(?:\[([^\]]+)\]|([^:/]+)):(\d+)$/.exec(address);
  if (match === null) {
    throw new InvalidArgumentError('Expected unix:PATH, tcp:HOST:PORT or ws://HOST:PORT.');
  }
  const [, scheme, literal, name, port] = match;
  return {
    address: { type: 'inet', host: literal ?? name!, port: portOption(port!) },
    webSocket: scheme !== 'tcp:',
  };
}

/** A disk as the command line names it, a path or an NBD URI, as `blockdev-add` options. */
export function diskOptions(disk: string): Record<string, unknown> {
  if (!isNbdUri(disk)) return { driver: fileDriver(disk), filename: disk };
  const uri = readUri(disk);
  if (uri.tls) throw new UsageError(`Cannot open ${disk}: TLS is not supported`);
  return { driver: 'nbd', server: toTextAddress(uri.address), export: uri.exportName };
}

/** What cannot be looked at is a file: opening it will say why. */
export function fileDriver(path: string): 'file' | 'host_device' {
  return statOf(path)?.isBlockDevice() ? 'host_device' : 'file';
}

/** By whatever names. */
export function isSameFile(disk: string, other: string): boolean {
  const [one, two] = [statOf(disk), statOf(other)];
  return one !== undefined && one.dev === two?.dev && one.ino === two.ino;
}

function statOf(path: string) {
  try {
    return statSync(path, { bigint: true });
  } catch {
    return undefined;
  }
}

function readUri(text: string) {
  try {
    return parseNbdUri(text);
  } catch (error) {
    if (error instanceof NbdUriError) throw new UsageError(`Cannot open ${text}: ${error.message}`);
    throw error;
  }
}
