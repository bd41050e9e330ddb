/**
 * The processes of an embedded server, seen from outside: is one running, is it ready, end it.
 *
 * `postmaster.pid` in the data directory is PostgreSQL's own lock and tells all there is to know:
 *
 *      absent ──▶ starting ──▶ ready ──▶ stopping ──▶ absent
 *                     └── kill -9, power loss ──▶ stale: the file stays, its process is gone
 *
 * A pid in a file proves nothing, since the kernel gives it to somebody else in time. So a process
 * counts as the server only if it is a `postgres` whose working directory is this data directory
 * (postgres changes to it at start), and that is read anew right before each signal. Where /proc hides
 * the working directory (root in a container without CAP_SYS_PTRACE, macOS) the command line must
 * name the data directory instead.
 *
 * Not covered: a server in another container or on another machine that shares the directory through
 * a mount, since its pid means nothing here (PostgreSQL has the same limit); Windows, where a pid that
 * exists is believed; and the microseconds between the last look and the signal.
 */
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import fsp from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { EmbeddedDatabaseError } from '../errors.ts'
import { hasCode, isAlive, statOf } from '../system.ts'

/** What `postmaster.pid` says. */
export interface Postmaster {
  pid: number
  port: number
  /** `starting`, `ready`, `standby`, `stopping`; empty in the first milliseconds. */
  status: string
  /** The whole file: tells one incarnation from the next. */
  text: string
}

/** Short beside the 15 to 55 ms that a start takes, and cheap: one read of a small file. */
export const POLL_MS = 10

/** Reads `postmaster.pid`; null when there is none, or nothing in it yet. */
export async function readPostmaster(dataDir: string): Promise<Postmaster | null> {
  let text: string
  try {
    text = await fsp.readFile(pidFile(dataDir), 'utf8')
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ENOTDIR')) return null
    if (hasCode(error, 'EACCES', 'EPERM'))
      throw new EmbeddedDatabaseError(`The data directory ${dataDir} belongs to another user.`, {
        cause: error,
        hint: 'Run the command as that user.',
      })
    throw error
  }
  const lines = text.split('\n')
  // Negative is a server in single-user mode, which locks the directory all the same.
  const pid = Math.abs(Number.parseInt(lines[0] ?? '', 10))
  if (!Number.isInteger(pid) || pid === 0) return null
  return { pid, port: Number(lines[3] ?? 0), status: (lines[7] ?? '').trim(), text }
}

/** The running server of this directory in whatever status, or null. */
export async function runningPostmaster(dataDir: string): Promise<Postmaster | null> {
  const postmaster = await readPostmaster(dataDir)
  return postmaster && isServerOf(postmaster.pid, dataDir) ? postmaster : null
}

/**
 * Waits while a server is on its way up or down; resolves to the ready one, or to null when none runs.
 *
 * @throws EmbeddedDatabaseError when it is in neither state at `deadlineMs` (of `performance.now()`).
 */
export async function settledPostmaster(
  dataDir: string,
  deadlineMs: number,
): Promise<Postmaster | null> {
  for (;;) {
    const postmaster = await runningPostmaster(dataDir)
    if (postmaster === null || postmaster.status === 'ready') return postmaster
    if (performance.now() > deadlineMs)
      throw new EmbeddedDatabaseError(
        `The embedded database in ${dataDir} (pid ${postmaster.pid}) is still ` +
          `"${postmaster.status || 'starting'}".`,
        { hint: `It may be recovering from a crash: see ${dataDir}.log and try again in a while.` },
      )
    await delay(POLL_MS)
  }
}

/** Sends `signal` to the server `postmaster` names, unless its pid is no longer the server's. */
export async function signalServer(options: {
  dataDir: string
  postmaster: Postmaster
  signal: NodeJS.Signals
}): Promise<boolean> {
  const { dataDir, postmaster, signal } = options
  const current = await readPostmaster(dataDir)
  if (current?.pid !== postmaster.pid || !isServerOf(postmaster.pid, dataDir)) return false
  return kill(postmaster.pid, signal)
}

/**
 * Clears away what a server that was killed leaves behind and what would keep the next one from starting.
 *
 * Backends that outlive their postmaster hold its shared memory until their query ends, for hours in
 * the worst case; they are ended. PostgreSQL also refuses to start while the pid in a stale
 * `postmaster.pid` belongs to any process that it may signal; such a file is removed.
 */
export async function clearAfterCrash(dataDir: string): Promise<void> {
  const stale = await readPostmaster(dataDir)
  // No file means that the last server ended in order: nothing is left. (It also means that what looks
  // like an orphan could be the child of a server that another process starts right now.)
  if (stale === null || isServerOf(stale.pid, dataDir)) return
  for (const pid of orphansOf(dataDir)) kill(pid, 'SIGKILL')
  for (let turn = 0; turn < 200 && orphansOf(dataDir).length > 0; turn++) await delay(POLL_MS)
  if (isAlive(stale.pid)) await removeStale(dataDir, stale)
}

/**
 * Removes a stale `postmaster.pid`, unless it has been replaced meanwhile. It is moved away first and
 * looked at then, so that the file of a server that starts at this moment is put back, not lost.
 */
async function removeStale(dataDir: string, stale: Postmaster): Promise<void> {
  const aside = path.join(dataDir, `postmaster.pid.stale-${process.pid}`)
  try {
    await fsp.rename(pidFile(dataDir), aside)
    if ((await fsp.readFile(aside, 'utf8')) !== stale.text) await fsp.link(aside, pidFile(dataDir))
  } catch (error) {
    if (!hasCode(error, 'ENOENT', 'EEXIST')) throw error
  } finally {
    await fsp.rm(aside, { force: true })
  }
}

/** Whether `pid` is a postgres process of this data directory. */
function isServerOf(pid: number, dataDir: string): boolean {
  if (!isAlive(pid)) return false
  if (process.platform === 'win32') return true
  if (process.platform !== 'linux') return commandOf(pid).includes(dataDir)
  try {
    return worksIn(pid, dataDir)
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ESRCH')) return false
    if (!hasCode(error, 'EACCES', 'EPERM')) throw error
    const [program = '', ...args] = commandLine(pid)
    return path.basename(program) === 'postgres' && args.includes(dataDir)
  }
}

/** Linux only. Throws EACCES when the process may not be looked into. */
function worksIn(pid: number, dataDir: string): boolean {
  // ` (deleted)` follows when the package was reinstalled under a running server.
  const program = path.basename(fs.readlinkSync(`/proc/${pid}/exe`)).replace(/ \(deleted\)$/, '')
  return program === 'postgres' && fs.readlinkSync(`/proc/${pid}/cwd`) === dataDir
}

/**
 * Backends and helpers of this data directory whose postmaster is gone. Linux only: elsewhere their
 * working directory is not to be had cheaply, and a start is retried until they have ended by themselves.
 */
function orphansOf(dataDir: string): number[] {
  if (process.platform !== 'linux') return []
  const pids = fs.readdirSync('/proc').filter((name) => /^\d+$/.test(name))
  return pids.map(Number).filter((pid) => {
    try {
      if (!worksIn(pid, dataDir) || !isAlive(pid)) return false
      // Children carry a title; a postmaster shows its command line. One that has just been started by
      // another process, and has no postmaster.pid yet, must not be taken for an orphan.
      if (!commandLine(pid)[0]?.startsWith('postgres: ')) return false
      const stat = statOf(pid)
      return stat !== null && !(stat.parent > 1 && worksIn(stat.parent, dataDir))
    } catch (error) {
      // Gone in the meantime, or not ours to look at.
      if (hasCode(error, 'ENOENT', 'ESRCH', 'EACCES', 'EPERM')) return false
      throw error
    }
  })
}

function commandLine(pid: number): string[] {
  try {
    return fs.readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ESRCH')) return []
    throw error
  }
}

function commandOf(pid: number): string {
  try {
    return execFileSync('ps', ['-p', String(pid), '-o', 'command='], { encoding: 'utf8' })
  } catch {
    // ps ends with status 1 when there is no such process.
    return ''
  }
}

function kill(pid: number, signal: NodeJS.Signals): boolean {
  try {
    process.kill(pid, signal)
    return true
  } catch (error) {
    if (hasCode(error, 'ESRCH')) return false
    throw error
  }
}

function pidFile(dataDir: string): string {
  return path.join(dataDir, 'postmaster.pid')
}
