/**
 * Jobs that this worker has claimed and not begun, and how many to ask for.
 *
 * Jobs that end within milliseconds are claimed ahead of free slots, as many as will be started within `AHEAD_MS`: a round trip for every
 * ten of them would be most of their cost. What has not begun after `AHEAD_MS_MAX` all the same goes back, and less is asked for from then
 * on. While a handler keeps this thread busy the lifeline does that (see claimed-ahead.ts), so each job is asked for once more before it
 * begins.
 */
import { monotonicMs } from '../clock.ts'
import type { ClaimedJob } from '../sql/protocol.ts'
import { ClaimedAhead } from './claimed-ahead.ts'
import { AHEAD_MS_MAX } from './lifeline-messages.ts'

const AHEAD_MS = 10
const AHEAD_MAX = 2_000
/** Of large inputs as few as fit in here. An answer of more than half a gigabyte would be too much for either side. */
const AHEAD_BYTES_MAX = 16 * 1_024 * 1_024
/** A job that takes longer is not claimed ahead. */
const SHORT_JOB_MS = 5
const CLAIM_BATCH_MAX = 1_000

/** A job that was claimed and has not begun. */
export interface AheadJob {
  readonly job: ClaimedJob
  /** As a `monotonicMs` reading. */
  readonly claimedMs: number
  readonly generation: number
  readonly place: number
}

export class AheadQueue {
  readonly #concurrency: number
  /** By token, in the order in which they begin. */
  readonly #jobs = new Map<string, AheadJob>()
  /** The same for the lifeline. */
  readonly #shelf: ClaimedAhead
  /** Running mean of how long jobs take here. */
  #meanMs = Infinity
  /** What a job of the last claim took of its answer. */
  #meanBytes = 1
  /** Halved where a claim is refused as too large, and doubled with each that is answered. */
  #claimMost = CLAIM_BATCH_MAX
  /** Half of what had to go back last, as it was not begun in time, and a tenth more with each claim that is answered. */
  #aheadMost = AHEAD_MAX

  constructor(concurrency: number) {
    this.#concurrency = concurrency
    this.#shelf = ClaimedAhead.for(concurrency + AHEAD_MAX)
  }

  get size(): number {
    return this.#jobs.size
  }

  get shelf(): ClaimedAhead {
    return this.#shelf
  }

  /** How many jobs to ask for now: the free slots, and ahead of them what short jobs will need at once. */
  wants(slotsTaken: number, jobsLeft: number): number {
    const { size } = this.#jobs
    const ahead = this.#aheadLimit()
    if (size > ahead / 2) return 0
    return Math.min(this.#claimMost, this.#concurrency - slotsTaken + ahead - size, jobsLeft - size)
  }

  #aheadLimit(): number {
    if (this.#meanMs >= SHORT_JOB_MS) return 0
    const soon = (this.#concurrency * AHEAD_MS) / Math.max(this.#meanMs, 0.1)
    return Math.floor(Math.min(this.#aheadMost, AHEAD_BYTES_MAX / this.#meanBytes, soon))
  }

  /** A claim was answered, with so many jobs in so many bytes. */
  answered(jobs: number, bytes: number): void {
    if (jobs > 0) this.#meanBytes = bytes / jobs
    this.#claimMost = Math.min(CLAIM_BATCH_MAX, 2 * this.#claimMost)
    this.#aheadMost = Math.min(AHEAD_MAX, 1.1 * this.#aheadMost + 1)
  }

  /** A claim of so many was refused as too large. Answers whether fewer can be asked for. */
  tooLarge(want: number): boolean {
    if (want <= 1) return false
    this.#claimMost = Math.floor(want / 2)
    return true
  }

  /** A job here has taken so long. */
  took(durationMs: number): void {
    this.#meanMs = this.#meanMs === Infinity ? durationMs : 0.9 * this.#meanMs + 0.1 * durationMs
  }

  put(job: ClaimedJob, claimedMs: number, generation: number): void {
    const place = this.#shelf.put(job.id, job.token)
    this.#jobs.set(job.token, { job, claimedMs, generation, place })
  }

  [Symbol.iterator](): IterableIterator<AheadJob> {
    return this.#jobs.values()
  }

  get(token: string): AheadJob | undefined {
    return this.#jobs.get(token)
  }

  /** It is not this worker's any more, or goes back. */
  drop(token: string): void {
    this.#jobs.delete(token)
  }

  /** Takes the first out. False: it may not begin, as a handler kept this thread busy, and the lifeline gives it back or has done so. */
  begins({ job, generation, place }: AheadJob): boolean {
    this.#jobs.delete(job.token)
    this.#shelf.leaves(place)
    if (generation === this.#shelf.generation) return true
    this.#meanMs = Math.max(this.#meanMs, 2 * SHORT_JOB_MS)
    return false
  }

  /** Whether it should have begun by now. */
  isLate({ claimedMs }: AheadJob): boolean {
    return monotonicMs() - claimedMs > AHEAD_MS_MAX
  }

  /** Whether the first should have begun by now: jobs take longer here than was thought, so none is claimed ahead for now. */
  holdsUp(): boolean {
    const [first] = this.#jobs.values()
    if (first === undefined || !this.isLate(first)) return false
    this.#meanMs = Infinity
    return true
  }

  /** Takes all out, as they were not begun in time. */
  clearLate(): ClaimedJob[] {
    this.#aheadMost = this.#jobs.size / 2
    return this.clear()
  }

  clear(): ClaimedJob[] {
    const jobs = [...this.#jobs.values()].map(({ job }) => job)
    this.#jobs.clear()
    this.#shelf.clear()
    return jobs
  }
}
