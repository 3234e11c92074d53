import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { MiB, QMP_MESSAGE_BYTES_MAX, QMP_NESTING_MAX } from '../../../src/util/limits.ts';
import { type MonitorRig, makeMonitorRig } from '../../support/monitor-rig.ts';
import { currentScope, tempDir } from '../../support/peers.ts';
import { type Message, QmpPeer } from '../../support/qmp-peer.ts';
import { WebSocketPeer } from '../../support/web-socket-peer.ts';

interface Peer {
  send(text: string): void;
  reply(): Promise<Message>;
}

const transports: Record<string, (rig: MonitorRig) => Promise<Peer>> = {
  'a socket': async (rig) => {
    const path = `${await tempDir()}/qmp`;
    await rig.monitor.listen({ type: 'unix', path });
    const peer = await QmpPeer.connect(path);
    currentScope().onClose(async () => peer.close());
    return peer;
  },
  'a WebSocket': async (rig) => {
    const loopback = { type: 'inet', host: '127.0.0.1', port: 0 } as const;
    const address = await rig.monitor.listen(loopback, { webSocket: true });
    return WebSocketPeer.connect(address.type === 'inet' ? address.port : 0);
  },
};

describe.each(Object.keys(transports))('over %s', (name) => {
  let rig: MonitorRig;
  let peer: Peer;
  beforeEach(async () => {
    rig = makeMonitorRig();
    peer = await transports[name]!(rig);
    peer.send('{"execute":"qmp_capabilities"}\n');
    await peer.reply();
  });
  afterEach(() => rig.close());

  const sentence = (desc: string) => ({ error: { class: 'GenericError', desc } });

  /** The session still does what it is told. */
  async function goesOn(): Promise<void> {
    peer.send('{"execute":"query-block-jobs","id":"on"}\n');
    expect(await peer.reply()).toEqual({ return: [], id: 'on' });
  }

  it('takes 1024 levels and not one more', async () => {
    const nested = (levels: number) => `${'['.repeat(levels)}${']'.repeat(levels)}\n`;
    peer.send(nested(QMP_NESTING_MAX));
    expect(await peer.reply()).toEqual(sentence('QMP input must be a JSON object'));
    peer.send(`${'['.repeat(QMP_NESTING_MAX + 1)}\n`);
    expect(await peer.reply()).toEqual(sentence('JSON nesting depth limit exceeded'));
    await goesOn();
  });

  it('answers what is malformed', async () => {
    for (const text of ['{"a":1,}', '{"execute":\u0001', 'nul', ']', '"\\q"']) {
      peer.send(`${text}\n`);
      const { error } = (await peer.reply()) as { error: Message };
      expect(error['desc']).toMatch(/^JSON parse error, /);
      await goesOn();
    }
  });

  it('answers a name of megabytes that is written longer than it came', async () => {
    const file = '\u007f'.repeat(34 * MiB);
    const given = { driver: 'raw', 'node-name': 'a', file };
    peer.send(`${JSON.stringify({ execute: 'blockdev-add', arguments: given })}\n`);
    const { error } = (await peer.reply()) as { error: { desc: string } };
    expect(error.desc).toMatch(/^Cannot find device='\u007f+ \[and \d+ more characters\]$/);
    await goesOn();
  });

  it('takes a message of nearly 64 MiB, turn by turn', async () => {
    const given = { ignored: 'x'.repeat(QMP_MESSAGE_BYTES_MAX - MiB) };
    const text = JSON.stringify({ execute: 'query-block-jobs', arguments: given });
    let turns = 0;
    const count = () => {
      turns++;
      next = setImmediate(count);
    };
    let next = setImmediate(count);
    peer.send(`${text}\n`);
    expect(await peer.reply()).toEqual(sentence("Parameter 'ignored' is unexpected"));
    clearImmediate(next);
    // Others had their turns in between: at least one for each MiB.
    expect(turns).toBeGreaterThan(64);
    await goesOn();
  });
});
