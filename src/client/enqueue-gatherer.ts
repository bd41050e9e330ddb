/**
 * Gathers calls of `enqueue` that one process makes at the same time into one statement.
 *
 *     none or one in flight ── calls ──▶ sent with those of this turn's promises
 *     two in flight ────────── calls ──▶ gathered, and sent together when one is answered
 *
 * A call with a `key` may have to wait for a stranger's transaction that has enqueued the same key. So such calls go apart, and only with
 * those of the same key: two keys of them at a time, and no other call waits for them.
 *
 * Each caller gets its own id or its own error. A statement stores all of its jobs or none; when it is refused, its halves are sent alone,
 * and only those fail that are refused by themselves. When the connection breaks, whether the jobs are stored is unknown, and every
 * caller is told so: a call with a `key` can be repeated.
 */
import { sendByHalves } from '../db/by-halves.ts'
import type { Database } from '../db/connect.ts'
import { enqueue, type NewJob } from '../sql/protocol.ts'

const BATCH_MAX = 500
/** One is made durable while the other gathers. More don't help: commits that notify wait for each other. */
const IN_FLIGHT_MAX = 2
/** A pool has connections for two of each. */
const KEYS_IN_FLIGHT_MAX = 2

interface Call {
  readonly job: NewJob
  readonly resolve: (jobId: string) => void
  readonly reject: (error: unknown) => void
}

export class EnqueueGatherer {
  readonly #db: Database
  readonly #namespace: string
  #gathered: Call[] = []
  #inFlight = 0
  readonly #gatheredByKey = new Map<string, Call[]>()
  readonly #keysInFlight = new Set<string>()
  #sendersOfKeys = 0

  constructor(db: Database, namespace: string) {
    this.#db = db
    this.#namespace = namespace
  }

  /** `key`: what the job's options say of it. */
  enqueue(job: NewJob, key: string | undefined): Promise<string> {
    return new Promise((resolve, reject) => {
      const call = { job, resolve, reject }
      if (key !== undefined) {
        const calls = this.#gatheredByKey.get(key)
        if (calls === undefined) this.#gatheredByKey.set(key, [call])
        else calls.push(call)
        if (this.#sendersOfKeys < KEYS_IN_FLIGHT_MAX) void this.#sendKeys()
      } else {
        this.#gathered.push(call)
        if (this.#inFlight < IN_FLIGHT_MAX) void this.#sendAll()
      }
    })
  }

  async #sendKeys(): Promise<void> {
    this.#sendersOfKeys += 1
    await new Promise<void>((resolve) => process.nextTick(resolve))
    for (let key = this.#nextKey(); key !== undefined; key = this.#nextKey()) {
      const calls = this.#gatheredByKey.get(key) ?? []
      this.#gatheredByKey.delete(key)
      this.#keysInFlight.add(key)
      await this.#send(calls)
      this.#keysInFlight.delete(key)
    }
    this.#sendersOfKeys -= 1
  }

  /** Calls of a key that is in flight are left to whoever sends it. */
  #nextKey(): string | undefined {
    for (const key of this.#gatheredByKey.keys()) if (!this.#keysInFlight.has(key)) return key
    return undefined
  }

  async #sendAll(): Promise<void> {
    this.#inFlight += 1
    // Those who were answered together call again before this turn's promises are done.
    await new Promise<void>((resolve) => process.nextTick(resolve))
    while (this.#gathered.length > 0) await this.#send(this.#gathered.splice(0, BATCH_MAX))
    this.#inFlight -= 1
  }

  /** Never rejects: what fails is told to whoever asked for it. */
  async #send(calls: readonly Call[]): Promise<void> {
    try {
      await sendByHalves(
        calls,
        async (part) => {
          const jobs = part.map(({ job }) => job)
          const ids = await enqueue(this.#db, this.#namespace, jobs, true)
          for (const [index, call] of part.entries()) call.resolve(ids[index] as string)
        },
        (call, error) => call.reject(error),
      )
    } catch (error) {
      for (const call of calls) call.reject(error)
    }
  }
}
