/** Typed wrappers of the functions of runs. What each guarantees is written in its .sql file. */
import type { Database } from '../db/connect.ts'
import type { RunStatus } from '../domain/states.ts'
import { call } from './call.ts'

export interface RunOptionsJson {
  readonly stage?: string | undefined
  readonly target?: number | undefined
  readonly maxFailed?: number | undefined
  readonly budget?: { readonly tokens?: number; readonly usd?: number } | undefined
  readonly fillGraceMs?: number | undefined
  readonly rest?: 'cancel' | 'keep' | undefined
}

export function createRun<T>(
  db: Database,
  namespace: string,
  input: { name: string; criteria: unknown; options: RunOptionsJson },
): Promise<T> {
  return call(db, 'create_run', [
    namespace,
    input.name,
    JSON.stringify(input.criteria),
    JSON.stringify(input.options),
  ])
}

export function updateRun(
  db: Database,
  namespace: string,
  runId: string,
  changes: { stage?: string | undefined; filled?: boolean | undefined },
): Promise<RunStatus | 'not_found'> {
  return call(db, 'update_run', [namespace, runId, changes.stage ?? null, changes.filled ?? null])
}

export function endRun(
  db: Database,
  namespace: string,
  runId: string,
  end: { status: RunStatus; rest: 'cancel' | 'keep' | null; reason: Record<string, unknown> },
): Promise<RunStatus | 'not_found'> {
  return call(db, 'end_run', [namespace, runId, end.status, end.rest, JSON.stringify(end.reason)])
}

/** What each run is, after those were ended whose rules say so. */
export function judgeRuns(
  db: Database,
  namespace: string,
  runIds: readonly string[],
): Promise<(RunStatus | 'not_found')[]> {
  return call(db, 'judge_runs', [namespace, runIds])
}

export function listRuns<T>(
  db: Database,
  namespace: string,
  filter: {
    statuses?: readonly string[] | undefined
    after?: string | undefined
    limit: number
  },
): Promise<T[]> {
  return call(db, 'list_runs', [
    namespace,
    filter.statuses ?? null,
    filter.after ?? null,
    filter.limit,
  ])
}

export function findRuns<T>(db: Database, namespace: string, text: string): Promise<T[]> {
  return call(db, 'find_runs', [namespace, text])
}
