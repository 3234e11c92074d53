import { NBD_DEFAULT_PORT, NBD_MAX_STRING } from './constants.ts';

/**
 * NBD URIs, as https://github.com/NetworkBlockDevice/nbd/blob/master/doc/uri.md defines them, and
 * QEMU's older form, which management tools still pass:
 *
 *     nbd://host:port/export              nbd:host:port:exportname=export
 *     nbd+unix:///export?socket=/path     nbd:unix:/path:exportname=export
 */

/** The text is not an NBD URI that we can follow; the message says why in one sentence. */
export class NbdUriError extends Error {
  override readonly name = 'NbdUriError';
}

export type NbdAddress =
  | { readonly type: 'inet'; readonly host: string; readonly port: number }
  | { readonly type: 'unix'; readonly path: string };

export interface NbdUri {
  readonly address: NbdAddress;
  /** Empty for the default export. */
  readonly exportName: string;
  /** TLS or fail (`nbds`). */
  readonly tls: boolean;
  /** Who asks, for pre-shared keys. */
  readonly user?: string;
  /** The `tls-…` parameters as they were given. */
  readonly tlsParameters?: Readonly<Record<string, string>>;
}

const URI = /^(nbds?)(?:\+([a-z]+))?:\/\/([^/?#]*)([^?#]*)(?:\?([^#]*))?(#.*)?$/i;
const AUTHORITY = /^(?:([^@]*)@)?(\[[^\]]*:[^\]]*\]|[^@:[\]]*)(?::(\d*))?$/;
/** What no host has in its name. */
const NO_HOST = /[\0\s/@]/;
const LEGACY_UNIX = /^nbd:unix:(.*?)(?::exportname=(.*))?$/s;
const LEGACY_INET = /^nbd:(\[[^\]]*:[^\]]*\]|[^:[\]]+):(\d+)(?::exportname=(.*))?$/s;

const TLS_PARAMETERS = new Set([
  'tls-type',
  'tls-hostname',
  'tls-verify-peer',
  'tls-certificates',
  'tls-psk-file',
  'tls-username',
]);

/** Whether it is meant as one, well formed or not. */
export function isNbdUri(text: string): boolean {
  return /^nbds?(\+\w+)?:/i.test(text);
}

/** Throws `NbdUriError`. */
export function parseNbdUri(text: string): NbdUri {
  const fail = (why: string): never => {
    throw new NbdUriError(`Cannot use "${printable(text)}" as an NBD URI: ${why}`);
  };
  if (/^nbd:(?!\/\/)/.test(text)) return parseLegacy(text, fail);
  const match = URI.exec(text);
  if (match === null) return fail('it does not look like nbd://host[:port]/export');
  const [, scheme, transport, authority, path, query, fragment] = match;
  if (fragment !== undefined) fail('a fragment ("#") means nothing here, write %23');
  const parameters = parseQuery(query, fail);
  const { place, host, port, user } = parseAuthority(authority!, fail);
  const exportName = decodeName(path!.slice(1), fail);
  const socket = parameters.get('socket');
  parameters.delete('socket');
  const tls = scheme!.toLowerCase() === 'nbds';
  // Nobody may think that he is safe, or known.
  if (!tls && parameters.size > 0) fail('TLS parameters go with nbds');
  if (!tls && user !== undefined) fail('a user goes with nbds');
  const rest = {
    exportName,
    tls,
    ...(user === undefined ? {} : { user }),
    ...(parameters.size === 0 ? {} : { tlsParameters: Object.fromEntries(parameters) }),
  };
  switch (transport?.toLowerCase()) {
    case undefined:
      if (socket !== undefined) fail('"socket" goes with nbd+unix');
      return { address: { type: 'inet', host: host || 'localhost', port }, ...rest };
    case 'unix':
      if (place !== '') fail('a Unix socket is given as ?socket=PATH, and there is no host');
      if (!socket) return fail('?socket=PATH is missing');
      if (socket.includes('\0')) return fail('there are no paths with NUL, nor abstract sockets');
      return { address: { type: 'unix', path: socket }, ...rest };
    case 'vsock':
      return fail('vsock sockets are not supported, use TCP or a Unix socket');
    default:
      return fail(`"${transport}" is not a transport, use nbd, nbds or nbd+unix`);
  }
}

/** The URI that means the same; `parseNbdUri` reads it back. */
export function formatNbdUri(uri: NbdUri): string {
  const { address, exportName, tls, user, tlsParameters = {} } = uri;
  const scheme = `${tls ? 'nbds' : 'nbd'}${address.type === 'unix' ? '+unix' : ''}`;
  const at = user === undefined ? '' : `${encodeURIComponent(user)}@`;
  const parameters = Object.entries(tlsParameters);
  if (address.type === 'unix') parameters.unshift(['socket', address.path]);
  const query = parameters.map(([key, value]) => `${key}=${encodePath(value)}`).join('&');
  const place = address.type === 'unix' ? '' : formatHost(address.host, address.port);
  return `${scheme}://${at}${place}/${encodePath(exportName)}${query === '' ? '' : `?${query}`}`;
}

type Fail = (why: string) => never;

function parseLegacy(text: string, fail: Fail): NbdUri {
  const unix = LEGACY_UNIX.exec(text);
  if (unix !== null) {
    if (unix[1] === '') fail('the path of the socket is missing');
    if (unix[1]!.includes('\0')) fail('there are no paths with NUL, nor abstract sockets');
    return legacy({ type: 'unix', path: unix[1]! }, unix[2], fail);
  }
  const inet = LEGACY_INET.exec(text);
  if (inet === null) return fail('it does not look like nbd:host:port or nbd:unix:path');
  const host = unbracket(inet[1]!);
  if (NO_HOST.test(host)) return fail(`"${host}" is not a host`);
  return legacy({ type: 'inet', host, port: parsePort(inet[2], fail) }, inet[3], fail);
}

function legacy(address: NbdAddress, exportName: string | undefined, fail: Fail): NbdUri {
  return { address, exportName: checkName(exportName ?? '', fail), tls: false };
}

function parseAuthority(authority: string, fail: Fail) {
  const match = AUTHORITY.exec(authority);
  if (match === null) return fail(`"${authority}" is not host[:port]; IPv6 goes in brackets`);
  const user = match[1] === undefined ? undefined : decode(match[1], fail);
  const host = decode(unbracket(match[2]!), fail);
  if (NO_HOST.test(host)) return fail(`"${host}" is not a host`);
  const place = authority.slice(authority.indexOf('@') + 1);
  return { user, place, host, port: parsePort(match[3], fail) };
}

function parsePort(text: string | undefined, fail: Fail): number {
  if (text === undefined || text === '') return NBD_DEFAULT_PORT;
  const port = Number(text);
  return port >= 1 && port <= 65535 ? port : fail(`${text} is not a port`);
}

function parseQuery(query: string | undefined, fail: Fail): Map<string, string> {
  const parameters = new Map<string, string>();
  for (const part of (query ?? '').split(/[&;]/)) {
    if (part === '') continue;
    const equals = part.indexOf('=');
    const key = equals === -1 ? part : part.slice(0, equals);
    if (key !== 'socket' && !TLS_PARAMETERS.has(key)) fail(`the parameter "${key}" is unknown`);
    if (equals === -1) fail(`the parameter "${key}" has no value`);
    if (parameters.has(key)) fail(`the parameter "${key}" is there twice`);
    parameters.set(key, decode(part.slice(equals + 1), fail));
  }
  return parameters;
}

function decodeName(text: string, fail: Fail): string {
  return checkName(decode(text, fail), fail);
}

function checkName(name: string, fail: Fail): string {
  if (name.includes('\0')) fail('an export name cannot contain NUL');
  const bytes = new TextEncoder().encode(name).length;
  if (bytes > NBD_MAX_STRING) fail(`an export name has at most ${NBD_MAX_STRING} bytes`);
  return name;
}

function decode(text: string, fail: Fail): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return fail(`"${text}" is not percent-encoded UTF-8`);
  }
}

function encodePath(text: string): string {
  return encodeURIComponent(text).replaceAll('%2F', '/');
}

function formatHost(host: string, port: number): string {
  const literal = host.includes(':')
    ? `[${host.replaceAll('%', '%25')}]`
    : encodeURIComponent(host);
  return port === NBD_DEFAULT_PORT ? literal : `${literal}:${port}`;
}

function unbracket(host: string): string {
  return host.startsWith('[') ? host.slice(1, -1) : host;
}

function printable(text: string): string {
  return text.length <= 200 ? text : `${text.slice(0, 200)}...`;
}
