"""
only-send.py SOCKET FILE BYTES REQUESTS ASKED: writes the first BYTES of FILE to the default export
of an NBD server, in requests of 1 MiB by sendfile(2), so many of them at a time, and prints how
many seconds that took. Before that it asks the server what the first ASKED bytes of the export
hold, as whoever does not want to zero them has to. It reads nothing and looks at nothing: what no
mirror can beat.
"""

import os
import socket
import struct
import sys
import threading
import time

MIB = 1 << 20
# As much as ours: what all copies have in flight.
SEND_BUFFER_BYTES = 16 * MIB
# Past the system's limit, for root; Python has no name for it.
SO_SNDBUFFORCE = 32

ASK_BYTES = 2 << 30

# NBD's newstyle negotiation, as far as it takes to get a default export and its block status.
GREETING_BYTES = 18
FIXED_NEWSTYLE = 1
NO_ZEROES = 2
OPT_GO = 7
OPT_STRUCTURED_REPLY = 8
OPT_SET_META_CONTEXT = 10
CONTEXT = b"base:allocation"
REP_ACK = 1
REP_FLAG_ERROR = 1 << 31
REQUEST_MAGIC = 0x25609513
CMD_WRITE = 1
CMD_BLOCK_STATUS = 7
SIMPLE_REPLY_MAGIC = 0x67446698
CHUNK_BYTES = 20
CHUNK_DONE = 1
CHUNK_TYPE_ERROR = 1 << 15


def main(path, name, size, in_flight, asked):
    server = socket.socket(socket.AF_UNIX)
    server.connect(path)
    widen(server)
    negotiate(server, asked > 0)
    with open(name, "rb") as source:
        room = threading.Semaphore(in_flight)
        reader = threading.Thread(target=take_answers, args=(server, size, room), daemon=True)
        start = time.monotonic()
        ask(server, asked)
        reader.start()
        for offset in range(0, size, MIB):
            room.acquire()
            server.sendall(request(CMD_WRITE, offset, MIB), socket.MSG_MORE)
            sent = 0
            while sent < MIB:
                took = os.sendfile(server.fileno(), source.fileno(), offset + sent, MIB - sent)
                if took == 0:
                    fail(f"{name} ends before {size} bytes")
                sent += took
        reader.join()
    print(time.monotonic() - start)


def widen(server):
    for option in (SO_SNDBUFFORCE, socket.SO_SNDBUF):
        try:
            server.setsockopt(socket.SOL_SOCKET, option, SEND_BUFFER_BYTES)
            return
        except PermissionError:
            pass


def negotiate(server, asks):
    take(server, GREETING_BYTES)
    server.sendall(struct.pack(">I", FIXED_NEWSTYLE | NO_ZEROES))
    if asks:
        option(server, OPT_STRUCTURED_REPLY, b"")
        query = struct.pack(">III", 0, 1, len(CONTEXT)) + CONTEXT
        option(server, OPT_SET_META_CONTEXT, query)
    option(server, OPT_GO, struct.pack(">IH", 0, 0))


def option(server, number, data):
    server.sendall(b"IHAVEOPT" + struct.pack(">II", number, len(data)) + data)
    reply = None
    while reply != REP_ACK:
        _, _, reply, length = struct.unpack(">QIII", take(server, 20))
        take(server, length)
        if reply & REP_FLAG_ERROR:
            fail(f"the server refused option {number} with reply {reply:#x}")


def request(kind, offset, length):
    return struct.pack(">IHHQQI", REQUEST_MAGIC, 0, kind, offset, offset, length)


def ask(server, asked):
    offsets = range(0, asked, ASK_BYTES)
    for offset in offsets:
        server.sendall(request(CMD_BLOCK_STATUS, offset, min(ASK_BYTES, asked - offset)))
    for _ in offsets:
        take_answer(server)


def take_answers(server, size, room):
    for _ in range(0, size, MIB):
        take_answer(server)
        room.release()


def take_answer(server):
    done = False
    while not done:
        head = take(server, 16)
        magic, flags, kind = struct.unpack(">IHH", head[:8])
        done = magic == SIMPLE_REPLY_MAGIC or flags & CHUNK_DONE
        failed = kind != 0 or flags != 0
        if magic != SIMPLE_REPLY_MAGIC:
            (length,) = struct.unpack(">I", take(server, CHUNK_BYTES - len(head)))
            take(server, length)
            failed = kind & CHUNK_TYPE_ERROR
        if failed:
            fail("the server answered a request with an error")


def take(server, count):
    if count == 0:
        return b""
    try:
        data = server.recv(count, socket.MSG_WAITALL)
    except OSError as error:
        fail(f"cannot read from the server: {error}")
    if len(data) < count:
        fail("the server closed the connection")
    return data


def fail(why):
    """Ends the whole program: an exception in one thread would leave the other one waiting."""
    sys.stderr.write(f"only-send.py: {why}\n")
    os._exit(1)


main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))
