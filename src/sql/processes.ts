/** The typed wrapper of what the reaper asks. */
import type { Database } from '../db/connect.ts'
import { call } from './call.ts'

/** A worker incarnation as the database knows it, with its run. */
export interface KnownProcess {
  readonly incarnation: string
  readonly id: string
  readonly machineId: string
  readonly kind: string
  readonly pid: number
  readonly processStarted: string | null
  readonly parentPid: number | null
  readonly command: string | null
  /** Whether a process with this pid and start time was among those that live. */
  readonly lives: boolean
  readonly endedAt: string | null
  readonly endCode: string | null
  readonly runId: string | null
  /** Null also when the run is unknown. */
  readonly runName: string | null
  readonly runStatus: string | null
}

export function findProcesses(
  db: Database,
  namespace: string,
  at: {
    readonly bootId: string
    readonly pidNamespace: string
    readonly living: readonly { readonly pid: number; readonly started: string }[]
  },
): Promise<KnownProcess[]> {
  return call(db, 'find_processes', [
    namespace,
    at.bootId,
    at.pidNamespace,
    at.living.map(({ pid }) => pid),
    at.living.map(({ started }) => started),
  ])
}
