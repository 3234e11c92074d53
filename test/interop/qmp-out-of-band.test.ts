import { it } from 'vitest';
import { describePeers } from '../support/peers.ts';
import { expectSameConversation } from '../support/qmp-differential.ts';

describePeers('what qemu-storage-daemon says', ['qemu-storage-daemon'], () => {
  it('of commands out of band', async () => {
    await expectSameConversation(
      [
        '{"exec-oob":"query-version"}',
        '{"exec-oob":"nope"}',
        '{"exec-oob":1,"id":1}',
        '{"exec-oob":"a","execute":"b"}',
        '{"execute":"query-version","exec-oob":"query-version"}',
        '{"exec-oob":"qmp_capabilities"}',
        '{"exec-oob":"query-version","arguments":[]}',
        '{"execute":"qmp_capabilities","arguments":{"enable":["oob"]}}',
      ].map((send) => ({ send })),
      { enable: ['oob'] },
    );
  });
});
