/** The public API of Leasehold. What is not listed here is not public. */
export { defineJob } from './client/define-job.ts'
export type { JobDefinition, JobOptions } from './client/define-job.ts'
export type { StandardSchema } from './client/standard-schema.ts'
export type { JobTarget, NewJobOptions } from './client/new-job-options.ts'
export type { EndRunOptions, NewRunOptions, RunListOptions, Runs } from './client/runs.ts'
export type { AbortCause, JobContext, JobLog, Resume } from './client/job-context.ts'
export type {
  SessionOptions,
  SessionResult,
  Sessions,
  ShutdownNotice,
  StepOutcome,
} from './client/session.ts'
export { createClient } from './client/client.ts'
export type {
  Client,
  ClientOptions,
  JobListOptions,
  LogLineDocument,
  WaitOptions,
} from './client/client.ts'
export type { ClientAlerts } from './client/alerts.ts'
export type { AlertRuleSettings } from './sql/alerts.ts'
export type { Archive, ArchiveContext } from './client/retention.ts'
export type { ClientRetention, RetentionChanges } from './client/retention-settings.ts'
export type { ClientMachines, ClientSupervisors, ClientWorkers } from './client/registry.ts'
export { EVENT_NAMES } from './client/event-feed.ts'
export type { ClientEvent, EventListener, EventName } from './client/event-feed.ts'
export type * from './client/documents.ts'
export { createWorker } from './worker/worker.ts'
export type { Worker } from './worker/worker.ts'
export type { WorkerOptions } from './worker/worker-options.ts'
export type { StopOptions } from './worker/stopping.ts'
export type { StateChange, WorkerState } from './worker/lifecycle.ts'
export type { HookOptions } from './worker/shutdown-hooks.ts'
export type {
  HookPhase,
  HookResult,
  ShutdownOutcome,
  ShutdownPhase,
  ShutdownReport,
} from './worker/shutdown-report.ts'
export type { Logger, WorkerEventName, WorkerEvents } from './worker/worker-events.ts'
export { WORKER_DEFAULTS } from './config.ts'
export type { WorkerSettings } from './config.ts'
export type { Executor } from './db/connect.ts'
export { migrate } from './db/migrate.ts'
export * from './errors.ts'
