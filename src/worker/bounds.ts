/**
 * Bounds of a worker's life. Each one ends in a graceful stop that says why, and is no failure.
 *
 *     maxLoops       so many claims were answered, with jobs or without; a claim that had to be asked again counts once
 *     maxJobs        so many handlers have begun here; no claim ever asks for more than are left
 *     exitWhenIdle   nothing is due: two claims in a row, the second over everything that waits, were answered with nothing while
 *                    nothing ran here and no outcome was on its way. Jobs whose time is still to come are not waited for: those that
 *                    are scheduled, or retried after a pause, or wait for a concurrency key that another worker holds
 *     maxLifetimeMs  so long after it has registered first
 *
 * The first three count work, so what has begun is carried to its end, without a limit. A lifetime is a limit: handlers have the
 * shutdown grace, as after a signal.
 */
import type { WorkerSettings } from '../config.ts'
import { formatDuration } from '../domain/duration.ts'

export type BoundName = 'maxLoops' | 'maxJobs' | 'exitWhenIdle' | 'maxLifetimeMs'

export interface ReachedBound {
  readonly bound: BoundName
  readonly reason: string
  /** How long handlers may go on. Null: as long as they take. */
  readonly graceMs: number | null
}

/** What a claim was answered, and what the worker held then. */
export interface ClaimRound {
  readonly jobs: number
  /** Nothing runs here, waits here to begin, or is on its way to the database; and the database would have given it any job. */
  readonly idle: boolean
}

export class Bounds {
  readonly #settings: WorkerSettings
  #loops = 0
  #begun = 0
  #emptyRounds = 0
  #registeredMs: number | null = null

  constructor(settings: WorkerSettings) {
    this.#settings = settings
  }

  /** How many more handlers may begin. */
  get jobsLeft(): number {
    return (this.#settings.maxJobs ?? Infinity) - this.#begun
  }

  /** Whether the last claim was the last. */
  get claimsOver(): boolean {
    return (
      this.#loops >= (this.#settings.maxLoops ?? Infinity) || this.jobsLeft <= 0 || this.#isIdle()
    )
  }

  registered(nowMs: number): void {
    this.#registeredMs ??= nowMs
  }

  begun(): void {
    this.#begun += 1
  }

  /** Answers whether to look once more, over everything that waits. */
  answered(round: ClaimRound): boolean {
    this.#loops += 1
    this.#emptyRounds = round.idle && round.jobs === 0 ? this.#emptyRounds + 1 : 0
    return this.#settings.exitWhenIdle && this.#emptyRounds === 1
  }

  /** The bound that ends this worker now, if one does. `waiting`: jobs that it has claimed and not begun. */
  reached(nowMs: number, waiting: number): ReachedBound | null {
    const { maxLoops, maxJobs, maxLifetimeMs, shutdownGraceMs } = this.#settings
    if (maxLifetimeMs !== null && nowMs - (this.#registeredMs ?? Infinity) >= maxLifetimeMs) {
      const reason = `its lifetime of ${formatDuration(maxLifetimeMs)} is over`
      return { bound: 'maxLifetimeMs', reason, graceMs: shutdownGraceMs }
    }
    // What was claimed ahead belongs to the rounds that are over, and begins first.
    if (waiting > 0) return null
    if (maxJobs !== null && this.jobsLeft <= 0)
      return { bound: 'maxJobs', reason: `it has begun ${counted(maxJobs, 'job')}`, graceMs: null }
    if (maxLoops !== null && this.#loops >= maxLoops) {
      const reason = `it has looked for work ${counted(maxLoops, 'time')}`
      return { bound: 'maxLoops', reason, graceMs: null }
    }
    if (this.#isIdle()) {
      return { bound: 'exitWhenIdle', reason: 'nothing is due, looked at twice', graceMs: null }
    }
    return null
  }

  #isIdle(): boolean {
    return this.#settings.exitWhenIdle && this.#emptyRounds >= 2
  }
}

function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`
}
