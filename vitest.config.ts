import { defineConfig } from 'vitest/config';

const POLL_MS_MAX = 20_000;

// One project a kind of test, so that `npm run check` can run the fast ones alone.
const project = (name: string, include: string[], testTimeout: number) => ({
  test: {
    name,
    include,
    testTimeout,
    hookTimeout: testTimeout,
    environment: 'node' as const,
    setupFiles: ['test/support/last-net.ts'],
    // What is waited for may be a program's start on a machine that is busy.
    expect: { poll: { timeout: POLL_MS_MAX } },
  },
});

export default defineConfig({
  test: {
    // Two cores and real peers: more workers only make every test slower.
    maxWorkers: 2,
    projects: [
      project('unit', ['test/unit/**/*.test.ts', 'test/property/**/*.test.ts'], 30_000),
      project('conformance', ['test/conformance/**/*.test.ts'], 60_000),
      project('interop', ['test/interop/**/*.test.ts'], 120_000),
      // The behaviours that QEMU's iotests assert, told anew: one file a behaviour.
      project('iotests', ['test/iotests/**/*.test.ts'], 120_000),
      project('e2e', ['test/e2e/**/*.test.ts'], 180_000),
      project('tidy', ['test/tidy/**/*.test.ts'], 60_000),
      // `npm run test:vm`: boots a kernel, so it is not part of `npm test`.
      project('vm', ['test/vm/**/*.test.ts'], 300_000),
    ],
  },
});
