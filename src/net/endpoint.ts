import { formatAddress, type SocketAddress } from './address.ts';

/** An address, and whether WebSockets are spoken there or plain bytes. */
export interface Endpoint {
  readonly address: SocketAddress;
  readonly webSocket: boolean;
}

/** As people write it: `127.0.0.1:4444`, `unix:/run/qmp.sock`, `ws://127.0.0.1:4444`. */
export function formatEndpoint({ address, webSocket }: Endpoint): string {
  if (!webSocket) return formatAddress(address);
  if (address.type === 'unix') return `ws+unix:${address.path}`;
  return `ws://${formatAddress(address)}`;
}
