import { expect, it } from 'vitest';
import { MiB } from '../../src/util/limits.ts';
import { startNbdRig } from '../support/nbd-rig.ts';
import { describePeers } from '../support/peers.ts';
import { mustRun } from '../support/process.ts';

/**
 * Python statements with a libnbd handle `h` that is not connected yet. The library is Debian's, so
 * it is Debian's Python that has it, whatever else comes first in PATH.
 */
async function nbdsh(script: string): Promise<string> {
  const out = await mustRun('/usr/bin/python3', ['-c', `import nbd\nh = nbd.NBD()\n${script}`]);
  return out.trim();
}

const EXERCISE = `
data = bytes(i % 251 for i in range(100000))
h.pwrite(data, 777)
assert h.pread(len(data), 777) == data
h.pwrite(b'fua', 0, nbd.CMD_FLAG_FUA)
h.zero(50000, 800)
h.trim(4096, 65536)
h.cache(4096, 0)
h.flush()
assert h.pread(50000, 800) == bytearray(50000)
assert h.pread(3, 0) == b'fua'
print(h.get_protocol(), h.get_structured_replies_negotiated(), h.get_size())
h.shutdown()
`;

describePeers('nbdsh with our export', ['nbdsh'], () => {
  it.each([
    ['everything', '', 'newstyle-fixed True'],
    ['no structured replies', 'h.set_request_structured_replies(False)', 'newstyle-fixed False'],
    [
      'no padding saved',
      'h.set_handshake_flags(nbd.HANDSHAKE_FLAG_FIXED_NEWSTYLE)',
      'newstyle-fixed True',
    ],
    ['EXPORT_NAME', 'h.set_handshake_flags(0)', 'newstyle False'],
    [
      'EXPORT_NAME, no padding',
      'h.set_handshake_flags(nbd.HANDSHAKE_FLAG_NO_ZEROES)',
      'newstyle False',
    ],
  ])('speaks with %s', async (_name, setting, agreed) => {
    const { uri } = await startNbdRig();
    const out = await nbdsh(`${setting}\nh.connect_uri("${uri}")\n${EXERCISE}`);
    expect(out).toBe(`${agreed} ${4 * MiB}`);
  });

  it('gets the errors that the protocol names', async () => {
    const { uri } = await startNbdRig();
    const out = await nbdsh(`
h.set_strict_mode(0)
h.connect_uri("${uri}")
import errno
for what in (lambda: h.pread(512, ${4 * MiB}), lambda: h.pwrite(b'x', ${4 * MiB}),
             lambda: h.trim(1, ${4 * MiB}), lambda: h.zero(1, ${4 * MiB}),
             lambda: h.pread(512, 0, 0x80)):
    try:
        what()
        print('fine')
    except nbd.Error as error:
        print(error.errno)
assert h.pread(5, 0) == bytearray(5)
`);
    expect(out.split('\n')).toEqual(['EINVAL', 'ENOSPC', 'EINVAL', 'ENOSPC', 'EINVAL']);
  });

  it('haggles in option mode', async () => {
    const { uri } = await startNbdRig({ export: { name: 'disk' } });
    const out = await nbdsh(`
h.set_opt_mode(True)
h.add_meta_context("base:allocation")
h.connect_uri("${uri}")
names = []
h.opt_list(lambda name, description: names.append(name))
h.set_export_name("nope")
try:
    h.opt_info()
except nbd.Error as error:
    names.append(error.errno)
h.set_export_name("disk")
h.opt_info()
names.append(h.get_size())
h.opt_go()
names.append(h.can_meta_context("base:allocation"))
print(names)
`);
    expect(out).toBe(`['disk', 'ENOENT', ${4 * MiB}, True]`);
  });

  it('reads back through many connections what one of them flushed (MU-01)', async () => {
    const { uri } = await startNbdRig();
    await nbdsh(`
handles = [nbd.NBD() for _ in range(16)]
for one in handles:
    one.connect_uri("${uri}")
for number, one in enumerate(handles):
    one.pwrite(bytes([number + 1]) * 4096, number * 4096)
handles[0].flush()
for one in handles:
    for number in range(16):
        assert one.pread(4096, number * 4096) == bytes([number + 1]) * 4096
`);
  });
});
