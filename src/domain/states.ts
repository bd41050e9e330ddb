/** The states of jobs and workers and the ends of attempts: the words that SQL, program and documents share. */

/** Stored. */
export const JOB_STATUSES = [
  'pending',
  'blocked',
  'running',
  'completed',
  'failed',
  'cancelled',
  'held',
] as const
export type JobStatus = (typeof JOB_STATUSES)[number]

/** Shown: computed when it is read, by the view `job_truth`. */
export const JOB_STATES = [
  'pending',
  'scheduled',
  'blocked',
  'held',
  'retrying',
  'running',
  'cancelling',
  'stalled',
  'lost',
  'completed',
  'failed',
  'cancelled',
] as const
export type JobState = (typeof JOB_STATES)[number]

/** The counts of jobs by state stop here; one more means "more than that". */
export const COUNT_MAX = 10_000

/** Stored. All but the first are terminal. */
export const RUN_STATUSES = ['active', 'completed', 'error', 'archived'] as const
export type RunStatus = (typeof RUN_STATUSES)[number]

export const TERMINAL_STATUSES = ['completed', 'failed', 'cancelled'] as const

export function isTerminal(status: string): boolean {
  return (TERMINAL_STATUSES as readonly string[]).includes(status)
}

export const ATTEMPT_ENDS = [
  'completed',
  'failed',
  'cancelled',
  'lost',
  'released',
  'interrupted',
] as const
export type AttemptEnd = (typeof ATTEMPT_ENDS)[number]

/** Computed when it is read, by the view `worker_truth`. */
export const WORKER_STATUSES = ['online', 'draining', 'late', 'unhealthy', 'offline'] as const
export type WorkerStatus = (typeof WORKER_STATUSES)[number]

/** Why a handler's signal was aborted. */
export const ABORT_REASONS = ['cancelled', 'timeout', 'shutdown', 'lease_lost', 'stalled'] as const
export type AbortReason = (typeof ABORT_REASONS)[number]
