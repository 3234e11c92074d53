import { createInterface } from 'node:readline';
import type { Endpoint } from '../net/endpoint.ts';
import { systemClock } from '../util/clock.ts';
import { RefusedError, UsageError } from '../util/errors.ts';
import { endWithReader } from './output.ts';
import { QmpClient, type QmpEvent } from './qmp-client.ts';
import { argumentsOf, messageOf } from './qmp-words.ts';

/** `qmp`: one command from the command line, or one from each line of stdin; answers as JSON. */
export async function qmp(
  command: string | undefined,
  words: readonly string[],
  options: {
    readonly qmp: Endpoint;
    readonly qmpTokenFile?: string;
    readonly events: boolean;
  },
): Promise<void> {
  endWithReader();
  const print = (value: unknown) => process.stdout.write(`${JSON.stringify(value)}\n`);
  let mayEnd = command === 'quit';
  const onEvent = (event: QmpEvent) => {
    if (event.event === 'SHUTDOWN') mayEnd = true;
    if (options.events) print(event);
  };
  const { qmp: endpoint, qmpTokenFile: tokenFile } = options;
  const client = await QmpClient.connect(endpoint, systemClock, { tokenFile, onEvent });
  try {
    if (command !== undefined) print(await runOne(client, command, words));
    else if (!options.events) await runLines(client, print);
    if (options.events) {
      await client.closed;
      // Who waits for an event is not to take this for it.
      if (!mayEnd) throw new UsageError(`The connection to ${client.peer} was lost`);
    }
  } finally {
    client.close();
  }
}

/** A script may have many: a refusal says which one it was. */
async function runOne(client: QmpClient, command: string, words: readonly string[]) {
  try {
    return await client.execute(command, argumentsOf(command, words));
  } catch (error) {
    if (!(error instanceof RefusedError)) throw error;
    throw new RefusedError(`${command}: ${error.message}`, error.errorClass);
  }
}

async function runLines(client: QmpClient, print: (value: unknown) => void): Promise<void> {
  for await (const line of createInterface({ input: process.stdin })) {
    if (line.trim() === '') continue;
    try {
      const message = readLine(line);
      // Scripts of other clients begin so; ours has done it.
      const isDone = message.execute === 'qmp_capabilities';
      print(isDone ? {} : await client.send(message));
    } catch (error) {
      if (!(error instanceof RefusedError)) throw error;
      print({ error: { class: error.errorClass, desc: error.message } });
      process.exitCode = 1;
    }
  }
}

/** What cannot be read is refused as if the daemon had done it: the lines behind it are others. */
function readLine(line: string): ReturnType<typeof messageOf> {
  try {
    return messageOf(line);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    throw new RefusedError(error.message);
  }
}
