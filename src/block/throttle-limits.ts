import { RefusedError } from '../util/errors.ts';
import type { Rate } from './leaky-bucket.ts';

/** What a throttle group allows, in the shape of QMP's `ThrottleLimits`; 0 and absent: no limit. */
type Unit = 'bps' | 'iops';
type Direction = 'total' | 'read' | 'write';
type Key = `${Unit}-${Direction}`;
export type ThrottleLimits = {
  readonly [K in Key | `${Key}-max` | `${Key}-max-length` | 'iops-size']?: number | undefined;
};

/** Checked: one rate for each kind of limit. */
export interface ThrottleRates {
  readonly rates: Readonly<Record<Key, Rate>>;
  /** Bytes that count as one operation when a request has more; 0: requests count as one. */
  readonly operationBytes: number;
}

export const DIRECTIONS = ['total', 'read', 'write'] as const;
const KEYS = (['bps', 'iops'] as const).flatMap((unit) =>
  DIRECTIONS.map((direction): Key => `${unit}-${direction}`),
);
const RATE_MAX = 1e15;
const BURST_SECONDS_MAX = 2 ** 32 - 1;

/** Throws `RefusedError` where limits contradict each other; QEMU's order and words. */
export function checkLimits(limits: ThrottleLimits): ThrottleRates {
  for (const key of KEYS) {
    const seconds = limits[`${key}-max-length`] ?? 1;
    if (seconds >= 0 && seconds <= BURST_SECONDS_MAX) continue;
    throw new RefusedError(
      `${key}-max-length value must be in the range [0, ${BURST_SECONDS_MAX}]`,
    );
  }
  const rates = Object.fromEntries(
    KEYS.map((key) => [
      key,
      {
        average: limits[key] ?? 0,
        burst: limits[`${key}-max`] ?? 0,
        burstSeconds: limits[`${key}-max-length`] ?? 1,
      },
    ]),
  ) as Record<Key, Rate>;
  const operationBytes = limits['iops-size'] ?? 0;
  checkConflicts(rates);
  if (operationBytes !== 0 && DIRECTIONS.every((to) => rates[`iops-${to}`].average === 0)) {
    throw new RefusedError('iops size requires an iops value to be set');
  }
  for (const key of KEYS) checkRate(rates[key]);
  return { rates, operationBytes };
}

function checkConflicts(rates: ThrottleRates['rates']): void {
  for (const unit of ['bps', 'iops'] as const) {
    for (const what of ['average', 'burst'] as const) {
      const { [`${unit}-total` as const]: total } = rates;
      const parts = rates[`${unit}-read`][what] !== 0 || rates[`${unit}-write`][what] !== 0;
      if (total[what] === 0 || !parts) continue;
      throw new RefusedError(
        'bps/iops/max total values and read/write values cannot be used at the same time',
      );
    }
  }
}

function checkRate({ average, burst, burstSeconds }: Rate): void {
  const outside = (value: number) => value < 0 || value > RATE_MAX;
  if (outside(average) || outside(burst)) {
    throw new RefusedError(`bps/iops/max values must be within [0, ${RATE_MAX}]`);
  }
  if (burstSeconds === 0) throw new RefusedError('the burst length cannot be 0');
  if (burst === 0) {
    if (burstSeconds > 1) throw new RefusedError('burst length set without burst rate');
    return;
  }
  if (burstSeconds > RATE_MAX / burst) {
    throw new RefusedError('burst length too high for this burst rate');
  }
  if (average === 0) {
    throw new RefusedError('bps_max/iops_max require corresponding bps/iops values');
  }
  if (burst < average) throw new RefusedError('bps_max/iops_max cannot be lower than bps/iops');
}
