/**
 * What the operating system says of its processes and files, asked in one place.
 *
 * One rule for processes: only what was seen proves anything. A pid that nobody has, or that a zombie has, is no live process; what
 * can't be read (not Linux, hidden by the mount of /proc, another user's) is taken for one, because whoever asks would kill, clean up or
 * give away jobs otherwise.
 */
import { readFileSync } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { statFields } from './domain/process-stat.ts'

/** Whether `error` is a system error with one of these codes. */
export function hasCode(error: unknown, ...codes: string[]): boolean {
  return error instanceof Error && 'code' in error && codes.includes(String(error.code))
}

/** What /proc/PID/stat says of a process. */
export interface ProcessStat {
  /** One letter: `Z` is a zombie, `X` one that is going. */
  readonly state: string
  readonly parent: number
  /** When it began, in ticks since boot: with the pid it tells one process of a boot from all others. */
  readonly started: string
}

/** Null where it can't be read, which proves nothing. */
export function statOf(pid: number): ProcessStat | null {
  let text: string
  try {
    text = readFileSync(`/proc/${pid}/stat`, 'utf8')
  } catch {
    return null // Not Linux, hidden, or just gone.
  }
  const fields = statFields(text.trim())
  const [state = '', parent = '0'] = fields
  const started = fields[19]
  return started === undefined ? null : { state, parent: Number(parent), started }
}

/** Whether `pid` exists and is not a zombie: one that nobody reaps would look alive for ever. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
  } catch (error) {
    // Any other refusal, as of another user's process, does not say that nobody has the pid.
    if (hasCode(error, 'ESRCH')) return false
  }
  const state = statOf(pid)?.state
  return state !== 'Z' && state !== 'X'
}

/**
 * Makes the names in a directory survive a power loss: a new or renamed file's does so only once its directory is synced.
 *
 * A system that can't do that is no reason to fail: Windows says EISDIR or EPERM, some file systems EINVAL or ENOTSUP, and PostgreSQL
 * goes on then, too. What else goes wrong, as EIO does, means that the disk can't be trusted, and is thrown.
 */
export async function syncDirectory(directory: string): Promise<void> {
  let handle: FileHandle | null = null
  try {
    handle = await open(directory, 'r')
    await handle.sync()
  } catch (error) {
    if (!hasCode(error, 'EISDIR', 'EPERM', 'EINVAL', 'ENOTSUP')) throw error
  } finally {
    await handle?.close()
  }
}
