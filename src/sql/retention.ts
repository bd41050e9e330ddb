/** Typed wrappers of the functions by which a namespace keeps what has ended for a while, and drops it. */
import type { Database } from '../db/connect.ts'
import { call } from './call.ts'

export interface RetentionBegun {
  /** Whether the caller is to do a pass now. */
  readonly begins: boolean
  /** When to ask again. */
  readonly nextMs: number
  /** Jobs have to be archived first, and the caller has no hook. */
  readonly needsArchive: boolean
  readonly overdueMs: number
  /** The newest job that is too many. */
  readonly below: string | null
}

export function beginRetention(
  db: Database,
  namespace: string,
  input: { archives: boolean; now: boolean },
): Promise<RetentionBegun> {
  return call(db, 'begin_retention', [namespace, input.archives, input.now])
}

export interface JobsToDrop<Document> {
  readonly jobs: readonly string[]
  /** When each ended, as the database writes it: only a job that ended then is dropped. */
  readonly ends: readonly string[]
  readonly documents: readonly Document[]
  readonly after: string | null
}

export function jobsToDrop<Document>(
  db: Database,
  namespace: string,
  input: { below: string | null; after: string | null; whole: boolean },
): Promise<JobsToDrop<Document>> {
  return call(db, 'jobs_to_drop', [namespace, input.below, input.after, input.whole])
}

export function dropJobs(
  db: Database,
  namespace: string,
  input: {
    jobs: readonly string[]
    ends: readonly string[]
    below: string | null
    archived: boolean
  },
): Promise<number> {
  return call(db, 'drop_jobs', [namespace, input.jobs, input.ends, input.below, input.archived])
}

export function dropEvents(
  db: Database,
  namespace: string,
  input: { below: string | null; after: string | null },
): Promise<{ dropped: number; after: string | null }> {
  return call(db, 'drop_events', [namespace, input.below, input.after])
}

export function endRetention(
  db: Database,
  namespace: string,
  problem: { message: string; retryMs: number } | null,
): Promise<void> {
  return call(db, 'end_retention', [namespace, problem?.message ?? null, problem?.retryMs ?? null])
}

export function retentionOf<T>(db: Database, namespace: string): Promise<T> {
  return call(db, 'retention_of', [namespace])
}

export function setRetention<T>(db: Database, namespace: string, changes: object): Promise<T> {
  return call(db, 'set_retention', [namespace, JSON.stringify(changes)])
}
