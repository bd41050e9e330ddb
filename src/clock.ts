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

/** Resolves after `ms`, or as soon as one of `signals` aborts; never rejects. */
export function sleep(ms: number, ...signals: readonly (AbortSignal | undefined)[]): Promise<void> {
  return new Promise((resolve) => {
    if (signals.some((signal) => signal?.aborted === true)) {
      resolve()
      return
    }
    const done = (): void => {
      clearTimeout(timer)
      for (const signal of signals) signal?.removeEventListener('abort', done)
      resolve()
    }
    const timer = setTimeout(done, ms)
    for (const signal of signals) signal?.addEventListener('abort', done, { once: true })
  })
}

/** Resolves when `work` does, or after `limitMs`; what is still under way then goes on. Rejects as `work` does until then. */
export async function atMost(work: Promise<unknown>, limitMs: number): Promise<void> {
  const limit = new AbortController()
  try {
    await Promise.race([work, sleep(limitMs, limit.signal)])
  } finally {
    limit.abort()
  }
}

/** Settles as `work` does, or rejects after `limitMs`; what is still under way then goes on. */
export async function within<T>(work: Promise<T>, limitMs: number): Promise<T> {
  const limit = new AbortController()
  try {
    const answer = await Promise.race([
      work.then((value) => ({ value })),
      sleep(limitMs, limit.signal).then(() => null),
    ])
    if (answer === null) throw new Error(`no answer within ${limitMs} ms`)
    return answer.value
  } finally {
    limit.abort()
  }
}

/** A quarter more or less, at random, so that those who failed together do not come back together. */
export function jittered(ms: number): number {
  return ms * (0.75 + Math.random() / 2)
}

/** Pauses between tries: each twice the one before, from `minMs` on, jittered, and none longer than `maxMs`. */
export class Pauses {
  readonly #minMs: number
  readonly #maxMs: number
  #nextMs: number

  constructor({ minMs, maxMs }: { minMs: number; maxMs: number }) {
    this.#minMs = Math.min(minMs, maxMs)
    this.#maxMs = maxMs
    this.#nextMs = this.#minMs
  }

  next(): number {
    const pauseMs = this.#nextMs
    this.#nextMs = Math.min(2 * pauseMs, this.#maxMs)
    return Math.min(jittered(pauseMs), this.#maxMs)
  }

  /** From the shortest again. */
  reset(): void {
    this.#nextMs = this.#minMs
  }
}
