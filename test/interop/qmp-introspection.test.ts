import { expect, it } from 'vitest';
import type { DifferenceKey } from '../../protocol/qmp/differences.ts';
import { schemaInfo } from '../../protocol/qmp/introspection.ts';
import { COMMANDS } from '../../protocol/qmp/schema.ts';
import { startQsd } from '../support/peers.ts';
import { QmpPeer } from '../support/qmp-peer.ts';
import { type Info, namesIn } from '../support/qmp-schema-walk.ts';
import { describeRecentQsd } from '../support/qsd.ts';

/** What we have and QEMU 10.0 has not, each with its reason. */
const OURS: readonly { readonly names: RegExp; readonly row: DifferenceKey }[] = [
  { names: /\/x-|\(x-memory\)| = x-/, row: 'x-names' },
  { names: /^[\w-]+-mirror\/arg-type\/bitmap\?/, row: 'working-bitmap' },
  { names: /^[\w-]+-mirror\/arg-type\/target-is-zero\?/, row: 'younger-members' },
  { names: /\/children\b/, row: 'younger-members' },
  { names: /^block-job-\w+ is deprecated$/, row: 'younger-members' },
  { names: /^(?:query-)?yank\b/, row: 'whole-qemu' },
  { names: /^query-qmp-schema\/ret-type/, row: 'schema-of-the-schema' },
];

/** What QEMU 10.0 has and we have not: the row `absent-commands`. */
const ABSENT = [
  ...['blockdev-create', 'x-blockdev-amend', 'block-stream', 'block-commit', 'blockdev-backup'],
  ...['drive-backup', 'blockdev-snapshot', 'blockdev-snapshot-sync', 'change-backing-file'],
  ...['blockdev-snapshot-internal-sync', 'blockdev-snapshot-delete-internal-sync'],
  ...['x-blockdev-change', 'x-blockdev-set-iothread', 'x-debug-query-block-graph'],
  ...['blockdev-set-active', 'block-set-write-threshold', 'query-blockstats'],
  ...['chardev-add', 'chardev-change', 'chardev-remove', 'chardev-send-break'],
  ...['query-chardev', 'query-chardev-backends', 'ringbuf-read', 'ringbuf-write'],
  ...['qom-get', 'qom-list', 'qom-list-properties', 'qom-list-types', 'qom-set'],
];

/** Arguments of what both have that only QEMU 10.0 takes: the row `absent-options`. */
const ABSENT_OPTIONS = [
  ...['active', 'force-share', 'pr-manager', 'locking', 'aio-max-batch', 'drop-cache'],
  ...['x-check-cache-dropped', 'numeric', 'ipv4', 'ipv6', 'keep-alive', 'mptcp', 'abstract'],
  ...['tight', 'tls-authz', 'allow-inactive'],
];

/** Members of answers and events that only QEMU 10.0 has: the row `absent-members`. */
const ABSENT_MEMBERS = [
  ...['backing-filename', 'backing-filename-format', 'backing-image', 'backing_file'],
  ...['full-backing-filename', 'cluster-size', 'compressed', 'encrypted', 'format-specific'],
  ...['snapshots', 'qdev', 'tray_open', 'group', 'iops_size'],
  ...['bps', 'bps_rd', 'bps_wr', 'iops', 'iops_rd', 'iops_wr'].flatMap((limit) => [
    `${limit}_max`,
    `${limit}_max_length`,
  ]),
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

describeRecentQsd('the language beside that of a recent QEMU', (command) => {
  async function ask(question: string): Promise<unknown> {
    const { qmp } = await startQsd([], command);
    const peer = await QmpPeer.connect(qmp);
    await peer.execute('qmp_capabilities');
    const reply = await peer.execute(question);
    peer.close();
    return reply['return'];
  }

  it('has every command of qemu-storage-daemon but those with a reason', async () => {
    const theirs = (await ask('query-commands')) as { readonly name: string }[];
    const missing = theirs.map(({ name }) => name).filter((name) => !(name in COMMANDS));
    expect(missing.toSorted()).toEqual(ABSENT.toSorted());
  });

  it('takes every argument of a command that both have, but those with a reason', async () => {
    const ours = namesIn(schemaInfo());
    const theirs = namesIn((await ask('query-qmp-schema')) as Info[]);
    // Of kinds that we have not (drivers, exports, actions) nothing is expected.
    const isKnownKind = (name: string) =>
      [...name.matchAll(/\(/g)].every(({ index }) => {
        const kind = name.slice(0, name.indexOf(')', index) + 1);
        return [...ours].some((one) => one.startsWith(kind));
      });
    const arguments_ = /^([\w-]+)\/arg-type.*\/([\w-]+)\??$/;
    const missing = new Set<string>();
    for (const name of theirs) {
      const [, command, argument] = arguments_.exec(name) ?? [];
      if (command === undefined || !(command in COMMANDS) || ours.has(name)) continue;
      if (isKnownKind(name)) missing.add(argument!);
    }
    expect([...missing].toSorted()).toEqual(ABSENT_OPTIONS.toSorted());
  });

  it('shows every member of an answer that both have, but those with a reason', async () => {
    const ours = namesIn(schemaInfo());
    const theirs = namesIn((await ask('query-qmp-schema')) as Info[]);
    const told = /^((?:[\w-]+\/ret-type|[A-Z_]+\/arg-type).*)\/([\w-]+)\??$/;
    const parents = new Set([...ours].map((name) => told.exec(name)?.[1]));
    const missing = new Set<string>();
    for (const name of theirs) {
      const [, parent, member] = told.exec(name) ?? [];
      if (parent !== undefined && parents.has(parent) && !ours.has(name)) missing.add(member!);
    }
    expect([...missing].toSorted()).toEqual(ABSENT_MEMBERS.toSorted());
  });

  it('names nothing that QEMU does not name, but for the differences', async () => {
    const theirs = await ask('query-qmp-schema');
    const known = namesIn(theirs as Info[]);
    const more = [...namesIn(schemaInfo())].filter((name) => !known.has(name));
    expect(more.filter((name) => !OURS.some(({ names }) => names.test(name)))).toEqual([]);
  });
});
