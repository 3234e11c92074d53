import { planQsd } from '../daemon/qsd-options.ts';
import { runDaemon } from './run-daemon.ts';

/** `daemon`: the command line of qemu-storage-daemon, for whoever has one already. */
const HELP = `Usage: nbd-mirror daemon [options]

The command line of qemu-storage-daemon. Options are carried out in their order.

  --blockdev [driver=]DRIVER,node-name=NAME,...   add a node: file, host_device, nbd, raw, x-memory
  --nbd-server addr.type=inet,addr.host=HOST,addr.port=PORT[,max-connections=N]
  --nbd-server addr.type=unix,addr.path=PATH[,max-connections=N]
  --export [type=]nbd,id=ID,node-name=NODE[,name=NAME][,writable=on|off]
  --chardev socket,id=ID,path=PATH,server=on,wait=off       or host=HOST,port=PORT;
                                                  websocket=on: a WebSocket, one message a frame
  --monitor chardev=ID[,token-file=PATH]          QMP on that chardev; beyond this host clients
                                                  need the token in the file
  --object iothread,id=ID                         accepted; one event loop does all the work
  --pidfile PATH                                  written once everything listens
  -h, --help                                      this text

Values are key=value,outer.inner=value with ,, for a comma, or JSON that begins with {.
`;

export async function daemon(argv: readonly string[]): Promise<void> {
  if (argv.includes('-h') || argv.includes('--help')) {
    process.stdout.write(HELP);
    return;
  }
  const { steps, pidFile } = planQsd(argv);
  await runDaemon({ logLevel: 'warn', pidFile }, async (running) => {
    for (const step of steps) {
      if (step.do === 'monitor') await running.listenQmp(step.endpoint, step.tokenFile);
      else await running.dispatcher.execute(step.command, step.arguments);
    }
  });
}
