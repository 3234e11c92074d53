import { QmpError } from './error.ts';
import type { Json, JsonObject } from './json-builder.ts';

/** What goes around a command, its reply and an event. */
export interface Request {
  readonly command: string;
  /** It was sent with `exec-oob`: it does not wait for what was sent before it. */
  readonly outOfBand: boolean;
  readonly arguments: JsonObject;
}

export interface Version {
  readonly qemu: { readonly micro: number; readonly minor: number; readonly major: number };
  readonly package: string;
}

export interface Timestamp {
  readonly seconds: number;
  readonly microseconds: number;
}

/** An event as it goes out. */
export interface EventMessage {
  readonly timestamp: Timestamp;
  readonly event: string;
  readonly data?: object;
}

const NO_ARGUMENTS: JsonObject = Object.freeze({});

/**
 * The command in a message. Throws `QmpError` when it is not a well-formed request; `exec-oob` is
 * no part of one until the client has enabled it.
 */
export function readRequest(message: Json, options: { readonly oobEnabled: boolean }): Request {
  if (!isObject(message)) throw new QmpError('QMP input must be a JSON object');
  let command: string | undefined;
  let given = NO_ARGUMENTS;
  for (const [key, value] of Object.entries(message)) {
    if (key === 'execute' || (key === 'exec-oob' && options.oobEnabled)) {
      if (typeof value !== 'string')
        throw new QmpError(`QMP input member '${key}' must be a string`);
      if (command !== undefined) {
        throw new QmpError("QMP input member 'execute' clashes with 'exec-oob'");
      }
      command = value;
    } else if (key === 'arguments') {
      if (!isObject(value)) throw new QmpError("QMP input member 'arguments' must be an object");
      given = value;
    } else if (key !== 'id') {
      throw new QmpError(`QMP input member '${key}' is unexpected`);
    }
  }
  if (command === undefined) throw new QmpError("QMP input lacks member 'execute'");
  return { command, outOfBand: isOutOfBand(message), arguments: given };
}

/** Whether a message asks to be served ahead of those before it. */
export function isOutOfBand(message: Json): boolean {
  return isObject(message) && 'exec-oob' in message && !('execute' in message);
}

/** The `id` of a message, whatever else is wrong with it. */
export function idOf(message: Json): Json | undefined {
  return isObject(message) ? message['id'] : undefined;
}

export function greeting(version: Version): object {
  return { QMP: { version, capabilities: ['oob'] } };
}

/** `id` comes last here and first in an error, as QEMU has it. */
export function successReply(result: unknown, id: Json | undefined): object {
  return { return: result ?? {}, id };
}

export function errorReply(error: QmpError, id: Json | undefined): object {
  return { id, error: { class: error.errorClass, desc: shortened(error.message) } };
}

function isObject(value: Json | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** A sentence may quote what a client sent, more than once: tens of megabytes. */
const SENTENCE_UNITS_MAX = 64 * 1024;

function shortened(sentence: string): string {
  if (sentence.length <= SENTENCE_UNITS_MAX) return sentence;
  const cutsPair = sentence.codePointAt(SENTENCE_UNITS_MAX - 1)! > 0xffff;
  const kept = sentence.slice(0, SENTENCE_UNITS_MAX - Number(cutsPair));
  return `${kept} [and ${sentence.length - kept.length} more characters]`;
}
