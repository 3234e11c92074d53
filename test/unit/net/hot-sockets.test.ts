import { beforeEach, describe, expect, it } from 'vitest';
import {
  HOT_ALONE_MS,
  HOT_ASLEEP_MS,
  HOT_AWAKE_MS,
  HOT_MISSES_MAX,
  HOT_SOCKETS_MAX,
  type HotSocket,
  HotSockets,
} from '../../../src/net/hot-sockets.ts';
import type { Clock } from '../../../src/util/clock.ts';
import type { SocketCalls } from '../../../src/util/socket-calls.ts';

/** Looks that fit into the time in which the event loop has no turn; and the first one. */
const LOOKS_ALONE = 8;

/** A look that finds nothing, and a turn of the event loop: tenths of what sockets are hot for. */
const LOOK_MS = HOT_AWAKE_MS / 10;

/** An event loop whose time passes by what it does. */
class Loop implements Pick<Clock, 'now' | 'defer' | 'hasDeferred' | 'settle' | 'slept'> {
  sleptMs = 0;
  turns = 0;
  time = 0;
  #deferred: (() => void)[] = [];
  #settling: (() => void) | undefined;

  now(): number {
    return this.time;
  }

  defer(callback: () => void): { cancel(): void } {
    this.#deferred.push(callback);
    return { cancel() {} };
  }

  slept(ms: number): void {
    this.sleptMs += ms;
  }

  get deferred(): number {
    return this.#deferred.length;
  }

  hasDeferred(): boolean {
    return this.deferred > 0;
  }

  settle(callback: () => void): void {
    this.#settling = callback;
  }

  turn(): void {
    this.turns++;
    this.time += LOOK_MS;
    const due = this.#deferred.length;
    this.#settle();
    for (let i = 0; i < due; i++) {
      this.#deferred.shift()!();
      this.#settle();
    }
  }

  #settle(): void {
    for (let run = this.#settling; run !== undefined; run = this.#settling) {
      this.#settling = undefined;
      this.time += HOT_ALONE_MS / LOOKS_ALONE;
      run();
    }
  }

  untilAsleep(): void {
    while (this.hasDeferred()) this.turn();
  }
}

class FakeSocket implements HotSocket {
  descriptor = 7;
  /** Looks that find something. */
  holds = 0;
  isEnded = false;
  throws = false;
  looks = 0;
  lookMs = 0;
  isHot = true;

  look(): boolean {
    this.looks++;
    loop.time += this.lookMs;
    if (this.throws) throw new Error('thrown');
    if (this.holds === 0) return false;
    this.holds--;
    return true;
  }

  cool(): void {
    this.isHot = false;
  }
}

let loop: Loop;
let waits: number[];
let hot: HotSockets;
/** Looks that find something for the event loop. */
let stirs = 0;
let beforeLook = () => {};

function make(mayStayAwake: boolean): HotSockets {
  let polled: readonly FakeSocket[] = [];
  const isReady = (index: number) => polled[index]!.holds > 0 || polled[index]!.isEnded;
  let isLoopReady = false;
  const calls: SocketCalls = {
    receive: () => 0,
    send: () => 0,
    unwatch() {},
    isReady,
    isLoopReady: () => isLoopReady,
    wait(sockets, waitMs) {
      beforeLook();
      polled = sockets as readonly FakeSocket[];
      waits.push(waitMs);
      const found = stirs > 0 || polled.some((_, index) => isReady(index));
      isLoopReady = stirs > 0;
      if (isLoopReady) stirs--;
      if (!found) loop.time += Math.max(waitMs, LOOK_MS);
      return found;
    },
  };
  return new HotSockets(loop as unknown as Clock, calls, mayStayAwake);
}

/** A socket from which bytes came, if that made it hot. */
function arrival(): FakeSocket | undefined {
  const socket = new FakeSocket();
  return hot.arrived(socket) ? socket : undefined;
}

/** Calls `change` before the look that comes behind so many more. */
function afterLooks(looks: number, change: () => void): void {
  const at = waits.length + looks;
  beforeLook = () => {
    if (waits.length === at) change();
  };
}

beforeEach(() => {
  loop = new Loop();
  waits = [];
  beforeLook = () => {};
  stirs = 0;
  hot = make(true);
});

describe('a hot socket', () => {
  it('is looked at for a while, and for as long again when something has come', () => {
    const socket = arrival()!;
    afterLooks(8, () => {
      socket.holds = 1;
    });
    loop.untilAsleep();
    expect(socket.isHot).toBe(false);
    expect(waits.length).toBeGreaterThan(16);
    expect(waits.length).toBeLessThan(22);
  });

  it('has all the time after work that took longer', () => {
    arrival();
    loop.time += 100 * HOT_AWAKE_MS;
    loop.untilAsleep();
    expect(waits.length).toBeGreaterThan(5);
  });

  it('shares its turn with others, of which there is a bounded number', () => {
    const sockets = Array.from({ length: 100 }, arrival).filter((socket) => socket !== undefined);
    expect(sockets.length).toBe(HOT_SOCKETS_MAX);
    loop.untilAsleep();
    expect(loop.turns).toBeLessThan(14);
    expect(sockets.some(({ isHot }) => isHot)).toBe(false);
  });

  it('goes back to the event loop when it has ended', () => {
    const [socket, other] = [arrival()!, arrival()!];
    socket.isEnded = true;
    loop.turn();
    expect(socket.isHot).toBe(false);
    loop.turn();
    expect(socket.looks).toBe(1);
    expect(other.isHot).toBe(true);
  });

  it('is forgotten when it is closed', () => {
    const socket = arrival()!;
    socket.holds = 5;
    hot.forget(socket);
    loop.untilAsleep();
    expect(socket.looks).toBe(0);
    expect(loop.turns).toBe(1);
  });

  it('has one turn at a time when all others were closed', () => {
    for (let i = 0; i < 5; i++) hot.forget(arrival()!);
    expect(arrival()).toBeDefined();
    expect(loop.deferred).toBe(1);
    loop.turn();
    expect(loop.deferred).toBe(1);
  });

  it('is looked at again when somebody has thrown', () => {
    const socket = arrival()!;
    socket.holds = 1;
    socket.throws = true;
    expect(() => loop.turn()).toThrow('thrown');
    socket.throws = false;
    loop.turn();
    expect(socket.looks).toBe(2);
  });

  it('becomes rare while nothing follows what arrives', () => {
    let count = 0;
    for (let i = 0; i < 2000; i++) {
      if (arrival()) count++;
      loop.untilAsleep();
    }
    expect(count).toBeGreaterThan(20);
    expect(count).toBeLessThan(2000 / HOT_MISSES_MAX + 10);
  });

  it('is back at once when something has followed', () => {
    for (let i = 0; i < 2000; i++) {
      arrival();
      loop.untilAsleep();
    }
    let socket = arrival();
    while (socket === undefined) socket = arrival();
    socket.holds = 1;
    loop.untilAsleep();
    expect(arrival()).toBeDefined();
  });
});

/** Again and again so many looks in a row find something, and the next one nothing. */
function work(socket: FakeSocket, found: number): void {
  let last = 0;
  beforeLook = () => {
    if (socket.holds > 0) return;
    if (last === waits.length - 1) socket.holds = found;
    else last = waits.length;
  };
  while (waits.length < 300 * (found + 1)) loop.turn();
  beforeLook = () => {};
  socket.holds = 0;
  waits = [];
}

describe('while more comes', () => {
  it('many are looked for again at once, but the event loop has its turn', () => {
    const socket = arrival()!;
    work(socket, 10);
    socket.holds = 3 * LOOKS_ALONE;
    loop.turn();
    expect(waits).toEqual([HOT_ASLEEP_MS, ...Array(LOOKS_ALONE).fill(0)]);
    waits = [];
    loop.turn();
    expect(waits).toEqual(Array(LOOKS_ALONE + 1).fill(0));
  });

  it('the event loop has its turn at once when it has something', () => {
    const socket = arrival()!;
    work(socket, 10);
    socket.holds = 3 * LOOKS_ALONE;
    stirs = 3;
    for (let turn = 1; turn <= 3; turn++) {
      loop.turn();
      expect(waits.length).toBe(turn);
    }
    loop.turn();
    expect(waits.length).toBeGreaterThan(4);
  });

  it('the event loop has its turn at once when it was given a socket back', () => {
    const [socket, other] = [arrival()!, arrival()!];
    work(socket, 10);
    socket.holds = 3 * LOOKS_ALONE;
    other.isEnded = true;
    loop.turn();
    expect(waits.length).toBe(1);
  });

  it('one at a time is looked for without a turn of the event loop', () => {
    const socket = arrival()!;
    work(socket, 1);
    socket.holds = 1;
    afterLooks(5, () => {
      socket.holds = 1;
    });
    loop.turn();
    expect(socket.holds).toBe(0);
    expect(waits.length).toBeGreaterThan(10);
  });

  it('the event loop has its turn at once when it is to wait for something new', () => {
    const socket = arrival()!;
    work(socket, 10);
    for (let turn = 0; turn < 3; turn++) {
      socket.holds = 3 * LOOKS_ALONE;
      hot.loopIsDue();
      waits = [];
      loop.turn();
      expect(waits.length).toBe(1);
    }
    loop.turn();
    expect(waits.length).toBeGreaterThan(4);
  });

  it('the event loop has its turn though requests come one at a time', () => {
    const socket = arrival()!;
    work(socket, 1);
    beforeLook = () => {
      // Every other look finds something, but not for ever.
      socket.holds = waits.length < 100 ? waits.length % 2 : 0;
    };
    const start = loop.time;
    loop.turn();
    expect(waits.length).toBeGreaterThan(LOOKS_ALONE);
    expect(loop.time - start).toBeLessThan(1.5 * HOT_ALONE_MS);
  });

  it('looks that find nothing count against the time in which the event loop has no turn', () => {
    const socket = arrival()!;
    work(socket, 1);
    socket.holds = 1;
    // Two looks are left of the time when it has had its effects.
    socket.lookMs = HOT_ALONE_MS - HOT_ALONE_MS / LOOKS_ALONE - 2 * LOOK_MS;
    loop.turn();
    expect(waits.length).toBeGreaterThan(1);
    expect(waits.length).toBeLessThan(6);
  });

  it.each([1, 10])('what takes long counts, if %i come at a time', (found) => {
    const socket = arrival()!;
    work(socket, found);
    socket.holds = 10;
    socket.lookMs = HOT_ALONE_MS;
    loop.turn();
    expect(waits.length).toBe(1);
  });
});

describe('while nothing comes', () => {
  it('the loop stays awake if requests come one at a time', () => {
    work(arrival()!, 1);
    loop.untilAsleep();
    expect(waits.length).toBeGreaterThan(5);
    expect(waits.some((waitMs) => waitMs > 0)).toBe(false);
  });

  it('what the event loop has does not say that many are on their way', () => {
    const socket = arrival()!;
    work(socket, 1);
    for (let request = 0; request < 100; request++) {
      socket.holds = 1;
      afterLooks(1, () => {
        stirs = 3;
      });
      for (let turn = 0; turn < 3; turn++) loop.turn();
    }
    waits = [];
    loop.untilAsleep();
    expect(waits.length).toBeGreaterThan(5);
    expect(waits.some((waitMs) => waitMs > 0)).toBe(false);
  });

  it('the event loop has its turn if it is to wait for something new', () => {
    const socket = arrival()!;
    work(socket, 1);
    socket.holds = 1;
    for (let turn = 1; turn < 5; turn++) {
      hot.loopIsDue();
      loop.turn();
      expect(waits.length).toBe(turn);
    }
    loop.turn();
    expect(waits.length).toBeGreaterThan(6);
  });

  it('what is deferred has its turn', () => {
    work(arrival()!, 1);
    loop.defer(() => {});
    loop.turn();
    expect(waits.length).toBe(1);
  });

  it('it sleeps if many are on their way, but not before it has looked once', () => {
    const socket = arrival()!;
    work(socket, 10);
    socket.holds = 1;
    loop.untilAsleep();
    expect(waits).toEqual([HOT_ASLEEP_MS, 0, HOT_ASLEEP_MS]);
    expect(socket.isHot).toBe(false);
  });

  it('it does not sleep while somebody has deferred something', () => {
    const socket = arrival()!;
    work(socket, 10);
    socket.holds = 1;
    let left = 5;
    const again = () => {
      left--;
      if (left > 0) loop.defer(again);
    };
    loop.turn();
    waits = [];
    loop.defer(again);
    loop.untilAsleep();
    expect(waits).toEqual([0, 0, 0, 0, 0, HOT_ASLEEP_MS]);
  });

  it('it does not sleep before the event loop waits for something new', () => {
    work(arrival()!, 10);
    hot.loopIsDue();
    loop.untilAsleep();
    expect(waits).toEqual([0, HOT_ASLEEP_MS]);
  });

  it('it does not sleep when the event loop has just had something', () => {
    const socket = arrival()!;
    work(socket, 10);
    socket.holds = 1;
    stirs = 4;
    loop.untilAsleep();
    expect(waits).toEqual([HOT_ASLEEP_MS, 0, 0, 0, 0, HOT_ASLEEP_MS]);
  });

  it('its sleep counts as sleep', () => {
    work(arrival()!, 10);
    expect(loop.sleptMs).toBeLessThan(HOT_ASLEEP_MS);
    loop.untilAsleep();
    expect(loop.sleptMs).toBeCloseTo(HOT_ASLEEP_MS);
  });

  it('it sleeps where there is no second processor', () => {
    hot = make(false);
    arrival();
    loop.untilAsleep();
    expect(waits).toEqual([0, HOT_ASLEEP_MS]);
  });
});
