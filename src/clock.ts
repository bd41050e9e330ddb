/**
 * Time on this machine. It never decides who is alive; it only ends our trust in the database's last answer early.
 *
 * `elapsedMs` is the larger of the monotonic clock and the time since boot: the first stands still while a laptop sleeps, the
 * second does not. Both have no steps, so changing the wall clock changes nothing. All threads of a process share it.
 */
import { uptime } from 'node:os'

const UPTIME_STEP_MS = 10
const startMs = monotonicMs()
const bootStartMs = uptime() * 1_000
/** The sleeps that were noticed, rounded down. */
let sleptMs = 0

/** Milliseconds that only ever grow, comparable between the threads of one process. Reads a file: 5 µs, and 60 in a process that was idle. */
export function elapsedMs(): number {
  const monotonic = monotonicMs()
  const boot = uptime() * 1_000 - bootStartMs + startMs
  // Only a sleep makes it run ahead by more than its steps.
  if (boot <= monotonic + 1_000) return monotonic
  sleptMs = boot - monotonic - UPTIME_STEP_MS
  return boot
}

/** `elapsedMs` without the sleeps that it has not noticed yet: for when something was sent, where too early is the safe side. */
export function elapsedAtLeastMs(): number {
  return monotonicMs() + sleptMs
}

/** Stands still in sleep: for what came before what in this process, and how long its own work took. */
export function monotonicMs(): number {
  return Number(process.hrtime.bigint()) / 1e6
}

/** Resolves after `ms`, or as soon as `signal` aborts; never rejects. */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted === true) {
      resolve()
      return
    }
    const done = (): void => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', done)
      resolve()
    }
    const timer = setTimeout(done, ms)
    signal?.addEventListener('abort', done, { once: true })
  })
}

/** Resolves when `work` does, or after `limitMs`; what is still under way then goes on. */
export async function atMost(work: Promise<unknown>, limitMs: number): Promise<void> {
  const limit = new AbortController()
  await Promise.race([work, sleep(limitMs, limit.signal)])
  limit.abort()
}
