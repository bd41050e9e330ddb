import type { Executor } from '../db/connect.ts'

/** What may be said of a new job beside its input; the definition says the rest. */
export interface NewJobOptions {
  readonly queue?: string
  /** Higher runs first, from -32768 to 32767. Default 0. */
  readonly priority?: number
  /** Due so many milliseconds from now, by the database's clock. */
  readonly delayMs?: number
  readonly at?: Date
  /** The same key in a namespace is the same job: enqueueing it again returns its id. */
  readonly key?: string
  /** At most one job of a namespace with the same concurrency key runs at a time; the others wait their turn. */
  readonly concurrencyKey?: string
  readonly maxAttempts?: number
  readonly maxLost?: number
  readonly onWorkerLost?: 'retry' | 'fail' | 'hold'
  readonly timeoutMs?: number
  readonly progressDeadlineMs?: number
  /** A caller's transaction to enqueue in: the job exists exactly if that commits. */
  readonly executor?: Executor
}
