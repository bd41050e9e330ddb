/**
 * Gathers calls of `enqueue` that one process makes at the same time into one statement.
 *
 *     nothing in flight ── a call ──▶ sent at once          a lone caller waits for nobody
 *     one in flight ────── calls ───▶ gathered, and sent together when it is answered
 *
 * Each caller gets its own id or its own error. A statement stores all of its jobs or none; so when one of them is refused for its own
 * sake, each is sent alone and only that one fails. When the connection breaks, whether the jobs are stored is unknown, and every caller
 * is told so: a call with a `key` can be repeated.
 */
import { classifyFailure, type Database } from '../db/connect.ts'
import { enqueue, type NewJob } from '../sql/protocol.ts'

const BATCH_MAX = 500

interface Call {
  readonly job: NewJob
  readonly resolve: (jobId: string) => void
  readonly reject: (error: unknown) => void
}

export class EnqueueGatherer {
  readonly #db: Database
  readonly #namespace: string
  #gathered: Call[] = []
  #sending = false

  constructor(db: Database, namespace: string) {
    this.#db = db
    this.#namespace = namespace
  }

  enqueue(job: NewJob): Promise<string> {
    return new Promise((resolve, reject) => {
      this.#gathered.push({ job, resolve, reject })
      if (!this.#sending) void this.#sendAll()
    })
  }

  async #sendAll(): Promise<void> {
    this.#sending = true
    while (this.#gathered.length > 0) await this.#send(this.#gathered.splice(0, BATCH_MAX))
    this.#sending = false
  }

  /** Never rejects: what fails is told to whoever asked for it. */
  async #send(calls: readonly Call[]): Promise<void> {
    try {
      const jobs = calls.map(({ job }) => job)
      const ids = await enqueue(this.#db, this.#namespace, jobs, true)
      for (const [index, call] of calls.entries()) call.resolve(ids[index] as string)
    } catch (error) {
      if (calls.length === 1 || classifyFailure(error) === 'unknown') {
        for (const call of calls) call.reject(error)
      } else {
        for (const call of calls) await this.#send([call])
      }
    }
  }
}
