/** Sizes as people write and read them: K, M, G, T are powers of 1024. */
const UNITS: Record<string, number> = {
  '': 1,
  K: 2 ** 10,
  M: 2 ** 20,
  G: 2 ** 30,
  T: 2 ** 40,
  P: 2 ** 50,
};
const SIZE = /^(\d+(?:\.\d+)?)\s*([KMGTP]?)(?:iB|B)?$/i;

/** `64K` is 65536; undefined when the text is no size or not a whole number of bytes. */
export function parseSize(text: string): number | undefined {
  const match = SIZE.exec(text.trim());
  if (match === null) return undefined;
  const bytes = Number(match[1]) * UNITS[match[2]!.toUpperCase()]!;
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}

/** `1536` is `1.5 KiB`; at most three digits and a unit. */
export function formatBytes(bytes: number): string {
  if (bytes < 1024) return `${bytes} B`;
  let value = bytes;
  let unit = '';
  for (const next of 'KMGTP') {
    if (value < 1024) break;
    value /= 1024;
    unit = next;
  }
  const digits = value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return `${value.toFixed(digits)} ${unit}iB`;
}

/** `75` seconds is `1m 15s`. */
export function formatSeconds(seconds: number): string {
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole}s`;
  if (whole < 3600) return `${Math.floor(whole / 60)}m ${whole % 60}s`;
  return `${Math.floor(whole / 3600)}h ${Math.floor((whole % 3600) / 60)}m`;
}

/** What is guessed is rounded up, so that it stays the same for a while: `750` seconds is `13m`. */
export function formatGuess(seconds: number): string {
  const step = seconds <= 50 ? 10 : seconds <= 3540 ? 60 : 300;
  const whole = Math.ceil(seconds / step) * step;
  if (whole < 60) return `${whole}s`;
  if (whole < 3600) return `${whole / 60}m`;
  return formatSeconds(whole);
}
