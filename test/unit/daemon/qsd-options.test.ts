import { describe, expect, it } from 'vitest';
import { planQsd } from '../../../src/daemon/qsd-options.ts';
import { UsageError } from '../../../src/util/errors.ts';

describe("qemu-storage-daemon's command line", () => {
  it('becomes the same QMP commands, in order', () => {
    const plan = planQsd([
      '--chardev',
      'socket,path=/run/q.sock,server=on,wait=off,id=c0',
      '--monitor',
      'chardev=c0',
      '--blockdev',
      'driver=file,node-name=f,filename=/a,,b,cache.direct=on',
      '--blockdev={"driver": "raw", "node-name": "r", "file": "f", "size": 4096}',
      '--nbd-server',
      'addr.type=inet,addr.host=127.0.0.1,addr.port=10809,max-connections=5',
      '--export',
      'nbd,id=e,node-name=r,writable=on,name=disk',
      '--pidfile',
      '/run/pid',
    ]);
    expect(plan.pidFile).toBe('/run/pid');
    expect(plan.steps).toEqual([
      {
        do: 'monitor',
        endpoint: { address: { type: 'unix', path: '/run/q.sock' }, webSocket: false },
        tokenFile: undefined,
      },
      {
        do: 'execute',
        command: 'blockdev-add',
        arguments: {
          driver: 'file',
          'node-name': 'f',
          filename: '/a,b',
          cache: { direct: true },
        },
      },
      {
        do: 'execute',
        command: 'blockdev-add',
        arguments: { driver: 'raw', 'node-name': 'r', file: 'f', size: 4096 },
      },
      {
        do: 'execute',
        command: 'nbd-server-start',
        arguments: {
          addr: { type: 'inet', data: { host: '127.0.0.1', port: '10809' } },
          'max-connections': 5,
        },
      },
      {
        do: 'execute',
        command: 'block-export-add',
        arguments: { type: 'nbd', id: 'e', 'node-name': 'r', writable: true, name: 'disk' },
      },
    ]);
  });

  it('opens WebSockets, and monitors with a token', () => {
    const plan = planQsd([
      '--chardev',
      'socket,id=c0,host=::,port=4444,server=on,wait=off,websocket=on',
      '--monitor',
      'c0,token-file=/etc/token',
    ]);
    expect(plan.steps).toEqual([
      {
        do: 'monitor',
        endpoint: { address: { type: 'inet', host: '::', port: 4444 }, webSocket: true },
        tokenFile: '/etc/token',
      },
    ]);
  });

  it.each([
    'chardev=c0,pretty=on',
    'c0,pretty=no,id=m',
    'c0,mode=control',
    '{"chardev": "c0", "pretty": true}',
    "{'chardev': 'c0', 'id': 'm'}",
  ])('takes a monitor %s', (monitor) => {
    const chardev = ['--chardev', 'socket,id=c0,path=/q,server=on,wait=off'];
    const plan = planQsd([...chardev, '--monitor', monitor]);
    expect(plan.steps).toMatchObject([{ do: 'monitor', endpoint: { webSocket: false } }]);
  });

  it.each([
    ['on', 'off'],
    ['yes', 'no'],
    ['true', 'false'],
    ['y', 'n'],
  ])('takes %s and %s for booleans', (yes, no) => {
    const chardev = `socket,id=c0,path=/q,server=${yes},wait=${no}`;
    const ends = [yes, no].map((websocket) => {
      const plan = planQsd(['--chardev', `${chardev},websocket=${websocket}`, '--monitor', 'c0']);
      const [step] = plan.steps;
      return step?.do === 'monitor' && step.endpoint.webSocket;
    });
    expect(ends).toEqual([true, false]);
  });

  it.each([
    [['--blockdev'], "Option '--blockdev' requires a value"],
    [['--nope', 'x'], "Unknown option '--nope'"],
    [['--daemonize'], 'service manager'],
    [['--blockdev', 'driver=qcow2,node-name=x'], "does not accept value 'qcow2'"],
    [['--blockdev', 'driver=file,node-name=x'], "Parameter 'filename' is missing"],
    [['--monitor', 'chardev=no'], 'chardev "no" not found'],
    [['--chardev', 'socket,id=c,path=/x'], 'only server=on'],
    [['--chardev', 'pty,id=c'], "only the backend 'socket'"],
    [['--chardev', 'socket,id=c,server=on,host=h,port=99999'], 'needs path=PATH'],
    [['--chardev', 'socket,id=c,server=on,host=h,port='], 'needs path=PATH'],
    [['--chardev', 'socket,id=c,server=on,host=,port=1'], 'needs path=PATH'],
    [['--chardev', 'socket,id=c,server=on,path=/x,wait=on'], 'only wait=off'],
    [['--chardev', 'socket,id=c,server=on,path=/x,websocket=1'], "'websocket' expects 'on' or"],
    [['--chardev', 'socket,id=c,server=no,path=/x'], 'only server=on'],
    [['--chardev', 'socket,server=on,path=/x'], "Parameter 'id' is missing"],
    [['--chardev', 'socket,id=c,server=on,path=/x,bogus=1'], "Parameter 'bogus' is unexpected"],
    [['--chardev', 'stdio,id=c'], "only the backend 'socket'"],
    [['--chardev', 'socket,id=c,path=/x,server,nowait'], "Expected '=' after parameter 'server'"],
    [['--trace', 'nbd_*'], "Unknown option '--trace'"],
    [['--monitor', 'pretty=on'], "Parameter 'chardev' is missing"],
    [['--monitor', 'chardev=c,mode=readline'], "only 'control'"],
    [['--monitor', '{"chardev": "c", "pretty": "on"}'], "'pretty', expected: boolean"],
    [['--monitor', 'chardev=c,pretty=nope'], "Parameter 'pretty' expects 'on' or 'off'"],
    [['--monitor', 'chardev=c,prety=on'], "Parameter 'prety' is unexpected"],
    [['--object', 'secret,id=s'], "'qom-type' does not accept value 'secret'"],
    [['--nbd-server', 'addr.type=inet,addr.host=h'], "Parameter 'addr.port' is missing"],
  ])('refuses %j', (argv, message) => {
    expect(() => planQsd(argv)).toThrow(UsageError);
    expect(() => planQsd(argv)).toThrow(message);
  });
});
