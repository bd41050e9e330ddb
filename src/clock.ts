/**
 * Time on this machine. It never decides who is alive; it only ends our trust in the database's last answer early.
 *
 * `elapsedMs` is the larger of the monotonic clock and the time since boot: the first stands still while a laptop sleeps, the
 * second does not. Both have no steps, so changing the wall clock changes nothing. All threads of a process share it.
 */
import { uptime } from 'node:os'

const monotonicStart = process.hrtime.bigint()
const bootStartMs = uptime() * 1_000

/** Milliseconds that only ever grow, comparable between the threads of one process. */
export function elapsedMs(): number {
  const monotonic = Number(process.hrtime.bigint()) / 1e6
  const boot = uptime() * 1_000 - bootStartMs + Number(monotonicStart) / 1e6
  // os.uptime() has a resolution of 10 ms; only a sleep makes it run ahead by more than that.
  return boot > monotonic + 1_000 ? boot : monotonic
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
