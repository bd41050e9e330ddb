/** Typed wrappers of the functions that supervisors call, one each, thin. */
import type { Database } from '../db/connect.ts'
import { call } from './call.ts'
import type { ProcessIdentity } from './protocol.ts'

/** Which place: one supervisor has it at a time. */
export interface Place {
  readonly namespace: string
  readonly machineId: string
  readonly name: string
}

/** What a supervisor says of itself when it asks for its place. */
export interface SupervisorIdentity extends ProcessIdentity {
  readonly hostname: string
  readonly version: string
  readonly command: string
  readonly processesMin: number
  readonly processesMax: number
  readonly leaseMs: number
}

export interface PlaceHolder extends ProcessIdentity {
  readonly hostname: string
  readonly startedAt: string
  readonly seenAt: string
  readonly seenAgoMs: number
  /** What is left of its lease on the database's clock. */
  readonly leftMs: number
}

/** @param dead The holder whose process is certainly gone, by its incarnation. */
export function supervise(
  db: Database,
  { namespace, machineId, name }: Place,
  supervisor: SupervisorIdentity,
  dead: string | null,
): Promise<
  | { readonly outcome: 'held'; readonly restarts: number }
  | { readonly outcome: 'refused'; readonly holder: PlaceHolder }
> {
  return call(db, 'supervise', [
    namespace,
    JSON.stringify({ ...supervisor, machineId, name }),
    dead,
  ])
}

/** How a child ended that nobody had asked to. */
export interface LastExit {
  readonly agoMs: number
  readonly pid: number
  readonly workerId: string | null
  readonly exitCode: number | null
  readonly signal: string | null
}

export function keepSupervising(
  db: Database,
  { namespace, machineId, name }: Place,
  input: { incarnation: string; restarts: number; lastExit: LastExit | null },
): Promise<'held' | 'lost'> {
  return call(db, 'keep_supervising', [
    namespace,
    machineId,
    name,
    input.incarnation,
    input.restarts,
    input.lastExit === null ? null : JSON.stringify(input.lastExit),
  ])
}

export function stopSupervising(
  db: Database,
  { namespace, machineId, name }: Place,
  incarnation: string,
): Promise<void> {
  return call(db, 'stop_supervising', [namespace, machineId, name, incarnation])
}

/** For how long the oldest job that could be claimed has waited, in milliseconds; null when none does. */
export function backlogAge(
  db: Database,
  namespace: string,
  take: { queues: readonly string[]; types: readonly string[] },
  run: string | null = null,
): Promise<number | null> {
  return call<string | null>(db, 'backlog_age', [namespace, take.queues, take.types, run]).then(
    (age) => (age === null ? null : Number(age)),
  )
}

export function listSupervisors<T>(
  db: Database,
  namespace: string,
  endedWithinMs: number,
): Promise<T[]> {
  return call(db, 'list_supervisors', [namespace, endedWithinMs])
}
