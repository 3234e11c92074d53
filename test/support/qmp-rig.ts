import { join } from 'node:path';
import { expect } from 'vitest';
import { makeMonitorRig } from './monitor-rig.ts';
import { currentScope, nbdUri, tempDir } from './peers.ts';
import { type Message, QmpPeer } from './qmp-peer.ts';

/** A server driven over a QMP socket, in this process; gone with the test. */
export interface QmpRig {
  readonly qmp: QmpPeer;
  readonly directory: string;
  /** The Unix socket of the NBD server, once one was started. */
  readonly socket: string;
  /** Of an export. */
  uri(exportName: string): string;
  /** The command's `return`; a refusal fails the test. */
  execute(command: string, given?: object): Promise<unknown>;
  /** The sentence with which the command is refused. */
  refusal(command: string, given?: object): Promise<string>;
  /** Starts the NBD server on `socket`. */
  startNbdServer(more?: object): Promise<void>;
}

export async function startQmpRig(): Promise<QmpRig> {
  const directory = await tempDir();
  const rig = makeMonitorRig();
  currentScope().onClose(() => rig.close());
  const path = join(directory, 'qmp');
  await rig.monitor.listen({ type: 'unix', path });
  const qmp = await QmpPeer.connect(path);
  currentScope().onClose(async () => qmp.close());
  const socket = join(directory, 'nbd');
  const execute = async (command: string, given?: object): Promise<unknown> => {
    const reply = await qmp.execute(command, given);
    expect(reply, `${command} ${JSON.stringify(given)}`).toHaveProperty('return');
    return reply['return'];
  };
  await execute('qmp_capabilities');
  return {
    qmp,
    directory,
    socket,
    uri: (exportName) => nbdUri(socket, exportName),
    execute,
    async refusal(command, given) {
      const reply = await qmp.execute(command, given);
      expect(reply, `${command} ${JSON.stringify(given)}`).toHaveProperty('error');
      return (reply['error'] as Message)['desc'] as string;
    },
    async startNbdServer(more = {}) {
      await execute('nbd-server-start', {
        addr: { type: 'unix', data: { path: socket } },
        ...more,
      });
    },
  };
}

/** Names of the events so far, each with the one of its data that tells it apart. */
export function storyOf(qmp: QmpPeer): string[] {
  return qmp.events.map(({ event, data }) => {
    const { id, status, device } = data as Message;
    return [event, status ?? id ?? device].filter((word) => word !== undefined).join(' ');
  });
}
