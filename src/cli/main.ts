import { Command, Option } from 'commander';
import { QmpError } from '../../protocol/qmp/error.ts';
import { BlockError, RefusedError, UsageError } from '../util/errors.ts';
import {
  countOption,
  endpointOption,
  hostOption,
  pathOption,
  portOption,
  secondsOption,
  sizeOption,
} from './arguments.ts';
import { outliveOutput } from './output.ts';
import { version } from './version.ts';

/**
 * The command line: options to a daemon in this process, or to QMP requests to one elsewhere.
 * Each command's module is loaded only when it runs, so that `status` does not pay for a server.
 *
 * Exit codes: 0 well, 1 wrong use or failure, 2 a predicate is false, 128 and the number of the
 * signal that interrupted.
 */
const program = new Command('nbd-mirror')
  .description('Exports a disk over NBD and mirrors it, live, to a remote NBD target.')
  .version(version, '-V, --version')
  .showHelpAfterError('(run with --help for the options)')
  .configureHelp({ showGlobalOptions: false });

const logLevel = () =>
  new Option('--log-level <level>', 'what is logged to stderr')
    .choices(['debug', 'info', 'warn', 'error', 'silent'])
    .default('warn');
const logFormat = () => new Option('--log-format <format>', 'log lines').choices(['json', 'text']);
const copyMode = () =>
  new Option('--copy-mode <mode>', 'when client writes reach the target')
    .choices(['background', 'write-blocking'])
    .default('background');
const QMP_ADDRESSES = 'unix:PATH, tcp:HOST:PORT or ws://HOST:PORT';

/** Options of the commands that are clients of a daemon. */
function asking(command: Command): Command {
  const where = new Option('--qmp <address>', `where the daemon listens: ${QMP_ADDRESSES}`);
  return command
    .addOption(where.argParser(endpointOption).makeOptionMandatory())
    .option('--qmp-token-file <path>', 'file with the token that the daemon asks for');
}

/** Options of the commands that listen for NBD clients. */
function listening(command: Command): Command {
  return command
    .addOption(
      new Option('-x, --export-name <name>', 'name of the export').default('', 'the empty name'),
    )
    .option('-D, --description <text>', 'description of the export')
    .option('-b, --bind <host>', 'address to listen on', hostOption, '127.0.0.1')
    .option('-p, --port <port>', 'TCP port to listen on', portOption, 10809)
    .addOption(
      new Option('-k, --socket <path>', 'Unix socket to listen on instead of TCP')
        .argParser(pathOption)
        .conflicts(['bind', 'port']),
    )
    .option('-e, --shared <n>', 'clients at a time; 0 is no limit', countOption, 100)
    .option('-P, --pid-file <path>', 'has the process id once clients can connect', pathOption)
    .option('--qmp <address>', `QMP monitor: ${QMP_ADDRESSES}`, endpointOption)
    .option('--qmp-token-file <path>', 'file with the token that QMP clients must show')
    .addOption(logLevel())
    .addOption(logFormat());
}

listening(program.command('serve'))
  .description('export a disk and, with --target, mirror it')
  .requiredOption('-s, --source <disk>', 'raw file, block device or NBD URI to export')
  .option(
    '-t, --target <uri...>',
    'raw file, block device or NBD URI to mirror to; may be repeated',
  )
  .option('-r, --read-only', 'clients may not write', false)
  .option('-o, --offset <size>', 'where in the source the export begins', sizeOption)
  .option('--size <size>', 'how much of the source is exported', sizeOption)
  .addOption(
    new Option('--cache <mode>', 'how a source file is cached (default: writeback)').choices([
      'writeback',
      'none',
    ]),
  )
  .addOption(
    new Option('--discard <mode>', 'what TRIM does to the source (default: unmap)').choices([
      'unmap',
      'ignore',
    ]),
  )
  .addOption(
    new Option(
      '--detect-zeroes <mode>',
      'write zeroes as such (on), or as holes (unmap) (default: off)',
    ).choices(['off', 'on', 'unmap']),
  )
  .addOption(
    new Option(
      '--sync <mode>',
      'what is copied at first: all (top is the same, as nothing here has a backing file), or ' +
        'nothing; then the target must be equal to the source already',
    )
      .choices(['full', 'top', 'none'])
      .default('full'),
  )
  .option(
    '--bitmap <name>',
    'create this bitmap, clean, and copy only what is written from now on: the target must be ' +
      'equal to the source at every start',
  )
  .option(
    '--granularity <size>',
    'bytes that one dirty bit stands for: a power of two, 512 to 64M (default: 64K)',
    sizeOption,
  )
  .addOption(copyMode())
  .option(
    '--reconnect-delay <seconds>',
    'how long an NBD server that went away is waited for; 0: what was asked of it fails at once',
    secondsOption,
    30,
  )
  .option('--speed <size>', 'copy at most so many bytes a second; 0 is no limit', sizeOption, 0)
  .addHelpText('after', serveExamples())
  .action(async (options, command: Command) => {
    const { serve } = await import('./serve.ts');
    await serve(options, (option) => command.getOptionValueSource(option) === 'cli');
  });

listening(program.command('receive'))
  .description('export a raw file or block device to be mirrored into')
  .argument('<file>', 'file or block device; with --size the file is created')
  .option(
    '--size <size>',
    'create the file, empty, if it is not there (not once it has been a copy)',
    sizeOption,
  )
  .action(async (file, options) => (await import('./serve.ts')).receive(file, options));

program
  .command('copy')
  .description('copy a disk once: raw files, block devices and NBD URIs')
  .argument('<source>')
  .argument('<target>', 'at least as large as the source, or a file that is not there yet')
  .option('--target-is-zero', 'the target is known to read as zeroes', false)
  .option('--speed <size>', 'copy at most so many bytes a second; 0 is no limit', sizeOption, 0)
  .option('-p, --progress', 'show progress also when stderr is not a terminal', false)
  .addOption(new Option('-q, --quiet', 'show no progress').default(false).conflicts('progress'))
  .addOption(logLevel())
  .addOption(logFormat())
  .action(async (source, target, options) =>
    (await import('./copy.ts')).copy(source, target, options),
  );

program
  .command('daemon')
  .description('the command line of qemu-storage-daemon')
  .allowUnknownOption()
  .configureHelp({ formatHelp: daemonHelp })
  .argument('[options...]')
  .action(async (_words, _options, command: Command) =>
    (await import('./daemon-command.ts')).daemon(command.args),
  );

asking(program.command('status'))
  .description('what a daemon exports and mirrors')
  .option('--json', 'print what QMP answers', false)
  .addOption(
    new Option(
      '--is <state>',
      'exit with 0 if there are jobs and all are so (ready: and neither paused nor out of reach; ' +
        'synced: as only write-blocking ones get), with 1 if one has failed, else with 2',
    ).choices(['ready', 'synced']),
  )
  .action(async (options) => (await import('./status.ts')).status(options));

asking(program.command('qmp'))
  .description('run one QMP command, or one from each line of stdin')
  .argument('[command]', 'such as query-jobs; in a line also {"execute": ...}')
  .argument('[arguments...]', 'KEY=VALUE, or one JSON object')
  .option(
    '--events',
    'stay connected and print events (without a command nothing else); exit with 1 when the ' +
      'connection is lost without a SHUTDOWN event',
    false,
  )
  .action(async (command, args, options) => (await import('./qmp.ts')).qmp(command, args, options));

program
  .command('demo')
  .description('mirror a sample disk under a little load')
  .option('--once', 'complete as soon as it is READY, compare, print the figures', false)
  .addOption(logLevel())
  .addOption(logFormat())
  .action(async (options) => (await import('./demo.ts')).demo(options));

// The one that `commander` has shows the whole help, and no error, for a command that is not there.
program.helpCommand(false);
program
  .command('help')
  .description('display help for command')
  .argument('[command]')
  .action(async (name?: string) => {
    const about = name === undefined ? program : program.commands.find((it) => it.name() === name);
    if (about === undefined) await program.parseAsync([name!], { from: 'user' });
    else about.help();
  });

function serveExamples(): string {
  return `
Examples:
  nbd-mirror serve -s disk.raw                                   export only
  nbd-mirror serve -s disk.raw -t nbd://backup-host/disk         and keep a copy elsewhere
  nbd-mirror serve -s disk.raw -t nbd://h/d --copy-mode write-blocking --qmp unix:/run/qmp.sock`;
}

function daemonHelp(): string {
  return `Usage: nbd-mirror daemon [options]

The command line of qemu-storage-daemon. Options are carried out in their order.

  --blockdev [driver=]DRIVER,node-name=NAME,...   add a node: file, host_device, nbd, raw,
                                                  throttle, x-memory
  --nbd-server addr.type=inet,addr.host=HOST,addr.port=PORT[,max-connections=N]
  --nbd-server addr.type=unix,addr.path=PATH[,max-connections=N]
  --export [type=]nbd,id=ID,node-name=NODE[,name=NAME][,writable=on|off]
  --chardev socket,id=ID,path=PATH,server=on,wait=off       or host=HOST,port=PORT;
                                                  websocket=on: a WebSocket, one message a frame
  --monitor chardev=ID[,token-file=PATH]          QMP on that chardev; beyond this host clients
                                                  need the token in the file
  --object throttle-group,id=ID,limits.iops-total=N,...   for throttle nodes
  --object iothread,id=ID                         accepted; one event loop does all the work
  --pidfile PATH                                  written once everything listens
  -h, --help                                      this text

Values are key=value,outer.inner=value with ,, for a comma, or JSON that begins with {.
`;
}

outliveOutput();
program.parseAsync().catch((error: unknown) => {
  const isRefusal =
    error instanceof UsageError ||
    error instanceof RefusedError ||
    error instanceof QmpError ||
    error instanceof BlockError;
  if (!isRefusal) throw error;
  process.stderr.write(`nbd-mirror: ${error.message}\n`);
  process.exitCode = 1;
});
