import { Daemon } from '../daemon/daemon.ts';
import { PidFile } from '../daemon/pid-file.ts';
import { type Endpoint, formatEndpoint } from '../net/endpoint.ts';
import { systemClock, type Timer } from '../util/clock.ts';
import { UsageError } from '../util/errors.ts';
import type { Log } from '../util/log.ts';
import { type LogOptions, makeLog } from './logger.ts';
import { version } from './version.ts';

/**
 * A command that is a daemon: set up, then serve until a signal or QMP's `quit`. A failure while
 * setting up takes everything down again before it is told. A second signal ends at once.
 */
export interface DaemonOptions extends LogOptions {
  readonly qmp?: Endpoint | undefined;
  readonly qmpTokenFile?: string | undefined;
  readonly pidFile?: string | undefined;
}

/** `NBD_MIRROR_FFI=off` keeps to what plain Node can do. */
export function makeDaemon(log: Log): Daemon {
  return new Daemon({
    clock: systemClock,
    log,
    version,
    ffi: process.env['NBD_MIRROR_FFI'] !== 'off',
  });
}

const SIGNALS = { SIGINT: 2, SIGTERM: 15, SIGHUP: 1 } as const;

export async function runDaemon(
  options: DaemonOptions,
  setUp: (daemon: Daemon) => Promise<void>,
): Promise<void> {
  if (options.qmpTokenFile !== undefined && options.qmp === undefined) {
    throw new UsageError('--qmp-token-file makes no sense without --qmp');
  }
  // Node's debugger would listen for every user of this host, and do whatever he says.
  process.on('SIGUSR1', () => {});
  const daemon = makeDaemon(makeLog(options));
  const stopped = stopSignal();
  const stay = stayAlive();
  let pidFile: PidFile | undefined;
  try {
    // Before anything else is done: a mirror may have overwritten its target when it is refused.
    if (options.pidFile !== undefined) pidFile = PidFile.prepare(options.pidFile, process.pid);
    if (options.qmp !== undefined) {
      const endpoint = await daemon.listenQmp(options.qmp, options.qmpTokenFile);
      process.stdout.write(`QMP on ${formatEndpoint(endpoint)}\n`);
    }
    // The monitor is there before the rest, and takes `quit`.
    const told = Promise.race([stopped, daemon.quitting]);
    const ready = setUp(daemon).then(() => 'ready');
    if ((await Promise.race([told.then(() => 'told'), ready])) === 'told') {
      // Something that we wait for does not answer; nobody was promised anything yet.
      ready.catch(() => {});
      await daemon.close();
      pidFile?.remove();
      process.exit(0);
    }
    pidFile?.publish();
    await told;
  } finally {
    stay.cancel();
    await daemon.close();
    pidFile?.remove();
  }
}

const STAY_MS = 2 ** 31 - 1;

/** A process that listens nowhere would end at once; qemu-storage-daemon stays, too. */
function stayAlive(): Timer {
  let timer: Timer;
  const wait = () => {
    timer = systemClock.after(STAY_MS, wait);
  };
  wait();
  return { cancel: () => timer.cancel() };
}

export function stopSignal(): Promise<void> {
  return new Promise((resolve) => {
    let seen = false;
    for (const [signal, number] of Object.entries(SIGNALS)) {
      process.on(signal, () => {
        if (seen) endBy(signal, number);
        seen = true;
        resolve();
      });
    }
  });
}

/**
 * By the signal itself: `exit` waits for what libuv's threads do, and one of them may have asked a
 * disk that hangs.
 */
function endBy(signal: string, number: number): never {
  process.removeAllListeners(signal);
  process.kill(process.pid, signal);
  // The first process of a container is not ended so.
  process.exit(128 + number);
}
