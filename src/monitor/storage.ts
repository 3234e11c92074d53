import { BlockGraph } from '../block/graph.ts';
import { NodeStore } from '../block/node-store.ts';
import type { NodeHost } from '../block/open-node.ts';
import { JobRegistry } from '../job/registry.ts';
import type { Clock } from '../util/clock.ts';
import { CLIENT_SEND_BUFFER_BYTES, CLOSE_GRACE_MS } from '../util/limits.ts';
import { EventBus } from './event-bus.ts';
import { NbdService } from './nbd-service.ts';
import { ObjectStore } from './object-store.ts';

/** All that commands act on: one set of nodes, jobs and exports, and the events they cause. */
export class Storage {
  readonly clock: Clock;
  readonly events: EventBus;
  readonly graph = new BlockGraph();
  readonly objects: ObjectStore;
  readonly nodes: NodeStore;
  readonly jobs: JobRegistry;
  readonly nbd: NbdService;

  constructor(host: Omit<NodeHost, 'findThrottleGroup'>) {
    const { clock, log, hotSockets, syscalls } = host;
    const { graph } = this;
    this.clock = clock;
    this.events = new EventBus(clock);
    this.objects = new ObjectStore(clock);
    this.nodes = new NodeStore(graph, {
      ...host,
      findThrottleGroup: (name) => this.objects.throttleGroup(name),
    });
    this.jobs = new JobRegistry({
      clock,
      log,
      onEvent: ({ name, data }) => this.events.emit(name, data),
    });
    this.nbd = new NbdService({
      graph,
      clock,
      log,
      hotSockets,
      onUnixSocket: (fd) => syscalls.widenSendBuffer(fd, CLIENT_SEND_BUFFER_BYTES),
      events: this.events,
    });
  }

  /** The end: jobs are cancelled while clients are answered and go, then nodes are closed. */
  async close(): Promise<void> {
    // What a command still sets up is refused: nobody would take it down.
    this.nodes.stopOpening();
    const stopped = this.nbd.close();
    // Nobody waits for a limit that protects work which has ended.
    for (const node of this.graph.nodes()) node.hurry();
    // A disk that hangs must not keep the process: whoever waits for it has waited enough then.
    const grace = this.clock.after(CLOSE_GRACE_MS, () => {
      for (const node of this.graph.nodes()) node.cancelInFlight();
    });
    // A client's write can wait for a target that only a cancelled job lets go of.
    await this.jobs.close();
    await stopped;
    grace.cancel();
    await this.nodes.closeAll();
  }
}
