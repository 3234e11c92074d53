/**
 * Loaded into a Node process before its program: every tenth of a second it appends to
 * $LOOP_DELAY_FILE how many milliseconds the event loop was late at worst since the last line.
 */
const { appendFileSync } = require('node:fs');
const { monitorEventLoopDelay } = require('node:perf_hooks');

const RESOLUTION_MS = 1;
const histogram = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
histogram.enable();
setInterval(() => {
  // What is measured is the time from one wake-up to the next.
  const late = Math.max(0, histogram.max / 1e6 - RESOLUTION_MS);
  appendFileSync(process.env.LOOP_DELAY_FILE, `${late}\n`);
  histogram.reset();
}, 100).unref();
