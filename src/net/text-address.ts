import { RefusedError } from '../util/errors.ts';
import { PORT_MAX, parsePort, type SocketAddress, type UnixAddress } from './address.ts';

/** An address in which the port is text, as QMP and QEMU's command line have it. */
export type TextAddress =
  | UnixAddress
  | {
      readonly type: 'inet';
      readonly host: string;
      readonly port: string;
      /** The last port of a listener's range. */
      readonly to?: number | undefined;
    };

export function toTextAddress(address: SocketAddress): TextAddress {
  if (address.type === 'unix') return { type: 'unix', path: address.path };
  return { type: 'inet', host: address.host, port: String(address.port) };
}

/** Throws `RefusedError` when the port is none, or the range empty. */
export function fromTextAddress(address: TextAddress): SocketAddress {
  if (address.type === 'unix') return { type: 'unix', path: address.path };
  const { host, port, to } = address;
  const first = parsePort(port);
  if (first === undefined) {
    throw new RefusedError(`Invalid port '${port}' of host '${host}': expected 0 to ${PORT_MAX}`);
  }
  if (to === undefined) return { type: 'inet', host, port: first };
  if (to < first || to > PORT_MAX) {
    throw new RefusedError(`Invalid last port ${to}: expected ${first} to ${PORT_MAX}`);
  }
  return { type: 'inet', host, port: first, portMax: to };
}
