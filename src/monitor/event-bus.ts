import type { EventMessage } from '../../protocol/qmp/envelope.ts';
import type { EventName } from '../../protocol/qmp/schema.ts';
import type { Clock } from '../util/clock.ts';

/** Events from whoever has one to tell, with the time at which it was told, to all who listen. */
export type EventListener = (event: EventMessage) => void;

export class EventBus {
  readonly #clock: Clock;
  readonly #listeners = new Set<EventListener>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  emit(event: EventName, data: object): void {
    const now = this.#clock.wallMicroseconds();
    const timestamp = { seconds: Math.floor(now / 1e6), microseconds: now % 1e6 };
    for (const listener of this.#listeners) listener({ timestamp, event, data });
  }

  /** Calls `listener` for every event from now on, until the returned function is called. */
  subscribe(listener: EventListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}
