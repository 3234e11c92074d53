import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { describe, expect, it, vi } from 'vitest';
import { Connection, ConnectionEnded } from '../../../src/net/connection.ts';
import type { ByteSink } from '../../../src/net/incoming.ts';
import { ProtocolError } from '../../../src/util/errors.ts';
import { MiB, NET_UNREAD_BYTES_MAX } from '../../../src/util/limits.ts';
import { connectionPair } from '../../support/connection-pair.ts';
import { currentScope, tempDir } from '../../support/peers.ts';
import { pause } from '../../support/process.ts';

class Collector implements ByteSink {
  received = '';
  ended = false;
  push(chunk: Buffer): boolean {
    this.received += chunk.toString();
    return false;
  }
  room(): Buffer | undefined {
    return undefined;
  }
  filled(_bytes: number): void {}
  end(): void {
    this.ended = true;
  }
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await pause(2);
}

describe('reading', () => {
  it('gives exactly what was asked for, however it arrives', async () => {
    const { connection, peer } = await connectionPair();
    peer.write('abcdef');
    expect((await connection.read(2)).toString()).toBe('ab');
    expect((await connection.read(0)).length).toBe(0);
    const rest = connection.read(6);
    peer.write('g');
    await pause(5);
    peer.write('hi');
    expect((await rest).toString()).toBe('cdefgh');
  });

  it('leaves to the peer what nobody has asked for yet', async () => {
    const { connection, peer } = await connectionPair();
    peer.write(Buffer.alloc(8 * MiB));
    await until(() => connection.bytesReceived > NET_UNREAD_BYTES_MAX);
    await pause(20);
    expect(connection.bytesReceived).toBeLessThan(1 * MiB);
    expect((await connection.read(8 * MiB)).length).toBe(8 * MiB);
  });

  it('tells an end between messages from one in the middle', async () => {
    const { connection, peer } = await connectionPair();
    peer.end('abc');
    await connection.read(3);
    await expect(connection.read(4)).rejects.toBeInstanceOf(ConnectionEnded);
    const other = await connectionPair();
    other.peer.end('abc');
    const reading = other.connection.read(4);
    await expect(reading).rejects.toThrow('closed by the peer after 3 of 4 bytes');
    await expect(reading).rejects.toBeInstanceOf(ProtocolError);
    await expect(reading).rejects.not.toBeInstanceOf(ConnectionEnded);
  });

  it('fails when the connection is destroyed meanwhile', async () => {
    const { connection } = await connectionPair();
    const reading = connection.read(1);
    connection.destroy();
    await expect(reading).rejects.toThrow('is closed');
    expect(await connection.closed).toBeUndefined();
  });
});

describe('taking over', () => {
  it('begins with what had arrived and goes on with what follows, up to the end', async () => {
    const { connection, peer } = await connectionPair();
    peer.write('negotiation,early');
    await connection.read(12);
    const sink = new Collector();
    connection.takeOver(sink);
    peer.end(',late');
    await until(() => sink.ended);
    expect(sink.received).toBe('early,late');
  });

  it('gives what had arrived in one piece: behind it the socket goes on', async () => {
    const { connection, peer } = await connectionPair();
    for (const piece of ['negotiation,', 'ear', 'ly']) {
      peer.write(piece);
      await pause(10);
    }
    await connection.read(12);
    const sink = new Collector();
    const push = vi.spyOn(sink, 'push');
    connection.takeOver(sink);
    expect(push.mock.calls.map(([chunk]) => chunk.toString())).toEqual(['early']);
  });

  it('tells of an end that had come before', async () => {
    const { connection, peer } = await connectionPair();
    peer.end('ab');
    await connection.read(1);
    await pause(10);
    const sink = new Collector();
    connection.takeOver(sink);
    expect(sink).toMatchObject({ received: 'b', ended: true });
  });

  it('reads straight into the room that the sink has', async () => {
    const { connection, peer } = await connectionPair();
    const place = Buffer.alloc(4 * MiB);
    let filled = 0;
    const sink = new Collector();
    sink.push = (chunk) => {
      filled += chunk.copy(place, filled);
      return false;
    };
    sink.room = () => (filled < place.length ? place.subarray(filled) : undefined);
    let direct = 0;
    sink.filled = (bytes) => {
      filled += bytes;
      direct += bytes;
    };
    connection.takeOver(sink);
    const sent = Buffer.alloc(4 * MiB);
    for (let at = 0; at < sent.length; at++) sent[at] = (at * 7) % 253;
    peer.write(sent);
    await until(() => filled === sent.length);
    expect(place.equals(sent)).toBe(true);
    expect(direct).toBeGreaterThan(2 * MiB);
  });

  it('leaves memory alone of which views are kept', async () => {
    const { connection, peer } = await connectionPair();
    const kept: Buffer[] = [];
    const sink = new Collector();
    sink.push = (chunk) => {
      kept.push(chunk);
      return true;
    };
    connection.takeOver(sink);
    for (const word of ['one', 'two', 'three']) {
      peer.write(word);
      await until(() => kept.at(-1)?.toString() === word);
    }
    expect(Buffer.concat(kept).toString()).toBe('onetwothree');
  });

  it('holds the peer back while paused', async () => {
    const { connection, peer } = await connectionPair();
    const sink = new Collector();
    connection.takeOver(sink);
    connection.pause();
    peer.write('x');
    await pause(20);
    expect(sink.received).toBe('');
    connection.resume();
    await until(() => sink.received === 'x');
  });
});

describe('a plain socket', () => {
  it('does as well, chunk by chunk', async () => {
    const path = join(await tempDir(), 'socket');
    const server = createServer({ allowHalfOpen: true });
    const accepted = new Promise<Connection>((resolve) => {
      server.once('connection', (socket) => resolve(new Connection(socket, 'plain')));
    });
    server.listen(path);
    const peer = connect({ path, allowHalfOpen: true });
    const connection = await accepted;
    currentScope().onClose(async () => {
      peer.destroy();
      server.close();
    });
    peer.write('negotiation,early');
    expect((await connection.read(12)).toString()).toBe('negotiation,');
    const sink = new Collector();
    connection.takeOver(sink);
    peer.end(',late');
    await until(() => sink.ended);
    expect(sink.received).toBe('early,late');
    connection.end();
    expect(await connection.closed).toBeUndefined();
  });
});

describe('writing', () => {
  it('says when the system has taken it, and what it has not', async () => {
    const { connection, peer } = await connectionPair();
    peer.pause();
    let [written, pieces] = [0, 0];
    const data = Buffer.alloc(1 * MiB);
    for (; connection.unsentBytes === 0; pieces++) connection.write(data, () => written++);
    expect(written).toBeLessThan(pieces);
    peer.resume();
    await until(() => written === pieces && connection.unsentBytes === 0);
  });

  it('tells what waits for the peer, and what it has made room for', async () => {
    const { connection, peer } = await connectionPair();
    peer.pause();
    connection.write(Buffer.alloc(8 * MiB));
    const { bytesWaiting, bytesTaken } = connection.traffic;
    expect(bytesWaiting).toBeGreaterThan(0);
    expect(bytesWaiting + bytesTaken).toBe(8 * MiB);
    // Behind what waits.
    connection.write(Buffer.alloc(MiB));
    expect(connection.traffic).toEqual({ bytesReceived: 0, bytesWaiting, bytesTaken });
    peer.resume();
    peer.write('answer');
    const all = { bytesReceived: 6, bytesWaiting: 0, bytesTaken: 9 * MiB };
    await expect.poll(() => connection.traffic).toEqual(all);
  });

  it('does not wait for ever for a connection that broke', async () => {
    const { connection, peer } = await connectionPair();
    peer.pause();
    const written = new Promise<void>((resolve) => {
      connection.write(Buffer.alloc(64 * MiB), resolve);
    });
    peer.destroy();
    await written;
    expect(await connection.closed).toBeInstanceOf(Error);
  });

  it('still reaches a peer that has half-closed', async () => {
    const { connection, peer } = await connectionPair();
    peer.end('question');
    await connection.read(8);
    const answer: string[] = [];
    peer.on('data', (chunk) => answer.push(chunk.toString()));
    connection.write(Buffer.from('answer'));
    connection.end();
    expect(await connection.closed).toBeUndefined();
    await until(() => answer.join('') === 'answer');
  });

  it('ends behind what was written, dropping what the peer still sends', async () => {
    const { connection, peer } = await connectionPair();
    const answer: string[] = [];
    peer.on('data', (chunk) => answer.push(chunk.toString()));
    connection.write(Buffer.from('last words'));
    connection.end();
    await new Promise((resolve) => peer.once('end', resolve));
    expect(answer.join('')).toBe('last words');
    peer.end('nobody listens');
    expect(await connection.closed).toBeUndefined();
  });
});
