import type { IncomingHttpHeaders } from 'node:http';
import { isLoopback } from '../net/address.ts';
import type { Token } from './token.ts';

/**
 * Who may open a WebSocket. Programs send no Origin. A browser does, and lets any page of any site
 * connect to any host it can reach: only pages that came from this very host and port are let in.
 * Where no token is asked for, that host must also be written as a loopback address: a name that a
 * stranger's DNS server points to 127.0.0.1 has an Origin that fits.
 *
 * A token comes as `Authorization: Bearer TOKEN`, or, since pages cannot set headers, as a
 * subprotocol: `new WebSocket(url, ['qmp', 'bearer.TOKEN'])`.
 */
const UNAUTHORIZED = 401;
const FORBIDDEN = 403;

/** The HTTP status with which a request is refused; undefined for a welcome one. */
export function whyNotWelcome(
  headers: IncomingHttpHeaders,
  token: Token | undefined,
): number | undefined {
  if (!isOwnPage(headers, token === undefined)) return FORBIDDEN;
  if (token !== undefined && !token.matches(tokenIn(headers))) return UNAUTHORIZED;
  return undefined;
}

function isOwnPage({ origin, host }: IncomingHttpHeaders, loopbackOnly: boolean): boolean {
  if (origin === undefined) return true;
  if (!URL.canParse(origin)) return false;
  const page = new URL(origin);
  if (page.host !== host?.toLowerCase()) return false;
  return !loopbackOnly || isLoopback(page.hostname.replace(/^\[|\]$/g, ''));
}

function tokenIn(headers: IncomingHttpHeaders): string | undefined {
  const bearer = /^Bearer +(\S+)$/i.exec(headers.authorization ?? '');
  if (bearer !== null) return bearer[1];
  const protocols = headers['sec-websocket-protocol']?.split(',') ?? [];
  return protocols.map((name) => /^bearer\.(.+)$/.exec(name.trim())?.[1]).find(Boolean);
}
