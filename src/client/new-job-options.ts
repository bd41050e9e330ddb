import type { Executor } from '../db/connect.ts'
import type { TargetName } from '../domain/target.ts'

/** Which workers alone may take a job, and what becomes of it while there are none. */
export type JobTarget = TargetName & {
  /**
   * What happens when no worker of the target is online: `wait` for one, `fail` the job, or let `any` worker take it. Default `wait`.
   */
  readonly ifOffline?: 'wait' | 'fail' | 'any'
  /**
   * How long after it is due the job waits for its start at most, online or not, in milliseconds; then it fails, or with `any` is
   * everybody's. Default for ever.
   */
  readonly waitMs?: number
}

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
  /** Id of the active run that the job belongs to. A child of a run's job belongs to the same one if nothing is said. */
  readonly run?: string
  readonly target?: JobTarget
  /** A caller's transaction to enqueue in: the job exists exactly if that commits. */
  readonly executor?: Executor
}
