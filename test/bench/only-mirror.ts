/**
 * only-mirror SOCKET FILE TARGET: what only-mirror.c does, in JavaScript. Each system call goes
 * through the FFI and waits; once it has begun Node's event loop never turns. What nobody can beat
 * by much who mirrors synchronously in a program for Node.
 */
import { fstatSync, openSync } from 'node:fs';
import koffi from 'koffi';
import * as wire from '../../protocol/nbd/constants.ts';
import * as handshake from '../../protocol/nbd/handshake.ts';
import * as transmission from '../../protocol/nbd/transmission.ts';

const [AF_UNIX, SOCK_STREAM, MSG_WAITALL, MSG_NOSIGNAL, POLLIN] = [1, 1, 0x100, 0x4000, 1];
const [SOL_SOCKET, SO_SNDBUFFORCE] = [1, 32];
const SEND_BUFFER_BYTES = 16 << 20;
const ROOM_BYTES = 4 << 20;
const OPTION_BYTES_MAX = 65536;

const libc = koffi.load(null);
const calls = {
  socket: libc.func('int socket(int domain, int type, int protocol)'),
  bind: libc.func('int bind(int fd, const void *address, unsigned int n)'),
  listen: libc.func('int listen(int fd, int backlog)'),
  accept: libc.func('int accept(int fd, void *address, void *n)'),
  connect: libc.func('int connect(int fd, const void *address, unsigned int n)'),
  setsockopt: libc.func(
    'int setsockopt(int fd, int level, int name, const void *v, unsigned int n)',
  ),
  close: libc.func('int close(int fd)'),
  poll: libc.func('int poll(void *fds, unsigned long n, int timeout)'),
  recv: libc.func('int64_t recv(int fd, void *data, size_t n, int flags)'),
  send: libc.func('int64_t send(int fd, const void *data, size_t n, int flags)'),
  pwrite: libc.func('int64_t pwrite(int fd, const void *data, size_t n, int64_t offset)'),
};

const fromClient = Buffer.allocUnsafeSlow(ROOM_BYTES);
const fromTarget = Buffer.allocUnsafeSlow(transmission.SIMPLE_REPLY_BYTES * 4096);
const request = transmission.newRequestHeader();
let clientBytes = 0;
let targetBytes = 0;

function must(holds: boolean, what: string): void {
  if (!holds) throw new Error(`only-mirror: ${what}: errno ${koffi.errno()}`);
}

/** Undefined when the client has gone. */
function take(fd: number, bytes: number): Buffer | undefined {
  const into = Buffer.alloc(bytes);
  return bytes === 0 || calls.recv(fd, into, bytes, MSG_WAITALL) === bytes ? into : undefined;
}

function takeAll(fd: number, bytes: number, what: string): Buffer {
  const taken = take(fd, bytes);
  must(taken !== undefined, what);
  return taken!;
}

function give(fd: number, from: Uint8Array, bytes = from.length): void {
  for (let sent = 0; sent < bytes; ) {
    const more = calls.send(fd, from.subarray(sent), bytes - sent, MSG_NOSIGNAL);
    if (more <= 0) return;
    sent += more;
  }
}

/** `struct sockaddr_un`. */
function unixAddress(path: string): Buffer {
  const address = Buffer.alloc(110);
  address.writeUInt16LE(AF_UNIX);
  must(address.write(path, 2) < 108, 'the path of a socket is too long');
  return address;
}

function connectTo(path: string): number {
  const fd: number = calls.socket(AF_UNIX, SOCK_STREAM, 0);
  const address = unixAddress(path);
  // As much as ours, for root.
  calls.setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, new Int32Array([SEND_BUFFER_BYTES]), 4);
  must(calls.connect(fd, address, address.length) === 0, path);
  handshake.decodeGreeting(takeAll(fd, handshake.GREETING_BYTES, 'greeting'));
  const flags = wire.NBD_FLAG_C_FIXED_NEWSTYLE | wire.NBD_FLAG_C_NO_ZEROES;
  give(fd, handshake.encodeClientFlags(flags));
  give(fd, handshake.encodeOption(wire.NBD_OPT_EXPORT_NAME));
  takeAll(fd, handshake.EXPORT_NAME_REPLY_BYTES, 'export');
  return fd;
}

function listenAt(path: string): number {
  const fd: number = calls.socket(AF_UNIX, SOCK_STREAM, 0);
  const address = unixAddress(path);
  must(calls.bind(fd, address, address.length) === 0, path);
  must(calls.listen(fd, 8) === 0, 'listen');
  return fd;
}

function negotiate(client: number, size: number): boolean {
  give(client, handshake.encodeGreeting(wire.NBD_FLAG_FIXED_NEWSTYLE | wire.NBD_FLAG_NO_ZEROES));
  let head = take(client, handshake.CLIENT_FLAGS_BYTES);
  while (head !== undefined) {
    head = take(client, handshake.OPTION_HEADER_BYTES);
    if (head === undefined) break;
    const { option, length } = handshake.decodeOptionHeader(head);
    if (length > OPTION_BYTES_MAX || take(client, length) === undefined) break;
    if (option !== wire.NBD_OPT_GO) {
      give(client, handshake.encodeOptionReply(option, wire.NBD_REP_ERR_UNSUP));
      continue;
    }
    const flags = wire.NBD_FLAG_HAS_FLAGS | wire.NBD_FLAG_SEND_FLUSH;
    const info = handshake.encodeInfo({ type: wire.NBD_INFO_EXPORT, size, flags });
    give(client, handshake.encodeOptionReply(option, wire.NBD_REP_INFO, info));
    give(client, handshake.encodeOptionReply(option, wire.NBD_REP_ACK));
    return true;
  }
  return false;
}

/** All requests that are whole; false when the client has gone. */
function passRequests(client: number, target: number, file: number): boolean {
  const place = fromClient.subarray(clientBytes);
  const came = calls.recv(client, place, place.length, 0);
  if (came <= 0) return false;
  clientBytes += came;
  let goes = false;
  let whole = 0;
  while (!goes && clientBytes - whole >= transmission.REQUEST_BYTES) {
    transmission.readRequest(fromClient, whole, request);
    const bytes = transmission.REQUEST_BYTES + payloadBytes();
    if (clientBytes - whole < bytes) break;
    goes = request.type === wire.NBD_CMD_DISC;
    if (!goes) whole += bytes;
  }
  give(target, fromClient, whole);
  for (let at = 0; at < whole; ) {
    transmission.readRequest(fromClient, at, request);
    const length = payloadBytes();
    at += transmission.REQUEST_BYTES;
    if (length === 0) continue;
    const data = fromClient.subarray(at, at + length);
    must(calls.pwrite(file, data, length, request.offset) === length, 'pwrite');
    at += length;
  }
  fromClient.copyWithin(0, whole, clientBytes);
  clientBytes -= whole;
  return !goes;
}

/** Behind the header of `request`. */
function payloadBytes(): number {
  return request.type === wire.NBD_CMD_WRITE ? request.length : 0;
}

function passReplies(target: number, client: number): void {
  const place = fromTarget.subarray(targetBytes);
  const came = calls.recv(target, place, place.length, 0);
  must(came > 0, 'recv');
  targetBytes += came;
  const whole = targetBytes - (targetBytes % transmission.SIMPLE_REPLY_BYTES);
  give(client, fromTarget, whole);
  fromTarget.copyWithin(0, whole, targetBytes);
  targetBytes -= whole;
}

function serve(client: number, target: number, file: number): void {
  // Two of `struct pollfd`: a descriptor, and events below what is ready of them.
  const ready = new Int32Array([client, POLLIN, target, POLLIN]);
  clientBytes = 0;
  for (;;) {
    must(calls.poll(ready, 2, -1) > 0, 'poll');
    if (ready[3]! >>> 16 !== 0) passReplies(target, client);
    if (ready[1]! >>> 16 !== 0 && !passRequests(client, target, file)) return;
  }
}

const [socket, path, targetSocket] = process.argv.slice(2);
const file = openSync(path!, 'r+');
const { size } = fstatSync(file);
const target = connectTo(targetSocket!);
const listener = listenAt(socket!);
for (;;) {
  const client: number = calls.accept(listener, null, null);
  must(client >= 0, 'accept');
  if (negotiate(client, size)) serve(client, target, file);
  calls.close(client);
}
