import { createInterface } from 'node:readline';
import type { Endpoint } from '../net/endpoint.ts';
import { systemClock } from '../util/clock.ts';
import { RefusedError } from '../util/errors.ts';
import { endWithReader } from './output.ts';
import { QmpClient, type QmpEvent } from './qmp-client.ts';
import { argumentsOf, splitLine } from './qmp-words.ts';

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
  const onEvent = (event: QmpEvent) => {
    if (options.events) print(event);
  };
  const { qmp: endpoint, qmpTokenFile: tokenFile } = options;
  const client = await QmpClient.connect(endpoint, systemClock, { tokenFile, onEvent });
  try {
    if (command !== undefined) print(await client.execute(command, argumentsOf(command, words)));
    else if (!options.events) await runLines(client, print);
    if (options.events) await client.closed;
  } finally {
    client.close();
  }
}

async function runLines(client: QmpClient, print: (value: unknown) => void): Promise<void> {
  for await (const line of createInterface({ input: process.stdin })) {
    if (line.trim() === '') continue;
    const { command, words } = splitLine(line);
    try {
      print(await client.execute(command, argumentsOf(command, words)));
    } catch (error) {
      if (!(error instanceof RefusedError)) throw error;
      print({ error: { class: error.errorClass, desc: error.message } });
      process.exitCode = 1;
    }
  }
}
