import { createInterface } from 'node:readline';
import { parseKeyval } from '../daemon/keyval.ts';
import type { Endpoint } from '../net/endpoint.ts';
import { systemClock } from '../util/clock.ts';
import { RefusedError, UsageError } from '../util/errors.ts';
import { QmpClient, type QmpEvent } from './qmp-client.ts';

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
  const print = (value: unknown) => process.stdout.write(`${JSON.stringify(value)}\n`);
  const onEvent = (event: QmpEvent) => {
    if (options.events) print(event);
  };
  const { qmp: endpoint, qmpTokenFile: tokenFile } = options;
  const client = await QmpClient.connect(endpoint, systemClock, { tokenFile, onEvent });
  try {
    if (command !== undefined) print(await client.execute(command, argumentsOf(words)));
    else if (!options.events) await runLines(client, print);
    if (options.events) await client.closed;
  } finally {
    client.close();
  }
}

async function runLines(client: QmpClient, print: (value: unknown) => void): Promise<void> {
  for await (const line of createInterface({ input: process.stdin })) {
    if (line.trim() === '') continue;
    const [command, ...words] = line.trim().split(/\s+/);
    try {
      print(await client.execute(command!, argumentsOf(words)));
    } catch (error) {
      if (!(error instanceof RefusedError)) throw error;
      print({ error: { class: error.errorClass, desc: error.message } });
      process.exitCode = 1;
    }
  }
}

/** One JSON object, or `key=value` words whose values are JSON where they can be. */
export function argumentsOf(words: readonly string[]): object | undefined {
  if (words.length === 0) return undefined;
  const text = words.join(' ');
  if (text.startsWith('{')) {
    try {
      return JSON.parse(text) as object;
    } catch (error) {
      throw new UsageError(`Cannot read the arguments as JSON: ${(error as Error).message}`);
    }
  }
  return mapValues(
    parseKeyval(words.map((word) => word.replaceAll(',', ',,')).join(',')),
  ) as object;
}

function mapValues(value: unknown): unknown {
  if (typeof value === 'string') return scalar(value);
  if (Array.isArray(value)) return value.map(mapValues);
  return Object.fromEntries(
    Object.entries(value as object).map(([key, inner]) => [key, mapValues(inner)]),
  );
}

function scalar(text: string): unknown {
  if (/^-?\d+$/.test(text)) return Number(text);
  if (text === 'true' || text === 'on') return true;
  if (text === 'false' || text === 'off') return false;
  return text;
}
