import { createRequire } from 'node:module';
import { type Log, silentLog } from '../util/log.ts';
import { sayLine } from './output.ts';

/** The process's log: JSON lines for machines, short lines for people; always to stderr. */
export interface LogOptions {
  readonly logLevel: string;
  /** Default: text on a terminal, JSON elsewhere. */
  readonly logFormat?: 'json' | 'text' | undefined;
}

export function makeLog(options: LogOptions): Log {
  return options.logLevel === 'silent' ? silentLog : withPino(options);
}

/**
 * For a command that is soon over. To load pino takes 20 ms, a tenth of the time that `copy` needs
 * to begin, and mostly it has nothing to say: pino comes with the first line. (A daemon has it from
 * the start: when days later there is trouble to tell of, its own files may be gone or unreadable.)
 */
export function makeLateLog(options: LogOptions): Log {
  return late(options.logLevel, () => makeLog(options));
}

const NAMES = ['debug', 'info', 'warn', 'error'] as const;

function late(level: string, make: () => Log): Log {
  let made: Log | undefined;
  const log = () => {
    made ??= make();
    return made;
  };
  const say = (name: (typeof NAMES)[number]): Log['info'] => {
    if (NAMES.indexOf(name) < NAMES.indexOf(level as 'info')) return () => {};
    return (fields, message) => log()[name](fields, message);
  };
  return {
    debug: say('debug'),
    info: say('info'),
    warn: say('warn'),
    error: say('error'),
    child: (fields) => late(level, () => log().child(fields)),
  };
}

function withPino(options: LogOptions): Log {
  const { pino } = createRequire(import.meta.url)('pino') as typeof import('pino');
  const format = options.logFormat ?? (process.stderr.isTTY ? 'text' : 'json');
  if (format === 'text') {
    const write = (line: string) => sayLine(textLine(line));
    return pino({ level: options.logLevel, base: null }, { write });
  }
  const lines = pino.destination({ fd: 2, sync: true });
  // As `outliveOutput`: its disk may be full.
  lines.on('error', () => {});
  return pino({ level: options.logLevel, base: null }, lines);
}

const LEVELS: Record<number, string> = { 20: 'debug', 30: 'info', 40: 'warn', 50: 'error' };

/** `2026-01-31T12:00:00.000Z warn mirror error job=mirror0 side=target`. */
function textLine(line: string): string {
  const { level, time, msg, ...fields } = JSON.parse(line) as Record<string, unknown>;
  const clock = new Date(time as number).toISOString();
  const rest = Object.entries(fields).map(([key, value]) =>
    typeof value === 'string' && !value.includes(' ')
      ? `${key}=${value}`
      : `${key}=${JSON.stringify(value)}`,
  );
  return [clock, LEVELS[level as number] ?? level, msg, ...rest].join(' ');
}
