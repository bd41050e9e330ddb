/**
 * Pick-up: asks the database for jobs when there may be some and there is room, and begins what it gets.
 *
 *     resting ── a hint, a free slot, a due time, the poll underneath: wake() ──▶ asking ── answered: begins them ──▶ resting
 *                                                                                   └── not answered ─▶ a pause ─▶ asks again
 *
 * One claim at a time. One whose answer was lost is asked again by the same id, and gets the same attempts; where that can't be, the next
 * renewal gives back what it had taken. Who is free asks again only where there may be more: the last claim got all that it wanted, or
 * nobody would tell.
 */
import { randomUUID } from 'node:crypto'
import {
  atMost,
  elapsedAtLeastMs,
  elapsedMs,
  jittered,
  monotonicMs,
  Pauses,
  sleep,
} from '../clock.ts'
import { isBounded, type WorkerSettings } from '../config.ts'
import { classifyFailure, isTooLarge, lacksResources, wentUnanswered } from '../db/connect.ts'
import type { RunStatus } from '../domain/states.ts'
import { formatTarget } from '../domain/target.ts'
import { claim, type Claimed, type ClaimedJob } from '../sql/protocol.ts'
import type { AheadQueue } from './ahead-queue.ts'
import { Bounds, type ReachedBound } from './bounds.ts'
import { LaneMarks } from './lane-marks.ts'
import type { Lifeline } from './lifeline.ts'
import type { PickUpConnection } from './pick-up-connection.ts'
import type { WorkerEventBus } from './worker-events.ts'

/**
 * A claim that is not answered for so long, or for half a renewal interval, is asked again, on another connection: one that died in
 * silence is replaced long before the worker counts as stuck.
 */
const CLAIM_LIMIT_MS_MIN = 2_000
/** A claim under way at a stop may still bring jobs, which go straight back. */
const CUT_MS_MAX = 500

/** The worker that it claims for. */
export interface ClaimHost {
  readonly workerId: string | null
  readonly incarnation: string | null
  /** Handlers that take a slot. */
  readonly slotsTaken: number
  /** Whether an outcome is still on its way to the database. */
  readonly owesOutcomes: boolean
  /** It stops, or its run has ended: it takes nothing more. */
  readonly leaves: boolean
  /** Whether it may take jobs now. */
  mayClaim(): boolean
  /** Whether its lease is good for another start. */
  mayStart(): boolean
  /** Whether a job that this incarnation has claimed can be run here. */
  canRun(job: ClaimedJob, incarnation: string): boolean
  run(job: ClaimedJob, claimedMs: number): void
  /** The lifeline hears how many handlers run: what could begin has begun. */
  countHandlers(): void
  giveBack(job: ClaimedJob): void
  /** The status of the run that it is aimed at. */
  hearOfRun(status: RunStatus | 'not_found'): void
  /** It is aimed at a run and has no room, and so would not hear that it has ended. */
  askAboutRun(): void
  boundReached(bound: ReachedBound): void
}

export interface ClaimerParts {
  readonly settings: WorkerSettings
  readonly queues: readonly string[]
  readonly types: readonly string[]
  readonly machineId: string
  readonly labels: readonly string[]
  readonly runId: string | null
  readonly bus: WorkerEventBus
  readonly lifeline: Lifeline
  readonly pickUp: PickUpConnection
  readonly ahead: AheadQueue
  readonly host: ClaimHost
}

export class Claimer {
  readonly #p: ClaimerParts
  readonly #host: ClaimHost
  readonly #ahead: AheadQueue
  readonly #marks = new LaneMarks()
  readonly #bounds: Bounds
  /** It has a bound, and has not reached it. */
  #bounded: boolean
  #claiming = false
  #wanted = false
  #alone = false
  /** A slot that comes free is a reason to ask: not where the last claim got less than it wanted, and a hint tells of what came since. */
  #moreMayWait = true
  /** An operator has drained this worker: it takes nothing new and goes on renewing. */
  #drained = false
  /** When the last claim that may have taken something was answered, as a `monotonicMs` reading; Infinity while one is under way. */
  #lastClaimMs = -Infinity
  /** The claim that was sent and not answered, and the generation of jobs that it is of. */
  #openClaim: { readonly id: string; readonly generation: number } | null = null
  /** Counts the claims that were answered. */
  #claimTurn = 1
  #settled: Promise<void> = Promise.resolve()
  /** Ends the pause before a claim is tried again. */
  readonly #cut = new AbortController()
  /** What was claimed is being begun now. */
  #starting = false
  #nextPoll: NodeJS.Timeout | null = null
  #nextWide: NodeJS.Timeout | null = null

  constructor(parts: ClaimerParts) {
    this.#p = parts
    this.#host = parts.host
    this.#ahead = parts.ahead
    this.#bounds = new Bounds(parts.settings)
    this.#bounded = isBounded(parts.settings)
  }

  /** A fresh incarnation: nobody asks again for what the one before it asked. */
  registered(): void {
    this.closeClaim()
    this.#bounds.registered(elapsedMs())
  }

  // ── asking ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Something may be there to take. Asks now if it can, else as soon as it can. */
  wake(): void {
    this.#wanted = true
    if (!this.#claiming) {
      this.#claiming = true
      this.#settled = this.#claimLoop()
    }
  }

  /** Something that kept it from asking is over. */
  resume(): void {
    if (this.#wanted) this.wake()
  }

  /** A handler has ended, after so long, and its slot is free. */
  slotFreed(tookMs: number): void {
    this.#ahead.took(tookMs)
    this.#startNext()
    if (this.#wanted || this.#moreMayWait) this.wake()
  }

  /** An operator's drain is the database's to refuse claims by; when it is undone, there may be work. */
  setDrained(drained: boolean): void {
    if (this.#drained && !drained) this.wake()
    this.#drained = drained
  }

  /** Whether a claim may have taken something since then, a `monotonicMs` reading. */
  mayHaveTakenSince(sinceMs: number): boolean {
    return this.#claiming || this.#lastClaimMs >= sinceMs
  }

  /** Nobody asks for it again. */
  closeClaim(): void {
    this.#openClaim = null
    this.#ahead.shelf.answered()
  }

  /** The worker stops: nothing more is due. */
  rest(): void {
    this.#bounded = false
    for (const timer of [this.#nextPoll, this.#nextWide]) if (timer !== null) clearTimeout(timer)
    this.#nextPoll = null
    this.#nextWide = null
  }

  /** Waits for no pause any more. */
  hurry(): void {
    this.#cut.abort()
  }

  /** Resolves when no claim is under way; an answer that does not come is left to the worker's last statement. */
  async ended(): Promise<void> {
    this.hurry()
    await atMost(this.#settled, CUT_MS_MAX)
  }

  #mayClaim(): boolean {
    return !this.#bounds.claimsOver && this.#host.mayClaim() && this.#wants() > 0
  }

  #wants(): number {
    return this.#ahead.wants(this.#host.slotsTaken, this.#bounds.jobsLeft)
  }

  async #claimLoop(): Promise<void> {
    const { bus, lifeline, settings } = this.#p
    const pauses = new Pauses({ minMs: 100, maxMs: settings.leaseMs / 6 })
    // A turn of the event loop lets all that ends together free its slots first.
    if (this.#host.slotsTaken > 0 || this.#starting)
      await new Promise((resolve) => setImmediate(resolve))
    try {
      while (this.#wanted && this.#mayClaim()) {
        this.#wanted = false
        const want = this.#wants()
        lifeline.numbers.write('claimTurn', this.#claimTurn)
        try {
          const outcome = await this.#claim(want)
          pauses.reset()
          if (outcome === 'lease_lost') {
            lifeline.send({ type: 'renew' })
            return
          }
        } catch (error) {
          if (!wentUnanswered(error)) this.#claimTurn += 1
          let pauseMs = pauses.next()
          if (classifyFailure(error) !== 'unknown' || lacksResources(error)) {
            bus.emit('worker.degraded', { reason: (error as Error).message })
            const smaller = isTooLarge(error) && this.#ahead.tooLarge(want)
            pauseMs = jittered(smaller ? 100 : 5_000)
          }
          this.#wanted = true
          await sleep(pauseMs, this.#cut.signal)
        }
      }
    } finally {
      // In the turn in which it finds that it may not go on, not in one after: who frees a slot in between would be heard by nobody.
      this.#claiming = false
      lifeline.numbers.write('claimTurn', 0)
    }
  }

  async #claim(want: number): Promise<'claimed' | 'lease_lost'> {
    const { lifeline, pickUp, queues, runId, settings, types } = this.#p
    const { shelf } = this.#ahead
    const incarnation = this.#host.incarnation ?? ''
    const { generation } = shelf
    // An id whose answer was lost is asked again, and gets the same attempts.
    if (this.#openClaim?.generation !== generation)
      this.#openClaim = { id: randomUUID(), generation }
    const { id } = this.#openClaim
    shelf.asks(id)
    const sentMs = monotonicMs()
    const provedMs = elapsedAtLeastMs()
    this.#lastClaimMs = Infinity
    lifeline.numbers.add('claiming', 1)
    try {
      const marks = this.#marks.next(sentMs)
      const answer = await claim(pickUp, {
        incarnation,
        claim: id,
        want,
        queues,
        types,
        marks,
        runId,
        targets: this.#targets(),
        limitMs: Math.max(CLAIM_LIMIT_MS_MIN, settings.renewMs / 2),
      })
      this.closeClaim()
      this.#claimTurn += 1
      if (answer.outcome === 'claimed') {
        const nowMs = monotonicMs()
        if (incarnation === this.#host.incarnation) lifeline.proved(provedMs)
        this.#ahead.answered(answer.jobs.length, answer.bytes)
        for (const job of answer.jobs) {
          // A fenced worker starts nothing, and neither does one that is stopping: it gives the claim back.
          if (this.#host.canRun(job, incarnation)) this.#ahead.put(job, nowMs, generation)
          else this.#host.giveBack(job)
        }
        // What it gave, or would have given, went to others.
        if (generation !== shelf.generation) this.#wanted = true
        this.#took(answer, want)
        if (answer.marks !== null) this.#marks.saw(marks, answer.marks, { sentMs, nowMs })
        // What was committed late stands below the near marks, and nobody may tell of it again.
        if (marks.reach === 'near' && answer.jobs.length < want)
          this.#lookWideIn(this.#marks.wideInMs(nowMs))
        this.#endRound(answer)
      }
      return answer.outcome
    } finally {
      this.#lastClaimMs = monotonicMs()
      lifeline.numbers.add('claiming', -1)
    }
  }

  /** Part of the claim, so that until its jobs have begun this worker is not taken for idle. What can wait until they have is in `#endRound`. */
  #took(answer: Claimed, want: number): void {
    this.#alone = answer.alone
    this.#drained = answer.drain
    if (answer.run !== null) this.#host.hearOfRun(answer.run)
    // More may wait when everything that was asked for came; otherwise a hint, the next due job or the poll tells.
    if (answer.jobs.length === want && want > 0) this.#wanted = true
    this.#moreMayWait = this.#wanted || answer.alone || !this.#p.pickUp.listening || this.#bounded
    this.#schedulePoll(answer.nextDueMs)
    this.#startNext()
  }

  #endRound(answer: Claimed): void {
    const { lifeline } = this.#p
    if (answer.running) lifeline.send({ type: 'watch', when: 'soon' })
    lifeline.numbers.add('claimRounds', 1)
    lifeline.numbers.add('claimed', answer.jobs.length)
    const idle =
      !answer.alone &&
      !answer.drain &&
      this.#host.slotsTaken === 0 &&
      this.#ahead.size === 0 &&
      !this.#host.owesOutcomes
    if (this.#bounds.answered({ jobs: answer.jobs.length, idle })) {
      // What was committed late stands below the marks.
      this.#marks.forget()
      this.#wanted = true
    }
    this.checkBounds()
  }

  checkBounds(): void {
    if (!this.#bounded) return
    const bound = this.#bounds.reached(elapsedMs(), this.#ahead.size)
    if (bound === null) return
    this.#bounded = false
    this.#host.boundReached(bound)
  }

  /** What this worker is, as jobs may be aimed at it. */
  #targets(): string[] {
    return [
      formatTarget({ machine: this.#p.machineId }),
      formatTarget({ worker: this.#host.workerId ?? '' }),
      ...this.#p.labels.map((label) => formatTarget({ label })),
    ]
  }

  #lookWideIn(inMs: number): void {
    this.#nextWide ??= setTimeout(() => {
      this.#nextWide = null
      this.wake()
    }, inMs)
  }

  #schedulePoll(nextDueMs: number | null): void {
    if (this.#nextPoll !== null) clearTimeout(this.#nextPoll)
    const { idleBeatMs, pollMs, renewMs } = this.#p.settings
    // While it holds jobs it looks as often as it renews: a hint can be lost with its connection, and nothing else tells.
    const holds = this.#host.slotsTaken + this.#ahead.size > 0
    const beatMs = holds ? Math.min(renewMs, idleBeatMs) : idleBeatMs
    const poll = this.#alone ? 1_000 : this.#p.pickUp.listening ? beatMs : pollMs
    this.#nextPoll = setTimeout(
      () => {
        this.wake()
        if (this.#p.runId === null || this.#host.leaves || this.#wants() > 0) return
        this.#host.askAboutRun()
        this.#schedulePoll(null)
      },
      Math.max(1, Math.min(poll, nextDueMs ?? poll)),
    )
  }

  // ── what was claimed ahead ───────────────────────────────────────────────────────────────────────────────────────────────

  /** Begins what was claimed, as far as there are slots. What ends at once leaves its slot to the next of the same loop. */
  #startNext(): void {
    if (this.#starting) return
    this.#starting = true
    for (const ahead of this.#ahead) {
      if (this.#host.slotsTaken >= this.#p.settings.concurrency) break
      // A process that was frozen comes here before any timer of ours has run. Should the lease live, a renewal gives them back.
      if (!this.#host.mayStart()) {
        this.forgetAhead()
        break
      }
      // Handlers that await nothing are all begun in one turn of the event loop, and no timer comes between them.
      if (this.#ahead.isLate(ahead)) {
        this.#giveBack(this.#ahead.clearLate())
        break
      }
      if (this.#ahead.begins(ahead)) {
        this.#bounds.begun()
        this.#host.run(ahead.job, ahead.claimedMs)
      } else {
        this.#host.giveBack(ahead.job)
        this.#wanted = true
      }
    }
    this.#starting = false
    this.#host.countHandlers()
    this.checkBounds()
  }

  /** Gives back what has not begun in time. */
  giveBackLate(): void {
    if (this.#ahead.holdsUp()) this.#giveBack(this.#ahead.clearLate())
  }

  /** Gives back what has not begun. Returns the ids of those jobs. */
  giveBackAhead(): string[] {
    return this.#giveBack(this.#ahead.clear())
  }

  /** Another owns them, or soon will. */
  forgetAhead(): void {
    this.#ahead.clear()
  }

  /** A renewal that was sent then has answered which attempts are this worker's. */
  keepOnly(held: ReadonlySet<string>, sentMs: number): void {
    for (const { job, claimedMs } of this.#ahead) {
      if (claimedMs < sentMs && !held.has(job.token)) this.#ahead.drop(job.token)
    }
  }

  /** Whether the attempt waits here to begin. One that is to be cancelled goes back. */
  holds(token: string, cancel: boolean): boolean {
    const ahead = this.#ahead.get(token)
    if (ahead !== undefined && cancel) {
      this.#ahead.drop(token)
      this.#host.giveBack(ahead.job)
    }
    return ahead !== undefined
  }

  #giveBack(jobs: readonly ClaimedJob[]): string[] {
    for (const job of jobs) this.#host.giveBack(job)
    return jobs.map((job) => job.id)
  }
}
