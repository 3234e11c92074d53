"""
only-receive.py SOCKET FILE: exports FILE to one client after the other, who may only write. What
arrives goes from the socket to the file by splice(2) and is answered; nothing is looked at, and
nothing else is done meanwhile: what no server can beat by much with long writes.
"""

import fcntl
import os
import socket
import struct
import sys

PIPE_BYTES = 1 << 20
F_SETPIPE_SZ = 1031

# NBD's newstyle negotiation, as far as it takes to give a default export.
GREETING = b"NBDMAGICIHAVEOPT" + struct.pack(">H", 1 | 2)  # fixed newstyle, no zeroes
CLIENT_FLAGS_BYTES = 4
OPT_GO = 7
REPLY_MAGIC = 0x3E889045565A9
REP_ACK = 1
REP_INFO = 3
REP_ERR_UNSUP = (1 << 31) | 1
INFO_EXPORT = 0
HAS_FLAGS_AND_FLUSH = 1 | 4
REQUEST_BYTES = 28
SIMPLE_REPLY_MAGIC = 0x67446698
CMD_WRITE = 1
CMD_DISC = 2
CMD_FLUSH = 3
EINVAL = 22


def main(path, name):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(8)
    file = os.open(name, os.O_WRONLY)
    size = os.fstat(file).st_size
    pipe = os.pipe()
    fcntl.fcntl(pipe[0], F_SETPIPE_SZ, PIPE_BYTES)
    while True:
        client, _ = listener.accept()
        try:
            negotiate(client, size)
            serve(client, file, pipe)
        except EOFError:
            pass
        client.close()


def negotiate(client, size):
    client.sendall(GREETING)
    take(client, CLIENT_FLAGS_BYTES)
    while True:
        _, option, length = struct.unpack(">QII", take(client, 16))
        take(client, length)
        if option != OPT_GO:
            answer(client, option, REP_ERR_UNSUP, b"")
            continue
        export = struct.pack(">HQH", INFO_EXPORT, size, HAS_FLAGS_AND_FLUSH)
        answer(client, option, REP_INFO, export)
        answer(client, option, REP_ACK, b"")
        return


def answer(client, option, kind, data):
    client.sendall(struct.pack(">QIII", REPLY_MAGIC, option, kind, len(data)) + data)


def serve(client, file, pipe):
    while True:
        _, _, kind, cookie, offset, length = struct.unpack(">IHHQQI", take(client, REQUEST_BYTES))
        if kind == CMD_DISC:
            return
        error = 0
        if kind == CMD_WRITE:
            receive(client, file, pipe, offset, length)
        elif kind != CMD_FLUSH:
            error = EINVAL
        client.sendall(struct.pack(">IIQ", SIMPLE_REPLY_MAGIC, error, cookie))


def receive(client, file, pipe, offset, length):
    while length > 0:
        arrived = os.splice(client.fileno(), pipe[1], length)
        if arrived == 0:
            raise EOFError
        while arrived > 0:
            written = os.splice(pipe[0], file, arrived, offset_dst=offset)
            arrived -= written
            offset += written
            length -= written


def take(client, count):
    data = client.recv(count, socket.MSG_WAITALL) if count > 0 else b""
    if len(data) < count:
        raise EOFError
    return data


main(sys.argv[1], sys.argv[2])
