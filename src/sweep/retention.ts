/**
 * Dropping from a worker what its namespace need not keep any longer.
 *
 * A worker asks some seconds after a job has ended in it, and as long as jobs go on ending about once an hour: whoever asks first when a
 * pass is due does it. Where nothing ends nothing is asked, and the database may sleep. It runs in the main thread, as an archive hook
 * does, on a connection that is opened for each asking: neither a claim nor an outcome waits for it. A pass that fails is tried again after
 * a minute, where the hook failed after twice as long each time, up to an hour.
 */
import type pg from 'pg'
import { atMost, sleep } from '../clock.ts'
import { type Archive, failureSentence, passRetention } from '../client/retention.ts'
import { type ConnectOptions, connectOne, useExecutor } from '../db/connect.ts'

/** Not in the midst of what has just begun, and not all at once when a fleet starts. */
const FIRST_AFTER_MS = 5_000
const RETRY_MS_MIN = 60_000
const RETRY_MS_MAX = 3_600_000
/** To find the newest of a hundred million jobs that are too many; less than a pass may be silent. */
const CALL_MS_MAX = 100_000
/** A server that does not answer at all is not waited for. */
const CLOSE_MS_MAX = 1_000
/** Nobody has asked with a hook for so long, although jobs must be archived: somebody has to know. */
const UNARCHIVED_MS = 86_400_000

export interface RetentionReports {
  dropped(jobs: number): void
  failed(error: string, retryMs: number): void
}

export class Retention {
  readonly #options: { connect: ConnectOptions; namespace: string; archive: Archive | null }
  readonly #reports: RetentionReports
  readonly #stop = new AbortController()
  #running: Promise<void> | null = null
  #client: pg.Client | null = null
  #failures = 0
  #ended = false

  constructor(
    options: { connect: ConnectOptions; namespace: string; archive: Archive | null },
    reports: RetentionReports,
  ) {
    this.#options = options
    this.#reports = reports
  }

  /** A job has ended here. */
  jobEnded(): void {
    this.#ended = true
    if (!this.#stop.signal.aborted) this.#running ??= this.#run()
  }

  /** A call that is under way is cut off: what it would have dropped is dropped by the next pass. */
  async close(): Promise<void> {
    this.#stop.abort()
    await this.#client?.end().catch(() => undefined)
    if (this.#running !== null) await atMost(this.#running, CLOSE_MS_MAX)
  }

  async #run(): Promise<void> {
    const stop = this.#stop.signal
    await sleep(FIRST_AFTER_MS * (1 + Math.random()), stop)
    while (!stop.aborted) {
      this.#ended = false
      await sleep((await this.#ask(stop)) * (1 + Math.random() / 10), stop)
      if (this.#ended) continue
      this.#running = null
      return
    }
  }

  /** When to ask again. */
  async #ask(stop: AbortSignal): Promise<number> {
    const { connect, namespace, archive } = this.#options
    const retryMs = Math.min(RETRY_MS_MAX, RETRY_MS_MIN * 2 ** this.#failures)
    try {
      const client = await connectOne({
        ...connect,
        callTimeoutMs: CALL_MS_MAX,
        applicationName: 'leasehold retention',
      })
      this.#client = client
      // One that breaks between two calls: the next call says so.
      client.on('error', () => undefined)
      try {
        const db = useExecutor(client, connect.schema)
        const pass = await passRetention(db, { namespace, archive, now: false, retryMs, stop })
        const { begun, dropped, failure } = pass
        if (dropped > 0) this.#reports.dropped(dropped)
        if (begun.needsArchive && begun.overdueMs > UNARCHIVED_MS)
          this.#reports.failed(
            'jobs are to be archived first, and for a day no worker with an archive hook has asked',
            begun.nextMs,
          )
        if (failure !== null) {
          this.#reports.failed(failureSentence(failure), retryMs)
          this.#failures += 1
          this.#ended = true
          return retryMs
        }
        this.#failures = 0
        return Math.max(RETRY_MS_MIN, begun.nextMs)
      } finally {
        this.#client = null
        await client.end().catch(() => undefined)
      }
    } catch (error) {
      // What is over can wait: until the database is back, a lock is free, or the role has been granted what it needs.
      if (!stop.aborted) this.#reports.failed((error as Error).message, RETRY_MS_MIN)
      this.#ended = true
      return RETRY_MS_MIN
    }
  }
}
