/**
 * Small builders for tests of the protocol: each is one call of one SQL function, with defaults for what a test does not say.
 *
 * A `Session` is one connection with a transaction of its own, so that a test can stop between a statement and its commit;
 * `waitsForLock` proves that another one has run into it. `passTime` moves the schema's clock while the database stays
 * writable (somebody goes on ticking); `outage` moves it while nobody could write.
 */
import { randomUUID } from 'node:crypto'
import { afterEach, expect, onTestFinished } from 'vitest'
import type { RunDocument, ShutdownsDocument, StatsDocument } from '../../src/client/documents.ts'
import { connectOne, type Database, useExecutor } from '../../src/db/connect.ts'
import { call } from '../../src/sql/call.ts'
import { claimedOf } from '../../src/sql/protocol.ts'
import { createTestDatabase, type TestDatabase } from './database.ts'
import { until } from './process.ts'

/** The two kinds of schema name that every suite runs under. */
export const SCHEMAS = ['plain', 'quoted'] as const
export type SchemaKind = (typeof SCHEMAS)[number]

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

export interface ClaimedJob {
  readonly id: string
  readonly token: string
  readonly attempt: number
  readonly queue: string
  readonly type: string
  readonly input: unknown
  readonly options: Record<string, unknown>
  readonly failures: number
  readonly lost: number
  readonly interruptions: number
  readonly maxAttempts: number
  readonly maxLost: number
  readonly resume: {
    checkpoint: unknown
    attempt: number
    previousEnd: { endedAs: string; code: string | null; message: string | null }
  } | null
}

export interface LeaseLost {
  readonly outcome: 'lease_lost'
  readonly reason: { code: string; message: string; layer?: number; noticedBy?: string }
}

export interface ClaimAnswer {
  readonly outcome: 'claimed' | 'lease_lost'
  readonly reason?: LeaseLost['reason']
  readonly drain: boolean
  readonly alone: boolean
  readonly running: boolean
  readonly nextDueMs: number | null
  readonly run: string | null
  readonly jobs: ClaimedJob[]
}

export interface RenewAnswer {
  readonly outcome: 'renewed' | 'lease_lost'
  readonly reason?: LeaseLost['reason']
  readonly leftMs: number
  readonly drain: boolean
  readonly running: boolean
  readonly held: { job: string; token: string; cancel: boolean }[]
}

export interface Recovered {
  readonly job: string
  readonly status: string
}

export interface SweepAnswer {
  readonly role: 'leader' | 'deputy' | 'none'
  readonly running: boolean
  readonly ended: string[]
  readonly machines: string[]
  readonly recovered: Recovered[]
  readonly more: boolean
  readonly nextMs: number | null
  readonly databaseMs: number
}

export interface AttemptDocument {
  readonly attempt: number
  readonly workerId: string | null
  readonly endedAs: string | null
  readonly endedAt: string | null
  readonly fromCheckpoint: unknown
  readonly lastCheckpoint: unknown
  readonly lateResult: { outcome: string; value: unknown; at: string } | null
  readonly endReason: Record<string, unknown> | null
}

export interface JobDocument {
  readonly id: string
  readonly status: string
  readonly state: string
  readonly queue: string
  readonly type: string
  readonly runId: string | null
  readonly target: string | null
  readonly priority: number
  readonly input: unknown
  readonly result: unknown
  readonly error: Record<string, unknown> | null
  readonly attempt: number
  readonly failures: number
  readonly lost: number
  readonly interruptions: number
  readonly workerId: string | null
  readonly runAt: string
  readonly createdAt: string
  readonly leaseExpiresAt: string | null
  readonly leaseLeftMs: number | null
  readonly recoveryNotBefore: string | null
  readonly cancelRequestedAt: string | null
  readonly finishedAt: string | null
  readonly progress: Record<string, unknown> | null
  readonly checkpoint: unknown
  readonly endReason: Record<string, unknown> | null
  readonly attempts: AttemptDocument[]
  readonly events: { kind: string; attempt: number | null; data: Record<string, unknown> | null }[]
}

export interface WorkerDocument {
  readonly id: string
  readonly incarnation: string
  readonly status: string
  readonly reason: string
  readonly running: number
  readonly endReason: Record<string, unknown> | null
  readonly shutdown: { readonly outcome: string | null }
}

export interface FeedEvent {
  readonly position: string
  readonly kind: string
  readonly jobIds: string[]
  readonly workerId: string | null
  readonly data: Record<string, unknown> | null
}

export interface RegisterOptions {
  readonly incarnation?: string
  readonly machineId?: string
  readonly hostname?: string
  readonly pid?: number
  readonly bootId?: string | null
  readonly pidNamespace?: string | null
  readonly processStarted?: string | null
  readonly leaseMs?: number
  readonly renewMs?: number
  readonly idleBeatMs?: number
  readonly concurrency?: number
  readonly queues?: string[]
  readonly types?: string[]
  readonly labels?: string[]
  readonly runId?: string
  readonly direct?: boolean
  readonly version?: string
}

export interface ClaimOptions {
  readonly claim?: string
  readonly want?: number
  readonly queues?: string[]
  readonly types?: string[]
  /** Take the jobs of this run alone. */
  readonly runId?: string
  readonly targets?: string[]
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

let pids = 1000

const json = (values: unknown[] | undefined): (string | null)[] | null =>
  values?.map((value) => (value === undefined ? null : JSON.stringify(value))) ?? null

const jobsOf = (held: readonly Held[]): string[] => held.map((one) => one.job)
const tokensOf = (held: readonly Held[]): string[] => held.map((one) => one.token)

/** What is needed to write about a claimed job. */
export const heldOf = (answer: ClaimAnswer): Held[] =>
  answer.jobs.map((job) => ({ job: job.id, token: job.token }))

/** The functions of one namespace, on one connection or pool. */
export function functionsOf(db: Database, namespace: string) {
  const run = <T>(name: string, ...values: unknown[]): Promise<T> => call<T>(db, name, values)
  return {
    namespace,
    run,
    /** Enqueues `count` jobs of one type. */
    enqueue: (
      count = 1,
      options: Record<string, unknown> = {},
      type = 'work',
      input: unknown = {},
    ): Promise<string[]> =>
      run(
        'enqueue',
        namespace,
        Array<string>(count).fill(type),
        Array<string>(count).fill(JSON.stringify(input)),
        [JSON.stringify(options)],
      ),
    async register(options: RegisterOptions = {}): Promise<WorkerRow> {
      const pid = options.pid ?? (pids += 1)
      const incarnation = options.incarnation ?? randomUUID()
      const machineId = options.machineId ?? 'machine-1'
      const answer = await run<{ id: string }>('register', namespace, {
        hostname: 'host',
        bootId: 'boot-1',
        pidNamespace: 'pids-1',
        processStarted: `started-${pid}`,
        leaseMs: LEASE_MS,
        renewMs: RENEW_MS,
        idleBeatMs: IDLE_BEAT_MS,
        version: '0.0.0',
        concurrency: 10,
        queues: ['default'],
        types: ['work'],
        direct: false,
        ...options,
        incarnation,
        machineId,
        pid,
      })
      return { incarnation, id: answer.id, machineId, namespace, pid, sent: 0 }
    },
    claim: async (worker: WorkerRow, options: ClaimOptions = {}): Promise<ClaimAnswer> => {
      const answer = await run<string>(
        'claim',
        worker.incarnation,
        options.claim ?? randomUUID(),
        options.want ?? 10,
        options.queues ?? ['default'],
        options.types ?? ['work'],
        null,
        null,
        options.runId ?? null,
        options.targets ?? null,
      )
      return claimedOf(answer) as unknown as ClaimAnswer
    },
    renew(worker: WorkerRow, options: RenewOptions = {}): Promise<RenewAnswer> {
      worker.sent = options.sendNumber ?? worker.sent + 1
      return run(
        'renew',
        worker.incarnation,
        worker.sent,
        options.idle === true ? IDLE_BEAT_MS : null,
        options.draining ?? false,
        0,
        0,
        options.direct ?? false,
      )
    },
    settle: (held: readonly Held[], outcomes: string[], values?: unknown[]): Promise<string[]> =>
      run('settle', jobsOf(held), tokensOf(held), outcomes, json(values)),
    complete: (held: readonly Held[], values?: unknown[]): Promise<string[]> =>
      run('complete', jobsOf(held), tokensOf(held), json(values)),
    fail: (held: readonly Held[], values?: unknown[], delaysMs?: number[]): Promise<string[]> =>
      run('fail', jobsOf(held), tokensOf(held), json(values), delaysMs ?? null),
    release: (held: readonly Held[], values?: unknown[]): Promise<string[]> =>
      run('release', jobsOf(held), tokensOf(held), json(values)),
    interrupt: (held: readonly Held[], values?: unknown[]): Promise<string[]> =>
      run('interrupt', jobsOf(held), tokensOf(held), json(values)),
    acknowledgeCancel: (held: readonly Held[], values?: unknown[]): Promise<string[]> =>
      run('acknowledge_cancel', jobsOf(held), tokensOf(held), json(values)),
    checkpoint: (held: readonly Held[], values: unknown[]): Promise<string[]> =>
      run('checkpoint', jobsOf(held), tokensOf(held), json(values)),
    progress: (held: readonly Held[], done: number[]): Promise<string[]> =>
      run(
        'progress',
        jobsOf(held),
        tokensOf(held),
        done,
        done.map(() => 100),
        done.map((n) => `${n} %`),
      ),
    log: (held: readonly Held[], messages: string[]): Promise<string[]> =>
      run(
        'log',
        jobsOf(held),
        tokensOf(held),
        messages.map(() => 0),
        messages.map(() => 'info'),
        messages,
        messages.map(() => '{"n": 1}'),
      ),
    endWorker: (
      worker: WorkerRow,
      charge: 'interrupted' | 'lost' | 'released' | 'uncharged',
      reason: Record<string, unknown> = { code: 'shutdown', message: 'told to stop' },
    ): Promise<{
      outcome: 'ended' | 'lease_lost'
      released?: string[]
      reason?: LeaseLost['reason']
    }> => run('end_worker', worker.incarnation, charge, reason),
    sweep: (options: SweepOptions = {}): Promise<SweepAnswer> =>
      run(
        'sweep',
        namespace,
        options.worker?.incarnation ?? null,
        options.limit ?? 500,
        options.reckonedMs ?? null,
      ),
    reportDeath: (
      reporter: Record<string, unknown>,
      layer: number,
      workers: readonly WorkerRow[],
      evidence: Record<string, unknown> = {},
    ): Promise<{ ended: string[]; recovered: Recovered[] }> =>
      run(
        'report_death',
        namespace,
        {
          machineId: 'machine-1',
          bootId: 'boot-1',
          pidNamespace: 'pids-1',
          id: 'witness',
          ...reporter,
        },
        layer,
        workers.map((worker) => worker.incarnation),
        evidence,
      ),
    cost: (held: readonly Held[], tokens: number[], usd: number[]): Promise<string[]> =>
      run('cost', jobsOf(held), tokensOf(held), tokens, usd),
    createRun: (options: Record<string, unknown> = {}, name = 'batch'): Promise<RunDocument> =>
      run('create_run', namespace, name, { about: 'a test' }, options),
    judge: (...runs: string[]): Promise<string[]> => run('judge_runs', namespace, runs),
    endRun: (id: string, status: string, rest: string | null = null): Promise<string> =>
      run('end_run', namespace, id, status, rest),
    updateRun: (id: string, stage: string | null, filled: boolean | null): Promise<string> =>
      run('update_run', namespace, id, stage, filled),
    async runDocument(id: string): Promise<RunDocument> {
      const [one] = await run<RunDocument[]>('find_runs', namespace, id)
      if (one === undefined) throw new Error(`no run ${id} in ${namespace}`)
      return one
    },
    cancel: (jobs: string[], reason: Record<string, unknown> = {}): Promise<string[]> =>
      run('cancel', namespace, jobs, reason),
    retry: (jobs: string[]): Promise<string[]> => run('retry', namespace, jobs),
    hold: (jobs: string[]): Promise<string[]> => run('hold', namespace, jobs),
    resume: (jobs: string[]): Promise<string[]> => run('resume', namespace, jobs),
    releaseJobs: (jobs: string[]): Promise<string[]> => run('release_jobs', namespace, jobs),
    releaseStuck: (
      olderThanMs: number,
      options: { dryRun?: boolean; force?: boolean } = {},
    ): Promise<Recovered[]> =>
      run('release_stuck', namespace, olderThanMs, options.dryRun ?? false, options.force ?? false),
    drain: (workers: readonly WorkerRow[], drain = true): Promise<string[]> =>
      run(
        'drain_workers',
        namespace,
        workers.map((worker) => worker.incarnation),
        drain,
      ),
    evict: (workers: readonly WorkerRow[]): Promise<{ evicted: string[]; released: Recovered[] }> =>
      run(
        'evict_workers',
        namespace,
        workers.map((worker) => worker.incarnation),
      ),
    jobs: (ids: string[]): Promise<JobDocument[]> => run('get_jobs', namespace, ids, true),
    async job(id: string): Promise<JobDocument> {
      const [job] = await run<JobDocument[]>('get_jobs', namespace, [id], true)
      if (job === undefined) throw new Error(`no job ${id} in ${namespace}`)
      return job
    },
    workers: (endedWithinMs = 86_400_000): Promise<WorkerDocument[]> =>
      run('list_workers', namespace, endedWithinMs),
    async worker(worker: WorkerRow): Promise<WorkerDocument> {
      const all = await run<WorkerDocument[]>('list_workers', namespace, 86_400_000)
      const one = all.find((row) => row.incarnation === worker.incarnation)
      if (one === undefined) throw new Error(`no worker ${worker.id} in ${namespace}`)
      return one
    },
    shutdowns: (withinMs = 86_400_000): Promise<ShutdownsDocument[]> =>
      run('shutdowns', namespace, withinMs),
    stats: (): Promise<StatsDocument> => run('stats', namespace),
    machines: (): Promise<{ id: string; status: string; workersOnline: number }[]> =>
      run('list_machines', namespace),
    events: (after: string | null = null, limit = 10_000): Promise<FeedEvent[]> =>
      run('read_events', namespace, after, limit),
    invariants: async (): Promise<unknown[]> =>
      (await db.query(`select rule, job_id from ${db.schema}.invariants()`, [])).rows,
  }
}

export type Functions = ReturnType<typeof functionsOf>

export interface Session extends Functions {
  readonly pid: number
  query: <T = Record<string, unknown>>(text: string, values?: unknown[]) => Promise<T[]>
  begin(): Promise<void>
  commit(): Promise<void>
  rollback(): Promise<void>
  end(): Promise<void>
}

export interface Protocol extends Functions {
  readonly db: TestDatabase
  /** The same schema, another namespace. */
  in(namespace: string): Functions
  /** One connection with a transaction of its own. */
  session(): Promise<Session>
  /** Resolves when this session waits for a lock of another one. */
  waitsForLock(session: Session): Promise<void>
  /** Time goes by and the database takes writes all along. */
  passTime(ms: number): Promise<void>
  /** Time goes by and nobody can write. */
  outage(ms: number): Promise<void>
  /** Registers a worker and claims jobs that are enqueued for it. */
  running(
    count?: number,
    options?: Record<string, unknown>,
    worker?: WorkerRow,
  ): Promise<{ worker: WorkerRow; ids: string[]; held: Held[]; jobs: ClaimedJob[] }>
  /** The feed of events, once every event that is stored may be shown: another test's transaction can delay it. */
  allEvents(): Promise<FeedEvent[]>
  /** Lets the lease of every live worker lapse, but for those that are named, which renew. */
  lapse(except?: readonly WorkerRow[]): Promise<void>
}

const opened = new Set<Protocol>()

/** Call at the top of a file: after each of its tests no invariant may be broken. */
export function checkInvariantsAfterEach(): void {
  afterEach(async () => {
    const protocols = [...opened]
    opened.clear()
    for (const protocol of protocols) {
      expect(await protocol.invariants(), 'invariants()').toEqual([])
      expect(await brokenRules(protocol.db), 'rules checked apart from invariants()').toEqual([])
    }
  })
}

/** A schema of the test's own with the protocol in it. */
export async function openProtocol(
  kind: SchemaKind = 'plain',
  namespace = 'app',
): Promise<Protocol> {
  const db = await createTestDatabase(
    kind === 'quoted' ? { schemaName: `Lease Hold ${randomUUID().slice(0, 8)}` } : {},
  )
  const functions = functionsOf(db, namespace)
  const protocol: Protocol = {
    ...functions,
    db,
    in: (other) => functionsOf(db, other),
    async session() {
      const client = await connectOne({ databaseUrl: db.databaseUrl })
      let ended: Promise<void> | undefined
      const end = (): Promise<void> => (ended ??= client.end())
      onTestFinished(end)
      const query = async <T>(text: string, values: unknown[] = []): Promise<T[]> => {
        const { rows } = await client.query(text.replaceAll('%s', db.schema), values)
        return rows
      }
      const [row] = await query<{ pid: number }>('select pg_backend_pid() as pid')
      return {
        ...functionsOf(useExecutor(client, db.schemaName), namespace),
        pid: row!.pid,
        query,
        begin: async () => void (await query('begin')),
        commit: async () => void (await query('commit')),
        rollback: async () => void (await query('rollback')),
        end,
      }
    },
    async waitsForLock(session) {
      for (const untilMs = performance.now() + 20_000; performance.now() < untilMs;) {
        const [row] = await db.rows<{ waits: boolean }>(
          `select coalesce(wait_event_type = 'Lock', false) as waits from pg_stat_activity where pid = $1`,
          [session.pid],
        )
        if (row?.waits === true) return
      }
      throw new Error(`session ${session.pid} never waited for a lock`)
    },
    async passTime(ms) {
      await db.advance(ms)
      await db.rows(
        `update %s.tick set at = %s.clock(), writable_total_ms = writable_total_ms + $1`,
        [Math.max(0, Math.round(ms))],
      )
    },
    outage: (ms) => db.advance(ms),
    async running(count = 1, options = {}, worker) {
      const owner = worker ?? (await functions.register())
      const ids = await functions.enqueue(count, options)
      const answer = await functions.claim(owner, {
        want: count,
        queues: [typeof options['queue'] === 'string' ? options['queue'] : 'default'],
      })
      expect(answer.jobs.map((job) => job.id).toSorted()).toEqual(ids.toSorted())
      return { worker: owner, ids, held: heldOf(answer), jobs: answer.jobs }
    },
    async allEvents() {
      const [row] = await db.rows<{ n: number }>(
        'select count(*)::integer as n from %s.event where namespace = $1',
        [namespace],
      )
      // A transaction that another test has open keeps the feed back for as long.
      return until('all events are in the feed', async () => {
        const events = await functions.events()
        return events.length >= (row?.n ?? 0) && events
      })
    },
    async lapse(except = []) {
      // A fresh schema counts as just returned from an outage: the amnesty has to be over.
      await db.rows(`update %s.tick set writable_since = '-infinity'`)
      const [row] = await db.rows<{ ms: number }>(
        `select coalesce(ceil(extract(epoch from max(until) - %s.clock()) * 1000), 0)::integer + 1 as ms
         from %s.worker where ended_at is null and incarnation <> all ($1)`,
        [except.map((worker) => worker.incarnation)],
      )
      await protocol.passTime(Math.max(0, row?.ms ?? 0))
      for (const worker of except) {
        expect((await functionsOf(db, worker.namespace).renew(worker)).outcome).toBe('renewed')
      }
    },
  }
  opened.add(protocol)
  return protocol
}

/** What must hold at every moment, read straight from the tables, whatever `invariants()` looks at. */
export async function brokenRules(db: TestDatabase): Promise<unknown[]> {
  return db.rows(
    `select 'attempts are numbered from 1 without a gap' as rule, j.id
     from %s.job_stored j left join %s.attempt a on a.job_id = j.id
     group by j.id, j.attempt, j.status
     having count(a.attempt) <> coalesce(max(a.attempt), 0)
         or coalesce(max(a.attempt), 0) <> j.attempt - case when j.status = 'running' then 1 else 0 end
     union all
     select 'a waiting job has some of each budget left', j.id
     from %s.job_stored j
     where j.status = 'pending' and (j.failures >= j.max_attempts or j.lost >= j.max_lost or j.interruptions >= 100)
     union all
     select 'cancel that was asked has an end', j.id
     from %s.job_stored j
     where j.cancel_requested_at is not null and j.status not in ('running', 'cancelled')
     union all
     select 'one token is one attempt', (array_agg(a.job_id))[1]
     from (select job_id, token from %s.attempt union all select id, token from %s.job where token is not null) a
     group by a.token having count(*) > 1
     union all
     select 'an attempt ran on a worker of the job''s namespace', j.job_id
     from %s.job_detail j join %s.attempt a on a.job_id = j.job_id join %s.worker w on w.incarnation = a.worker
     where w.namespace <> j.namespace
     union all
     select 'an ended worker reserves no job', w.alone_for
     from %s.worker w where w.ended_at is not null and w.alone_for is not null`,
  )
}

/** Ends the worker rows that the test left and lets everything that still runs come back. */
export async function recoverAll(protocol: Protocol): Promise<void> {
  await protocol.lapse()
  await protocol.sweep()
}
