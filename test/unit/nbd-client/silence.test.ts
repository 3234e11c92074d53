import { beforeEach, describe, expect, it } from 'vitest';
import * as wire from '../../../protocol/nbd/constants.ts';
import { NbdClient } from '../../../src/nbd-client/nbd-client.ts';
import { Silence } from '../../../src/nbd-client/silence.ts';
import type { Traffic } from '../../../src/net/connection.ts';
import { SERVER_SILENT_MS } from '../../../src/util/limits.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { chunkHeader, startScriptedServer } from '../../support/scripted-server.ts';

describe('a server that has requests', () => {
  let clock: FakeClock;
  let pending: number;
  let traffic: Traffic;
  let told: boolean[];
  let silence: Silence;
  beforeEach(() => {
    clock = new FakeClock();
    pending = 0;
    traffic = { bytesReceived: 0, bytesWaiting: 0, bytesTaken: 0 };
    told = [];
    const watched = { pending: () => pending, traffic: () => traffic };
    silence = new Silence(clock, watched, (isSilent) => told.push(isSilent));
  });

  const request = () => {
    pending++;
    silence.requested();
  };
  const move = (bytes: Partial<Traffic>) => {
    traffic = { ...traffic, ...bytes };
  };
  const answer = () => {
    pending--;
    move({ bytesReceived: traffic.bytesReceived + 16 });
    silence.answered();
  };

  it('is silent when it answers none of them, until it does', () => {
    request();
    clock.advance(SERVER_SILENT_MS - 1000);
    expect([silence.ms, told]).toEqual([undefined, []]);
    clock.advance(1000);
    expect([silence.ms, told]).toEqual([SERVER_SILENT_MS, [true]]);
    clock.advance(5000);
    expect(silence.ms).toBe(SERVER_SILENT_MS + 5000);
    answer();
    expect([silence.ms, told]).toEqual([undefined, [true, false]]);
  });

  it('is not silent while it answers some of them', () => {
    request();
    for (let seconds = 0; seconds < 60; seconds++) {
      request();
      clock.advance(1000);
      answer();
    }
    expect(told).toEqual([]);
    clock.advance(SERVER_SILENT_MS + 1000);
    expect(told).toEqual([true]);
  });

  it('is not silent while a long answer comes, nor when it does again', () => {
    request();
    for (let seconds = 1; seconds < 60; seconds++) {
      move({ bytesReceived: seconds });
      clock.advance(1000);
    }
    expect(told).toEqual([]);
    clock.advance(SERVER_SILENT_MS);
    expect(told).toEqual([true]);
    move({ bytesReceived: 1000 });
    clock.advance(1000);
    expect([silence.ms, told]).toEqual([undefined, [true, false]]);
  });

  it('is not silent while it takes a long request', () => {
    request();
    for (let seconds = 1; seconds < 60; seconds++) {
      move({ bytesWaiting: 100 - seconds, bytesTaken: seconds });
      clock.advance(1000);
    }
    expect(told).toEqual([]);
  });

  it('is silent although the system has room for further requests', () => {
    for (let seconds = 1; seconds <= SERVER_SILENT_MS / 1000; seconds++) {
      request();
      move({ bytesTaken: seconds });
      clock.advance(1000);
    }
    expect(told).toEqual([true]);
  });

  it('is not waited for when it has none, and then counts anew', () => {
    request();
    answer();
    clock.advance(2000);
    expect(clock.timers).toBe(0);
    clock.advance(60_000);
    request();
    clock.advance(SERVER_SILENT_MS - 1000);
    expect(told).toEqual([]);
    clock.advance(1000);
    expect(told).toEqual([true]);
  });

  it('is forgotten when the connection has ended', () => {
    request();
    clock.advance(SERVER_SILENT_MS);
    silence.stop();
    expect([silence.ms, clock.timers]).toEqual([undefined, 0]);
  });
});

it('a client does not call a server silent whose answer comes slowly', async () => {
  const clock = new FakeClock();
  let send: (bytes: number) => void = () => {};
  const { address } = await startScriptedServer(async (peer) => {
    await peer.negotiate();
    const request = await peer.request();
    peer.write(chunkHeader(request, wire.NBD_REPLY_TYPE_OFFSET_DATA, 8 + 300), Buffer.alloc(8));
    send = (bytes) => peer.write(Buffer.alloc(bytes, 1));
    send(100);
    await peer.forever();
  });
  const client = await NbdClient.connect({ address, exportName: '', clock });
  const buffer = Buffer.alloc(300);
  const reading = client.read(0, buffer);
  await expect.poll(() => buffer[99]).toBe(1);
  clock.advance(SERVER_SILENT_MS - 1000);
  send(100);
  await expect.poll(() => buffer[199]).toBe(1);
  clock.advance(SERVER_SILENT_MS - 1000);
  expect(client.silentMs).toBeUndefined();
  clock.advance(2000);
  expect(client.silentMs).toBe(SERVER_SILENT_MS);
  send(100);
  await reading;
  expect(client.silentMs).toBeUndefined();
});
