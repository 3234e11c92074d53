/**
 * What has to be there before the program or its tests can run: node modules, the compiled program,
 * and, for the tests, the programs of other projects. Plain Node without dependencies, because it
 * runs first on a fresh clone; needs no network when everything is there already.
 */
import { spawnSync } from 'node:child_process';
import {
  accessSync,
  constants,
  existsSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const ROOT = fileURLToPath(new URL('..', import.meta.url));
const BUILDER = 'scripts/build.mjs';
const PEER_PACKAGES = 'test/support/peer-packages.json';
const SOURCES = ['bin', 'src', 'protocol', 'package.json', 'tsconfig.json', BUILDER];
const BUILT = 'dist/main.cjs';
const LOCK = 'package-lock.json';
const INSTALLED = 'node_modules/.installed-lock.json';
const KEPT_LINES = 20;
// Where administrators' programs are, although a plain user's PATH often leaves it out.
const SYSTEM_DIRECTORIES = ['/usr/sbin', '/sbin'];

/**
 * Node modules as the lock file says. What it said is kept beside them: its time alone says that
 * they are old when another commit was looked at, and npm removes them before it asks the network.
 */
export function installModules() {
  const installed = modified('node_modules/.package-lock.json');
  if (installed >= modified(LOCK)) return;
  const locked = readFileSync(join(ROOT, LOCK), 'utf8');
  // Unless somebody else has run npm since then.
  const isKept = installed > 0 && modified(INSTALLED) >= installed;
  if (isKept && readFileSync(join(ROOT, INSTALLED), 'utf8') === locked) return;
  say('installing node modules');
  mustRun('npm', ['ci', '--include=dev', '--loglevel=error'], 'npm ci');
  writeFileSync(join(ROOT, INSTALLED), locked);
}

/** `dist/`, when a source is newer. */
export function build() {
  if (modified(BUILT) >= Math.max(...SOURCES.map(newest))) return;
  say('building');
  mustRun(process.execPath, [BUILDER], 'build');
}

/**
 * The peers of the tests, from Debian packages; without them tests are skipped, so never an error.
 */
export function installPeers() {
  const missing = missingPackages();
  if (missing.length === 0) return;
  if (!mayInstall()) {
    say(`missing: ${missing.join(' ')} (as root on Debian they are installed by this command);`);
    say('the tests that need them are skipped, and say so in their names');
    return;
  }
  say(`installing ${missing.join(' ')}`);
  const install = ['install', '-y', '-q', '--no-install-recommends'];
  // One that this release of Debian lacks must not keep the others away.
  if (apt(['update', '-q']) && !apt([...install, ...missing])) {
    for (const name of missing) apt([...install, name]);
  }
  const left = missingPackages();
  if (left.length > 0) say(`the tests that need ${left.join(' ')} are skipped by name`);
}

/** Whether Debian's packages can be installed here. */
export function mayInstall() {
  return process.getuid?.() === 0 && existsSync('/etc/debian_version') && hasTool('apt-get');
}

/** Runs apt-get without questions; says what it said when it failed. */
export function apt(args, { cwd = ROOT, called = args[0] } = {}) {
  const result = spawnSync('apt-get', args, {
    cwd,
    encoding: 'utf8',
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive', LC_ALL: 'C' },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  if (result.status === 0) return true;
  say(`apt-get ${called} failed:\n${firstAndLastLines(result)}`);
  return false;
}

export function hasTool(name) {
  const directories = [...(process.env.PATH ?? '').split(delimiter), ...SYSTEM_DIRECTORIES];
  return directories.some((directory) => {
    try {
      accessSync(join(directory, name), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

export function say(text) {
  process.stderr.write(`${text}\n`);
}

function missingPackages() {
  const packageOf = JSON.parse(readFileSync(join(ROOT, PEER_PACKAGES), 'utf8'));
  const missing = Object.keys(packageOf).filter((tool) => !hasTool(tool));
  return [...new Set(missing.map((tool) => packageOf[tool]))].sort();
}

function mustRun(command, args, what) {
  const result = spawnSync(command, args, {
    cwd: ROOT,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  if (result.status === 0) return;
  say(`${what} failed:\n${result.error?.message ?? firstAndLastLines(result)}`);
  process.exit(1);
}

function firstAndLastLines(result) {
  const lines = `${result.stdout ?? ''}${result.stderr ?? ''}`.trimEnd().split('\n');
  if (lines.length <= 2 * KEPT_LINES) return lines.join('\n');
  return [...lines.slice(0, KEPT_LINES), '...', ...lines.slice(-KEPT_LINES)].join('\n');
}

/** Milliseconds; 0 when it does not exist. */
function modified(path) {
  return statSync(join(ROOT, path), { throwIfNoEntry: false })?.mtimeMs ?? 0;
}

/** A directory is as new as its newest entry; its own time tells of entries that were removed. */
function newest(path) {
  const own = statSync(join(ROOT, path), { throwIfNoEntry: false });
  if (own === undefined || !own.isDirectory()) return own?.mtimeMs ?? 0;
  const entries = readdirSync(join(ROOT, path)).map((name) => newest(join(path, name)));
  return Math.max(own.mtimeMs, ...entries);
}
