import { describe, expect, it } from 'vitest';
import * as wire from '../../../protocol/nbd/constants.ts';
import type { NbdNode } from '../../../src/block/nbd-node.ts';
import { MiB, SERVER_SILENT_MS } from '../../../src/util/limits.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { openNbdNode } from '../../support/open-nbd-node.ts';
import {
  GOOD_EXPORT,
  type Script,
  type ScriptedExport,
  type ScriptedPeer,
  type ScriptedServer,
  startScriptedServer,
} from '../../support/scripted-server.ts';

/** A server whose connections follow one script each, the last one all that come later. */
async function open(
  options: { delaySeconds: number; readOnly?: boolean },
  ...scripts: Script[]
): Promise<{ server: ScriptedServer; node: NbdNode; clock: FakeClock }> {
  const { delaySeconds, readOnly = false } = options;
  const clock = new FakeClock();
  const server = await startScriptedServer((peer, connection) =>
    scripts[Math.min(connection, scripts.length - 1)]!(peer, connection),
  );
  const node = await openNbdNode(server.address.path, {
    clock,
    readOnly,
    reconnectDelaySeconds: delaySeconds,
  });
  // Long enough for the connection not to count as one that is dropped at once.
  clock.advance(10_000);
  return { server, node, clock };
}

const good: Script = async (peer) => {
  await peer.negotiate();
  await peer.serve();
};
/** Is there for one request, and goes away with the next. */
const goesAway = goesAwayAs({});
const refuses: Script = async () => {};
const hangs: Script = async (peer) => {
  await peer.negotiate();
  await peer.forever();
};

/** Says that it shuts down, and does not answer any more what it had before. */
const leaves: Script = async (peer) => {
  await peer.negotiate();
  await peer.request();
  peer.simple(await peer.request(), wire.NBD_ESHUTDOWN);
  await peer.forever();
};

function servesAs(change: Partial<ScriptedExport>): Script {
  return async (peer: ScriptedPeer) => {
    await peer.negotiate({ ...GOOD_EXPORT, ...change });
    await peer.serve();
  };
}

function goesAwayAs(change: Partial<ScriptedExport>): Script {
  return async (peer: ScriptedPeer) => {
    await peer.negotiate({ ...GOOD_EXPORT, ...change });
    peer.answer(await peer.request());
    await peer.request();
  };
}

async function failureOf(request: unknown): Promise<{ code: string; message: string }> {
  return Promise.resolve(request).then(
    () => ({ code: 'success', message: '' }),
    (error) => error,
  );
}

/** Polls often, so that a clock that polling moves gets there soon. */
const SOON = { interval: 5, timeout: 10_000 };

const read = async (node: NbdNode) => node.read(0, Buffer.alloc(512));

describe('a node whose server hangs', () => {
  it('says so, until it answers', async () => {
    let answer = () => {};
    const slow: Script = async (peer) => {
      await peer.negotiate();
      const request = await peer.request();
      answer = () => peer.answer(request);
      await peer.serve();
    };
    const { node, clock } = await open({ delaySeconds: 30 }, slow);
    const done = read(node);
    await new Promise((resolve) => setTimeout(resolve, 5));
    clock.advance(SERVER_SILENT_MS - 1000);
    expect(node.unreachable).toBeUndefined();
    clock.advance(24_000 - SERVER_SILENT_MS + 1000);
    expect(node.unreachable).toMatch(/ has not answered for 24 s$/);
    answer();
    await done;
    expect(node.unreachable).toBeUndefined();
  });

  it('says so although another connection has taken its place', async () => {
    const { node, clock } = await open({ delaySeconds: 30 }, leaves, good);
    const hanging = failureOf(read(node));
    await node.flush();
    clock.advance(2 * SERVER_SILENT_MS);
    await read(node);
    expect(node.unreachable).toMatch(/ has not answered for \d+ s$/);
    node.cancelInFlight();
    expect((await hanging).code).toBe('ECANCELED');
    await expect.poll(() => node.unreachable).toBeUndefined();
  });
});

describe('a node whose server goes away, without a delay', () => {
  it('fails requests at once, and goes on when the server is back', async () => {
    const { node, server, clock } = await open({ delaySeconds: 0 }, goesAway, refuses, good);
    await read(node);
    expect(await failureOf(read(node))).toMatchObject({
      code: 'EIO',
      message: expect.stringMatching(/^Cannot read 512 bytes at 0 on node "target": .* was lost/),
    });
    await expect.poll(() => server.connections).toBe(2);
    expect(await failureOf(read(node))).toMatchObject({
      code: 'EIO',
      message: expect.stringContaining('Cannot reach the server of node "target"'),
    });
    await expect
      .poll(() => {
        clock.advance(1000);
        return server.connections;
      }, SOON)
      .toBe(3);
    await expect.poll(async () => (await failureOf(read(node))).code).toBe('success');
  });
});

describe('a request to a server that has been away for long', () => {
  /** The attempts after 0, 1, 3 and 7 seconds have failed; the next one would be after 15. */
  async function away(next: Script) {
    const scripts = [goesAway, refuses, refuses, refuses, refuses, next];
    const { node, server, clock } = await open({ delaySeconds: 0 }, ...scripts);
    await read(node);
    await failureOf(read(node));
    await expect
      .poll(() => {
        clock.advance(100);
        return server.connections;
      }, SOON)
      .toBe(5);
    await new Promise((resolve) => setTimeout(resolve, 20));
    return { node, server, clock };
  }

  it('cuts the pause short, but not the shortest one, and is answered', async () => {
    const { node, server, clock } = await away(good);
    expect((await failureOf(read(node))).code).toBe('EIO');
    clock.advance(500);
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(server.connections).toBe(5);
    clock.advance(500);
    await read(node);
    expect(server.connections).toBe(6);
  });

  it('fails as soon as the attempt does', async () => {
    const { node, server, clock } = await away(refuses);
    clock.advance(1000);
    for (const _ of ['this', 'the next']) {
      expect((await failureOf(read(node))).code).toBe('EIO');
    }
    expect(server.connections).toBe(6);
  });

  it('waits a second for it, and a later one not at all', async () => {
    const { node, clock } = await away((peer) => peer.forever());
    clock.advance(1000);
    let ended = false;
    const waiting = failureOf(read(node)).finally(() => {
      ended = true;
    });
    clock.advance(999);
    await new Promise(setImmediate);
    expect(ended).toBe(false);
    clock.advance(1);
    expect((await waiting).code).toBe('EIO');
    expect((await failureOf(read(node))).code).toBe('EIO');
  });
});

describe('a node whose server goes away, with a delay', () => {
  it('sends requests again when the server is back', async () => {
    const { node, server } = await open({ delaySeconds: 5 }, goesAway, good);
    await read(node);
    await Promise.all([read(node), node.write(0, Buffer.alloc(MiB)), node.flush()]);
    expect(server.connections).toBe(2);
  });

  it('fails them when the time is over, and later ones at once', async () => {
    const { node, server, clock } = await open({ delaySeconds: 5 }, goesAway, refuses);
    await read(node);
    const waiting = failureOf(read(node));
    let ended = false;
    void waiting.then(() => {
      ended = true;
    });
    await expect.poll(() => server.connections).toBe(2);
    clock.advance(4_999);
    await new Promise(setImmediate);
    expect(ended).toBe(false);
    clock.advance(1);
    expect((await waiting).code).toBe('EIO');
    expect((await failureOf(read(node))).code).toBe('EIO');
  });

  it('gives who brings about an attempt at the end of that time his second', async () => {
    const scripts = [goesAway, refuses, refuses, refuses, refuses];
    const hangs: Script = (peer) => peer.forever();
    const { node, server, clock } = await open({ delaySeconds: 14 }, ...scripts, hangs);
    await read(node);
    const first = failureOf(read(node));
    // After 0, 1, 3 and 7 seconds.
    await expect
      .poll(() => {
        if (server.connections < 5) clock.advance(100);
        return server.connections;
      }, SOON)
      .toBe(5);
    await new Promise((resolve) => setTimeout(resolve, 20));
    clock.advance(6500);
    let ended = false;
    const second = failureOf(read(node)).finally(() => {
      ended = true;
    });
    await expect.poll(() => server.connections).toBe(6);
    clock.advance(700);
    await new Promise(setImmediate);
    expect(ended).toBe(false);
    clock.advance(300);
    expect([(await first).code, (await second).code]).toEqual(['EIO', 'EIO']);
  });

  it('goes on trying after that', async () => {
    const scripts = [goesAway, refuses, refuses, refuses, good];
    const { node, server, clock } = await open({ delaySeconds: 1 }, ...scripts);
    await read(node);
    const failure = failureOf(read(node));
    await expect
      .poll(() => {
        clock.advance(1000);
        return server.connections;
      }, SOON)
      .toBe(5);
    expect((await failure).code).toBe('EIO');
    await expect.poll(async () => (await failureOf(read(node))).code).toBe('success');
  });

  it('tells of the return before requests go on', async () => {
    const story: string[] = [];
    const { node } = await open({ delaySeconds: 5 }, goesAway, async (peer) => {
      await peer.negotiate();
      await peer.serve(() => story.push('request'));
    });
    const stop = node.watchReconnects(() => story.push('back'));
    await read(node);
    await read(node);
    expect(story).toEqual(['back', 'request']);
    stop();
  });

  it('does not keep busy with a server that drops every connection', async () => {
    const { node, server, clock } = await open({ delaySeconds: 5 }, goesAway, goesAway);
    await read(node);
    // The second connection answers this one, and goes away with the next.
    await read(node);
    const third = read(node);
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(server.connections).toBe(2);
    await expect
      .poll(() => {
        clock.advance(500);
        return server.connections;
      }, SOON)
      .toBe(3);
    await third;
  });
});

describe('a node whose server comes back as another disk', () => {
  it.each([
    ['another size', { size: 8 * MiB }, 'it has 8388608 bytes, before it had 4194304'],
    ['read-only', { flags: GOOD_EXPORT.flags | wire.NBD_FLAG_READ_ONLY }, 'it is read-only'],
    [
      'larger blocks',
      { blockSize: { minimum: 4096, preferred: 4096, maximum: 65536 } },
      'its smallest block has 4096 bytes',
    ],
  ])('(%s) fails for ever', async (_what, change, says) => {
    const { node, server, clock } = await open({ delaySeconds: 5 }, goesAway, servesAs(change));
    await read(node);
    const failure = await failureOf(read(node));
    expect(failure).toMatchObject({ code: 'EIO', message: expect.stringContaining(says) });
    clock.advance(100_000);
    expect((await failureOf(node.flush())).message).toContain(says);
    expect(server.connections).toBe(2);
  });
});

describe('a node whose server comes back with other blocks', () => {
  const sizes = (minimum: number, preferred: number, maximum: number) => ({
    blockSize: { minimum, preferred, maximum },
  });

  it.each([
    ['a longest request below its blocks', sizes(1024, 4096, MiB), sizes(512, 512, 512), 'longest'],
    [
      'larger blocks than the sectors that were assumed',
      {},
      sizes(1024, 4096, MiB),
      'smallest block has 1024',
    ],
  ])('(%s) fails for ever', async (_what, before, after, says) => {
    const { node } = await open({ delaySeconds: 5 }, goesAwayAs(before), servesAs(after));
    await read(node);
    const write = node.write(0, Buffer.alloc(4096));
    expect((await failureOf(write)).message).toContain(`${says} `);
  });

  it.each([
    ['the blocks that were assumed', {}, sizes(512, 4096, MiB)],
    ['what it told before, or nothing', sizes(4096, 4096, MiB), {}],
    ['no longer requests than its blocks', sizes(4096, 4096, MiB), sizes(1, 512, 4096)],
  ])('(%s) goes on', async (_what, before, after) => {
    const { node } = await open({ delaySeconds: 5 }, goesAwayAs(before), servesAs(after));
    await read(node);
    await read(node);
  });
});

describe('a node that is only read', () => {
  it('goes on when its server comes back read-only', async () => {
    const flags = GOOD_EXPORT.flags | wire.NBD_FLAG_READ_ONLY;
    const options = { delaySeconds: 5, readOnly: true };
    const { node } = await open(options, goesAway, servesAs({ flags }));
    await read(node);
    await read(node);
    expect(() => node.setReadOnly(false)).toThrow('read-only');
  });
});

describe('a node whose server breaks the protocol', () => {
  it('fails for ever', async () => {
    const { node, server, clock } = await open(
      { delaySeconds: 5 },
      async (peer) => {
        await peer.negotiate();
        await peer.request();
        peer.write(Buffer.alloc(16));
        await peer.forever();
      },
      good,
    );
    expect((await failureOf(read(node))).message).toContain('broke the NBD protocol');
    clock.advance(100_000);
    expect((await failureOf(read(node))).message).toContain('broke the NBD protocol');
    expect(server.connections).toBe(1);
  });
});

describe('cancelling requests in flight', () => {
  it('fails what a hanging server does not answer, and reconnects for the next', async () => {
    const { node, server, clock } = await open({ delaySeconds: 0 }, hangs, good);
    const hanging = [failureOf(read(node)), failureOf(node.write(0, Buffer.alloc(MiB)))];
    node.cancelInFlight();
    for (const failure of await Promise.all(hanging)) expect(failure.code).toBe('ECANCELED');
    // This one waits for the attempt, although there is no delay.
    const reading = read(node);
    clock.advance(1);
    await reading;
    expect(server.connections).toBe(2);
  });

  it('does not send them again', async () => {
    const { node } = await open({ delaySeconds: 100 }, hangs, good);
    const hanging = failureOf(read(node));
    node.cancelInFlight();
    expect((await hanging).code).toBe('ECANCELED');
  });

  it('fails what waits for a lost server', async () => {
    const { node, server } = await open({ delaySeconds: 100 }, goesAway, refuses);
    await read(node);
    const waiting = failureOf(read(node));
    await expect.poll(() => server.connections).toBe(2);
    node.cancelInFlight();
    expect((await waiting).code).toBe('ECANCELED');
  });

  it('fails what waits for its turn on the same blocks', async () => {
    const { node } = await open({ delaySeconds: 0 }, hangs, good);
    const first = failureOf(node.write(0, Buffer.alloc(512)));
    const second = failureOf(node.write(0, Buffer.alloc(512)));
    node.cancelInFlight();
    expect((await first).code).toBe('ECANCELED');
    expect((await second).code).toBe('ECANCELED');
  });

  it('fails what a server that is shutting down does not answer any more', async () => {
    for (const delaySeconds of [0, 100]) {
      const { node } = await open({ delaySeconds }, leaves, good);
      const hanging = failureOf(read(node));
      expect((await failureOf(node.flush())).code).toBe(delaySeconds === 0 ? 'EIO' : 'success');
      node.cancelInFlight();
      expect((await hanging).code).toBe('ECANCELED');
    }
  });

  it('is what the end of the node does, when such a server had its time', async () => {
    const { node, clock } = await open({ delaySeconds: 100 }, leaves, good);
    const hanging = failureOf(read(node));
    await node.flush();
    const closed = node.close();
    await expect
      .poll(() => {
        clock.advance(10_000);
        return Promise.race([hanging.then(() => 'ended'), Promise.resolve().then(() => 'hangs')]);
      })
      .toBe('ended');
    await closed;
  });

  it('leaves an idle connection alone', async () => {
    const { node, server } = await open({ delaySeconds: 0 }, good);
    await read(node);
    node.cancelInFlight();
    await read(node);
    expect(server.connections).toBe(1);
  });
});

describe('opening a node', () => {
  it('fails at once without a timeout', async () => {
    const { address } = await startScriptedServer(refuses);
    await expect(openNbdNode(address.path)).rejects.toMatchObject({
      code: 'EIO',
      message: expect.stringMatching(/^Cannot open node "target": .* was closed by the peer$/),
    });
  });

  it('tries until the timeout', async () => {
    const clock = new FakeClock();
    const server = await startScriptedServer(refuses);
    let failure: { message: string } | undefined;
    const opening = openNbdNode(server.address.path, { clock, openTimeoutSeconds: 10 });
    void failureOf(opening).then((error) => {
      failure = error;
    });
    await expect
      .poll(() => {
        clock.advance(100);
        return failure;
      }, SOON)
      .toBeDefined();
    expect(failure!.message).toContain('was closed by the peer');
    expect(server.connections).toBeGreaterThan(1);
  });

  it('succeeds when the server comes in time', async () => {
    const clock = new FakeClock();
    const server = await startScriptedServer((peer, connection) =>
      connection < 2 ? refuses(peer, connection) : good(peer, connection),
    );
    const opening = openNbdNode(server.address.path, { clock, openTimeoutSeconds: 100 });
    await expect
      .poll(() => {
        clock.advance(100);
        return server.connections;
      }, SOON)
      .toBe(3);
    await read(await opening);
  });

  it.each([
    [{}, 'EPERM'],
    [{ readOnly: true }, 'success'],
    [{ autoReadOnly: true }, 'success'],
  ])('of a read-only export with %o', async (options, code) => {
    const flags = GOOD_EXPORT.flags | wire.NBD_FLAG_READ_ONLY;
    const { address } = await startScriptedServer(servesAs({ flags }));
    const opening = openNbdNode(address.path, options);
    expect((await failureOf(opening)).code).toBe(code);
    if (code === 'success') expect((await opening).readOnly).toBe(true);
  });
});
