import { it } from 'vitest';
import { expectSameConversation } from '../support/qmp-differential.ts';
import { describeQsds } from '../support/qsd.ts';

describeQsds('what qemu-storage-daemon says', [], (program) => {
  it('of commands out of band', async () => {
    await expectSameConversation(
      program,
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
