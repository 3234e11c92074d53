import type { Arguments } from '../../../protocol/qmp/schema.ts';
import type { BlockGraph } from '../../block/graph.ts';
import { MirrorTop } from '../../block/mirror-top.ts';
import type { BlockNode } from '../../block/node.ts';
import type { NodeStore } from '../../block/node-store.ts';
import type { JobRegistry } from '../../job/registry.ts';
import { startMirror } from '../../job/start-mirror.ts';
import { RefusedError } from '../../util/errors.ts';
import { driveOptions } from '../drive-options.ts';
import type { Handlers } from '../handlers.ts';

/** Starting a mirror: names -> nodes here, every other check with the job. */
export function mirrorCommands(
  graph: BlockGraph,
  nodes: NodeStore,
  jobs: JobRegistry,
): Handlers<'blockdev-mirror' | 'drive-mirror'> {
  return {
    'blockdev-mirror': (given) => {
      const source = findSource(graph, given.device);
      const target = findNode(graph, given.target);
      startMirror(jobs, graph, {
        ...commonOptions(given),
        source,
        target,
        filterNodeName: given['filter-node-name'],
        targetIsZero: given['target-is-zero'],
      });
    },

    'drive-mirror': async (given) => {
      const asked = findSource(graph, given.device);
      graph.assertNotBlocked(asked, { writable: false });
      const { discard } = asked.space;
      const target = await nodes.open({ ...driveOptions(given, asked.driver), discard });
      try {
        // While the target was being opened, much may have happened.
        const source = findSource(graph, given.device);
        if (given.mode !== 'existing' && target.size < source.size) {
          throw new RefusedError('Cannot grow NBD nodes');
        }
        const job = startMirror(jobs, graph, {
          ...commonOptions(given),
          source,
          target,
          unmap: given.unmap,
        });
        const letGo = () => nodes.letGo(target);
        job.ended.then(letGo).catch((error: Error) => {
          jobs.log.error({ node: target.name, reason: error.message }, 'cannot close the target');
        });
      } catch (error) {
        await nodes.letGo(target);
        throw error;
      }
    },
  };
}

/** What both commands take, in the words of the job. */
function commonOptions(given: Arguments<'blockdev-mirror'> | Arguments<'drive-mirror'>) {
  return {
    // Without a guest there is no device whose name the job could take.
    id: given['job-id'] ?? '',
    replaces: given.replaces,
    sync: given.sync,
    bitmap: given.bitmap,
    copyMode: given['copy-mode'],
    granularity: given.granularity,
    bufSize: given['buf-size'],
    speed: given.speed,
    onSourceError: given['on-source-error'],
    onTargetError: given['on-target-error'],
    autoFinalize: given['auto-finalize'],
    autoDismiss: given['auto-dismiss'],
    targetClusterSize: given['x-target-cluster-size'],
  };
}

/** Nothing but other mirrors may sit on the source: a node above it would not be replaced. */
function findSource(graph: BlockGraph, name: string): BlockNode {
  const node = findNode(graph, name);
  if (graph.parentsOf(node).some((parent) => !(parent instanceof MirrorTop))) {
    throw new RefusedError('Need a root block node');
  }
  return node;
}

function findNode(graph: BlockGraph, name: string): BlockNode {
  const node = graph.find(name);
  if (node !== undefined) return node;
  throw new RefusedError(`Cannot find device='${name}' nor node-name='${name}'`);
}
