/**
 * One step of a shutdown that is somebody else's code: a hook, or what a session does. It may throw, hang or call `stop` itself, and
 * none of that keeps the shutdown from going on. One that blocks the main thread is cut by the lifeline at the hard exit.
 */
import { AsyncLocalStorage } from 'node:async_hooks'
import type { StepOutcome } from '../client/session.ts'
import { sleep } from '../clock.ts'
import { UsageError } from '../errors.ts'
import { messageOf } from './thrown.ts'

export const STEP_LIMIT_MS = 5_000

export interface StepResult {
  readonly outcome: StepOutcome
  readonly durationMs: number
  readonly error: string | null
}

/** The worker whose shutdown the code that is running is a step of. */
export const steppingFor: AsyncLocalStorage<object> = new AsyncLocalStorage()

/** What bounds a step. */
export interface StepLimits {
  /** The worker that shuts down. */
  readonly worker: object
  /** How long steps may still take, in all. */
  leftMs(): number
  /** Aborts when everything under way has to be cut. */
  readonly cut: AbortSignal
}

export async function runStep(
  run: () => unknown,
  timeoutMs: number,
  limits: StepLimits,
): Promise<StepResult> {
  // Half of what is left at most: one that hangs leaves time for those after it.
  const limitMs = Math.min(timeoutMs, limits.leftMs() / 2)
  if (limitMs <= 0 || limits.cut.aborted) return { outcome: 'skipped', durationMs: 0, error: null }
  const startedMs = performance.now()
  const over = new AbortController()
  const ended = (outcome: StepOutcome, error: string | null): StepResult => ({
    outcome,
    durationMs: Math.round(performance.now() - startedMs),
    error,
  })
  const work = steppingFor.run(limits.worker, async () => {
    await run()
  })
  try {
    return await Promise.race([
      work.then(
        () => ended('done', null),
        (error: unknown) => ended('failed', messageOf(error)),
      ),
      sleep(limitMs, AbortSignal.any([over.signal, limits.cut])).then(() =>
        ended('timed_out', `not done within ${Math.round(performance.now() - startedMs)} ms`),
      ),
    ])
  } finally {
    over.abort()
  }
}

/** @throws {UsageError} unless it is a duration that a timer can wait for. */
export function checkedLimitMs(what: string, timeoutMs: number | undefined): number {
  const limitMs = timeoutMs ?? STEP_LIMIT_MS
  if (limitMs >= 0 && limitMs <= 2_147_483_647) return limitMs
  throw new UsageError(`\`timeoutMs\` of ${what} is a number of milliseconds, got ${limitMs}.`)
}
