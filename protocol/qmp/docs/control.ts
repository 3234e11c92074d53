import type { Docs } from './language.ts';

export const CONTROL_DOCS = {
  title: 'The session',
  about: 'Negotiation, versions, introspection, giving up on peers, and the end of the process.',
  commands: {
    qmp_capabilities: {
      about:
        'Ends the negotiation that every connection begins with: no other command is taken, and ' +
        'no event is sent, before it.',
      members: {
        enable: {
          about: 'Capabilities from the greeting that the client wants.',
          default: 'none',
        },
        'x-token': {
          about: 'What a monitor that was given a token wants to see before anything else.',
          default: 'none',
        },
      },
      errors: {
        "This monitor takes its token as 'x-token' of qmp_capabilities":
          'it is missing or wrong; the third time the connection is closed',
        'CommandNotFound: Capabilities negotiation is already complete, command ignored':
          'it was sent before',
      },
    },
    'query-version': {
      about: 'The version of QEMU whose commands these are, and our own as `package`.',
    },
    'query-commands': { about: 'The names of all commands.' },
    'query-qmp-schema': {
      about:
        'Every command, event and type as data, for clients that ask before they use something. ' +
        'The shape is that of QEMU; types keep their names here, which no client may depend on.',
      returns: 'A list of objects, each with `name` and `meta-type`.',
    },
    yank: {
      about:
        'Cuts the connections of NBD nodes to their servers: what waits for them fails at once, ' +
        'and so do the commands behind it. Meant for a server that has stopped answering; may be ' +
        'sent with `exec-oob`, ahead of a command that waits for it. A node with a reconnect ' +
        'delay then connects anew.',
      members: { instances: 'The nodes. When one of them is not there, none is cut.' },
      errors: { 'DeviceNotFound: Instance not found': 'there is no such NBD node' },
    },
    'query-yank': {
      about: 'What `yank` takes now. May be sent with `exec-oob`.',
    },
    quit: {
      about:
        'Ends the process in order: jobs are cancelled by force, exports and nodes are closed. ' +
        'The reply comes first.',
    },
  },
  types: {
    VersionTriple: {
      about: 'The three numbers of a version.',
      members: { major: 'The first number.', minor: 'The second.', micro: 'The third.' },
    },
    VersionInfo: {
      about: 'Versions of the language and of the program.',
      members: {
        qemu: 'The version of QEMU that a client may take us for.',
        package: 'Our own name and version.',
      },
    },
    QMPCapability: {
      about: 'What a client may switch on for its connection.',
      members: { oob: 'Commands out of band: `exec-oob`.' },
    },
    YankInstanceType: {
      about: 'What can be given up on.',
      members: { 'block-node': 'The server of an NBD node.' },
    },
    YankInstance: {
      about: 'A peer to give up on.',
      members: { type: 'What it is.', 'node-name': 'Name of the node.' },
    },
    CommandInfo: { about: 'A command.', members: { name: 'What `execute` takes.' } },
    ChardevOptions: {
      about: "The command line's `--chardev`: where a monitor listens.",
      members: {
        backend: '`socket`; its name may be left out.',
        id: 'Its name.',
        path: { about: 'Path of a Unix socket.', default: '`host` and `port`' },
        host: { about: 'Address of this host to listen on.', default: '`path`' },
        port: { about: 'TCP port.', default: '`path`' },
        server: { about: 'Must be true: clients come to us.', default: 'false, which is refused' },
        wait: { about: 'Must be false: nobody is waited for.', default: 'false' },
        websocket: { about: 'Whether clients speak WebSocket.', default: 'false' },
      },
    },
    MonitorOptions: {
      about: "The command line's `--monitor`: QMP on a character device.",
      members: {
        chardev: 'Its name. `chardev=` may be left out.',
        id: { about: 'Taken and unused.', default: 'none' },
        mode: { about: 'Must be `control`, which is QMP.', default: '`control`' },
        pretty: { about: 'Taken and unused: messages stay on one line.', default: 'false' },
        'token-file': { about: 'File with the token that clients must show.', default: 'none' },
      },
    },
  },
} as const satisfies Docs;
