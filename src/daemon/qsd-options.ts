import { checkValue } from '../../protocol/qmp/check-arguments.ts';
import { QmpError } from '../../protocol/qmp/error.ts';
import type { Arguments, CommandName, Qmp, TypeName } from '../../protocol/qmp/schema.ts';
import { parsePort } from '../net/address.ts';
import type { Endpoint } from '../net/endpoint.ts';
import { UsageError } from '../util/errors.ts';
import { parseObject } from './keyval.ts';

/**
 * The command line of qemu-storage-daemon as steps to take, in the order in which they stand: QMP
 * commands, monitors to open. Nothing is done here, so a mistake in the last option costs nothing.
 */
export type Step =
  | { readonly do: 'execute'; readonly command: CommandName; readonly arguments: object }
  | {
      readonly do: 'monitor';
      readonly endpoint: Endpoint;
      readonly tokenFile: string | undefined;
    };

export interface QsdPlan {
  readonly steps: readonly Step[];
  readonly pidFile: string | undefined;
}

const OPTIONS = ['blockdev', 'chardev', 'export', 'monitor', 'nbd-server', 'object', 'pidfile'];

export function planQsd(argv: readonly string[]): QsdPlan {
  const steps: Step[] = [];
  const chardevs = new Map<string, Endpoint>();
  let pidFile: string | undefined;
  for (const { option, value } of readOptions(argv)) {
    switch (option) {
      case 'blockdev':
        steps.push(execute('blockdev-add', check('BlockdevOptions', value, 'driver')));
        break;
      case 'export':
        steps.push(execute('block-export-add', check('BlockExportOptions', value, 'type')));
        break;
      case 'nbd-server':
        steps.push(execute('nbd-server-start', nbdServer(value)));
        break;
      case 'chardev':
        addChardev(chardevs, value);
        break;
      case 'monitor':
        steps.push(monitor(chardevs, value));
        break;
      case 'object':
        steps.push(execute('object-add', check('ObjectOptions', value, 'qom-type')));
        break;
      case 'pidfile':
        pidFile = value;
        break;
    }
  }
  return { steps, pidFile };
}

/** `--name value` and `--name=value`. */
function* readOptions(argv: readonly string[]): Generator<{ option: string; value: string }> {
  for (let at = 0; at < argv.length; at++) {
    const word = argv[at]!;
    const match = /^--([a-z-]+)(?:=(.*))?$/s.exec(word);
    const option = match?.[1];
    if (option === 'daemonize') {
      throw new UsageError('--daemonize is not offered: start nbd-mirror under a service manager');
    }
    if (option === undefined || !OPTIONS.includes(option)) {
      const known = OPTIONS.map((name) => `--${name}`).join(', ');
      throw new UsageError(`Unknown option '${word}'; daemon knows ${known}`);
    }
    const value = match?.[2] ?? argv[++at];
    if (value === undefined) throw new UsageError(`Option '${word}' requires a value`);
    yield { option, value };
  }
}

function execute<Name extends CommandName>(command: Name, given: Arguments<Name>): Step {
  return { do: 'execute', command, arguments: given };
}

/** An option's value as the schema knows it. */
function check<Name extends TypeName>(type: Name, text: string, impliedKey?: string): Qmp<Name> {
  const { json, value } = parseObject(text, impliedKey);
  try {
    return checkValue(type, value, { strings: !json });
  } catch (error) {
    if (error instanceof QmpError) throw new UsageError(`${error.message} (in '${text}')`);
    throw error;
  }
}

function nbdServer(text: string): Arguments<'nbd-server-start'> {
  const { addr, ...rest } = check('NbdServerOptions', text);
  const { type, ...data } = addr;
  return { ...rest, addr: { type, data } } as Arguments<'nbd-server-start'>;
}

/** `socket,id=ID,path=PATH,server=on,wait=off[,websocket=on]`, or host and port. */
function addChardev(chardevs: Map<string, Endpoint>, text: string): void {
  const options = check('ChardevOptions', text, 'backend');
  const { backend, id, path, host, port, server, wait, websocket: webSocket = false } = options;
  if (backend !== 'socket') {
    throw new UsageError(`Chardev '${id}': only the backend 'socket' is offered, not '${backend}'`);
  }
  if (!server) {
    throw new UsageError(`Chardev '${id}': only server=on is offered`);
  }
  if (wait) {
    throw new UsageError(`Chardev '${id}': only wait=off is offered, nobody is waited for`);
  }
  if (path !== undefined) {
    chardevs.set(id, { address: { type: 'unix', path }, webSocket });
    return;
  }
  const number = parsePort(port ?? '');
  if (!host || number === undefined) {
    throw new UsageError(`Chardev '${id}' needs path=PATH, or host=HOST,port=PORT`);
  }
  chardevs.set(id, { address: { type: 'inet', host, port: number }, webSocket });
}

/** `chardev=ID[,token-file=PATH]`. `pretty` is about blanks, which mean nothing in JSON. */
function monitor(chardevs: ReadonlyMap<string, Endpoint>, text: string): Step {
  const { chardev, mode, 'token-file': tokenFile } = check('MonitorOptions', text, 'chardev');
  if (mode !== undefined && mode !== 'control') {
    throw new UsageError(`Monitor mode '${mode}' is not offered, only 'control' (QMP)`);
  }
  const endpoint = chardevs.get(chardev);
  if (endpoint === undefined) throw new UsageError(`chardev "${chardev}" not found`);
  return { do: 'monitor', endpoint, tokenFile };
}
