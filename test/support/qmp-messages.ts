import type { Json } from '../../protocol/qmp/json-builder.ts';
import { MessageStream } from '../../protocol/qmp/message-stream.ts';

/**
 * What a stream of chunks contains: values, and the complaints about the rest. Each chunk comes in
 * the same memory, as from a socket.
 */
export function messagesOf(
  chunks: Iterable<Uint8Array | string>,
  limits = { messageBytesMax: 1 << 20, tokensMax: 1 << 20, nestingMax: 1024 },
): (Json | { malformed: string })[] {
  const found: (Json | { malformed: string })[] = [];
  const stream = new MessageStream(
    { message: (value) => found.push(value), malformed: (desc) => found.push({ malformed: desc }) },
    limits,
  );
  for (const chunk of chunks) {
    const bytes = Buffer.from(chunk as string);
    stream.push(bytes);
    bytes.fill('#');
  }
  return found;
}
