/**
 * The JSON documents that the program, the HTTP API and the client hand out.
 *
 * Field names are public and kept. Times are ISO 8601 UTC strings, durations `…Ms` numbers, ids
 * strings. A value that may be missing is `null`, never absent; only `events` and `attempts` are
 * absent from a job outside `show`, because nobody asked for them there.
 */

import type { EndReasonDocument, JobErrorDocument } from '../domain/ends.ts'
import type { AttemptEnd, JobState, JobStatus, RunStatus, WorkerStatus } from '../domain/states.ts'

export type { EndReasonDocument, JobErrorDocument }
export type { AttemptEnd, JobState, JobStatus, RunStatus, WorkerStatus }

/** One page of a list. */
export interface Page<Item> {
  readonly items: Item[]
  /** Pass as `after` for the next page; null on the last. */
  readonly nextCursor: string | null
}

/** The last progress that a job reported. */
export interface ProgressDocument {
  done: number
  total: number | null
  message: string | null
  at: string | null
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
  /** Grows with time; null for what is not recorded as an event, but read from the attempts. */
  id: number | null
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
  /** What is left of the lease on the database's clock, in milliseconds; negative once lapsed; null unless it is stored as running. */
  leaseLeftMs: number | null
  /** For a lost job: before this it is not given to another worker, as the database was away, or nobody was there to write to it. */
  recoveryNotBefore: string | null
  /** For a lost job: since when nobody has written to the database, if that is so long that it looks like an outage. */
  databaseSilentSince: string | null
  /** For a job that is stored as running: when its worker ended. */
  workerEndedAt: string | null
  cancelRequestedAt: string | null
  createdAt: string
  runAt: string | null
  startedAt: string | null
  finishedAt: string | null
  progress: ProgressDocument | null
  checkpoint: unknown
  endReason: EndReasonDocument | null
  /** How the newest attempt ended; null before the first, and while one is under way. */
  previousEnd: {
    endedAs: AttemptEnd | null
    endReason: Partial<EndReasonDocument> | null
    endedAt: string | null
  } | null
  /** For a job that waits its turn: the running jobs with its `concurrencyKey`, by id. */
  waitsBehind: string[] | null
  /** For a job that waits and has a target: what is known of that. */
  aim: {
    online: boolean
    lastSeenAt: string | null
    ifOffline: 'wait' | 'fail' | 'any'
    /** Until when the job has to have begun. */
    deadline: string | null
  } | null
  /** For a waiting job: what its run ended as, when that cancels the job. */
  runEnded: RunStatus | null
  /** For a waiting job: how many workers could take it, and when one was last seen. */
  workersForType: { online: number; draining: number; lastSeenAt: string | null } | null
  /** The database's clock when it answered: what ages and remaining times are counted from. */
  now: string
  /** The sentence of `jobs why`. */
  why: string
  events?: JobEventDocument[]
  attempts?: AttemptDocument[]
}

/** A run: a named batch of jobs with its own life. */
export interface RunDocument {
  id: string
  name: string
  namespace: string
  status: RunStatus
  /** Where it is in words of whoever runs it. */
  stage: string | null
  criteria: unknown
  /** So many completed jobs complete it. */
  target: number | null
  /** Exact. `running` counts jobs that a live lease holds, `waiting` all others that have not ended. */
  counts: {
    total: number
    waiting: number
    running: number
    completed: number
    failed: number
    cancelled: number
  }
  /** `target` is that of the run, or the number of its jobs. */
  progress: { done: number; failed: number; target: number }
  cost: { tokens: number; usd: number }
  budget: { tokens: number | null; usd: number | null } | null
  rules: { maxFailed: number | null; fillGraceMs: number; rest: 'cancel' | 'keep' }
  /** Whoever fills it has said that nothing more will come. */
  filled: boolean
  lastFilledAt: string | null
  createdAt: string
  finishedAt: string | null
  /** `code`: all_ended, target_reached, target_missed, too_many_failed, nothing_completed, budget_spent or by_hand. */
  endReason: { code: string; message: string } | null
  /** The database's clock when it answered. */
  now: string
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
  /** Why it ended, who noticed and how late; null while it lives. */
  endReason: Partial<EndReasonDocument> | null
  /** Identity of the machine's boot, or null where it can't be read. */
  bootId: string | null
  parentPid: number | null
  processStartedAt: string | null
  /** Its command line, without what is secret. */
  command: string | null
  version: string | null
  queues: string[]
  types: string[]
  labels: string[]
  eventLoopLagMs: number | null
  /** Outcomes that wait for the database on this worker. */
  spoolDepth: number | null
  /** For how long the database has not taken them, in milliseconds, at the last renewal. */
  spoolAgeMs: number | null
  /** Resident memory, at the last renewal, or when it registered. */
  memoryBytes: number | null
  /** What its machine's wall clock is ahead of the database's. No decision reads it. */
  clockAheadMs: number | null
  /** Age of the last sign of life on the database's clock, in milliseconds. */
  lastSeenAgoMs: number | null
  /** What is left of the lease on the database's clock, in milliseconds; negative once lapsed. */
  leaseLeftMs: number | null
  shutdown: WorkerShutdownDocument
}

/** How the process of a worker that has ended was shut down, and what its last report said; the rest is absent without one. */
export interface WorkerShutdownDocument {
  /** null: it lives, or its process went on: it was evicted, fenced itself, or was heard again. */
  outcome: 'graceful' | 'timed_out' | 'crashed' | null
  signal?: string
  exitCode?: number
  durationMs?: number
  phases?: { phase: string; durationMs: number }[]
  /** Numbers of jobs, sessions and hooks. */
  finished?: number
  interrupted?: number
  released?: number
  sessions?: number
  hooks?: number
  /** Sessions and hooks that did not end well, at most 20. */
  troubled?: { session?: string; hook?: string; outcome: string }[]
}

/** How many shutdowns ended how. `successRate` is the part that was graceful, from 0 to 1; null where there were none. */
export interface ShutdownCountsDocument {
  graceful: number
  timedOut: number
  crashed: number
  successRate: number | null
}

/** Shutdowns of one version on one machine. */
export interface ShutdownsDocument extends ShutdownCountsDocument {
  machineId: string
  version: string
}

/** A machine: the host that workers run on. */
export interface MachineDocument {
  id: string
  hostname: string
  status: WorkerStatus
  workersOnline: number
  workersTotal: number
  lastSeenAt: string | null
  /** Age of the last sign of life of any of its workers, on the database's clock, in milliseconds. */
  lastSeenAgoMs: number | null
  /** Since when an operator has drained it: its workers, and those that start there, take no new jobs. */
  drainRequestedAt: string | null
  /**
   * Since when its workers do not watch each other's processes (layer 2): one that was found gone was heard again. Null: they do.
   * Over with the first worker that registers after the machine was restarted.
   */
  witnessContradictedAt: string | null
}

/** A machine with how its workers fared within the last day, by version, newest first. */
export interface MachineDetailDocument extends MachineDocument {
  versions: {
    version: string
    starts: number
    /** Starts after the first crash. */
    restarts: number
    /** Ends that nobody ordered. */
    crashes: number
    /** Attempts that were lost with a worker. */
    lostJobs: number
    /** The time that its workers were up, for each crash, in milliseconds; null without one. */
    meanTimeBetweenCrashesMs: number | null
    lastCrashAt: string | null
    lastCrashReason: string | null
  }[]
}

/** Something that somebody should look at: raised once, resolved by itself when it is over. */
export interface AlertDocument {
  id: string
  namespace: string
  rule: string
  /** What it is about: a machine, a type of job, a queue, a worker. */
  subject: string
  status: 'open' | 'acknowledged' | 'resolved'
  message: string
  /** Ids and counts, by rule: see docs/alerts.md. */
  data: Record<string, unknown>
  raisedAt: string
  acknowledgedAt: string | null
  acknowledgedBy: string | null
  resolvedAt: string | null
}

/** A rule with its thresholds in this namespace. Those that it does not have are null. */
export interface AlertRuleDocument {
  rule: string
  enabled: boolean
  /** So many … */
  atLeast: number | null
  /** … within so long, in milliseconds. */
  withinMs: number | null
  /** Lasting for so long, in milliseconds. */
  forMs: number | null
  /** What it is raised for. */
  says: string
  /** Whether something of it is not the default. */
  changed: boolean
}

/** Who is told of alerts. */
export interface WebhookDocument {
  id: string
  url: string
  /** Null: all. */
  rules: string[] | null
  /** Whether it may be in a private network. */
  allowPrivate: boolean
  createdAt: string
  /** Deliveries that have not arrived and are tried on. */
  waiting: number
  /** Deliveries that were given up after a day, and tests that failed. */
  givenUp: number
  lastDeliveredAt: string | null
  lastError: string | null
}

/** What keeps worker processes of a name on a machine. */
export interface SupervisorDocument {
  name: string
  machineId: string
  hostname: string
  pid: number
  /** With the pid, what tells its process from others; null where it could not be read. */
  bootId: string | null
  pidNamespace: string | null
  processStarted: string | null
  status: 'online' | 'offline'
  /** Why the status is what it is. */
  reason: string
  /** How many processes it keeps: so many at least, and at most. */
  processesMin: number
  processesMax: number
  /** Its processes that are not offline now. */
  workersOnline: number
  /** Processes that ended without being asked to and were started anew, by all who ever had this name here. */
  restarts: number
  /** The last of these ends. */
  lastExit: {
    at: string
    pid: number
    workerId: string | null
    exitCode: number | null
    signal: string | null
  } | null
  startedAt: string
  lastSeenAt: string
  lastSeenAgoMs: number
  stoppedAt: string | null
  version: string
  command: string
}

/** Counts and ages. */
export interface StatsDocument {
  /** Each count stops at 10,001, which means "more than 10,000"; `running`, `cancelling`, `stalled` and `lost` are exact. */
  jobs: Record<JobState, number>
  /** Age of the oldest pending job on the database's clock, in milliseconds. */
  oldestPendingAgeMs: number | null
  workers: Record<WorkerStatus, number>
  /** Of the last seven days. */
  shutdowns: ShutdownCountsDocument
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
