/**
 * Sweeping from a worker: layers 3 and 4, by one elected worker while anything is running.
 *
 * Every worker that learns that something is running asks for a part. The leader sweeps, the deputy watches and follows it within
 * three sweeps if it goes silent, the others are told that they are not needed and ask again every 2.5 s. When nothing is
 * running all stop, and the database may sleep. Who leads is a row in the database; two sweepers at once only waste work.
 *
 * It has a connection of its own, opened when it is first needed, so that a long pass delays no renewal. Whatever fails is tried
 * again: sweeping has no state here but the difference of two clocks.
 */
import type pg from 'pg'
import { elapsedMs } from '../clock.ts'
import { type ConnectOptions, connectOne, type Database, useExecutor } from '../db/connect.ts'
import { type RecoveredJob, sweep, type Swept } from '../sql/protocol.ts'

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
/** A clock of the database that differs from ours by more than this between two passes has stepped. */
const STEP_MS = 1_000

export interface Recovered {
  readonly layer: number | null
  readonly workers: readonly string[]
  readonly jobs: readonly RecoveredJob[]
}

export class Sweeper {
  readonly #connect: ConnectOptions
  readonly #namespace: string
  readonly #report: (recovered: Recovered) => void
  #incarnation: string | null = null
  #client: pg.Client | null = null
  #timer: NodeJS.Timeout | null = null
  #running: Promise<void> | null = null
  #closed = false
  #clockDifferenceMs: number | null = null

  constructor(
    options: { connect: ConnectOptions; namespace: string },
    report: (recovered: Recovered) => void,
  ) {
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
  }

  /** Something is running: begin to sweep, if that has not begun. `now`: a part may be free, so ask also if the last answer was none. */
  watch(when: 'soon' | 'now' = 'soon'): void {
    if (when === 'now') this.#cancel()
    if (this.#timer === null && this.#running === null) this.#schedule(FIRST_AFTER_MS)
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#cancel()
    await this.#client?.end().catch(() => undefined)
    await this.#running
  }

  #cancel(): void {
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = null
  }

  #schedule(inMs: number): void {
    if (this.#closed || this.#incarnation === null) return
    this.#timer = setTimeout(() => {
      this.#timer = null
      this.#running = this.#pass().finally(() => {
        this.#running = null
      })
    }, inMs)
  }

  async #pass(): Promise<void> {
    const incarnation = this.#incarnation
    if (incarnation === null) return
    const startedMs = elapsedMs()
    let swept: Swept
    try {
      swept = await sweep(await this.#database(), {
        namespace: this.#namespace,
        incarnation,
        limit: BATCH,
        clockStepped: this.#stepped,
      })
    } catch {
      // The database is away, or the connection was lost: nothing is known, so ask again on a new one.
      const client = this.#client
      this.#client = null
      await client?.end().catch(() => undefined)
      this.#schedule(SWEEP_EVERY_MS)
      return
    }
    this.#compareClocks(swept, startedMs)
    if (swept.ended.length > 0 || swept.recovered.length > 0) {
      this.#report({ layer: null, workers: swept.ended, jobs: swept.recovered })
    }
    if (swept.more) this.#schedule(0)
    else if (!swept.running) this.#stepped = false
    else if (swept.role === 'none') this.#schedule(CANDIDATE_EVERY_MS)
    else this.#schedule(Math.min(SWEEP_EVERY_MS, swept.nextMs ?? SWEEP_EVERY_MS))
  }

  #stepped = false

  #compareClocks(swept: Swept, startedMs: number): void {
    const differenceMs = swept.databaseMs - startedMs
    const before = this.#clockDifferenceMs
    this.#clockDifferenceMs = differenceMs
    this.#stepped = before !== null && Math.abs(differenceMs - before) > STEP_MS
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
