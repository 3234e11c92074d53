/**
 * Every bound on what a peer or an operator can make us hold, in one place.
 * Sizes are bytes unless the name says otherwise.
 */
export const KiB = 1024;
export const MiB = 1024 * KiB;
export const GiB = 1024 * MiB;

/**
 * Largest READ or WRITE payload that the server takes (`maximum payload` of NBD_INFO_BLOCK_SIZE).
 */
export const NBD_PAYLOAD_BYTES_MAX = 64 * MiB;
/**
 * Bytes of READ and WRITE payload that one client may have in flight before we stop reading from
 * it.
 */
export const CLIENT_IN_FLIGHT_BYTES_MAX = 64 * MiB;
/** Payload that a client may hold without asking for a part of the server's budget. */
export const CLIENT_OWN_PAYLOAD_BYTES = 1 * MiB;
/**
 * Payload that all clients of a server may hold beyond that. More than any one of them can use, or
 * a request could wait for ever. (It can where a disk hangs: what it has been given stays taken,
 * whoever waits for it.)
 */
export const SERVER_PAYLOAD_BYTES_MAX = 256 * MiB;
/**
 * Whoever holds a part of the budget for which others wait has this long, or at most twice as long,
 * to send a payload, and to take the replies that wait for him: for 64 MiB that is 1.1 MiB/s, for
 * 1 MiB 17 KiB/s.
 */
export const PAYLOAD_STALL_MS = 60_000;
/** Requests that one client may have in flight before we stop reading from it. */
export const CLIENT_IN_FLIGHT_REQUESTS_MAX = 128;
/** Replies that wait for a client which does not read, before we stop serving it. */
export const CLIENT_UNSENT_BYTES_MAX = 8 * MiB;
/**
 * What the kernel holds of replies that a client on a Unix socket has not read yet, so that the
 * next 1 MiB can be read while the client takes the last one (with the default of 208 KiB: 0.6
 * times as fast).
 */
export const CLIENT_SEND_BUFFER_BYTES = 2 * MiB;
/** Data of one option of the handshake: a name and a few hundred queries fit. */
export const NBD_OPTION_BYTES_MAX = 64 * KiB;
/**
 * Options that a client may send before it enters transmission, and more for each export: who lists
 * them (`qemu-nbd -L`, `nbdinfo --list`) asks two or three of each.
 */
export const NBD_OPTIONS_MAX = 128;
export const NBD_OPTIONS_PER_EXPORT_MAX = 4;
/** What a client may leave unread of the replies to its options, and yet ask on. */
export const NBD_HANDSHAKE_UNSENT_BYTES_MAX = 4 * MiB;
/** Time for the whole handshake (QEMU's default of handshake-max-seconds). */
export const NBD_HANDSHAKE_MS_MAX = 10_000;
/** Clients of one NBD server at a time (QEMU's default of max-connections). */
export const NBD_CONNECTIONS_MAX = 100;
/**
 * Extents in one BLOCK_STATUS reply; clients ask for the rest. A file system is asked for each,
 * 5 us, and meanwhile nothing else is done.
 */
export const BLOCK_STATUS_EXTENTS_MAX = 1024;

/** Requests that our client keeps in flight on one connection. */
export const TARGET_IN_FLIGHT_REQUESTS_MAX = 64;
/**
 * What the kernel holds of requests that a server on a Unix socket has not read yet: all that
 * copies have in flight where no client writes. With less the server is idle while the event loop
 * does something else, or waits for a processor (a full mirror to nbdkit: 1.08 times slower with
 * 4 MiB, 1.1 to 1.4 times more with the default of 208 KiB).
 */
export const UNIX_SEND_BUFFER_BYTES = 16 * MiB;
/** Replies of a server to one option of the handshake. */
export const TARGET_OPTION_REPLIES_MAX = 1024;
/** Extents in one BLOCK_STATUS chunk of a server (what the protocol recommends at most). */
export const TARGET_STATUS_EXTENTS_MAX = 2 ** 20;
/**
 * As many of them are looked at; whoever wants more asks for the rest. All of them held the event
 * loop for half a second.
 */
export const TARGET_STATUS_EXTENTS_READ_MAX = 4096;
/** Places in one READ's reply at which chunks go on out of order. */
export const TARGET_SCATTERED_CHUNKS_MAX = 1024;
/** Longest WRITE_ZEROES, TRIM or CACHE: they carry no payload, but take their time. */
export const TARGET_EFFECT_BYTES_MAX = 128 * MiB;
/**
 * Longest BLOCK_STATUS. A server may answer for less; an empty target of 1 TiB takes 512 round
 * trips with this, and 8192 with 128 MiB.
 */
export const TARGET_STATUS_BYTES_MAX = 2 * GiB;
/** Time for a server to close after we said goodbye. */
export const TARGET_GOODBYE_MS_MAX = 2_000;
/** A server that answers nothing for so long, and has requests, is said to be silent. */
export const SERVER_SILENT_MS = 10_000;
/** Pause after a failed attempt to reconnect to a server; doubled each time, up to the longest. */
export const RECONNECT_PAUSE_MS_MIN = 1_000;
export const RECONNECT_PAUSE_MS_MAX = 16_000;

/**
 * Bytes of background copies in flight (`CopyWindow`): on a short link, where clients wait behind
 * more, and on the longest. At least twice as many as on a short one where no client writes.
 */
export const COPY_IN_FLIGHT_BYTES_MIN = 8 * MiB;
export const COPY_IN_FLIGHT_BYTES_MAX = 64 * MiB;

/**
 * What one mirror holds of the source for client writes that go to the target in whole units
 * (`x-target-cluster-size`) or by reading what they left (TRIM); further ones wait.
 */
export const UNIT_BUFFERS_BYTES_MAX = 32 * MiB;

/** Aligned memory that one node past the page cache keeps for its next requests. */
export const DIRECT_KEPT_BYTES_MAX = 8 * MiB;

/** Foreign system calls that wait in the thread pool at a time (koffi refuses the 257th). */
export const SYSCALLS_IN_FLIGHT_MAX = 32;

/** Transfers that wait for disks at a time in the kernel; a power of two. */
export const IO_RING_ENTRIES = 256;

/** One QMP message, as QEMU limits its tokens. */
export const QMP_MESSAGE_BYTES_MAX = 64 * MiB;
/** Tokens of one QMP message, as QEMU. */
export const QMP_TOKENS_MAX = 2 * 1024 * 1024;
/** Nesting of one QMP message, as QEMU. */
export const QMP_NESTING_MAX = 1024;
/** Commands in band that wait behind the running one, once `oob` is enabled, as QEMU. */
export const QMP_QUEUE_MAX = 8;
/** Messages of one client that are taken one after the other; then it is the others' turn. */
export const QMP_TURN_MESSAGES_MAX = 16;
/** Replies and events that wait for a monitor which does not read, before it is closed. */
export const QMP_UNSENT_BYTES_MAX = 4 * MiB;

/** Smallest bitmap granularity. */
export const GRANULARITY_MIN = 512;
/** Largest granularity of a mirror job. */
export const MIRROR_GRANULARITY_MAX = 64 * MiB;
/** Largest cluster of an image behind a target (qcow2's): more is never read around a write. */
export const TARGET_CLUSTER_BYTES_MAX = 2 * MiB;
/**
 * Granularity when nobody says otherwise: what QEMU takes for a node that reports no cluster size.
 */
export const GRANULARITY_DEFAULT = 64 * KiB;

/** What one read from a socket can bring; each connection holds one such slab. */
export const NET_SLAB_BYTES = 128 * KiB;
/** Bytes that wait for `Connection.read` before we stop reading from the socket. */
export const NET_UNREAD_BYTES_MAX = 128 * KiB;
/** Silence after which TCP asks whether the peer is still there. */
export const NET_KEEP_ALIVE_MS = 30_000;
/** Peers of a full listener that are kept waiting; further ones are turned away. */
export const LISTEN_WAITING_MAX = 64;

/** Replies of one turn of the event loop are gathered in buffers of this size. */
export const OUTPUT_SLAB_BYTES = 256 * KiB;
/** READs from this size on are answered with chunks for holes where the disk knows them. */
export const SPARSE_READ_BYTES_MIN = 64 * KiB;
/** Data and holes of one such answer; what is behind them counts as data. */
export const SPARSE_READ_PIECES_MAX = 64;
/** Buffers that an NBD server keeps for later, over all its clients. */
export const SERVER_KEPT_BYTES_MAX = 24 * MiB;
/** Requests of one client that start one after the other; then it is the others' turn. */
export const CLIENT_TURN_REQUESTS_MAX = 256;
/** As many of them one BLOCK_STATUS counts for. */
export const BLOCK_STATUS_TURN_REQUESTS = 128;
/** The rest of a WRITE's payload is read straight into its buffer when it is at least this long. */
export const DIRECT_RECEIVE_BYTES_MIN = 16 * KiB;
/**
 * WRITEs of this length go to a file's page cache without passing our memory where that can be had.
 * 1 MiB, depth 8: 1.3 times as many; 64 KiB: 0.95.
 */
export const DIRECT_WRITE_BYTES_MIN = 128 * KiB;
/**
 * A WRITE over the maximum is answered when its payload has been swallowed; beyond this we close.
 */
export const NBD_SWALLOW_BYTES_MAX = 256 * MiB;
/**
 * Time that a client gets to end its side behind its last reply before its connection is cut; when
 * the server stops, to take its last replies as well.
 */
export const CLIENT_LINGER_MS = 2_000;
/** An option with more data than we take is skipped and refused; beyond this we close. */
export const NBD_OPTION_SWALLOW_BYTES_MAX = 1 * MiB;

/** QMP clients at a time, over all monitors. */
export const QMP_SESSIONS_MAX = 64;
/** QMP clients at a time that have not shown the token. */
export const QMP_STRANGERS_MAX = 16;
/** Time for a QMP client, or for an HTTP request, to show the token. */
export const QMP_STRANGER_MS_MAX = 10_000;
/** What a QMP client may send before it has shown the token. */
export const QMP_STRANGER_BYTES_MAX = 64 * KiB;
/** Wrong tokens, and messages that are malformed, from a QMP client that has not shown it. */
export const QMP_STRANGER_FAILURES_MAX = 3;
/** Commands that run when the process ends get this long to end by themselves. */
export const QMP_LAST_COMMANDS_MS_MAX = 1000;
/** A request that would become a WebSocket, all its headers. */
export const WEB_SOCKET_HEADER_BYTES_MAX = 16 * KiB;
/** Pause between two pings, which keep proxies from taking a quiet WebSocket for a dead one. */
export const WEB_SOCKET_PING_MS = 30_000;
/** Time for QMP clients to take what is unsent when the process ends. */
export const QMP_GOODBYE_MS_MAX = 1000;
/** Granules of a dirty bitmap: a disk of 128 TiB in pieces of 512 bytes. */
export const BITMAP_GRANULES_MAX = 2 ** 38;
/** Name of a dirty bitmap, as QEMU. */
export const BITMAP_NAME_BYTES_MAX = 1023;
/** Name or description of an export: the longest string that the protocol allows. */
export const NBD_STRING_BYTES_MAX = 4096;

/** What requests in flight get at the end of the process, before their disks are given up. */
export const CLOSE_GRACE_MS = 3_000;
