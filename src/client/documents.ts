/**
 * The JSON documents that the program, the HTTP API and the client hand out.
 *
 * Field names are public and kept. Times are ISO 8601 UTC strings, durations `…Ms` numbers, ids
 * strings. A value that may be missing is `null`, never absent; only `events` and `attempts` are
 * absent from a job outside `show`, because nobody asked for them there.
 */

import type { AttemptEnd, JobState, JobStatus, WorkerStatus } from '../domain/states.ts'

export type { AttemptEnd, JobState, JobStatus, WorkerStatus }

/** Why a job or an attempt ended, who noticed and how late. */
export interface EndReasonDocument {
  code: string
  message: string | null
  /** The worker id, or the name of the layer (`witness`, `lease`, …), that committed the end. */
  noticedBy: string | null
  /** The layer of detection: its number, or its name. */
  layer: number | string | null
  /** From the last sign of life to the end, in milliseconds. */
  detectedAfterMs: number | null
  exitCode: number | null
  signal: string | null
}

/** The last progress that a job reported. */
export interface ProgressDocument {
  done: number
  total: number | null
  message: string | null
  at: string | null
}

/** The error of a failed job or attempt. */
export interface JobErrorDocument {
  code: string | null
  message: string
  stack: string | null
}

/** One execution of a job by one worker. */
export interface AttemptDocument {
  attempt: number
  workerId: string | null
  machineId: string | null
  startedAt: string | null
  endedAt: string | null
  endedAs: AttemptEnd | null
  fromCheckpoint: unknown
  lastCheckpoint: unknown
  lateResult: unknown
  endReason: EndReasonDocument | null
}

/** Something that happened to a job. */
export interface JobEventDocument {
  id: string
  at: string
  kind: string
  attempt: number | null
  workerId: string | null
  message: string | null
  data: unknown
}

/** A job. */
export interface JobDocument {
  id: string
  type: string
  queue: string
  namespace: string
  status: JobStatus
  state: JobState
  priority: number
  input: unknown
  result: unknown
  error: JobErrorDocument | null
  runId: string | null
  parentId: string | null
  key: string | null
  concurrencyKey: string | null
  target: string | null
  attempt: number
  failures: number
  lost: number
  interruptions: number
  maxAttempts: number
  maxLost: number
  workerId: string | null
  machineId: string | null
  heartbeatAt: string | null
  leaseExpiresAt: string | null
  cancelRequestedAt: string | null
  createdAt: string
  runAt: string | null
  startedAt: string | null
  finishedAt: string | null
  progress: ProgressDocument | null
  checkpoint: unknown
  endReason: EndReasonDocument | null
  /** The sentence of `jobs why`. */
  why: string
  events?: JobEventDocument[]
  attempts?: AttemptDocument[]
}

/** A worker: one OS process, one incarnation. */
export interface WorkerDocument {
  id: string
  machineId: string
  hostname: string
  pid: number
  incarnation: string
  type: string
  runId: string | null
  status: WorkerStatus
  /** Why the status is what it is. */
  reason: string | null
  concurrency: number
  running: number
  startedAt: string
  lastSeenAt: string | null
  leaseExpiresAt: string | null
  stoppedAt: string | null
  version: string | null
  queues: string[]
  types: string[]
  labels: string[]
  eventLoopLagMs: number | null
  spoolDepth: number | null
  /** Age of the last sign of life on the database's clock, in milliseconds. */
  lastSeenAgoMs: number | null
  /** What is left of the lease on the database's clock, in milliseconds; negative once lapsed. */
  leaseLeftMs: number | null
}

/** A machine: the host that workers run on. */
export interface MachineDocument {
  id: string
  hostname: string
  status: WorkerStatus
  workersOnline: number
  workersTotal: number
  lastSeenAt: string | null
}

/** Counts and ages. */
export interface StatsDocument {
  /** Each count stops at 10,001, which means "more than 10,000"; `running`, `cancelling`, `stalled` and `lost` are exact. */
  jobs: Record<JobState, number>
  /** Age of the oldest pending job on the database's clock, in milliseconds. */
  oldestPendingAgeMs: number | null
  workers: Record<WorkerStatus, number>
}

/** How long a namespace keeps what has ended, and how far dropping has come. */
export interface RetentionDocument {
  namespace: string
  /** How long after its end; null: no limit. */
  keepMs: number | null
  /** How many ended jobs, the newest; null: no limit. */
  keepCount: number | null
  /** Whether jobs must pass through an archive hook before. */
  archive: boolean
  /** When the last pass came to its end. */
  passedAt: string | null
  /** When the next one may begin; null: at once, or never when nothing is limited. */
  dueAt: string | null
  /** Jobs dropped in all. */
  dropped: number
  /** Why the last pass did not come to its end. */
  problem: string | null
}
