/**
 * Outcomes on their way to the database, in batches, each delivered until the database has answered.
 *
 * One statement is in flight at a time; what waits meanwhile goes with the next. A failure of the connection leaves the outcome
 * *unknown*: it is sent again with the same token, and the database says `accepted before` if it had arrived. A value that the
 * database refuses for its own sake (NUL in JSON, too large) fails its job as `result_unstorable` instead of blocking the others. Any
 * other error (a trigger's, a lock that was not there, a function that is just being replaced) says nothing about the outcome, which
 * is work that was done: it is sent again, behind the others, and given up only after a quarter of an hour.
 * An outcome stays known for ten minutes after it was acknowledged (the last 10,000 of them), so that it can be delivered again when a renewal shows that a
 * failover has forgotten it.
 */
import { elapsedMs, sleep } from '../clock.ts'
import { classifyFailure, type Database } from '../db/connect.ts'
import { type Settlement, settle } from '../sql/protocol.ts'

const BATCH_MAX = 1_000
const KEPT_MS = 600_000
/** Bounds memory at high rates, where ten minutes of outcomes would be millions. */
const KEPT_MAX = 10_000
/** Longer than an operator needs to repair what refuses an outcome for no fault of its own. */
const REFUSED_MS_MAX = 900_000

interface Entry {
  readonly settlement: Settlement
  readonly resolve: (answer: string) => void
  attemptsToSend: number
  /** When it was first refused with an error that says nothing about it, as an `elapsedMs` reading. */
  refusedSinceMs: number | null
}

interface Unsent {
  readonly entry: Entry
  readonly error: Error
}

export interface OutboxEvents {
  /** The database could not take outcomes; `depth` wait. */
  buffered(depth: number, error: string): void
  /** It takes them again. */
  flushed(count: number): void
  depthChanged(depth: number): void
}

export class Outbox {
  readonly #db: Database
  readonly #events: OutboxEvents
  #waiting: Entry[] = []
  #inFlight: Entry[] = []
  #flushing: Promise<void> | null = null
  #acknowledged = new Map<string, { settlement: Settlement; atMs: number }>()
  #failing = false
  #stop = new AbortController()

  constructor(db: Database, events: OutboxEvents) {
    this.#db = db
    this.#events = events
  }

  get depth(): number {
    return this.#waiting.length + this.#inFlight.length
  }

  /** Queues an outcome. Resolves to the database's answer, whenever that comes. */
  add(settlement: Settlement): Promise<string> {
    return new Promise((resolve) => {
      this.#waiting.push({ settlement, resolve, attemptsToSend: 0, refusedSinceMs: null })
      this.#events.depthChanged(this.depth)
      this.#flushing ??= this.#flush()
    })
  }

  /** Whether the outcome of this token is known here: under way, or acknowledged within the last ten minutes. */
  knows(token: string): boolean {
    return (
      this.#acknowledged.has(token) ||
      [...this.#waiting, ...this.#inFlight].some((e) => e.settlement.token === token)
    )
  }

  /** Delivers an acknowledged outcome once more, because the database has forgotten it. */
  redeliver(token: string): boolean {
    const kept = this.#acknowledged.get(token)
    if (kept === undefined) return false
    this.#acknowledged.delete(token)
    void this.add(kept.settlement)
    return true
  }

  /** Resolves once nothing waits, or after `limitMs`. */
  async flushed(limitMs: number): Promise<void> {
    const limit = new AbortController()
    await Promise.race([this.#flushing ?? Promise.resolve(), sleep(limitMs, limit.signal)])
    limit.abort()
  }

  /** Gives up delivering. What waits is left to the lease. */
  async close(): Promise<void> {
    this.#stop.abort()
    await this.#flushing
  }

  async #flush(): Promise<void> {
    // A turn of the event loop gathers what settles together.
    await new Promise((resolve) => setImmediate(resolve))
    let pauseMs = 100
    while (this.#waiting.length > 0 && !this.#stop.signal.aborted) {
      const batch = this.#waiting.splice(0, BATCH_MAX)
      this.#inFlight = batch
      let failure: Error | null = null
      try {
        const unsent = await this.#send(batch)
        failure = unsent[0]?.error ?? null
        this.#waiting.push(...unsent.map(({ entry }) => entry))
      } catch (error) {
        failure = error as Error
        this.#waiting.unshift(...batch)
      }
      this.#inFlight = []
      this.#events.depthChanged(this.depth)
      if (failure === null) {
        if (this.#failing) this.#events.flushed(batch.length)
        this.#failing = false
        pauseMs = 100
      } else {
        this.#failing = true
        this.#events.buffered(this.depth, failure.message)
        await sleep(pauseMs * (0.75 + Math.random() / 2), this.#stop.signal)
        pauseMs = Math.min(pauseMs * 2, 5_000)
      }
    }
    this.#flushing = null
  }

  /** Delivers these. Resolves to those that the database did not take now and may take later; rejects when all are unknown. */
  async #send(batch: Entry[]): Promise<Unsent[]> {
    const now = elapsedMs()
    let answers: string[]
    try {
      answers = await settle(
        this.#db,
        batch.map((entry) => entry.settlement),
      )
    } catch (error) {
      if (classifyFailure(error) === 'unknown') throw error
      // One value spoils the whole statement: find it by halves.
      const [only] = batch
      if (batch.length === 1 && only !== undefined) {
        only.refusedSinceMs ??= now
        if (classifyFailure(error) === 'other' && now - only.refusedSinceMs < REFUSED_MS_MAX)
          return [{ entry: only, error: error as Error }]
        await this.#refused(only, error as Error)
        return []
      }
      const middle = Math.ceil(batch.length / 2)
      const unsent = await this.#send(batch.slice(0, middle))
      return [...unsent, ...(await this.#send(batch.slice(middle)))]
    }
    this.#forgetOld()
    for (const [index, entry] of batch.entries()) {
      const answer = answers[index] ?? 'lease_lost'
      if (answer !== 'lease_lost') {
        this.#acknowledged.set(entry.settlement.token, { settlement: entry.settlement, atMs: now })
      }
      entry.resolve(answer)
    }
    return []
  }

  /** The database refuses this outcome itself; the job fails with a reason that says so. */
  async #refused(entry: Entry, error: Error): Promise<void> {
    entry.attemptsToSend += 1
    const message =
      entry.attemptsToSend === 1
        ? `its ${entry.settlement.outcome === 'completed' ? 'result' : 'error'} can't be stored: ${error.message}`
        : 'its outcome can not be stored'
    const settlement: Settlement = {
      ...entry.settlement,
      outcome: 'failed_finally',
      value: JSON.stringify({ code: 'result_unstorable', message: message.replaceAll('\0', '') }),
      delayMs: null,
    }
    const [answer = 'lease_lost'] = await settle(this.#db, [settlement])
    entry.resolve(answer)
  }

  #forgetOld(): void {
    const before = elapsedMs() - KEPT_MS
    for (const [token, { atMs }] of this.#acknowledged) {
      if (atMs >= before && this.#acknowledged.size <= KEPT_MAX) break
      this.#acknowledged.delete(token)
    }
  }
}
