import { formatAddress, type SocketAddress } from './address.ts';

/** An address, and whether WebSockets are spoken there or plain bytes. */
export interface Endpoint {
  readonly address: SocketAddress;
  readonly webSocket: boolean;
}

/** As options take it: `tcp:127.0.0.1:4444`, `unix:/run/qmp.sock`, `ws://127.0.0.1:4444`. */
export function formatEndpoint({ address, webSocket }: Endpoint): string {
  if (address.type === 'unix') return `${webSocket ? 'ws+' : ''}${formatAddress(address)}`;
  return `${webSocket ? 'ws://' : 'tcp:'}${formatAddress(address)}`;
}
