/**
 * Every error that Leasehold raises on purpose. Each class has a stable `code`, as have its errors; messages may change, codes may not,
 * and a retired code is never used again. `exitCode` is what the program ends with (0 done, 1 failed, 2 wrong usage or
 * input, 3 database unreachable, 4 no such thing, 5 refused in the present state). A message says what happened with the
 * values; `hint` says what to do next.
 *
 * Anything else that is thrown is a bug and is meant to be loud.
 */

import type { EndReasonDocument, JobErrorDocument } from './domain/ends.ts'

export interface ErrorDetails {
  /** What to do next, in a sentence or a command. */
  readonly hint?: string | undefined
  readonly cause?: unknown
}

export abstract class LeaseholdError extends Error {
  /** Of every error of the class. */
  static readonly code: string
  static readonly exitCode: number
  readonly code: string
  readonly exitCode: number
  /** What to do next. Not there, rather than undefined, where there is nothing to say: errors are printed with all they have. */
  declare readonly hint?: string

  constructor(message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause })
    this.name = new.target.name
    this.code = new.target.code
    this.exitCode = new.target.exitCode
    if (details.hint !== undefined) this.hint = details.hint
  }
}

/** The database does not answer, refuses connections, or is starting up or shutting down. */
export class DatabaseUnreachableError extends LeaseholdError {
  static override readonly code = 'ERR_DATABASE_UNREACHABLE'
  static override readonly exitCode = 3
}

/** The server answers but takes no writes: a standby, or `default_transaction_read_only`. */
export class DatabaseReadOnlyError extends LeaseholdError {
  static override readonly code = 'ERR_DATABASE_READ_ONLY'
  static override readonly exitCode = 3
}

/** The session's isolation level or role settings would make the protocol unsafe. */
export class DatabaseUnsafeError extends LeaseholdError {
  static override readonly code = 'ERR_DATABASE_UNSAFE'
  static override readonly exitCode = 5
}

/** The database is a copy of another one, and nobody has said yet that it may run that one's jobs. */
export class DatabaseCopiedError extends LeaseholdError {
  static override readonly code = 'ERR_DATABASE_COPIED'
  static override readonly exitCode = 5
}

/** The role that is connected may not call Leasehold's functions. */
export class PermissionDeniedError extends LeaseholdError {
  static override readonly code = 'ERR_PERMISSION_DENIED'
  static override readonly exitCode = 5
}

/** The embedded PostgreSQL could not be started, found or stopped. */
export class EmbeddedDatabaseError extends LeaseholdError {
  static override readonly code = 'ERR_EMBEDDED_DATABASE'
  static override readonly exitCode = 3
}

/** The database has no Leasehold schema, or an older one than this program needs. */
export class SchemaOutdatedError extends LeaseholdError {
  static override readonly code = 'ERR_SCHEMA_OUTDATED'
  static override readonly exitCode = 5
}

/** The database's schema was made by a newer program than this one. */
export class SchemaNewerError extends LeaseholdError {
  static override readonly code = 'ERR_SCHEMA_NEWER'
  static override readonly exitCode = 5
}

/** A setting, or a combination of settings, that could lose or double work. */
export class ConfigUnsafeError extends LeaseholdError {
  static override readonly code = 'ERR_CONFIG_UNSAFE'
  static override readonly exitCode = 2
}

/** A worker could not be registered, for a reason that is no other of these. */
export class StartError extends LeaseholdError {
  static override readonly code = 'ERR_START'
  static override readonly exitCode = 1
}

/** The address of the health endpoints can't be had: another process has the port, or this one may not. */
export class HealthPortError extends LeaseholdError {
  static override readonly code = 'ERR_HEALTH_PORT'
  static override readonly exitCode = 1
}

/** Wrong usage of the program or of a function: an unknown flag, option or value. */
export class UsageError extends LeaseholdError {
  static override readonly code = 'ERR_USAGE'
  static override readonly exitCode = 2
}

/** The input does not fit the job type's schema. Nothing was stored. */
export class InputInvalidError extends LeaseholdError {
  static override readonly code = 'ERR_INPUT_INVALID'
  static override readonly exitCode = 2
  readonly issues: readonly { path: string; message: string }[]

  constructor(
    message: string,
    issues: readonly { path: string; message: string }[] = [],
    details: ErrorDetails = {},
  ) {
    super(message, details)
    this.issues = issues
  }
}

/** The input is larger than the limit. Nothing was stored. */
export class InputTooLargeError extends LeaseholdError {
  static override readonly code = 'ERR_INPUT_TOO_LARGE'
  static override readonly exitCode = 2
}

/** No online worker knows the type, and no definition was given to check the input against. */
export class JobTypeUnknownError extends LeaseholdError {
  static override readonly code = 'ERR_JOB_TYPE_UNKNOWN'
  static override readonly exitCode = 4
}

/** No job, run, worker, machine, alert or webhook has this id in this namespace. */
export class NotFoundError extends LeaseholdError {
  static override readonly code = 'ERR_NOT_FOUND'
  static override readonly exitCode = 4
}

/** Events after the position that was given have been dropped: a reader was away for longer than they are kept. */
export class EventsDroppedError extends LeaseholdError {
  static override readonly code = 'ERR_EVENTS_DROPPED'
  static override readonly exitCode = 5
}

/** More than one id ends like this. */
export class IdAmbiguousError extends LeaseholdError {
  static override readonly code = 'ERR_ID_AMBIGUOUS'
  static override readonly exitCode = 2
}

/** The job has ended, and what was asked for needs one that has not. */
export class JobTerminalError extends LeaseholdError {
  static override readonly code = 'ERR_JOB_TERMINAL'
  static override readonly exitCode = 5
}

/** The run has ended, and what was asked for needs one that goes on. */
export class RunTerminalError extends LeaseholdError {
  static override readonly code = 'ERR_RUN_TERMINAL'
  static override readonly exitCode = 5
}

/** What was asked for is not possible in the present state. */
export class StateRefusedError extends LeaseholdError {
  static override readonly code = 'ERR_STATE_REFUSED'
  static override readonly exitCode = 5
}

/** A handler module could not be loaded, or exports no job definition. */
export class HandlerModuleError extends LeaseholdError {
  static override readonly code = 'ERR_HANDLER_MODULE'
  static override readonly exitCode = 2
}

/** The attempt no longer holds its job. Whatever it still writes is refused. */
export class LeaseLostError extends LeaseholdError {
  static override readonly code = 'ERR_LEASE_LOST'
  static override readonly exitCode = 1
}

/** The attempt was told to stop; `reason` says why. */
export class AttemptAbortedError extends LeaseholdError {
  static override readonly code = 'ERR_ATTEMPT_ABORTED'
  static override readonly exitCode = 1
  readonly reason: string

  constructor(reason: string, message: string, details: ErrorDetails = {}) {
    super(message, details)
    this.reason = reason
  }
}

/** A value that PostgreSQL refuses to store (NUL in JSON, too large), or that is not JSON at all. */
export class ValueUnstorableError extends LeaseholdError {
  static override readonly code = 'ERR_VALUE_UNSTORABLE'
  static override readonly exitCode = 1
}

/** What is known of a job that ended without a result. */
export interface JobEnd {
  readonly jobId: string
  readonly status: 'failed' | 'cancelled'
  /** Why, who noticed and how late, as in the job's document. */
  readonly endReason: EndReasonDocument | null
  /** What the handler threw, as in the job's document; null where no handler did. */
  readonly error: JobErrorDocument | null
}

/** A job that was waited for ended as failed or cancelled. The message is the sentence of `jobs why`. */
export class JobEndedError extends LeaseholdError implements JobEnd {
  static override readonly code = 'ERR_JOB_ENDED'
  static override readonly exitCode = 1
  readonly jobId: string
  /** Failed and cancelled are told apart by this. */
  readonly status: 'failed' | 'cancelled'
  readonly endReason: EndReasonDocument | null
  readonly error: JobErrorDocument | null

  constructor(message: string, end: JobEnd, details: ErrorDetails = {}) {
    super(message, details)
    this.jobId = end.jobId
    this.status = end.status
    this.endReason = end.endReason
    this.error = end.error
  }
}

/** A bounded wait ran out. The job or run itself goes on. */
export class WaitTimeoutError extends LeaseholdError {
  static override readonly code = 'ERR_WAIT_TIMEOUT'
  static override readonly exitCode = 1
}

/** Thrown by a handler to fail its job for good: it is not tried again. */
export class FinalError extends LeaseholdError {
  static override readonly code = 'ERR_FINAL'
  static override readonly exitCode = 1
}
