/**
 * Outcomes on their way to the database, in batches, each delivered until the database has answered.
 *
 * One statement is in flight at a time; what waits meanwhile goes with the next. A failure of the connection leaves the outcome
 * *unknown*: it is sent again with the same token, and the database says `accepted before` if it had arrived. A value that the
 * database refuses for its own sake (NUL in JSON, too large) fails its job as `result_unstorable` instead of blocking the others; the
 * value itself stays on disk for people. Any other error (a trigger's, a lock that was not there, a function that is just being
 * replaced) says nothing about the outcome, which is work that was done: it is sent again, behind the others, and given up only after a
 * quarter of an hour. An outcome whose job somebody else holds in an open transaction is put on disk and sent again, for as long as that
 * lasts; it costs its neighbours half a second now and then.
 *
 * While the database takes outcomes at once, nothing is written to disk. From the first failure, or the first second without an answer,
 * until one is answered again, everything that waits is also in the spool, and so outlives this process.
 * An outcome stays known for ten minutes after it was acknowledged, or until 10,000 more were, in memory, so that it can be delivered
 * again after a failover that has forgotten it: all of them when another life of the database answers, and one by one where the server
 * does not tell its life and a renewal shows the attempt still open.
 */
import { whyUnstorable } from '../client/storable-json.ts'
import { atMost, elapsedMs, Pauses, sleep } from '../clock.ts'
import { VALUE_BYTES_MAX } from '../config.ts'
import { sendByHalves } from '../db/by-halves.ts'
import { classifyFailure, type Database, isHeldByOther } from '../db/connect.ts'
import { type Settlement, settle } from '../sql/protocol.ts'
import type { Line, Spool } from './spool.ts'

const BATCH_MAX = 1_000
const KEPT_MS = 600_000
/** Bounds memory at high rates, where ten minutes of outcomes would be millions. */
const KEPT_MAX = 10_000
/** Longer than an operator needs to repair what refuses an outcome for no fault of its own. */
const REFUSED_MS_MAX = 900_000
/**
 * An answer takes milliseconds, so one that takes a second is trouble, and a busy hour is none; and it is shorter than the margin
 * between a fence and the end of its process. Waiting less would write to disk where a database is merely slow.
 */
const UNANSWERED_MS = 1_000
const UNANSWERED_LOOKS = 10
/** The connections of the main thread, which still lead to the former primary, are replaced within a second or two. */
const REDELIVERY_MS_MAX = 5_000
/** Each try waits for half a second in the database, and so do those that are sent with it. */
const HELD_PAUSE_MS_MAX = 5_000
/** In a long outage every attempt fails alike, and a log that says so every few seconds is read by nobody. */
const TOLD_AGAIN_MS = 10_000

interface Entry {
  readonly settlement: Settlement
  readonly answered: (answer: string) => void
  refusals: number
  answer: string | null
  /** It had to wait for the database. */
  buffered: boolean
  /** Its place on disk. */
  line: Line | null
  /** Somebody else holds its job: when it is sent again, as an `elapsedMs` reading, and how long it rests before. */
  heldUntilMs: number
  heldPauseMs: number
  /** When it was first refused with an error that says nothing about it, as an `elapsedMs` reading. */
  refusedSinceMs: number | null
}

/** @param line Its place on disk, if the database does not take it at once. */
function entryOf(
  settlement: Settlement,
  line: Line | null,
  answered: (answer: string) => void = () => undefined,
): Entry {
  return {
    settlement,
    answered,
    refusals: 0,
    answer: null,
    buffered: line !== null,
    line,
    heldUntilMs: 0,
    heldPauseMs: 0,
    refusedSinceMs: null,
  }
}

/** What the answer `busy` says, as the database says it of what it could not settle in part. */
const HELD: Error = Object.assign(new Error('somebody else holds its job'), { code: '55P03' })

interface Unsent {
  readonly entry: Entry
  readonly error: Error
}

/** Outcomes that were acknowledged one after the other, by token. */
interface Acknowledged {
  readonly sinceMs: number
  readonly settlements: Map<string, Settlement>
}

/** How many outcomes got which answer. */
export type AnswerCounts = Readonly<Record<string, number>>

export interface OutboxEvents {
  /** The database could not take outcomes; `depth` wait, and `onDisk` of them would outlive this process. */
  buffered(depth: number, onDisk: number, error: string): void
  /** It has answered so many that had waited. */
  flushed(count: number, answers: AnswerCounts): void
  /** What another process had left on disk is delivered from here. */
  takenOver(pid: number, count: number, unreadable: number): void
  /** `sinceMs`: since when the database has not been taking outcomes, as an `elapsedMs` reading, or null. */
  depthChanged(depth: number, sinceMs: number | null): void
}

export class Outbox {
  readonly #db: Database
  readonly #spool: Spool
  readonly #events: OutboxEvents
  #waiting: Entry[] = []
  #inFlight: Entry[] = []
  #flushing: Promise<void> | null = null
  /** The newest part first. Forgotten part by part: to forget one outcome at a time costs as much as to keep it. */
  #acknowledged: Acknowledged[] = []
  /** The database does not take outcomes now: whatever comes goes to disk at once. */
  #failing = false
  #failingSinceMs: number | null = null
  /** What was last said of outcomes that wait. */
  #told = { depths: '', atMs: -Infinity }
  #closed = false
  #pause = new AbortController()
  /** While nothing waits but what others hold; else null, as to abort makes an error with its stack, also when nobody listens. */
  #rest: AbortController | null = null
  #takingOver: Promise<void> = Promise.resolve()
  /** Called when the database was asked about all that waited: it has answered, or it could not. */
  #whenTried: (() => void)[] = []

  constructor(db: Database, spool: Spool, events: OutboxEvents) {
    this.#db = db
    this.#spool = spool
    this.#events = events
  }

  get depth(): number {
    return this.#waiting.length + this.#inFlight.length
  }

  /** Queues an outcome. Calls back with the database's answer, whenever that comes. */
  add(settlement: Settlement, answered?: (answer: string) => void): void {
    const line = this.#failing ? this.#spool.keep(settlement) : null
    this.#push(entryOf(settlement, line, answered))
  }

  /** Delivers what processes that are gone have left on disk. Resolves once the database was asked about it, whatever it said. */
  takeOver(): Promise<void> {
    this.#takingOver = this.#takeOver()
    return this.#takingOver
  }

  /** The database may be there again: tries now. */
  hasten(): void {
    this.#pause.abort()
    this.#rest?.abort()
  }

  /** Whether the outcome of this token is known here: under way, or acknowledged within the last ten minutes. */
  knows(token: string): boolean {
    return (
      this.#acknowledged.some(({ settlements }) => settlements.has(token)) ||
      [...this.#waiting, ...this.#inFlight].some((e) => e.settlement.token === token)
    )
  }

  /** Delivers an acknowledged outcome once more, because the database has forgotten it. */
  redeliver(token: string): boolean {
    for (const { settlements } of this.#acknowledged) {
      const settlement = settlements.get(token)
      if (settlement === undefined) continue
      settlements.delete(token)
      this.add(settlement)
      return true
    }
    return false
  }

  /**
   * Delivers all that were acknowledged once more: a failover may have forgotten any. Resolves once the database has answered for them, or
   * after as long as those who wait for their jobs should have to.
   */
  async redeliverAll(): Promise<void> {
    const all = this.#acknowledged.flatMap(({ settlements }) => [...settlements.values()])
    this.#acknowledged = []
    const answered = all.map(
      (settlement) => new Promise<string>((resolve) => this.add(settlement, resolve)),
    )
    this.hasten()
    await atMost(Promise.all(answered), REDELIVERY_MS_MAX)
  }

  /** Resolves once nothing waits; or after `limitMs`, when what waits is on disk. */
  async flushed(limitMs: number): Promise<void> {
    await atMost(this.#flushing ?? Promise.resolve(), limitMs)
    if (this.depth > 0) await this.#buffer('its worker stops')
  }

  /** Gives up delivering. What waits is left to whoever takes the spool over, and to the lease. */
  async close(): Promise<void> {
    this.#closed = true
    this.hasten()
    await this.#flushing
    await this.#takingOver
    await this.#spool.close()
  }

  #push(entry: Entry): void {
    this.#waiting.push(entry)
    this.#rest?.abort()
    this.#events.depthChanged(this.depth, this.#failingSinceMs)
    this.#flushing ??= this.#flush()
  }

  async #takeOver(): Promise<void> {
    const left = await this.#spool.takeLeft()
    if (left.length === 0) return
    for (const { pid, lines, unreadable } of left) {
      this.#events.takenOver(pid, lines.length, unreadable)
      for (const line of lines) this.#push(entryOf(line.settlement, line))
    }
    if (this.#flushing !== null) await new Promise<void>((resolve) => this.#whenTried.push(resolve))
  }

  async #flush(): Promise<void> {
    // A turn of the event loop gathers what settles together.
    await new Promise((resolve) => setImmediate(resolve))
    const pauses = new Pauses({ minMs: 100, maxMs: 5_000 })
    while (this.#waiting.length > 0 && !this.#closed) {
      const batch = this.#due()
      if (batch.length === 0) {
        this.#tried()
        await this.#restUntilDue()
        continue
      }
      this.#inFlight = batch
      const stopWatch = this.#watchAnswer()
      let failure: Error | null = null
      let held: Unsent[] = []
      try {
        const unsent = await this.#send(batch)
        held = unsent.filter(({ error }) => isHeldByOther(error))
        failure = unsent.find(({ error }) => !isHeldByOther(error))?.error ?? null
        this.#waiting.push(...unsent.map(({ entry }) => entry))
      } catch (error) {
        failure = error as Error
        this.#waiting.unshift(...batch.filter((entry) => entry.answer === null))
      }
      stopWatch()
      this.#inFlight = []
      this.#events.depthChanged(this.depth, this.#failingSinceMs)
      this.#tellFlushed(batch)
      if (held.length > 0) await this.#keepHeld(held)
      if (failure === null) {
        if (this.#failing) this.#setFailing(false)
        pauses.reset()
      } else {
        this.#pause = new AbortController()
        if (this.#closed) this.#pause.abort()
        const pause = sleep(pauses.next(), this.#pause.signal)
        await this.#buffer(failure.message)
        this.#tried()
        await pause
      }
    }
    this.#flushing = null
    this.#tried()
  }

  /** Takes what is to be sent now. */
  #due(): Entry[] {
    const nowMs = elapsedMs()
    const batch: Entry[] = []
    this.#waiting = this.#waiting.filter((entry) => {
      const goes = batch.length < BATCH_MAX && entry.heldUntilMs <= nowMs
      if (goes) batch.push(entry)
      return !goes
    })
    return batch
  }

  async #restUntilDue(): Promise<void> {
    this.#rest = new AbortController()
    const dueMs = Math.min(...this.#waiting.map((entry) => entry.heldUntilMs))
    await sleep(Math.max(0, dueMs - elapsedMs()), this.#rest.signal)
    this.#rest = null
  }

  async #keepHeld(held: readonly Unsent[]): Promise<void> {
    for (const { entry } of held) {
      entry.heldPauseMs = Math.min(HELD_PAUSE_MS_MAX, Math.max(100, 2 * entry.heldPauseMs))
      entry.heldUntilMs = elapsedMs() + entry.heldPauseMs
    }
    await this.#keepOnDisk(
      held.map(({ entry }) => entry),
      'somebody else holds its job',
    )
  }

  /**
   * Puts what waits on disk when there is no answer for a second in which this thread was free to hear one: after a handler that
   * kept the thread busy, timers come before the answer that has long arrived.
   */
  #watchAnswer(): () => void {
    let looks = 0
    const watch = setInterval(() => {
      looks += 1
      if (looks === UNANSWERED_LOOKS) void this.#buffer(`no answer for ${UNANSWERED_MS} ms`)
    }, UNANSWERED_MS / UNANSWERED_LOOKS)
    return () => clearInterval(watch)
  }

  #setFailing(failing: boolean): void {
    this.#failing = failing
    this.#failingSinceMs = failing ? (this.#failingSinceMs ?? elapsedMs()) : null
    this.#events.depthChanged(this.depth, this.#failingSinceMs)
  }

  #tried(): void {
    for (const resolve of this.#whenTried.splice(0)) resolve()
  }

  /** Puts everything that waits on disk, and says so. A disk that hangs holds nothing up for longer than a second. */
  async #buffer(reason: string): Promise<void> {
    this.#setFailing(true)
    await this.#keepOnDisk([...this.#inFlight, ...this.#waiting], reason)
  }

  async #keepOnDisk(entries: readonly Entry[], reason: string): Promise<void> {
    for (const entry of entries) {
      if (entry.answer !== null) continue
      entry.buffered = true
      if (entry.line === null || entry.line.state === 'failed')
        entry.line = this.#spool.keep(entry.settlement)
    }
    await atMost(this.#spool.written(), UNANSWERED_MS)
    const depths = `${this.depth} ${this.#spool.depth}`
    if (this.depth === 0) return
    if (depths === this.#told.depths && elapsedMs() - this.#told.atMs < TOLD_AGAIN_MS) return
    this.#told = { depths, atMs: elapsedMs() }
    this.#events.buffered(this.depth, this.#spool.depth, reason)
  }

  #tellFlushed(batch: readonly Entry[]): void {
    const answers: Record<string, number> = {}
    let count = 0
    for (const { answer, buffered } of batch) {
      if (answer === null || !buffered) continue
      count += 1
      answers[answer] = (answers[answer] ?? 0) + 1
    }
    if (count === 0) return
    this.#told = { depths: '', atMs: -Infinity }
    this.#events.flushed(count, answers)
  }

  #answered(entry: Entry, answer: string): void {
    entry.answer = answer
    if (entry.line !== null) this.#spool.forget(entry.line)
    entry.answered(answer)
  }

  /** Delivers these. Resolves to those that the database did not take now and may take later; rejects when all are unknown. */
  async #send(batch: readonly Entry[]): Promise<Unsent[]> {
    const unsent: Unsent[] = []
    const storable: Entry[] = []
    for (const entry of batch) {
      const { value } = entry.settlement
      const why = value == null ? null : whyUnstorable(value, VALUE_BYTES_MAX)
      if (why === null) storable.push(entry)
      else await this.#refuse(entry, `it ${why}`, unsent)
    }
    if (storable.length === 0) return unsent
    await sendByHalves(
      storable,
      async (part) => {
        const settlements = part.map((entry) => entry.settlement)
        const answers = await settle(this.#db, settlements)
        const acknowledged = this.#newestAcknowledged()
        for (const [index, entry] of part.entries()) {
          const answer = answers[index] ?? 'lease_lost'
          if (answer === 'busy') {
            unsent.push({ entry, error: HELD })
            continue
          }
          if (answer !== 'lease_lost') acknowledged.set(entry.settlement.token, entry.settlement)
          this.#answered(entry, answer)
        }
      },
      async (entry, error) => {
        const nowMs = elapsedMs()
        if (isHeldByOther(error)) {
          unsent.push({ entry, error })
          return
        }
        entry.refusedSinceMs ??= nowMs
        if (classifyFailure(error) === 'other' && nowMs - entry.refusedSinceMs < REFUSED_MS_MAX)
          unsent.push({ entry, error })
        else await this.#refuse(entry, error.message, unsent)
      },
    )
    return unsent
  }

  /** The database refuses this outcome itself, or would; the job fails with a reason that says so. */
  async #refuse(entry: Entry, why: string, unsent: Unsent[]): Promise<void> {
    entry.refusals += 1
    const file = await this.#spool.keepRefused(entry.settlement)
    const message =
      entry.refusals === 1
        ? `its ${entry.settlement.outcome === 'completed' ? 'result' : 'error'} can't be stored${file === null ? '' : ` and is kept in ${file}`}: ${why}`
        : 'its outcome can not be stored'
    const settlement: Settlement = {
      ...entry.settlement,
      outcome: 'failed_finally',
      value: JSON.stringify({ code: 'result_unstorable', message: message.replaceAll('\0', '') }),
      delayMs: null,
    }
    const [answer = 'lease_lost'] = await settle(this.#db, [settlement])
    if (answer !== 'busy') {
      this.#answered(entry, answer)
      return
    }
    entry.refusals -= 1
    unsent.push({ entry, error: HELD })
  }

  /** Where to keep what is acknowledged now. Forgets the parts that are all older than what is kept. */
  #newestAcknowledged(): Map<string, Settlement> {
    const nowMs = elapsedMs()
    const [newest] = this.#acknowledged
    if (
      newest !== undefined &&
      newest.settlements.size < KEPT_MAX / 2 &&
      nowMs - newest.sinceMs < KEPT_MS / 2
    )
      return newest.settlements
    let newer = { count: 0, sinceMs: nowMs }
    const kept = this.#acknowledged.filter(({ sinceMs, settlements }) => {
      const { count } = newer
      const keeps = count < KEPT_MAX && nowMs - newer.sinceMs < KEPT_MS
      newer = { count: count + settlements.size, sinceMs }
      return keeps
    })
    const settlements = new Map<string, Settlement>()
    this.#acknowledged = [{ sinceMs: nowMs, settlements }, ...kept]
    return settlements
  }
}
