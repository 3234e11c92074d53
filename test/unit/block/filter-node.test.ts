import { expect, it } from 'vitest';
import { RawNode } from '../../../src/block/raw-node.ts';
import { MirrorRig } from '../../support/mirror-rig.ts';

it('a filter passes on that its requests are not waited for any more', async () => {
  const rig = new MirrorRig({ size: 1 << 20 });
  rig.mirror();
  await rig.ready();
  expect(rig.client.node.driver).toBe('mirror_top');
  rig.source.meddle = () => new Promise<void>(() => {});
  const hanging = rig.client.node.read(0, Buffer.alloc(512));
  rig.client.node.cancelInFlight();
  await expect(hanging).rejects.toThrow('cancelled');
  await rig.jobs.cancelAll();
});

it('what stands on a disk whose server is lost cannot reach it either', async () => {
  const rig = new MirrorRig({ size: 1 << 20 });
  const window = new RawNode(
    'window',
    rig.graph.use(rig.source, { kind: 'node', name: 'window' }, { writable: true }),
  );
  expect(window.unreachable).toBeUndefined();
  rig.source.lost = true;
  expect(window.unreachable).toBe('lost');
});
