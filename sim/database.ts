/**
 * The real SQL in a schema of its own, with three things replaced so that a seed decides them: the clock, the list of the
 * server's connections, and which of them a call came through. A variant replaces a rule besides, to prove that the checkers
 * look.
 *
 * One connection, one call at a time: what two transactions do to each other is not simulated here.
 */
import type pg from 'pg'
import { connectOne, quoteIdentifier } from '../src/db/connect.ts'
import { claimedOf } from '../src/sql/protocol.ts'
import { migrate } from '../src/db/migrate.ts'

export interface JobRow {
  readonly id: string
  readonly status: string
  readonly attempt: number
  readonly token: string | null
  readonly worker: string | null
  readonly failures: number
  readonly lost: number
  readonly interruptions: number
  readonly maxAttempts: number
  readonly maxLost: number
  readonly policy: string
  readonly cancel: boolean
  readonly finishedAt: string | null
  readonly runAtMs: number
  readonly code: string | null
  readonly checkpoint: unknown
  readonly checkpointAttempt: number | null
  readonly progressAttempt: number | null
  readonly shown: string
}

export interface AttemptRow {
  readonly job: string
  readonly attempt: number
  readonly token: string
  readonly worker: string
  readonly endedAs: string
  readonly late: string | null
}

export interface WorkerRow {
  readonly incarnation: string
  readonly ended: boolean
  readonly charge: string | null
  readonly layer: number | null
  readonly code: string | null
  readonly untilMs: number
  readonly leaseMs: number
}

/** What the tables say at one moment, read without any of the schema's own functions but the view that people see. */
export interface Snapshot {
  readonly jobs: readonly JobRow[]
  readonly attempts: readonly AttemptRow[]
  readonly workers: readonly WorkerRow[]
}

export interface SimDatabase {
  readonly schemaName: string
  /**
   * Runs a function of the protocol at a virtual time; `changed` says whether jobs, attempts or workers'
   * ends did, and `hints` what it notified.
   */
  call(input: {
    nowMs: number
    backendPid: number | null
    name: string
    values: readonly unknown[]
  }): Promise<{ answer: unknown; changed: boolean; hints: readonly string[] }>
  snapshot(nowMs: number): Promise<Snapshot>
  /** What the schema's own `invariants()` finds. */
  invariants(nowMs: number): Promise<string[]>
  setConnections(pids: readonly number[]): Promise<void>
  /** An empty schema again, at virtual time 0. */
  reset(): Promise<void>
  close(options: { keep: boolean }): Promise<void>
}

/** A rule of the SQL that is broken on purpose: each `from` must be found in the function. */
export interface Replacement {
  readonly functionName: string
  readonly from: string | RegExp
  readonly to: string
}

/** The namespace of everything simulated. */
export const SIM_NAMESPACE = 'sim'

const SUBSTITUTES: readonly [RegExp, string][] = [
  [/pg_stat_activity/g, 'sim_connection'],
  [/pg_stat_get_activity\((\w+)\)/g, 'sim_connection where pid = $1'],
  [/pg_backend_pid\(\)/g, 'sim_backend()'],
  [/clock_timestamp\(\)/g, 'clock()'],
  [/statement_timestamp\(\)/g, 'clock()'],
]

const SETUP = `
  create or replace function clock() returns timestamptz language sql stable as
    $$ select '2030-01-01 00:00:00+00'::timestamptz + current_setting('sim.now')::double precision * interval '1 millisecond' $$;
  create or replace function sim_backend() returns integer language sql stable as
    $$ select nullif(current_setting('sim.backend'), '')::integer $$;
  create or replace function sim_changed() returns trigger language plpgsql as
    $$ begin perform set_config('sim.changed', 'yes', false); return null; end $$;
  create table sim_connection (pid integer primary key);
  create trigger sim_changed after insert or update or delete on job for each row execute function sim_changed();
  create trigger sim_changed after insert or update or delete on attempt for each row execute function sim_changed();
  create trigger sim_changed after insert or update or delete on checkpoint for each row execute function sim_changed();
  create trigger sim_changed after insert or update or delete on progress for each row execute function sim_changed();
  create trigger sim_changed after insert or delete on worker for each row execute function sim_changed();
  create trigger sim_ended after update on worker for each row when (old.ended_at is distinct from new.ended_at)
    execute function sim_changed();
`

const SNAPSHOT = `
  with clock_set as materialized (select set_config('sim.now', $1, false) as done)
  select json_build_object(
    'jobs', (
      select coalesce(json_agg(json_build_object(
        'id', j.id, 'status', j.status, 'attempt', j.attempt, 'token', j.token, 'worker', j.worker,
        'failures', j.failures, 'lost', j.lost, 'interruptions', j.interruptions,
        'maxAttempts', j.max_attempts, 'maxLost', j.max_lost, 'policy', j.on_worker_lost,
        'cancel', j.cancel_requested_at is not null, 'finishedAt', j.finished_at,
        'runAtMs', round(extract(epoch from j.run_at - '2030-01-01 00:00:00+00'::timestamptz) * 1000),
        'code', j.end_reason ->> 'code', 'checkpoint', c.value, 'checkpointAttempt', c.attempt, 'progressAttempt', p.attempt,
        'shown', (select t.state from job_truth t where t.id = j.id)
      ) order by j.id), '[]')
      from job_stored j
      left join checkpoint c on c.job_id = j.id
      left join progress p on p.job_id = j.id
    ),
    'attempts', (
      select coalesce(json_agg(json_build_object(
        'job', a.job_id, 'attempt', a.attempt, 'token', a.token, 'worker', a.worker, 'endedAs', a.ended_as,
        'late', a.late_result ->> 'outcome'
      )), '[]')
      from attempt a
    ),
    'workers', (
      select coalesce(json_agg(json_build_object(
        'incarnation', w.incarnation, 'ended', w.ended_at is not null, 'charge', w.end_charge, 'layer', w.end_layer,
        'code', d.end_reason ->> 'code', 'leaseMs', w.lease_ms,
        'untilMs', round(extract(epoch from w.until - '2030-01-01 00:00:00+00'::timestamptz) * 1000)
      )), '[]')
      from worker w
      join worker_detail d using (incarnation)
    )
  ) as answer
  from clock_set where done is not null
`

/** Creates the schema. `replacements` break it on purpose. */
export async function openSimDatabase(input: {
  databaseUrl: string
  schemaName: string
  replacements?: readonly Replacement[]
}): Promise<SimDatabase> {
  const { databaseUrl, schemaName } = input
  const schema = quoteIdentifier(schemaName)
  const client = await connectOne({ databaseUrl, applicationName: 'leasehold simulation' })
  await client.query('set client_min_messages to warning')
  await client.query(`drop schema if exists ${schema} cascade`)
  await migrate({ databaseUrl, schema: schemaName })
  await client.query(`set search_path to ${schema}, pg_temp`)
  await client.query(SETUP)
  await substitute(client, schemaName, input.replacements ?? [])
  const tables = await client.query<{ names: string }>(
    `select string_agg(quote_ident(tablename), ', ') as names from pg_tables
     where schemaname = $1 and tablename not in ('migration', 'installed')`,
    [schemaName],
  )
  const all = tables.rows[0]?.names ?? ''
  const hints: string[] = []
  client.on('notification', ({ payload }) => hints.push(payload ?? ''))
  await client.query(`do $$ begin execute format('listen %I', channel('${SIM_NAMESPACE}')); end $$`)
  const at = (nowMs: number) =>
    client.query({
      name: 'sim now',
      text: `select set_config('sim.now', $1, false)`,
      values: [String(nowMs)],
    })
  return {
    schemaName,
    async call({ nowMs, backendPid, name, values }) {
      const parameters = values.map((_, index) => `$${index + 3}`).join(', ')
      // The materialized part sets the clock before the function runs; the flag is read after it has.
      const { rows } = await client.query<{ answer: unknown; changed: string }>({
        // Named: planned once, not at each of thousands of calls.
        name: `sim ${name} ${values.length}`,
        text: `with clock_set as materialized (
           select set_config('sim.now', $1, false) || set_config('sim.backend', $2, false) || set_config('sim.changed', '', false) as done
         )
         select ${quoteIdentifier(name)}(${parameters}) as answer, current_setting('sim.changed') as changed
         from clock_set where done is not null`,
        values: [String(nowMs), String(backendPid ?? ''), ...values],
      })
      return {
        answer: name === 'claim' ? claimedOf(rows[0]?.answer as string) : rows[0]?.answer,
        changed: rows[0]?.changed === 'yes',
        hints: hints.splice(0),
      }
    },
    async snapshot(nowMs) {
      const { rows } = await client.query<{ answer: Snapshot }>({
        name: 'sim snapshot',
        text: SNAPSHOT,
        values: [String(nowMs)],
      })
      const found = rows[0]
      if (found === undefined) throw new Error('no snapshot')
      return found.answer
    },
    async invariants(nowMs) {
      await at(nowMs)
      const { rows } = await client.query<{ rule: string; job_id: string }>({
        name: 'sim invariants',
        text: 'select rule, job_id from invariants()',
      })
      return rows.map((row) => `${row.rule}: ${row.job_id}`)
    },
    async setConnections(pids) {
      await client.query(
        `with gone as (delete from sim_connection where pid <> all ($1::integer[]))
         insert into sim_connection select unnest($1::integer[]) on conflict do nothing`,
        [pids],
      )
    },
    async reset() {
      await at(0)
      await client.query(`truncate ${all} restart identity`)
      await client.query('alter sequence job_place restart')
      await client.query('insert into database_identity default values')
      await client.query('insert into tick (at, writable_since) values (clock(), clock())')
    },
    async close({ keep }) {
      if (!keep) await client.query(`drop schema ${schema} cascade`)
      await client.end()
    },
  }
}

async function substitute(
  client: pg.Client,
  schemaName: string,
  replacements: readonly Replacement[],
): Promise<void> {
  const { rows } = await client.query<{ name: string; definition: string }>(
    `select proname as name, pg_get_functiondef(oid) as definition from pg_proc
     where pronamespace = to_regnamespace($1)::oid and proname not like 'sim\\_%' and proname <> 'clock'`,
    [quoteIdentifier(schemaName)],
  )
  const open = new Set(replacements)
  for (const { name, definition } of rows) {
    let text = definition
    for (const [from, to] of SUBSTITUTES) text = text.replace(from, to)
    for (const replacement of replacements) {
      if (replacement.functionName !== name) continue
      const changed = text.replace(replacement.from, replacement.to)
      if (changed !== text) open.delete(replacement)
      text = changed
    }
    if (text !== definition) await client.query(text)
  }
  for (const { functionName, from } of open) {
    throw new Error(`the variant no longer fits ${functionName}: ${String(from)} is not in it`)
  }
}
