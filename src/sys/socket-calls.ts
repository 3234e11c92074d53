import { constants } from 'node:os';
import { isMainThread } from 'node:worker_threads';
import koffi, { type LibraryHandle } from 'koffi';
import type { SocketCalls } from '../util/socket-calls.ts';
import { systemError } from './system-error.ts';

/** MSG_DONTWAIT, MSG_NOSIGNAL. */
const FLAGS = 0x40 | 0x4000;
const POLLIN = 1;
const EPOLL_CTL_DEL = 2;
const { EAGAIN, EINTR, ENOBUFS } = constants.errno;
/** As in libuv: the same call may succeed in a moment. */
const PASSING: readonly number[] = [EAGAIN, EINTR, ENOBUFS];

/**
 * One call each, none of which waits for a socket. `wait` may sleep, in place of the event loop:
 * libuv, whose functions Node exports, has its own descriptors in an epoll set, which can be waited
 * for like a socket. Throws where that cannot be had, and in a worker, whose loop is another one.
 */
export function socketCalls(libc: LibraryHandle): SocketCalls {
  if (!isMainThread) throw new Error('only the main thread waits for its sockets itself');
  const defaultLoop = libc.func('void *uv_default_loop()');
  const backendFd = libc.func('int uv_backend_fd(void *loop)');
  const recv = libc.func('int64_t recv(int fd, void *data, size_t n, int flags)');
  const send = libc.func('int64_t send(int fd, const void *data, size_t n, int flags)');
  const poll = libc.func('int poll(void *fds, unsigned long n, int timeout)');
  const epollCtl = libc.func('int epoll_ctl(int epfd, int op, int fd, void *event)');
  const eventLoop: number = backendFd(defaultLoop());
  if (eventLoop < 0) throw systemError('uv_backend_fd', -eventLoop);
  /** Of `struct pollfd` each: a descriptor, and events below what is ready of them. */
  let polled = new Int32Array(new ArrayBuffer(0));
  let lastIndex = 0;
  const isReady = (index: number) => polled[2 * index + 1]! >>> 16 !== 0;

  return {
    receive: (socket, buffer) => done('read', recv(socket, buffer, buffer.length, FLAGS)),
    send: (socket, data) => done('write', send(socket, data, data.length, FLAGS)),

    wait(sockets, waitMs) {
      lastIndex = sockets.length;
      const count = lastIndex + 1;
      if (polled.length < 2 * count) polled = new Int32Array(new ArrayBuffer(8 * count));
      for (let i = 0; i < count; i++) {
        polled[2 * i] = i < sockets.length ? sockets[i]!.descriptor : eventLoop;
        polled[2 * i + 1] = POLLIN;
      }
      return poll(polled, count, waitMs) > 0;
    },

    isReady,
    isLoopReady: () => isReady(lastIndex),

    // It may not be in the set, so errors say nothing.
    unwatch: (socket) => void epollCtl(eventLoop, EPOLL_CTL_DEL, socket, null),
  };
}

/** Named as libuv names it, whose call it stands for. */
function done(call: string, result: number): number {
  if (result >= 0) return result;
  const errno = koffi.errno();
  if (PASSING.includes(errno)) return 0;
  throw systemError(call, errno);
}
