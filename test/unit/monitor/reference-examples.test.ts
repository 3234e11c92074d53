import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { EXAMPLES, type Line } from '../../../protocol/qmp/docs/examples.ts';
import { COMMANDS } from '../../../protocol/qmp/schema.ts';
import type { FakeConnection } from '../../support/fake-connection.ts';
import { type MonitorRig, makeMonitorRig } from '../../support/monitor-rig.ts';

/** docs/qmp-reference.md shows sessions: here they are played, message by message. */
const DISK = 1 << 20;

describe('the examples of the reference', () => {
  let rig: MonitorRig;
  let client: FakeConnection;
  beforeEach(async () => {
    rig = makeMonitorRig();
    client = await rig.connect();
    for (const name of ['disk', 'copy']) {
      const options = { driver: 'x-memory', 'node-name': name, size: DISK } as const;
      await rig.dispatcher.call('blockdev-add', options);
    }
    await rig.storage.graph.find('disk')!.write(0, Buffer.alloc(DISK, 'x'));
  });
  afterEach(() => rig.close());

  async function play(line: Line): Promise<void> {
    if ('send' in line) {
      const [execute, given] = line.send;
      await client.send(JSON.stringify({ execute, ...(given && { arguments: given }) }));
      return;
    }
    await expect.poll(() => client.received.length).toBeGreaterThan(0);
    const { timestamp: _, ...message } = client.received.shift()!;
    expect(message).toEqual(line);
  }

  const all = Object.entries(EXAMPLES).flatMap(([command, examples]) =>
    examples.map(({ title, lines }) => ({ command, title, lines })),
  );

  it.each(all)('are true: $command, $title', async ({ command, lines }) => {
    expect(Object.keys(COMMANDS)).toContain(command);
    for (const line of lines) await play(line);
    expect(client.received).toEqual([]);
  });
});
