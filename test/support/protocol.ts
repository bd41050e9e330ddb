/**
 * A schema with the protocol in it, for tests: its functions, sessions, and time that the test passes.
 *
 * A `Session` is one connection with a transaction of its own, so that a test can stop between a statement and its commit;
 * `waitsForLock` proves that another one has run into it. `passTime` moves the schema's clock while the database stays
 * writable (somebody goes on ticking); `outage` moves it while nobody could write.
 */
import { randomUUID } from 'node:crypto'
import { afterEach, expect, onTestFinished } from 'vitest'
import type { AttemptDocument } from '../../src/client/documents.ts'
import { connectOne, useExecutor } from '../../src/db/connect.ts'
import type { FeedEvent } from '../../src/sql/inspect.ts'
import type { ClaimedJob } from '../../src/sql/protocol.ts'
import { createTestDatabase, type TestDatabase } from './database.ts'
import { type Functions, functionsOf, type Held, heldOf, type WorkerRow } from './functions.ts'
import { until } from './until.ts'

/** The two kinds of schema name that every suite runs under. */
export const SCHEMAS = ['plain', 'quoted'] as const
export type SchemaKind = (typeof SCHEMAS)[number]

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
  /** Resolves when the server has noticed that the backend with this pid is gone. */
  gone(pid: number): Promise<void>
  /** Time goes by and the database takes writes all along. */
  passTime(ms: number): Promise<void>
  /** Time goes by and nobody can write. */
  outage(ms: number): Promise<void>
  /** Registers a worker and claims jobs that are enqueued for it. */
  running(
    count?: number,
    options?: Record<string, unknown>,
    worker?: WorkerRow,
  ): Promise<{ worker: WorkerRow; ids: string[]; held: Held[]; jobs: readonly ClaimedJob[] }>
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

/** How long after the last sign of life a lost attempt's end was detected, once all that it says of that agrees. */
export function silenceBefore(lost: Pick<AttemptDocument, 'endedAt' | 'endReason'>): number {
  const { detectedAfterMs, lastSeenAt } = { lastSeenAt: null, ...lost.endReason }
  const lastSeenMs = Date.parse(String(lastSeenAt))
  expect(Math.abs(lastSeenMs + Number(detectedAfterMs) - Date.parse(lost.endedAt!))).toBeLessThan(2)
  return Number(detectedAfterMs)
}

/** What is said to those who listen. */
export async function listen(
  p: Protocol,
): Promise<{ payloads: string[]; first: Promise<void>; heardAll: () => Promise<void> }> {
  const client = await connectOne({ databaseUrl: p.db.databaseUrl })
  onTestFinished(() => client.end())
  const payloads: string[] = []
  const first = new Promise<void>((resolve) => {
    client.on('notification', ({ payload = '' }) => {
      payloads.push(payload)
      resolve()
    })
  })
  await client.query(`listen "${await p.run<string>('channel', p.namespace)}"`)
  // What was committed before is handed over before the answer.
  return { payloads, first, heardAll: async () => void (await client.query('select')) }
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
      await until(`session ${session.pid} waits for a lock`, async () => {
        const [row] = await db.rows<{ waits: boolean }>(
          `select coalesce(wait_event_type = 'Lock', false) as waits from pg_stat_activity where pid = $1`,
          [session.pid],
        )
        return row?.waits
      })
    },
    async gone(pid) {
      await until(`backend ${pid} is gone`, async () => {
        const found = await db.rows('select from pg_stat_activity where pid = $1', [pid])
        return found.length === 0
      })
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
