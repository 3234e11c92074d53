import { connect } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Token } from '../../../src/monitor/token.ts';
import { QMP_MESSAGE_BYTES_MAX, QMP_STRANGERS_MAX } from '../../../src/util/limits.ts';
import { type MonitorRig, makeMonitorRig } from '../../support/monitor-rig.ts';
import { WebSocketPeer } from '../../support/web-socket-peer.ts';

const SECRET = 'correct-horse-battery';

/** Opens a connection and sends `text`; what comes back until it is closed. */
function talk(port: number, text: string): Promise<string> {
  return new Promise((resolve) => {
    let answer = '';
    const socket = connect({ host: '127.0.0.1', port });
    socket.on('data', (data) => {
      answer += data;
    });
    socket.on('error', () => {});
    socket.once('close', () => resolve(answer));
    socket.write(text);
  });
}

describe('a monitor over WebSocket', () => {
  let rig: MonitorRig;
  beforeEach(() => {
    rig = makeMonitorRig();
  });
  afterEach(() => rig.close());

  async function listen(token?: Token): Promise<number> {
    const loopback = { type: 'inet', host: '127.0.0.1', port: 0 } as const;
    const address = await rig.monitor.listen(loopback, { webSocket: true, token });
    return address.type === 'inet' ? address.port : 0;
  }

  it('sends each message as one frame', async () => {
    const peer = await WebSocketPeer.connect(await listen());
    peer.send('{"execute":"qmp_capabilities"}{"execute":"nope","id":1}');
    await peer.reply();
    await peer.reply();
    rig.storage.events.emit('BLOCK_EXPORT_DELETED', { id: 'e' });
    await peer.execute('query-block-jobs');
    expect(peer.frames.length).toBe(5);
    for (const frame of peer.frames) expect(frame).toMatch(/^\{[ -~]*\}$/);
    expect(peer.events).toEqual([expect.objectContaining({ data: { id: 'e' } })]);
  });

  it('takes a message over several frames; the end of a frame ends a line', async () => {
    const peer = await WebSocketPeer.connect(await listen());
    peer.send('{"execute":');
    peer.send('"qmp_capabilities"}');
    expect(await peer.reply()).toEqual({ return: {} });
    peer.send('1');
    expect(await peer.reply()).toHaveProperty('error.desc', 'QMP input must be a JSON object');
    peer.send('{"a":"cut');
    peer.send('{"execute":"query-block-jobs","id":7}');
    expect(await peer.reply()).toHaveProperty('error');
    expect(await peer.reply()).toEqual({ return: [], id: 7 });
  });

  it('is text', async () => {
    const peer = await WebSocketPeer.connect(await listen());
    peer.send(Buffer.from('{"execute":"qmp_capabilities"}'));
    expect(await peer.closeCode).toBe(1003);
  });

  it('wants UTF-8', async () => {
    const peer = await WebSocketPeer.connect(await listen());
    peer.socket.send(Buffer.from([0xff, 0xfe]), { binary: false });
    expect(await peer.closeCode).toBe(1007);
  });

  it('is not compressed', async () => {
    const peer = await WebSocketPeer.connect(await listen(), { perMessageDeflate: true });
    expect(peer.socket.extensions).toBe('');
  });

  it('takes no frame above 64 MiB, and goes on for others', async () => {
    const port = await listen();
    const [peer, other] = [await WebSocketPeer.connect(port), await WebSocketPeer.connect(port)];
    peer.socket.on('error', () => {});
    peer.send(Buffer.alloc(QMP_MESSAGE_BYTES_MAX + 1, ' ').toString());
    expect(await peer.closeCode).toBe(1009);
    expect(await other.execute('qmp_capabilities')).toEqual({ return: {} });
  });

  it('asks for the token where it has one', async () => {
    const port = await listen(Token.parse(SECRET));
    await expect(WebSocketPeer.connect(port)).rejects.toThrow('401');
    const origin = 'http://example.org';
    const headers = { Authorization: `Bearer ${SECRET}` };
    await expect(WebSocketPeer.connect(port, { headers, origin })).rejects.toThrow('403');
    const peer = await WebSocketPeer.connect(port, { headers });
    expect(await peer.execute('qmp_capabilities')).toEqual({ return: {} });
    const page = await WebSocketPeer.connect(port, { protocols: ['qmp', `bearer.${SECRET}`] });
    expect(page.socket.protocol).toBe('qmp');
    expect(await page.execute('qmp_capabilities')).toEqual({ return: {} });
  });

  it('tells who asks for something else', async () => {
    const answer = await talk(await listen(), 'GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n');
    expect(answer).toMatch(/^HTTP\/1\.1 426 /);
  });

  it('does not wait for a request for ever', { timeout: 30_000 }, async () => {
    const answer = await talk(await listen(), 'GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n');
    expect(answer).toMatch(/^HTTP\/1\.1 408 /);
  });

  it('bounds those who ask nothing', async () => {
    const port = await listen();
    const idle = Array.from({ length: QMP_STRANGERS_MAX }, () =>
      connect({ host: '127.0.0.1', port }).on('error', () => {}),
    );
    await Promise.all(
      idle.map((socket) => new Promise((resolve) => socket.once('connect', resolve))),
    );
    expect(await talk(port, 'GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n')).toBe('');
    for (const socket of idle) socket.destroy();
    await Promise.all(
      idle.map((socket) => new Promise((resolve) => socket.once('close', resolve))),
    );
  });
});
