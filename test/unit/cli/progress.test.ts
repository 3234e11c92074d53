import { describe, expect, it } from 'vitest';
import { ProgressLine, progressText } from '../../../src/cli/progress.ts';

function lineTo(isTTY: boolean, columns?: number) {
  const written: string[] = [];
  let now = 0;
  const write = (text: string) => written.push(text);
  const out = { isTTY, ...(columns !== undefined && { columns }), write };
  const line = new ProgressLine(out, () => now);
  return {
    written,
    show(text: string, news: string) {
      line.show(text, news);
      now += 5000;
    },
  };
}

it('is not all of nothing, before it is known what there is', () => {
  const figures = { id: 'm', transferredBytes: 0, totalBytes: 0, dirtyBytes: 0, bytesPerSecond: 0 };
  const at = { ...figures, elapsedSeconds: 5 };
  expect(progressText({ ...at, status: 'running' })).toBe('m: looking for what to copy, since 5s');
  expect(progressText({ ...at, status: 'ready' })).toMatch(/0 B of 0 B \(100\.00%\) .*, ready$/);
  // Nor has it become all by then.
  expect(progressText({ ...at, status: 'failed' })).toBe('m: failed, after 5s');
  expect(progressText({ ...at, status: 'paused' })).toBe('m: paused, after 5s');
});

it('says how long it still takes, where that is known', () => {
  const figures = {
    id: 'm',
    transferredBytes: 1024,
    totalBytes: 4096,
    dirtyBytes: 3072,
    bytesPerSecond: 512,
    status: 'running',
    elapsedSeconds: 2,
  };
  const begin = 'm: transferred 1.00 KiB of 4.00 KiB (25.00%) in 2s, ';
  expect(progressText(figures)).toBe(`${begin}512 B/s, 3.00 KiB dirty`);
  expect(progressText({ ...figures, secondsLeft: 6 })).toBe(
    `${begin}about 10s left, 512 B/s, 3.00 KiB dirty`,
  );
});

describe('a progress line', () => {
  it('comes off a terminal only with news', () => {
    const { written, show } = lineTo(false);
    show('half in 5s', 'half');
    show('half in 10s', 'half');
    show('all in 15s', 'all');
    expect(written).toEqual(['half in 5s\n', 'all in 15s\n']);
  });

  it('is drawn anew on a terminal, whatever it says', () => {
    const { written, show } = lineTo(true);
    show('half in 5s', 'half');
    show('half in 10s', 'half');
    expect(written).toHaveLength(2);
    expect(written[1]).toContain('half in 10s');
  });

  it.each([
    [5, 'half'],
    [0, 'half in 5s'],
  ])('is as long as a terminal of %i columns shows', (columns, shown) => {
    const { written, show } = lineTo(true, columns);
    show('half in 5s', 'half');
    expect(written).toEqual([`\r\x1b[K${shown}`]);
  });
});
