/** Typed wrappers of the functions that only read. What they return comes from the one view of truth. */
import type { Database } from '../db/connect.ts'
import { call } from './call.ts'

export function getJobs<T>(
  db: Database,
  namespace: string,
  jobIds: readonly string[],
  whole: boolean,
): Promise<T[]> {
  return call(db, 'get_jobs', [namespace, jobIds, whole])
}

export interface JobFilter {
  readonly states?: readonly string[] | undefined
  readonly type?: string | undefined
  readonly queue?: string | undefined
  readonly workerId?: string | undefined
  readonly runId?: string | undefined
  /** Only jobs older than this id: the cursor. */
  readonly after?: string | undefined
  readonly limit: number
}

export function listJobs<T>(db: Database, namespace: string, filter: JobFilter): Promise<T[]> {
  return call(db, 'list_jobs', [
    namespace,
    filter.states ?? null,
    filter.type ?? null,
    filter.queue ?? null,
    filter.workerId ?? null,
    filter.after ?? null,
    filter.limit,
    filter.runId ?? null,
  ])
}

export function findJobs(db: Database, namespace: string, ending: string): Promise<string[]> {
  return call(db, 'find_jobs', [namespace, ending])
}

export function jobLogs<T>(
  db: Database,
  namespace: string,
  input: { jobId: string; attempt: number | null; afterLine: number; limit: number },
): Promise<T[]> {
  return call(db, 'job_logs', [namespace, input.jobId, input.attempt, input.afterLine, input.limit])
}

export function listWorkers<T>(
  db: Database,
  namespace: string,
  endedWithinMs: number,
): Promise<T[]> {
  return call(db, 'list_workers', [namespace, endedWithinMs])
}

export function findWorkers<T>(db: Database, namespace: string, text: string): Promise<T[]> {
  return call(db, 'find_workers', [namespace, text])
}

export function listMachines<T>(db: Database, namespace: string): Promise<T[]> {
  return call(db, 'list_machines', [namespace])
}

export function findMachines<T>(db: Database, namespace: string, text: string): Promise<T[]> {
  return call(db, 'find_machines', [namespace, text])
}

export function shutdowns<T>(db: Database, namespace: string, withinMs: number): Promise<T[]> {
  return call(db, 'shutdowns', [namespace, withinMs])
}

export function stats<T>(db: Database, namespace: string): Promise<T> {
  return call(db, 'stats', [namespace])
}

export interface FeedEvent {
  readonly position: string
  readonly at: string
  readonly kind: string
  readonly jobIds: readonly string[]
  readonly workerId: string | null
  readonly data: Record<string, unknown> | null
}

export function readEvents(
  db: Database,
  namespace: string,
  after: string | null,
  limit: number,
): Promise<FeedEvent[]> {
  return call(db, 'read_events', [namespace, after, limit])
}

/** The position of the last event that was dropped: where a reader goes on that was away for too long. */
export function eventsDropped(db: Database, namespace: string): Promise<string> {
  return call(db, 'events_dropped', [namespace])
}

export function eventsEnd(db: Database, namespace: string): Promise<string> {
  return call(db, 'events_end', [namespace])
}

export function channel(db: Database, namespace: string): Promise<string> {
  return call(db, 'channel', [namespace])
}

export function knownTypes(db: Database, namespace: string): Promise<string[]> {
  return call(db, 'known_types', [namespace])
}
