import { createDispatcher } from '../../src/monitor/create-dispatcher.ts';
import type { Dispatcher } from '../../src/monitor/dispatcher.ts';
import { Monitor } from '../../src/monitor/monitor.ts';
import { Storage } from '../../src/monitor/storage.ts';
import { loadSyscalls } from '../../src/sys/syscalls.ts';
import { systemClock } from '../../src/util/clock.ts';
import { silentLog } from '../../src/util/log.ts';
import { FakeConnection } from './fake-connection.ts';

/** Everything behind a QMP socket, without the process around it. */
export interface MonitorRig {
  readonly storage: Storage;
  readonly dispatcher: Dispatcher;
  readonly monitor: Monitor;
  /** Whether `quit` was sent. */
  hasQuit(): boolean;
  /** A client that has negotiated. */
  connect(): Promise<FakeConnection>;
  /** The name of each event so far, with what it says. */
  readonly events: { readonly event: string; readonly data?: object }[];
  close(): Promise<void>;
}

export function makeMonitorRig(): MonitorRig {
  const log = silentLog;
  const clock = systemClock;
  const storage = new Storage({ syscalls: loadSyscalls({ ffi: true, log }), clock, log });
  let quit = false;
  const dispatcher = createDispatcher(storage, {
    packageVersion: '1.2.3',
    onQuit: () => {
      quit = true;
    },
  });
  const events: MonitorRig['events'] = [];
  dispatcher.onEvent(({ event, data }) => events.push({ event, ...(data && { data }) }));
  const monitor = new Monitor({ dispatcher, clock, log });
  return {
    storage,
    dispatcher,
    monitor,
    events,
    hasQuit: () => quit,
    async connect() {
      const client = new FakeConnection();
      monitor.serve(client);
      await client.send('{"execute":"qmp_capabilities"}');
      client.received.length = 0;
      return client;
    },
    async close() {
      await monitor.close();
      await storage.close();
    },
  };
}
