"""
only-send.py SOCKET FILE BYTES REQUESTS: writes the first BYTES of FILE to the default export of an
NBD server, in requests of 1 MiB by sendfile(2), so many of them at a time, and prints how many
seconds that took. It reads nothing, looks at nothing and asks nothing: what no mirror can beat.
"""

import os
import socket
import struct
import sys
import threading
import time

MIB = 1 << 20
SEND_BUFFER_BYTES = 4 * MIB
# Past the system's limit, for root; Python has no name for it.
SO_SNDBUFFORCE = 32

# NBD's newstyle negotiation, as far as it takes to get a default export.
GREETING_BYTES = 18
FIXED_NEWSTYLE = 1
NO_ZEROES = 2
OPT_GO = 7
REP_ACK = 1
REP_FLAG_ERROR = 1 << 31
REQUEST_MAGIC = 0x25609513
CMD_WRITE = 1


def main(path, name, size, in_flight):
    server = socket.socket(socket.AF_UNIX)
    server.connect(path)
    widen(server)
    negotiate(server)
    with open(name, "rb") as source:
        room = threading.Semaphore(in_flight)
        reader = threading.Thread(target=take_answers, args=(server, size, room), daemon=True)
        start = time.monotonic()
        reader.start()
        for offset in range(0, size, MIB):
            room.acquire()
            header = struct.pack(">IHHQQI", REQUEST_MAGIC, 0, CMD_WRITE, offset, offset, MIB)
            server.sendall(header, socket.MSG_MORE)
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


def negotiate(server):
    take(server, GREETING_BYTES)
    server.sendall(struct.pack(">I", FIXED_NEWSTYLE | NO_ZEROES))
    server.sendall(b"IHAVEOPT" + struct.pack(">IIIH", OPT_GO, 6, 0, 0))
    reply = None
    while reply != REP_ACK:
        _, _, reply, length = struct.unpack(">QIII", take(server, 20))
        take(server, length)
        if reply & REP_FLAG_ERROR:
            fail(f"the server refused the default export with reply {reply:#x}")


def take_answers(server, size, room):
    for _ in range(0, size, MIB):
        _, error, _ = struct.unpack(">IIQ", take(server, 16))
        if error != 0:
            fail(f"the server answered a write with error {error}")
        room.release()


def take(server, count):
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


main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
