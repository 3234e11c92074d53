/**
 * A newer qemu-storage-daemon for benchmark and tests than the release of Debian has: the one in
 * its backports, downloaded by apt-get from wherever this machine gets its packages and unpacked
 * (not installed) under `.cache/qsd10`, with a wrapper that finds the libraries that came along.
 */
import { spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { apt, hasTool, ROOT, say } from './setup.mjs';

const CACHE = join(ROOT, '.cache', 'qsd10');
const NAME = 'qemu-storage-daemon';
export const QSD = join(CACHE, NAME);
const PACKAGE = 'qemu-utils';
const SOURCES = '/etc/apt/sources.list.d';

/** Without it the benchmark takes the installed one: never an error. */
export function fetchQsd() {
  if (existsSync(QSD)) return;
  if (!hasTool('apt-get') || !hasTool('dpkg-deb')) return;
  say('fetching qemu-storage-daemon from backports');
  const directory = `${CACHE}-${process.pid}`;
  try {
    if (!download(directory)) {
      say('no newer qemu-storage-daemon: the installed one is the peer');
    } else if (!existsSync(QSD)) {
      // Only when it is complete; another run may have been faster.
      rmSync(CACHE, { recursive: true, force: true });
      renameSync(directory, CACHE);
    }
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** Into `directory`, which may be moved afterwards. */
function download(directory) {
  rmSync(directory, { recursive: true, force: true });
  mkdirSync(join(directory, 'lists', 'partial'), { recursive: true });
  const suite = `${codename()}-backports`;
  const uri = archive();
  if (uri === undefined) return false;
  const list = join(directory, 'backports.list');
  const signed = '/usr/share/keyrings/debian-archive-keyring.gpg';
  const suites = [codename(), suite].map(
    (name) => `deb [signed-by=${signed}] ${uri} ${name} main\n`,
  );
  writeFileSync(list, suites.join(''));
  // apt works on lists of its own here, so that the machine's configuration stays as it is.
  const lists = join(directory, 'lists');
  const options = [
    ...['-o', `Dir::Etc::sourcelist=${list}`, '-o', 'Dir::Etc::sourceparts=-'],
    ...['-o', `Dir::State::lists=${lists}`, '-o', 'APT::Sandbox::User=root', '-q'],
  ];
  const get = (names) =>
    apt([...options, 'download', '-t', suite, ...names], { cwd: directory, called: 'download' });
  if (!apt([...options, 'update'], { called: 'update' }) || !get([PACKAGE])) return false;
  const libraries = missingLibraries(directory);
  if (libraries.length > 0 && !get(libraries)) return false;
  for (const name of debs(directory)) {
    const unpacked = spawnSync('dpkg-deb', ['-x', name, 'root'], { cwd: directory });
    if (unpacked.status !== 0) return false;
    rmSync(join(directory, name));
  }
  for (const path of [lists, list]) rmSync(path, { recursive: true });
  return writeWrapper(directory);
}

/** Packages that the downloaded one needs and that are not installed. */
function missingLibraries(directory) {
  const [deb] = debs(directory);
  const field = spawnSync('dpkg-deb', ['-f', join(directory, deb), 'Depends'], {
    encoding: 'utf8',
  });
  const names = field.stdout.split(',').map((part) => part.trim().split(/[ :]/)[0]);
  return names.filter((name) => {
    const { stdout } = spawnSync('dpkg-query', ['-s', name], { encoding: 'utf8' });
    return !stdout.includes('Status: install ok installed');
  });
}

function writeWrapper(directory) {
  const folders = ['usr/lib', 'lib'].map((name) => join('root', name, 'x86_64-linux-gnu'));
  const path = folders.filter((name) => existsSync(join(directory, name)));
  const script = `#!/bin/sh
here=$(dirname "$0")
export LD_LIBRARY_PATH="${path.map((name) => `$here/${name}`).join(':')}"
exec "$here/root/usr/bin/qemu-storage-daemon" "$@"
`;
  const wrapper = join(directory, NAME);
  writeFileSync(wrapper, script, { mode: 0o755 });
  return spawnSync(wrapper, ['--version']).status === 0;
}

function debs(directory) {
  return readdirSync(directory).filter((name) => name.endsWith('.deb'));
}

function codename() {
  return /^VERSION_CODENAME=(\S+)/m.exec(readFileSync('/etc/os-release', 'utf8'))?.[1];
}

/** Where this machine gets the release from: both forms in which apt keeps its sources. */
function archive() {
  const files = existsSync(SOURCES) ? readdirSync(SOURCES).map((name) => join(SOURCES, name)) : [];
  for (const file of [...files, '/etc/apt/sources.list'].filter(existsSync)) {
    for (const stanza of readFileSync(file, 'utf8').split(/\n\s*\n/)) {
      const suite = new RegExp(`^Suites:.*\\b${codename()}(?:\\s|$)`, 'm').test(stanza);
      const uri = /^URIs:\s*(\S+)/m.exec(stanza)?.[1];
      if (suite && uri !== undefined) return uri;
      const line = new RegExp(`^deb\\s+(?:\\[.*?\\]\\s+)?(\\S+)\\s+${codename()}\\s`, 'm').exec(
        stanza,
      );
      if (line !== null) return line[1];
    }
  }
  return undefined;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) fetchQsd();
