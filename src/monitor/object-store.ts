import type { Qmp } from '../../protocol/qmp/schema.ts';
import { ThrottleGroup } from '../block/throttle-group.ts';
import type { ThrottleLimits } from '../block/throttle-limits.ts';
import type { Clock } from '../util/clock.ts';
import { RefusedError } from '../util/errors.ts';
import { isWellFormedId } from '../util/identifier.ts';

/** What `object-add` makes: throttle groups, and iothreads that nobody runs. */
type ThrottleGroupOptions = Extract<Qmp<'ObjectOptions'>, { 'qom-type': 'throttle-group' }>;
type IothreadOptions = Extract<Qmp<'ObjectOptions'>, { 'qom-type': 'iothread' }>;

const INT64_MAX = 2n ** 63n - 1n;
const THREADS_MAX = 2 ** 31 - 1;

export class ObjectStore {
  readonly #clock: Clock;
  readonly #objects = new Map<string, ThrottleGroup | 'iothread'>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  add(options: Qmp<'ObjectOptions'>): void {
    const { id } = options;
    if (!isWellFormedId(id)) throw new RefusedError("Parameter 'id' expects an identifier");
    const made =
      options['qom-type'] === 'iothread'
        ? checkIothread(options)
        : new ThrottleGroup(id, limitsOf(options), this.#clock);
    if (this.#objects.has(id)) {
      throw new RefusedError(
        `attempt to add duplicate property '${id}' to object (type 'container')`,
      );
    }
    this.#objects.set(id, made);
  }

  remove(id: string): void {
    const found = this.#objects.get(id);
    if (found === undefined) throw new RefusedError(`object '${id}' not found`);
    if (found instanceof ThrottleGroup && found.inUse) {
      throw new RefusedError(`object '${id}' is in use, can not be deleted`);
    }
    this.#objects.delete(id);
  }

  hasIothread(id: string): boolean {
    return this.#objects.get(id) === 'iothread';
  }

  throttleGroup(id: string): ThrottleGroup | undefined {
    const found = this.#objects.get(id);
    return found instanceof ThrottleGroup ? found : undefined;
  }
}

function checkIothread(options: IothreadOptions): 'iothread' {
  for (const [name, value] of Object.entries(options)) {
    if (typeof value !== 'number' || value >= 0) continue;
    throw new RefusedError(`${name} value must be in range [0, ${INT64_MAX}]`);
  }
  const { 'thread-pool-min': min = 0, 'thread-pool-max': max = 64 } = options;
  if (min > max || max === 0 || max > THREADS_MAX) {
    throw new RefusedError('bad thread-pool-min/thread-pool-max values');
  }
  return 'iothread';
}

/** `x-iops-total` is the same as `iops-total` in `limits`, and is looked at last. */
function limitsOf({ limits, ...options }: ThrottleGroupOptions): ThrottleLimits {
  const merged: Record<string, number | undefined> = { ...limits };
  for (const [key, value] of Object.entries(options)) {
    if (!key.startsWith('x-') || typeof value !== 'number') continue;
    if (value < 0) throw new RefusedError('Property values cannot be negative');
    merged[key.slice('x-'.length)] = value;
  }
  return merged;
}
