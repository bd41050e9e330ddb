/**
 * Waiting for the end of something: one loop, for jobs and runs, for library and program.
 *
 * What is over is what a look at the database says. A hint, from the feed of events, only makes the next look come at once, so one
 * that is lost or wrong costs a pause. Time is that of the elapsed clock: a step of the wall clock neither ends nor prolongs a wait.
 *
 * A database that is away, for a moment or for good, is nobody's end: the wait goes on until its own limit, from the first look on.
 * Any other failure ends it at once, and so do a closed client and a pool of the caller's that was ended, which never answer again.
 */
import { elapsedMs, Pauses, sleep } from '../clock.ts'
import { mayAnswerAgain } from '../db/connect.ts'
import { WaitTimeoutError } from '../errors.ts'

/** The feed tells at once; looking needs neither it nor luck, so it may be slow. */
const LOOK_MS_MIN = 50
const LOOK_MS_MAX = 2_000
/** A look that hangs is cut off by the limit of the wait, but even a wait of 0 ms asks, and hears the answer. */
const ANSWER_MS_MIN = 1_000
/** As far as timers reach. */
const TIMER_MS_MAX = 2_000_000_000

export interface Waiting<End> {
  /** What is waited for, for messages: `job 0190…`. */
  readonly what: string
  /** Its end, or the state that it is in. */
  look(): Promise<{ readonly end: End } | { readonly state: string }>
  /** Subscribes to hints. Returns what ends that. */
  onHint?(hurry: () => void): () => void
  /** Default none. */
  readonly timeoutMs?: number | undefined
  /** The wait rejects with the reason of whichever aborts first. */
  readonly signals: readonly (AbortSignal | undefined)[]
  /** Pauses between looks. Default from 50 ms to 2 s. */
  readonly pauses?: { readonly minMs: number; readonly maxMs: number }
  /** A look has failed: for so long the database has not answered. What this throws ends the wait. */
  away?(awayMs: number, error: Error): void
}

/** Resolves to the end. @throws {WaitTimeoutError} */
export async function waitFor<End>(waiting: Waiting<End>): Promise<End> {
  const { what, timeoutMs = Infinity, signals } = waiting
  const startedMs = elapsedMs()
  const leftMs = (): number => startedMs + timeoutMs - elapsedMs()
  const pauses = new Pauses(waiting.pauses ?? { minMs: LOOK_MS_MIN, maxMs: LOOK_MS_MAX })
  let hint = new AbortController()
  const unsubscribe = waiting.onHint?.(() => hint.abort())
  let heardMs = startedMs
  try {
    for (;;) {
      for (const signal of signals) signal?.throwIfAborted()
      // What happens while this look is under way may not be in its answer.
      hint = new AbortController()
      let state: string | null = null
      let cause: Error | undefined
      try {
        const answer = await unlessCut(waiting.look(), Math.max(leftMs(), ANSWER_MS_MIN), signals)
        if (answer !== null) {
          if ('end' in answer) return answer.end
          state = answer.state
          heardMs = elapsedMs()
        }
      } catch (error) {
        if (!mayAnswerAgain(error)) throw error
        cause = error as Error
        waiting.away?.(elapsedMs() - heardMs, cause)
      }
      for (const signal of signals) signal?.throwIfAborted()
      if (leftMs() <= 0) {
        throw new WaitTimeoutError(
          state === null
            ? `${what} is not known to have ended after ${timeoutMs} ms: the database does not answer.`
            : `${what} is ${state} after ${timeoutMs} ms. It goes on.`,
          { cause },
        )
      }
      await sleep(Math.min(pauses.next(), leftMs()), hint.signal, ...signals)
    }
  } finally {
    unsubscribe?.()
  }
}

/** Null when it was cut: by the time, or by a signal. */
async function unlessCut<T>(
  work: Promise<T>,
  limitMs: number,
  signals: readonly (AbortSignal | undefined)[],
): Promise<T | null> {
  const answered = new AbortController()
  const cut = sleep(Math.min(limitMs, TIMER_MS_MAX), answered.signal, ...signals)
  try {
    return await Promise.race([work, cut.then(() => null)])
  } finally {
    answered.abort()
  }
}
