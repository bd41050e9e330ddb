/**
 * The schema's functions as tests call them: through the wrappers of src/sql, so that an answer that changes there is seen here, with
 * defaults for what a test does not say. Functions that have no wrapper, because the product never calls them alone, go through `call`.
 *
 * `claim` and `renew` are of a worker that has its lease; `claimAnswer` and `renewAnswer` of one that may have lost it.
 */
import { randomUUID } from 'node:crypto'
import type {
  AttemptDocument,
  JobDocument,
  MachineDocument,
  RunDocument,
  ShutdownsDocument,
  StatsDocument,
  WorkerDocument,
} from '../../src/client/documents.ts'
import type { Database } from '../../src/db/connect.ts'
import type { RunStatus } from '../../src/domain/states.ts'
import type { WhyFacts } from '../../src/domain/why.ts'
import { call } from '../../src/sql/call.ts'
import * as inspect from '../../src/sql/inspect.ts'
import * as sql from '../../src/sql/protocol.ts'
import * as runs from '../../src/sql/runs.ts'

export const LEASE_MS = 30_000
export const RENEW_MS = 10_000
export const IDLE_BEAT_MS = 30_000

export interface WorkerRow {
  readonly incarnation: string
  readonly id: string
  readonly machineId: string
  readonly namespace: string
  readonly pid: number
  /** Number of the last renewal that was sent. */
  sent: number
}

export interface Held {
  readonly job: string
  readonly token: string
}

/** A job as `get_jobs` gives it: the client adds the sentence. */
export type StoredJob = Omit<JobDocument, 'why' | 'attempts'> &
  Required<Pick<JobDocument, 'events'>> &
  Pick<WhyFacts, 'leaseLeftMs' | 'recoveryNotBefore'> & {
    readonly attempts: (AttemptDocument & {
      lateResult: { outcome: string; value: unknown } | null
    })[]
  }

export interface ClaimOptions {
  readonly claim?: string
  readonly want?: number
  readonly queues?: readonly string[]
  readonly types?: readonly string[]
  /** Take the jobs of this run alone. */
  readonly runId?: string
  readonly targets?: readonly string[]
}

export interface RenewOptions {
  readonly sendNumber?: number
  readonly idle?: boolean
  readonly draining?: boolean
  readonly direct?: boolean
}

export interface SweepOptions {
  readonly worker?: WorkerRow
  readonly limit?: number
  /** What the database's clock should say, by the caller's own. */
  readonly reckonedMs?: number
}

/** The functions of one namespace, on one connection or pool. */
export function functionsOf(db: Database, namespace: string) {
  return {
    namespace,
    run: <T>(name: string, ...values: unknown[]): Promise<T> => call<T>(db, name, values),
    ...workerFunctions(db, namespace),
    ...attemptFunctions(db),
    ...sweepFunctions(db, namespace),
    ...jobFunctions(db, namespace),
    ...runFunctions(db, namespace),
    ...viewFunctions(db, namespace),
  }
}

export type Functions = ReturnType<typeof functionsOf>

/** What is needed to write about a claimed job. */
export const heldOf = (answer: sql.Claimed): Held[] =>
  answer.jobs.map((job) => ({ job: job.id, token: job.token }))

let pids = 1000

/** What a worker asks for itself. */
function workerFunctions(db: Database, namespace: string) {
  const claimAnswer = (
    worker: WorkerRow,
    options: ClaimOptions = {},
  ): Promise<sql.Claimed | sql.LeaseLostAnswer> =>
    sql.claim(db, {
      incarnation: worker.incarnation,
      claim: randomUUID(),
      want: 10,
      queues: ['default'],
      types: ['work'],
      ...options,
    })
  const renewAnswer = (
    worker: WorkerRow,
    options: RenewOptions = {},
  ): Promise<sql.Renewed | sql.LeaseLostAnswer> => {
    worker.sent = options.sendNumber ?? worker.sent + 1
    return sql.renew(db, {
      incarnation: worker.incarnation,
      sendNumber: worker.sent,
      idleBeatMs: options.idle === true ? IDLE_BEAT_MS : null,
      draining: options.draining ?? false,
      loopLagMs: 0,
      spoolDepth: 0,
      direct: options.direct ?? false,
      stuck: null,
    })
  }
  return {
    async register(options: Partial<sql.WorkerIdentity> = {}): Promise<WorkerRow> {
      const identity = identityOf(options)
      const { id } = await sql.register(db, namespace, identity)
      const { incarnation, machineId, pid } = identity
      return { incarnation, id, machineId, namespace, pid, sent: 0 }
    },
    claim: async (worker: WorkerRow, options: ClaimOptions = {}): Promise<sql.Claimed> =>
      kept(worker, await claimAnswer(worker, options)),
    claimAnswer,
    renew: async (worker: WorkerRow, options: RenewOptions = {}): Promise<sql.Renewed> =>
      kept(worker, await renewAnswer(worker, options)),
    renewAnswer,
    endWorker: (
      worker: WorkerRow,
      charge: sql.EndCharge,
      reason: Parameters<typeof sql.endWorker>[3] = { code: 'shutdown', message: 'told to stop' },
    ): ReturnType<typeof sql.endWorker> => sql.endWorker(db, worker.incarnation, charge, reason),
  }
}

/** The answer to a worker that has its lease. */
function kept<T>(worker: WorkerRow, answer: T | sql.LeaseLostAnswer): T {
  if (isLeaseLost(answer))
    throw new Error(`worker ${worker.id} has lost its lease: ${JSON.stringify(answer.reason)}`)
  return answer
}

function isLeaseLost(answer: unknown): answer is sql.LeaseLostAnswer {
  return (answer as sql.LeaseLostAnswer).outcome === 'lease_lost'
}

function identityOf(options: Partial<sql.WorkerIdentity>): sql.WorkerIdentity {
  const pid = options.pid ?? (pids += 1)
  return {
    incarnation: randomUUID(),
    machineId: 'machine-1',
    hostname: 'host',
    pid,
    bootId: 'boot-1',
    pidNamespace: 'pids-1',
    processStarted: `started-${pid}`,
    parentPid: 1,
    kind: 'worker',
    version: '0.0.0',
    command: 'node worker.js',
    concurrency: 10,
    queues: ['default'],
    types: ['work'],
    labels: [],
    leaseMs: LEASE_MS,
    renewMs: RENEW_MS,
    idleBeatMs: IDLE_BEAT_MS,
    direct: false,
    ...options,
  }
}

const json = (value: unknown): string | null => (value === undefined ? null : JSON.stringify(value))
const attemptOf = ({ job, token }: Held): { jobId: string; token: string } => ({
  jobId: job,
  token,
})

/** What an attempt writes. */
function attemptFunctions(db: Database) {
  /** One of the functions that stand for one outcome of settle: programs in other languages call them. */
  const outcome =
    (name: string) =>
    (held: readonly Held[], values?: readonly unknown[], ...rest: unknown[]): Promise<string[]> =>
      call(db, name, [
        held.map(({ job }) => job),
        held.map(({ token }) => token),
        values?.map(json) ?? null,
        ...rest,
      ])
  return {
    complete: outcome('complete'),
    fail: (
      held: readonly Held[],
      values?: readonly unknown[],
      delaysMs: readonly number[] | null = null,
    ): Promise<string[]> => outcome('fail')(held, values, delaysMs),
    release: outcome('release'),
    interrupt: outcome('interrupt'),
    acknowledgeCancel: outcome('acknowledge_cancel'),
    settle: (
      held: readonly Held[],
      outcomes: readonly string[],
      values?: readonly unknown[],
    ): Promise<string[]> =>
      sql.settle(
        db,
        held.map((one, n) => ({
          ...attemptOf(one),
          outcome: outcomes[n] as sql.Outcome,
          value: json(values?.[n]),
          delayMs: null,
        })),
      ),
    checkpoint: (held: readonly Held[], values: readonly unknown[]): Promise<sql.FencedAnswer[]> =>
      sql.checkpoint(
        db,
        held.map((one, n) => ({ ...attemptOf(one), value: JSON.stringify(values[n]) })),
      ),
    progress: (held: readonly Held[], done: readonly number[]): Promise<sql.FencedAnswer[]> =>
      sql.progress(
        db,
        held.map((one, n) => ({
          ...attemptOf(one),
          done: done[n]!,
          total: 100,
          message: `${done[n]} %`,
        })),
      ),
    log: (held: readonly Held[], messages: readonly string[]): Promise<sql.FencedAnswer[]> =>
      sql.log(
        db,
        held.map((one, n) => ({
          ...attemptOf(one),
          ageMs: 0,
          level: 'info',
          message: messages[n]!,
          fields: '{"n": 1}',
        })),
      ),
    /** Of several attempts at once, which the product never has. */
    cost: (
      held: readonly Held[],
      tokens: readonly number[],
      usd: readonly number[],
    ): Promise<sql.FencedAnswer[]> =>
      call(db, 'cost', [held.map(({ job }) => job), held.map(({ token }) => token), tokens, usd]),
  }
}

/** What whoever watches over workers asks. */
function sweepFunctions(db: Database, namespace: string) {
  return {
    sweep: (options: SweepOptions = {}): Promise<sql.Swept> =>
      sql.sweep(db, {
        namespace,
        incarnation: options.worker?.incarnation ?? null,
        limit: options.limit ?? 500,
        reckonedMs: options.reckonedMs ?? null,
      }),
    reportDeath: (
      reporter: Partial<Parameters<typeof sql.reportDeath>[1]['reporter']>,
      layer: number,
      workers: readonly WorkerRow[],
      evidence: Record<string, unknown> = {},
    ): Promise<sql.DeathReport> =>
      sql.reportDeath(db, {
        namespace,
        reporter: {
          id: 'witness',
          machineId: 'machine-1',
          bootId: 'boot-1',
          pidNamespace: 'pids-1',
          ...reporter,
        },
        // A test tries layers, too, that nobody may report.
        layer: layer as 1 | 2,
        incarnations: workers.map((worker) => worker.incarnation),
        evidence,
      }),
    drain: (workers: readonly WorkerRow[], drain = true): Promise<string[]> =>
      sql.drainWorkers(
        db,
        namespace,
        workers.map((worker) => worker.incarnation),
        drain,
      ),
    evict: (workers: readonly WorkerRow[]): ReturnType<typeof sql.evictWorkers> =>
      sql.evictWorkers(
        db,
        namespace,
        workers.map((worker) => worker.incarnation),
      ),
  }
}

/** What people ask for jobs. */
function jobFunctions(db: Database, namespace: string) {
  return {
    /** Enqueues `count` jobs of one type. */
    enqueue: (
      count = 1,
      options: Record<string, unknown> = {},
      type = 'work',
      input: unknown = {},
    ): Promise<string[]> => {
      const job = { type, input: JSON.stringify(input), options: JSON.stringify(options) }
      return sql.enqueue(
        db,
        namespace,
        Array.from({ length: count }, () => job),
        true,
      )
    },
    cancel: (jobs: readonly string[], reason: Record<string, unknown> = {}): Promise<string[]> =>
      sql.cancel(db, namespace, jobs, reason),
    retry: (jobs: readonly string[]): Promise<string[]> => sql.retry(db, namespace, jobs),
    hold: (jobs: readonly string[]): Promise<string[]> => sql.hold(db, namespace, jobs),
    resume: (jobs: readonly string[]): Promise<string[]> => sql.resume(db, namespace, jobs),
    releaseJobs: (jobs: readonly string[]): Promise<string[]> =>
      sql.releaseJobs(db, namespace, jobs),
    releaseStuck: (
      olderThanMs: number,
      { dryRun = false, force = false }: { dryRun?: boolean; force?: boolean } = {},
    ): ReturnType<typeof sql.releaseStuck> =>
      sql.releaseStuck(db, namespace, { olderThanMs, dryRun, force }),
  }
}

function runFunctions(db: Database, namespace: string) {
  return {
    createRun: (options: runs.RunOptionsJson = {}, name = 'batch'): Promise<RunDocument> =>
      runs.createRun(db, namespace, { name, criteria: { about: 'a test' }, options }),
    judge: (...runIds: string[]): Promise<string[]> => runs.judgeRuns(db, namespace, runIds),
    endRun: (
      id: string,
      status: RunStatus,
      rest: 'cancel' | 'keep' | null = null,
    ): Promise<RunStatus | 'not_found'> =>
      runs.endRun(db, namespace, id, { status, rest, reason: {} }),
    updateRun: (
      id: string,
      stage: string | null,
      filled: boolean | null,
    ): Promise<RunStatus | 'not_found'> =>
      runs.updateRun(db, namespace, id, {
        stage: stage ?? undefined,
        filled: filled ?? undefined,
      }),
    async runDocument(id: string): Promise<RunDocument> {
      const [one] = await runs.findRuns<RunDocument>(db, namespace, id)
      if (one === undefined) throw new Error(`no run ${id} in ${namespace}`)
      return one
    },
  }
}

/** What everybody may read. */
function viewFunctions(db: Database, namespace: string) {
  const jobs = (ids: readonly string[]): Promise<StoredJob[]> =>
    inspect.getJobs(db, namespace, ids, true)
  const workers = (endedWithinMs = 86_400_000): Promise<WorkerDocument[]> =>
    inspect.listWorkers(db, namespace, endedWithinMs)
  return {
    jobs,
    async job(id: string): Promise<StoredJob> {
      const [job] = await jobs([id])
      if (job === undefined) throw new Error(`no job ${id} in ${namespace}`)
      return job
    },
    workers,
    async worker(worker: WorkerRow): Promise<WorkerDocument> {
      const one = (await workers()).find((row) => row.incarnation === worker.incarnation)
      if (one === undefined) throw new Error(`no worker ${worker.id} in ${namespace}`)
      return one
    },
    shutdowns: (withinMs = 86_400_000): Promise<ShutdownsDocument[]> =>
      inspect.shutdowns(db, namespace, withinMs),
    stats: (): Promise<StatsDocument> => inspect.stats(db, namespace),
    machines: (): Promise<MachineDocument[]> => inspect.listMachines(db, namespace),
    events: (after: string | null = null, limit = 10_000): Promise<inspect.FeedEvent[]> =>
      inspect.readEvents(db, namespace, after, limit),
    invariants: async (): Promise<unknown[]> =>
      (await db.query(`select rule, job_id from ${db.schema}.invariants()`, [])).rows,
  }
}
