/**
 * Sweeping from a worker: layers 3 and 4, by one elected worker while anything is running.
 *
 * Every worker that learns that something is running asks for a part. The leader sweeps, the deputy watches and follows it within
 * three sweeps if it goes silent, the others are told that they are not needed and ask again every 2.5 s. When nothing is
 * running all stop, and the database may sleep. Who leads is a row in the database; two sweepers at once only waste work.
 *
 * Whoever sweeps also judges the alerts (in the same statement) and sends what webhooks are owed, beside the passes. While something is
 * open, waits or is to be sent, a pass follows now and then although nothing runs.
 *
 * It has a connection of its own, opened when it is first needed, so that a long pass delays no renewal. Whatever fails is tried
 * again: sweeping has no state here but the difference of two clocks. A failure that is no outage is said, as recovery may fail for
 * ever by it while all else seems well.
 */
import type pg from 'pg'
import { atMost, elapsedMs } from '../clock.ts'
import { type ConnectOptions, connectOne, type Database, useExecutor } from '../db/connect.ts'
import type { AlertChange } from '../sql/alerts.ts'
import { type RecoveredJob, sweep, type Swept } from '../sql/protocol.ts'
import type { SweepPart } from './failures.ts'
import { deliverDue } from './webhook.ts'

/**
 * Half the database's sweep interval of 1 s: a lost connection is then seen within 0.5 s, and with its grace of 2 s recovered
 * within 3 s.
 */
const SWEEP_EVERY_MS = 500
/**
 * What a worker without a part waits before it asks again. Should leader and deputy die together, this and a pass must be over before the
 * pause in the tick counts as an outage (5 s).
 */
const CANDIDATE_EVERY_MS = 2_500
/** Not at once: the job that began has just been waited for, and most of those that an idle queue gets end before this. */
const FIRST_AFTER_MS = 50
const BATCH = 500
/** A pass takes milliseconds; one that hangs must not hold up a stop. */
const CLOSE_MS_MAX = 500

export interface Recovered {
  readonly layer: number | null
  readonly workers: readonly string[]
  readonly jobs: readonly RecoveredJob[]
}

export interface SweepReports {
  recovered(recovered: Recovered): void
  alert(change: AlertChange): void
  /** It is tried again in any case. */
  failed(part: SweepPart, error: unknown): void
}

export class Sweeper {
  readonly #connect: ConnectOptions
  readonly #namespace: string
  readonly #report: SweepReports
  #incarnation: string | null = null
  #client: pg.Client | null = null
  #timer: NodeJS.Timeout | null = null
  #dueMs = 0
  /** Whether the next pass is one that looks after alerts alone, as nothing was running. */
  #idle = false
  /** What was asked for during a pass, which may have looked before there was anything. */
  #asked: 'soon' | 'now' | null = null
  #running: Promise<void> | null = null
  #closed = false
  #delivering: Promise<void> | null = null
  #stopDelivering = new AbortController()
  /** What the database's clock was ahead of ours at the last pass. */
  #clockAheadMs: number | null = null

  constructor(options: { connect: ConnectOptions; namespace: string }, report: SweepReports) {
    this.#connect = options.connect
    this.#namespace = options.namespace
    this.#report = report
  }

  join(incarnation: string): void {
    this.#incarnation = incarnation
  }

  leave(): void {
    this.#incarnation = null
    this.#cancel()
    this.#stopDelivering.abort()
    this.#stopDelivering = new AbortController()
  }

  /**
   * Something is running: begin to sweep, if that has not begun. `now`: a part may be free, so ask also if the last answer was none. A
   * pass that is due sooner stays where it is, so that none is put off for ever by those who keep asking.
   */
  watch(when: 'soon' | 'now' = 'soon'): void {
    if (this.#running !== null) {
      this.#asked = when === 'now' ? when : (this.#asked ?? when)
      return
    }
    const hastens = when === 'now' || this.#idle
    if (hastens && this.#dueMs > elapsedMs() + FIRST_AFTER_MS) this.#cancel()
    if (this.#timer === null) this.#schedule(FIRST_AFTER_MS)
  }

  async close(): Promise<void> {
    this.#closed = true
    this.leave()
    // The server would go on with a pass whose connection has gone.
    if (this.#running !== null) await atMost(this.#running, CLOSE_MS_MAX)
    await this.#client?.end().catch(() => undefined)
    await Promise.all([this.#running, this.#delivering])
  }

  #cancel(): void {
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = null
  }

  #schedule(inMs: number, idle = false): void {
    if (this.#closed || this.#incarnation === null) return
    this.#idle = idle
    this.#dueMs = elapsedMs() + inMs
    this.#timer = setTimeout(() => {
      this.#timer = null
      this.#running = this.#pass().finally(() => {
        this.#running = null
        const asked = this.#asked
        this.#asked = null
        if (asked !== null) this.watch(asked)
      })
    }, inMs)
  }

  async #pass(): Promise<void> {
    const incarnation = this.#incarnation
    if (incarnation === null) return
    let sentMs: number
    let swept: Swept
    try {
      const db = await this.#database()
      sentMs = elapsedMs()
      swept = await sweep(db, {
        namespace: this.#namespace,
        incarnation,
        limit: BATCH,
        // Compared before anybody is judged by that clock, so there and not here.
        reckonedMs: this.#clockAheadMs === null ? null : Math.round(sentMs + this.#clockAheadMs),
      })
    } catch (error) {
      // Nothing is known, whatever it was, so ask again on a new connection.
      if (!this.#closed) this.#report.failed('sweep', error)
      const client = this.#client
      this.#client = null
      await client?.end().catch(() => undefined)
      this.#schedule(SWEEP_EVERY_MS)
      return
    }
    this.#clockAheadMs = swept.databaseMs - sentMs
    if (swept.ended.length > 0 || swept.recovered.length > 0) {
      this.#report.recovered({ layer: null, workers: swept.ended, jobs: swept.recovered })
    }
    for (const change of swept.alerts) this.#report.alert(change)
    if (swept.deliver) this.#deliver(incarnation)
    if (swept.more) this.#schedule(0)
    else if (!swept.running) {
      if (swept.alertsMs !== null) this.#schedule(Math.max(SWEEP_EVERY_MS, swept.alertsMs), true)
    } else if (swept.role === 'none') this.#schedule(CANDIDATE_EVERY_MS)
    else this.#schedule(Math.min(SWEEP_EVERY_MS, swept.nextMs ?? SWEEP_EVERY_MS))
  }

  /** Beside the passes: a receiver that is slow holds up no recovery. */
  #deliver(incarnation: string): void {
    if (this.#delivering !== null) return
    const options = {
      namespace: this.#namespace,
      incarnation,
      stop: this.#stopDelivering.signal,
    }
    this.#delivering = this.#database()
      .then((db) => deliverDue(db, options))
      .then(
        () => undefined,
        // What was sent and not settled is sent again, under the same id.
        (error: unknown) => {
          if (!options.stop.aborted) this.#report.failed('webhooks', error)
        },
      )
      .finally(() => {
        this.#delivering = null
      })
  }

  async #database(): Promise<Database> {
    if (this.#client === null) {
      const client = await connectOne({
        ...this.#connect,
        callTimeoutMs: 10_000,
        applicationName: 'leasehold sweep',
      })
      client.on('error', () => {
        if (this.#client === client) this.#client = null
      })
      if (this.#closed) {
        await client.end()
        throw new Error('the sweeper was closed')
      }
      this.#client = client
    }
    return useExecutor(this.#client, this.#connect.schema)
  }
}
