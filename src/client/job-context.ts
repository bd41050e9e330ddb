/** What a handler is given: `ctx`. Every call that writes is fenced by the attempt's token. */
import type { AbortReason } from '../domain/states.ts'
import type { NewJobOptions } from './new-job-options.ts'
import type { Sessions } from './session.ts'
import type { StandardSchema } from './standard-schema.ts'

/** `signal.reason` of an attempt that has to stop. */
export interface AbortCause {
  readonly code: AbortReason
  readonly message: string
}

/** What the attempt before this one left behind. */
export interface Resume {
  /** The last checkpoint, as it was given, or null. */
  readonly checkpoint: unknown
  /** Number of the attempt before this one. */
  readonly attempt: number
  readonly previousEnd: {
    readonly endedAs: string
    readonly code: string | null
    readonly message: string | null
  }
}

export interface JobLog {
  debug(message: string, fields?: Record<string, unknown>): void
  info(message: string, fields?: Record<string, unknown>): void
  warn(message: string, fields?: Record<string, unknown>): void
  error(message: string, fields?: Record<string, unknown>): void
}

export interface JobContext<Input = unknown> {
  readonly input: Input
  readonly jobId: string
  readonly type: string
  /** The run that the job belongs to, or null. */
  readonly runId: string | null
  /** Number of this attempt, from 1. For people: the fence is a token that handlers never see. */
  readonly attempt: number
  /** Aborted when the attempt has to stop; `signal.reason.code` says why. */
  readonly signal: AbortSignal
  /** `null` on a first attempt. */
  readonly resume: Resume | null
  /** The same for every attempt of this job: give it to services that remove duplicates. */
  readonly idempotencyKey: string
  /** When a shutdown that has begun will abort this handler, or null. */
  readonly shutdownDeadline: Date | null
  /** Of this worker: what is added here outlives the job, and is told and closed in order when the worker stops. */
  readonly sessions: Sessions
  /**
   * Keeps `value` (JSON, at most 1 MiB) durable before it resolves; the next attempt finds it in `resume.checkpoint`.
   * @throws {AttemptAbortedError} when cancel was asked or the attempt was aborted.
   * @throws {LeaseLostError} when the attempt no longer holds its job.
   */
  checkpoint(value: unknown): Promise<void>
  /** Shows how far the work is. Kept at most once a second, and with the next checkpoint. */
  progress(done: number, total?: number, message?: string): void
  /**
   * Adds to what this attempt has cost, and to the cost of its run; durable before it resolves. A run whose budget is spent ends.
   * Throws as `checkpoint` does.
   */
  cost(more: { readonly tokens?: number; readonly usd?: number }): Promise<void>
  readonly log: JobLog
  /**
   * Stores a job, fenced by this attempt: an attempt that has lost its lease stores none. It belongs to the run of this one, unless
   * `options.run` names another.
   */
  enqueue<Input>(
    job: { readonly type: string; readonly input: StandardSchema<Input, any> },
    input: Input,
    options?: Omit<NewJobOptions, 'executor'>,
  ): Promise<string>
}
