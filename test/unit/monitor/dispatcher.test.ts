import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { COMMANDS } from '../../../protocol/qmp/schema.ts';
import { settle } from '../../support/fake-connection.ts';
import { type MonitorRig, makeMonitorRig } from '../../support/monitor-rig.ts';

describe('the dispatcher', () => {
  let rig: MonitorRig;
  beforeEach(() => {
    rig = makeMonitorRig();
  });
  afterEach(() => rig.close());

  it('knows every command of the schema', async () => {
    for (const command of Object.keys(COMMANDS)) {
      if (command === 'qmp_capabilities') continue;
      // An argument that no command has: refused before anything is done.
      await expect(rig.dispatcher.execute(command, { '': 1 })).rejects.toThrow(/^Parameter '/);
    }
    const listed = (await rig.dispatcher.call('query-commands')).map(({ name }) => name);
    expect(listed.sort()).toEqual(Object.keys(COMMANDS).sort());
  });

  it.each(['nope', 'constructor', '__proto__', ''])('has never heard of "%s"', async (command) => {
    await expect(rig.dispatcher.execute(command)).rejects.toMatchObject({
      errorClass: 'CommandNotFound',
      message: `The command ${command} has not been found`,
    });
  });

  it('says its version as QEMU does', async () => {
    expect(await rig.dispatcher.call('query-version')).toEqual({
      qemu: { major: 10, minor: 1, micro: 0 },
      package: 'nbd-mirror 1.2.3',
    });
  });

  it('quits when told to', async () => {
    expect(rig.hasQuit()).toBe(false);
    await rig.dispatcher.call('quit');
    await settle();
    expect(rig.hasQuit()).toBe(true);
  });
});
