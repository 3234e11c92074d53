/** What is true of every command, in Markdown, for the head of the reference. */
export const TRANSPORTS = `Any number of monitors listen on Unix sockets (\`unix:PATH\`), TCP ports
(\`tcp:HOST:PORT\`) and WebSockets (\`ws://HOST:PORT\`, one message a frame), and each takes several
clients. A message is one JSON object; ours are one a line. Every client gets every event.

Beyond loopback addresses a monitor needs a token, which the client sends as \`x-token\` of
\`qmp_capabilities\`, or with the WebSocket's handshake. Nothing is encrypted.

A session begins with our greeting, and with \`qmp_capabilities\`; nothing else is taken before it.
A client that enables \`oob\` may send some commands with \`exec-oob\`: they are done ahead of those
that wait.

\`\`\`
<- {"QMP": {"version": {"qemu": {...}, "package": "nbd-mirror ..."}, "capabilities": [...]}}
-> {"execute": "qmp_capabilities"}
<- {"return": {}}
\`\`\``;

export const CONVENTIONS = `* A command is \`{"execute": NAME, "arguments": {...}, "id": ANY}\`.
  \`arguments\` and \`id\` may be left out, and \`id\` comes back with the reply:
  \`{"return": ..., "id": ANY}\` or \`{"error": {"class": ..., "desc": ...}, "id": ANY}\`. Commands
  of one session are done one after another.
* An event is \`{"event": NAME, "data": {...}, "timestamp": {"seconds": N, "microseconds": N}}\`. It
  may come before the reply of the command that caused it. The examples leave the timestamp out.
* Error classes: \`GenericError\`, \`CommandNotFound\`, \`DeviceNotActive\` (no such job, old
  commands only), \`DeviceNotFound\` (\`yank\`). Texts are QEMU's where QEMU has them; names in the
  tables below (\`n\`, \`x\`, \`m\`) stand for those at hand.
* Wrong arguments are refused before anything happens: \`Parameter 'x' is missing\`, \`Parameter 'x'
  is unexpected\`, \`Invalid parameter type for 'x', expected: string\`, \`Parameter 'x' does not
  accept value 'y'\`, \`Parameter 'x' expects uint32_t\`.
* Sizes, offsets and lengths are bytes, speeds bytes per second. \`int\`, \`uint16\`, \`uint32\`
  and \`size\` are JSON integers, exact up to 2^53.
* *Unstable* means that it may change or go in the next version; *deprecated* that there is a
  better way. Names that begin with \`x-\` are unstable. \`query-qmp-schema\` says the same to
  programs.
* The examples were played by a test, on two nodes of 1 MiB: \`disk\`, full of data, and
  \`copy\`.`;
