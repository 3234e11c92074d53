import { expect, it } from 'vitest';
import type { DifferenceKey } from '../../protocol/qmp/differences.ts';
import { schemaInfo } from '../../protocol/qmp/introspection.ts';
import { startQsd } from '../support/peers.ts';
import { QmpPeer } from '../support/qmp-peer.ts';
import { type Info, namesIn } from '../support/qmp-schema-walk.ts';
import { describeRecentQsd } from '../support/qsd.ts';

/** What we have and QEMU 10.0 has not, each with its reason. */
const OURS: readonly { readonly names: RegExp; readonly row: DifferenceKey }[] = [
  { names: /\/x-|\(x-memory\)| = x-/, row: 'x-names' },
  { names: /^[\w-]+-mirror\/arg-type\/bitmap\?/, row: 'working-bitmap' },
  { names: /^[\w-]+-mirror\/arg-type\/target-is-zero\?/, row: 'younger-members' },
  { names: /^block-job-\w+ is deprecated$/, row: 'younger-members' },
  { names: /^(?:query-)?yank\b/, row: 'whole-qemu' },
  { names: /^query-qmp-schema\/ret-type/, row: 'schema-of-the-schema' },
];

it('follows the names that libvirt looks for', () => {
  const names = namesIn(schemaInfo());
  for (const name of [
    'blockdev-mirror/arg-type/target-is-zero?',
    'blockdev-mirror/arg-type/copy-mode? = write-blocking',
    'block-dirty-bitmap-merge/arg-type/bitmaps[]/node string',
    'transaction/arg-type/actions[](block-dirty-bitmap-merge)/data/target string',
    'blockdev-add/arg-type(nbd)/reconnect-delay? int',
    'blockdev-add/arg-type(nbd)/server(unix)/path string',
    'block-export-add/arg-type(nbd)/bitmaps?[] string',
    'query-jobs/ret-type[]/status = standby',
    'BLOCK_JOB_COMPLETED/arg-type/error? string',
  ]) {
    expect(names).toContain(name);
  }
});

describeRecentQsd('query-qmp-schema beside that of a recent QEMU', (command) => {
  it('names nothing that QEMU does not name, but for the differences', async () => {
    const { qmp } = await startQsd([], command);
    const peer = await QmpPeer.connect(qmp);
    await peer.execute('qmp_capabilities');
    const { return: theirs } = await peer.execute('query-qmp-schema');
    peer.close();
    const known = namesIn(theirs as Info[]);
    const more = [...namesIn(schemaInfo())].filter((name) => !known.has(name));
    expect(more.filter((name) => !OURS.some(({ names }) => names.test(name)))).toEqual([]);
  });
});
