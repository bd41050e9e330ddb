/**
 * Typed wrappers of the protocol's functions, one each, thin: arrays in and out, nothing decided here. What each function
 * guarantees is written in its .sql file.
 */
import type { Database } from '../db/connect.ts'
import type { RunStatus } from '../domain/states.ts'
import type { AlertChange } from './alerts.ts'
import { call } from './call.ts'

/** A job to be stored; both texts are JSON. */
export interface NewJob {
  readonly type: string
  readonly input: string
  /** As enqueue.sql says. */
  readonly options: string
}

export async function enqueue(
  db: Database,
  namespace: string,
  jobs: readonly NewJob[],
  hint: boolean,
): Promise<string[]> {
  const same = jobs.every(({ options }) => options === jobs[0]?.options)
  return call(db, 'enqueue', [
    namespace,
    jobs.map(({ type }) => type),
    jobs.map(({ input }) => input),
    (same ? jobs.slice(0, 1) : jobs).map(({ options }) => options),
    hint,
  ])
}

/** What a worker says of itself when it registers. */
export interface WorkerIdentity {
  readonly incarnation: string
  readonly machineId: string
  readonly hostname: string
  readonly pid: number
  readonly bootId: string | null
  readonly pidNamespace: string | null
  readonly processStarted: string | null
  /** Age of the process, so that its start can be told by the database's clock. */
  readonly processAgeMs?: number
  readonly parentPid: number
  readonly kind: string
  readonly version: string
  readonly command: string
  readonly concurrency: number
  readonly queues: readonly string[]
  readonly types: readonly string[]
  readonly labels: readonly string[]
  /** The run whose jobs alone it takes. */
  readonly runId?: string
  readonly leaseMs: number
  readonly renewMs: number
  readonly idleBeatMs: number
  readonly memoryBytes?: number
  /** What this machine's wall clock is ahead of the database's. For people alone. */
  readonly clockAheadMs?: number
  /** Whether it means to LISTEN. */
  readonly listens?: boolean
  /** Whether the reserved connection goes to the server itself, so that its backend can be watched (layer 3). */
  readonly direct: boolean
}

/** What tells one process from another for ever: a pid alone is reused. */
export interface ProcessIdentity {
  readonly incarnation: string
  readonly pid: number
  readonly bootId: string | null
  readonly pidNamespace: string | null
  readonly processStarted: string | null
}

export interface Registered {
  readonly id: string
  readonly channel: string
  /** Whether anything is running in the namespace, so that somebody must sweep. */
  readonly running: boolean
  readonly peers: readonly ProcessIdentity[]
}

export function register(
  db: Database,
  namespace: string,
  worker: WorkerIdentity,
): Promise<Registered> {
  return call(db, 'register', [namespace, JSON.stringify(worker)])
}

/** Which life of which database answers, and its clock, in ms since 1970. */
export interface DatabaseFacts {
  readonly databaseMs: number
  readonly epoch: string
}

export function databaseFacts(db: Database): Promise<DatabaseFacts> {
  return call(db, 'database_facts', [])
}

export interface LeaseLostAnswer {
  readonly outcome: 'lease_lost'
  readonly reason: { readonly code?: string; readonly message?: string }
}

export interface ClaimedJob {
  readonly id: string
  readonly token: string
  readonly attempt: number
  readonly queue: string
  readonly type: string
  readonly input: unknown
  readonly options: {
    readonly timeoutMs?: number
    readonly progressDeadlineMs?: number
    readonly key?: string
  }
  /** Absent where there was none. */
  readonly failures?: number
  /** Absent for a job that belongs to none. */
  readonly runId?: string
  /** Absent for the first attempt. */
  readonly resume?: {
    readonly checkpoint: unknown
    readonly attempt: number
    readonly previousEnd: {
      readonly endedAs: string
      readonly code: string | null
      readonly message: string | null
    }
  }
}

export interface SeenLanes {
  /** The last place that had been drawn before this claim's transaction had its id. */
  readonly end: number
  readonly transaction: string
  /** The oldest transaction that was still under way, before the lanes were looked at. */
  readonly oldest: string
  readonly lanes: readonly number[]
  /** For each lane the lowest place above its mark at which a job waited, or null. */
  readonly heads: readonly (number | null)[]
  /** The same, but behind what this claim took. */
  readonly fronts: readonly (number | null)[]
}

export interface Claimed {
  readonly outcome: 'claimed'
  readonly drain: boolean
  /** The worker holds, or waits for, a job whose last chance is taken alone: it gets nothing else. */
  readonly alone: boolean
  readonly running: boolean
  /** Milliseconds until the next scheduled job of these types is due, or null. */
  readonly nextDueMs: number | null
  /** What was seen of the lanes, for the marks of the next claim; null when nothing was looked for. */
  readonly marks: SeenLanes | null
  /** What the run is that the worker is aimed at; null for one that is aimed at none. */
  readonly run: RunStatus | 'not_found' | null
  readonly jobs: readonly ClaimedJob[]
  /** How long the answer was. */
  readonly bytes: number
}

interface ClaimedGroups extends Omit<Claimed, 'jobs' | 'bytes'> {
  readonly groups: readonly ClaimedGroup[]
}

/** Jobs of one lane, which share what is said once. */
interface ClaimedGroup {
  readonly queue: string
  readonly type: string
  readonly jobs: readonly (Omit<ClaimedJob, 'queue' | 'type' | 'attempt' | 'options'> & {
    attempt?: number
    options?: ClaimedJob['options']
  })[]
}

const NO_OPTIONS: ClaimedJob['options'] = Object.freeze({})

/** What the text says that claim answers with. */
export function claimedOf(answer: string): Claimed | LeaseLostAnswer {
  const told = JSON.parse(answer) as ClaimedGroups | LeaseLostAnswer
  if (told.outcome !== 'claimed') return told
  const { groups, ...rest } = told
  const jobs = groups.flatMap(({ queue, type, jobs: ofLane }) =>
    ofLane.map((job) =>
      Object.assign(job, {
        queue,
        type,
        attempt: job.attempt ?? 1,
        options: job.options ?? NO_OPTIONS,
      }),
    ),
  )
  return { ...rest, jobs, bytes: answer.length }
}

export async function claim(
  db: Database,
  input: {
    incarnation: string
    claim: string
    want: number
    queues: readonly string[]
    types: readonly string[]
    /** Where to begin in each lane. Default the beginning. */
    marks?: { readonly lanes: readonly number[]; readonly places: readonly number[] }
    /** Take the jobs of this run alone. */
    runId?: string | null
    /** What the worker is, as jobs may be aimed at it. Default nothing. */
    targets?: readonly string[]
    limitMs?: number
  },
): Promise<Claimed | LeaseLostAnswer> {
  const { marks } = input
  const answer = await call<string>(
    db,
    'claim',
    [
      input.incarnation,
      input.claim,
      input.want,
      input.queues,
      input.types,
      marks?.lanes ?? null,
      marks?.places ?? null,
      input.runId ?? null,
      input.targets ?? null,
    ],
    input.limitMs,
  )
  return claimedOf(answer)
}

export interface Renewed {
  readonly outcome: 'renewed'
  readonly leftMs: number
  readonly drain: boolean
  readonly running: boolean
  readonly databaseMs: number
  readonly held: readonly {
    readonly job: string
    readonly token: string
    readonly cancel: boolean
  }[]
}

/** What of a worker has given no sign of life for too long, although its renewals are accepted. */
export type StuckPart = 'claims' | 'event_loop'

export function renew(
  db: Database,
  input: {
    incarnation: string
    sendNumber: number
    idleBeatMs: number | null
    draining: boolean
    loopLagMs: number
    spoolDepth: number
    direct: boolean
    stuck: StuckPart | null
    spoolAgeMs?: number
    memoryBytes?: number
    clockAheadMs?: number
  },
): Promise<Renewed | LeaseLostAnswer> {
  return call(db, 'renew', [
    input.incarnation,
    input.sendNumber,
    input.idleBeatMs,
    input.draining,
    input.loopLagMs,
    input.spoolDepth,
    input.direct,
    input.stuck,
    input.spoolAgeMs ?? 0,
    input.memoryBytes ?? null,
    input.clockAheadMs ?? null,
  ])
}

/** How an attempt ends by its own outcome. `failed_finally` is not tried again. */
export type Outcome =
  'completed' | 'failed' | 'failed_finally' | 'cancelled' | 'released' | 'interrupted'

export interface Settlement {
  readonly jobId: string
  readonly token: string
  readonly outcome: Outcome
  /** Result or error as JSON text. */
  readonly value: string | null
  /** Milliseconds until a failed job is due again. */
  readonly delayMs: number | null
}

/** completed, failed, retrying, released, cancelled, held, `accepted before`, adopted, lease_lost or busy, in order. */
export function settle(db: Database, outcomes: readonly Settlement[]): Promise<string[]> {
  return call(db, 'settle', [
    outcomes.map((o) => o.jobId),
    outcomes.map((o) => o.token),
    outcomes.map((o) => o.outcome),
    outcomes.map((o) => o.value),
    outcomes.map((o) => o.delayMs),
  ])
}

export type FencedAnswer = 'stored' | 'cancelling' | 'lease_lost'

interface Attempt {
  readonly jobId: string
  readonly token: string
}

const ids = (items: readonly Attempt[]): string[] => items.map((item) => item.jobId)
const tokens = (items: readonly Attempt[]): string[] => items.map((item) => item.token)

export function checkpoint(
  db: Database,
  items: readonly (Attempt & { value: string })[],
): Promise<FencedAnswer[]> {
  return call(db, 'checkpoint', [ids(items), tokens(items), items.map((item) => item.value)])
}

export interface ProgressReport {
  readonly done: number
  readonly total: number | null
  readonly message: string | null
}

export function progress(
  db: Database,
  items: readonly (Attempt & ProgressReport)[],
): Promise<FencedAnswer[]> {
  return call(db, 'progress', [
    ids(items),
    tokens(items),
    items.map((item) => item.done),
    items.map((item) => item.total),
    items.map((item) => item.message),
  ])
}

/** What an attempt has cost in all so far. */
export interface CostSum {
  readonly tokens: number
  readonly usd: number
}

export async function cost(
  db: Database,
  attempt: Attempt,
  { tokens: costTokens, usd }: CostSum,
): Promise<FencedAnswer> {
  const answers = await call<FencedAnswer[]>(db, 'cost', [
    [attempt.jobId],
    [attempt.token],
    [costTokens],
    [usd],
  ])
  return answers[0] ?? 'lease_lost'
}

export interface LogLine {
  readonly ageMs: number
  readonly level: string
  readonly message: string
  readonly fields: string | null
}

export function log(db: Database, items: readonly (Attempt & LogLine)[]): Promise<FencedAnswer[]> {
  return call(db, 'log', [
    ids(items),
    tokens(items),
    items.map((item) => item.ageMs),
    items.map((item) => item.level),
    items.map((item) => item.message),
    items.map((item) => item.fields),
  ])
}

export interface RecoveredJob {
  readonly job: string
  /** What the job is now. */
  readonly status: string
  /** Why, when it did not merely go back: poison, worker_lost, cancelled … */
  readonly code?: string
}

export interface Swept {
  readonly role: 'leader' | 'deputy' | 'none'
  readonly running: boolean
  readonly ended: readonly string[]
  readonly machines: readonly string[]
  readonly recovered: readonly RecoveredJob[]
  readonly more: boolean
  /** When a connection that is missing now will have been away for the grace, in milliseconds from now, or null. */
  readonly nextMs: number | null
  /**
   * When the last of the workers that hold jobs, and whose lease has lapsed, may be judged, in milliseconds from now; null when there is
   * none, and for a worker's sweep.
   */
  readonly notBeforeMs: number | null
  /** Alerts that were raised or resolved by this pass. */
  readonly alerts: readonly AlertChange[]
  /** When somebody should look again although nothing runs, in milliseconds from now, or null. */
  readonly alertsMs: number | null
  /** A webhook's delivery is due. */
  readonly deliver: boolean
  readonly databaseMs: number
}

export function sweep(
  db: Database,
  input: {
    namespace: string
    incarnation: string | null
    limit: number
    /** What the database's clock should say, by the caller's clock and its last reading, or null: see sweep.sql. */
    reckonedMs: number | null
  },
): Promise<Swept> {
  const { namespace, incarnation, limit, reckonedMs } = input
  return call(db, 'sweep', [namespace, incarnation, limit, reckonedMs])
}

export interface DeathReport {
  readonly ended: readonly string[]
  readonly recovered: readonly RecoveredJob[]
}

export function reportDeath(
  db: Database,
  input: {
    namespace: string
    reporter: { id: string; machineId: string; bootId: string | null; pidNamespace: string | null }
    layer: 1 | 2
    incarnations: readonly string[]
    evidence: Record<string, unknown>
  },
): Promise<DeathReport> {
  return call(db, 'report_death', [
    input.namespace,
    JSON.stringify(input.reporter),
    input.layer,
    input.incarnations,
    JSON.stringify(input.evidence),
  ])
}

export type EndCharge = 'interrupted' | 'lost' | 'released' | 'uncharged'

export function endWorker(
  db: Database,
  incarnation: string,
  charge: EndCharge,
  reason: { code: string; message: string } & Record<string, unknown>,
): Promise<{ outcome: 'ended'; released: string[] } | LeaseLostAnswer> {
  return call(db, 'end_worker', [incarnation, charge, JSON.stringify(reason)])
}

export function cancel(
  db: Database,
  namespace: string,
  jobIds: readonly string[],
  reason: Record<string, unknown>,
): Promise<string[]> {
  return call(db, 'cancel', [namespace, jobIds, JSON.stringify(reason)])
}

export function retry(
  db: Database,
  namespace: string,
  jobIds: readonly string[],
): Promise<string[]> {
  return call(db, 'retry', [namespace, jobIds])
}

export function resume(
  db: Database,
  namespace: string,
  jobIds: readonly string[],
): Promise<string[]> {
  return call(db, 'resume', [namespace, jobIds])
}

export function hold(
  db: Database,
  namespace: string,
  jobIds: readonly string[],
): Promise<string[]> {
  return call(db, 'hold', [namespace, jobIds])
}

export function releaseJobs(
  db: Database,
  namespace: string,
  jobIds: readonly string[],
): Promise<string[]> {
  return call(db, 'release_jobs', [namespace, jobIds])
}

export function releaseStuck(
  db: Database,
  namespace: string,
  input: { olderThanMs: number; dryRun: boolean; force: boolean },
): Promise<{ job: string; status: string }[]> {
  return call(db, 'release_stuck', [namespace, input.olderThanMs, input.dryRun, input.force])
}

export function drainWorkers(
  db: Database,
  namespace: string,
  incarnations: readonly string[],
  drain: boolean,
): Promise<string[]> {
  return call(db, 'drain_workers', [namespace, incarnations, drain])
}

export function drainMachine(
  db: Database,
  namespace: string,
  machineId: string,
  drain: boolean,
): Promise<string> {
  return call(db, 'drain_machine', [namespace, machineId, drain])
}

export function evictWorkers(
  db: Database,
  namespace: string,
  incarnations: readonly string[],
): Promise<{ evicted: string[]; released: { job: string; status: string }[] }> {
  return call(db, 'evict_workers', [namespace, incarnations])
}

/** Ids of the stored jobs, or null when the attempt has lost its lease. */
export function enqueueChild(
  db: Database,
  attempt: { jobId: string; token: string },
  job: NewJob,
): Promise<string[] | null> {
  return call(db, 'enqueue_child', [
    attempt.jobId,
    attempt.token,
    [job.type],
    [job.input],
    [job.options],
  ])
}
