/*
 * only-mirror SOCKET FILE TARGET: exports FILE to one client after the other, who may only write,
 * and sends what comes to the NBD server at the Unix socket TARGET as it is, before it goes to the
 * file. Answers of the target are passed on as they are: their cookies are the client's own. One
 * thread, no checks, no lock (writes that overlap may end differently on the two sides), no bitmap,
 * no second client: what nobody can beat by much who mirrors synchronously.
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* The NBD protocol, as far as it takes; all numbers are big-endian. */
#define PACKED __attribute__((packed))
struct option { uint64_t magic; uint32_t option, length; } PACKED;
struct option_reply { uint64_t magic; uint32_t option, type, length; } PACKED;
struct export_info { uint16_t type; uint64_t size; uint16_t flags; } PACKED;
struct request {
  uint32_t magic;
  uint16_t flags, type;
  uint64_t cookie, offset;
  uint32_t length;
} PACKED;

static const char GREETING[] = "NBDMAGICIHAVEOPT\0\3"; /* fixed newstyle, no zeroes */
static const uint64_t OPTION_MAGIC = 0x49484156454f5054, REPLY_MAGIC = 0x3e889045565a9;
enum { GREETING_BYTES = 18, CLIENT_FLAGS = 3, CLIENT_FLAGS_BYTES = 4, OLD_EXPORT_BYTES = 10 };
enum { OPT_EXPORT_NAME = 1, OPT_GO = 7, REP_ACK = 1, REP_INFO = 3, HAS_FLAGS_AND_FLUSH = 1 | 4 };
enum { CMD_WRITE = 1, CMD_DISC = 2, REPLY_BYTES = 16 };
static const uint32_t REP_ERR_UNSUP = 0x80000001;

enum { SEND_BUFFER_BYTES = 16 << 20, ROOM_BYTES = 4 << 20, OPTION_BYTES_MAX = 65536 };
static char from_client[ROOM_BYTES], from_target[REPLY_BYTES * 4096];
static size_t client_bytes, target_bytes;

static void must(int holds, const char *what) {
  if (holds) return;
  perror(what);
  exit(1);
}

static int take(int fd, void *into, size_t bytes) {
  return bytes == 0 || recv(fd, into, bytes, MSG_WAITALL) == (ssize_t)bytes;
}

static void give(int fd, const void *from, size_t bytes) {
  for (size_t sent = 0; sent < bytes;) {
    ssize_t more = send(fd, (const char *)from + sent, bytes - sent, MSG_NOSIGNAL);
    if (more < 0 && errno == EPIPE) return;
    must(more > 0, "send");
    sent += more;
  }
}

static int unix_socket(const char *path, struct sockaddr_un *address) {
  memset(address, 0, sizeof *address);
  address->sun_family = AF_UNIX;
  must(strlen(path) < sizeof address->sun_path, "the path of a socket");
  strcpy(address->sun_path, path);
  int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  must(fd >= 0, "socket");
  return fd;
}

/* As much as ours, for root. */
static void widen(int fd) {
  int bytes = SEND_BUFFER_BYTES;
  setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof bytes);
}

static int connect_to(const char *path) {
  struct sockaddr_un address;
  int fd = unix_socket(path, &address);
  widen(fd);
  must(connect(fd, (struct sockaddr *)&address, sizeof address) == 0, path);
  char greeting[GREETING_BYTES], export[OLD_EXPORT_BYTES];
  must(take(fd, greeting, sizeof greeting), "greeting");
  uint32_t flags = htobe32(CLIENT_FLAGS);
  struct option name = {htobe64(OPTION_MAGIC), htobe32(OPT_EXPORT_NAME), 0};
  give(fd, &flags, sizeof flags);
  give(fd, &name, sizeof name);
  must(take(fd, export, sizeof export), "export");
  return fd;
}

static void answer(int fd, uint32_t option, uint32_t type, const void *data, uint32_t length) {
  struct option_reply reply = {
    htobe64(REPLY_MAGIC), htobe32(option), htobe32(type), htobe32(length),
  };
  give(fd, &reply, sizeof reply);
  give(fd, data, length);
}

static int negotiate(int client, uint64_t size) {
  static char data[OPTION_BYTES_MAX];
  struct option head;
  give(client, GREETING, GREETING_BYTES);
  if (!take(client, data, CLIENT_FLAGS_BYTES)) return 0;
  while (take(client, &head, sizeof head)) {
    uint32_t option = be32toh(head.option), length = be32toh(head.length);
    if (length > sizeof data || !take(client, data, length)) return 0;
    if (option != OPT_GO) {
      answer(client, option, REP_ERR_UNSUP, NULL, 0);
      continue;
    }
    struct export_info info = {0, htobe64(size), htobe16(HAS_FLAGS_AND_FLUSH)};
    answer(client, option, REP_INFO, &info, sizeof info);
    answer(client, option, REP_ACK, NULL, 0);
    return 1;
  }
  return 0;
}

/* All requests that are whole; 0 when the client has gone. */
static int pass_requests(int client, int target, int file) {
  ssize_t came = recv(client, from_client + client_bytes, ROOM_BYTES - client_bytes, 0);
  if (came <= 0) return 0;
  client_bytes += came;
  int goes = 0;
  size_t whole = 0;
  while (!goes && client_bytes - whole >= sizeof(struct request)) {
    const struct request *request = (void *)(from_client + whole);
    int type = be16toh(request->type);
    size_t bytes = sizeof *request + (type == CMD_WRITE ? be32toh(request->length) : 0);
    if (client_bytes - whole < bytes) break;
    goes = type == CMD_DISC;
    if (!goes) whole += bytes;
  }
  give(target, from_client, whole);
  for (size_t at = 0; at < whole;) {
    const struct request *request = (void *)(from_client + at);
    at += sizeof *request;
    if (be16toh(request->type) != CMD_WRITE) continue;
    uint32_t length = be32toh(request->length);
    must(pwrite(file, from_client + at, length, be64toh(request->offset)) == length, "pwrite");
    at += length;
  }
  client_bytes -= whole;
  memmove(from_client, from_client + whole, client_bytes);
  return !goes;
}

static void pass_replies(int target, int client) {
  ssize_t came = recv(target, from_target + target_bytes, sizeof from_target - target_bytes, 0);
  must(came > 0, "recv");
  target_bytes += came;
  size_t whole = target_bytes - target_bytes % REPLY_BYTES;
  give(client, from_target, whole);
  target_bytes -= whole;
  memmove(from_target, from_target + whole, target_bytes);
}

static void serve(int client, int target, int file) {
  struct pollfd ready[] = {{client, POLLIN, 0}, {target, POLLIN, 0}};
  client_bytes = 0;
  for (;;) {
    must(poll(ready, 2, -1) > 0, "poll");
    if (ready[1].revents != 0) pass_replies(target, client);
    if (ready[0].revents != 0 && !pass_requests(client, target, file)) return;
  }
}

int main(int count, char **arguments) {
  must(count == 4, "usage: only-mirror SOCKET FILE TARGET");
  struct sockaddr_un address;
  struct stat stat;
  int file = open(arguments[2], O_WRONLY);
  must(file >= 0 && fstat(file, &stat) == 0, arguments[2]);
  int target = connect_to(arguments[3]);
  int listener = unix_socket(arguments[1], &address);
  must(bind(listener, (struct sockaddr *)&address, sizeof address) == 0, arguments[1]);
  must(listen(listener, 8) == 0, "listen");
  for (;;) {
    int client = accept(listener, NULL, NULL);
    must(client >= 0, "accept");
    if (negotiate(client, stat.st_size)) serve(client, target, file);
    close(client);
  }
}
