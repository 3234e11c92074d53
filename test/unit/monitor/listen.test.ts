import { mkdtempSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type MonitorRig, makeMonitorRig } from '../../support/monitor-rig.ts';

/** Sends `text` and ends; everything that comes back, line by line. */
function talk(socket: Socket, text: string): Promise<unknown[]> {
  return new Promise((resolve, reject) => {
    let received = '';
    socket.on('data', (data) => {
      received += data;
    });
    socket.on('error', reject);
    socket.on('close', () => {
      const lines = received.split('\r\n');
      resolve(lines.filter((line) => line !== '').map((line) => JSON.parse(line)));
    });
    socket.end(text);
  });
}

describe('monitors', () => {
  let directory: string;
  let rig: MonitorRig;
  beforeEach(() => {
    rig = makeMonitorRig();
    directory = mkdtempSync(join(tmpdir(), 'nbd-mirror-qmp-'));
  });
  afterEach(async () => {
    await rig.close();
    rmSync(directory, { recursive: true, force: true });
  });

  it('serve a Unix socket and a port at the same time', async () => {
    const path = join(directory, 'qmp');
    await rig.monitor.listen({ type: 'unix', path });
    const tcp = await rig.monitor.listen({ type: 'inet', host: '127.0.0.1', port: 0 });
    const port = tcp.type === 'inet' ? tcp.port : 0;
    const script = '{"execute":"qmp_capabilities"}{"execute":"query-block-jobs","id":7}';
    const expected = [{ QMP: expect.anything() }, { return: {} }, { return: [], id: 7 }];
    expect(await talk(connect({ path }), script)).toEqual(expected);
    expect(await talk(connect({ host: '127.0.0.1', port }), script)).toEqual(expected);
  });

  it.each(['0.0.0.0', '::', '192.0.2.1', 'example.org', '127.0.0.1.example.org'])(
    'are not offered to the network: %s',
    async (host) => {
      await expect(rig.monitor.listen({ type: 'inet', host, port: 0 })).rejects.toThrow(
        /^Cannot listen for QMP on .*:0 without a token/,
      );
    },
  );

  it('on a port do not listen to a browser', async () => {
    const tcp = await rig.monitor.listen({ type: 'inet', host: '127.0.0.1', port: 0 });
    const port = tcp.type === 'inet' ? tcp.port : 0;
    const body = '{"execute":"qmp_capabilities"}\r\n{"execute":"quit"}\r\n';
    const head = `POST / HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nOrigin: https://example.org\r\n`;
    for (const text of [`${head}\r\n${body}`, 'PUT', 'G']) {
      const socket = connect({ host: '127.0.0.1', port });
      // Cut, with or without a reset.
      const closed = new Promise((resolve) => socket.once('close', resolve));
      socket.on('error', () => {}).resume();
      socket.write(text);
      await closed;
    }
    expect(rig.hasQuit()).toBe(false);
    const answer = await talk(connect({ host: '127.0.0.1', port }), ' {"execute":1}');
    expect(answer).toHaveLength(2);
  });

  it('on a port do not listen to TLS, in whose ticket there may be QMP', async () => {
    const tcp = await rig.monitor.listen({ type: 'inet', host: '127.0.0.1', port: 0 });
    const port = tcp.type === 'inet' ? tcp.port : 0;
    const ticket = '\x01\n{"execute":"qmp_capabilities"}{"execute":"quit"}\n';
    const socket = connect({ host: '127.0.0.1', port });
    const closed = new Promise((resolve) => socket.once('close', resolve));
    socket.on('error', () => {}).resume();
    socket.end(`\x16\x03\x01\x02\0${ticket}`);
    await closed;
    expect(rig.hasQuit()).toBe(false);
  });

  it('on a Unix socket say what is wrong with anything', async () => {
    const path = join(directory, 'qmp');
    await rig.monitor.listen({ type: 'unix', path });
    const answers = await talk(connect({ path }), 'GET\n{"execute":"qmp_capabilities"}');
    expect(answers.at(-1)).toEqual({ return: {} });
  });

  it('say what is missing where they cannot listen', async () => {
    const path = join(directory, 'nowhere', 'qmp');
    await expect(rig.monitor.listen({ type: 'unix', path })).rejects.toThrow(
      `Cannot listen on unix:${path}: there is no ${join(directory, 'nowhere')}`,
    );
  });

  it('answer "quit" and let clients go when they close', async () => {
    const path = join(directory, 'qmp');
    await rig.monitor.listen({ type: 'unix', path });
    const socket = connect({ path });
    const talked = talk(socket, '{"execute":"qmp_capabilities"}{"execute":"quit"}');
    expect(await talked).toEqual([{ QMP: expect.anything() }, { return: {} }, { return: {} }]);
    expect(rig.hasQuit()).toBe(true);
    await rig.monitor.close();
    await expect(talk(connect({ path }), '')).rejects.toThrow(/ENOENT|ECONNREFUSED/);
  });
});
