import { planQsd } from '../daemon/qsd-options.ts';
import { runDaemon } from './run-daemon.ts';

/** `daemon`: the command line of qemu-storage-daemon, for whoever has one already. */
export async function daemon(argv: readonly string[]): Promise<void> {
  const { steps, pidFile } = planQsd(argv);
  await runDaemon({ logLevel: 'warn', pidFile }, async (running) => {
    for (const step of steps) {
      if (step.do === 'monitor') await running.listenQmp(step.endpoint, step.tokenFile);
      else await running.dispatcher.execute(step.command, step.arguments);
    }
  });
}
