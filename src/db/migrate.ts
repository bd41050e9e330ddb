/**
 * Brings the schema up to date.
 *
 * Two parts, applied in one transaction under an advisory lock, so that ten processes may start on an empty database at once:
 * numbered files in `migrations/` (forward only, immutable once released) change tables; the functions and views in
 * `src/sql/*.sql` are installed anew whenever they differ from what is installed. What is there is written in the schema itself,
 * so a program can tell a schema that is older, current or newer than itself before it does anything.
 */
import { createHash } from 'node:crypto'
import { readFileSync, readdirSync } from 'node:fs'
import type pg from 'pg'
import { jittered, sleep } from '../clock.ts'
import {
  DatabaseUnreachableError,
  PermissionDeniedError,
  SchemaNewerError,
  SchemaOutdatedError,
  UsageError,
} from '../errors.ts'
import { PROGRAM_VERSION } from '../version.ts'
import {
  CONNECT_DEFAULTS,
  type ConnectOptions,
  connectOne,
  explainFailure,
  quoteIdentifier,
} from './connect.ts'

export type SchemaState = 'missing' | 'outdated' | 'current' | 'newer'

export interface MigrateResult {
  readonly before: SchemaState
  /** Names of the numbered migrations that were applied. */
  readonly applied: readonly string[]
  /** Version of PostgreSQL, as `18.4`. */
  readonly server: string
}

/** The oldest PostgreSQL that Leasehold runs on. */
export const POSTGRES_VERSION_MIN = 14

/** Shorter than what a renewal may be late, as whoever renews waits behind this. */
const LOCK_WAIT_MS = 2_000
const LOCK_PAUSE_MS = 1_000
const LOCK_TRIES_MAX = 20
const LOCK_NOT_AVAILABLE = '55P03'
const DEADLOCK = '40P01'

const migrationsDir = new URL('../../migrations/', import.meta.url)
const functionsDir = new URL('../sql/', import.meta.url)

/** Views need these; all other functions may need the views, which stand in the order in which they need each other. */
const FIRST = ['clock.sql', 'constants.sql', 'judged-after.sql', 'connected.sql']
const VIEWS = [
  'worker-truth.sql',
  'job-stored.sql',
  'job-truth.sql',
  'machine-truth.sql',
  'run-truth.sql',
  'held-job.sql',
]
const LAST = ['grants.sql']

interface Release {
  readonly migrations: readonly { id: number; name: string; text: string }[]
  readonly functions: readonly string[]
  readonly fingerprint: string
}

function readRelease(): Release {
  const migrations = readdirSync(migrationsDir)
    .filter((name) => /^\d{4}_.*\.sql$/.test(name))
    .sort()
    .map((name) => ({
      id: Number(name.slice(0, 4)),
      name,
      text: readFileSync(new URL(name, migrationsDir), 'utf8'),
    }))
  const others = readdirSync(functionsDir)
    .filter((name) => name.endsWith('.sql') && ![...FIRST, ...VIEWS, ...LAST].includes(name))
    .sort()
  const functions = [...FIRST, ...VIEWS, ...others, ...LAST].map((name) =>
    readFileSync(new URL(name, functionsDir), 'utf8'),
  )
  const fingerprint = createHash('sha256').update(functions.join('\n')).digest('hex')
  return { migrations, functions, fingerprint }
}

/** What the schema is, compared with this program, and whether the database is an unconfirmed copy of another. Writes nothing. */
export async function inspectSchema(
  options: ConnectOptions,
): Promise<{ state: SchemaState; server: string; copied: boolean }> {
  return withClient(options, async (client) => {
    const server = await serverVersion(client)
    const state = await stateOf(client, options, readRelease())
    if (state !== 'current') return { state, server, copied: false }
    const schema = quoteIdentifier(options.schema ?? CONNECT_DEFAULTS.schema)
    const { rows } = await client.query<{ copied: boolean }>(
      `select ${schema}.database_copied() as copied`,
    )
    return { state, server, copied: rows[0]?.copied === true }
  })
}

/** What the confirmation of a copy did, and what waits in it for workers. */
export interface ConfirmedCopy {
  readonly workersEnded: number
  readonly jobsReleased: number
  readonly webhooksRemoved: number
  readonly waiting: readonly { readonly namespace: string; readonly jobs: number }[]
}

/** Makes a copied database one of its own, whose jobs may run. Null: it is no copy, and nothing was done. */
export async function confirmCopy(options: ConnectOptions): Promise<ConfirmedCopy | null> {
  return withClient(options, async (client) => {
    const schema = quoteIdentifier(options.schema ?? CONNECT_DEFAULTS.schema)
    const { rows } = await client.query<{ done: ConfirmedCopy & { copied: boolean } }>(
      `select ${schema}.confirm_copy() as done`,
    )
    const done = rows[0]?.done
    if (done?.copied !== true) return null
    const { copied: _, ...confirmed } = done
    return confirmed
  })
}

/**
 * Brings the schema up to date and says what was done. Idempotent, and safe to run from any number of processes at once, and while
 * workers of the release before run.
 *
 * @throws {SchemaNewerError} when the database was migrated by a newer program.
 * @throws {PermissionDeniedError} when the role may not create what is missing.
 * @throws {DatabaseUnreachableError} when other sessions have held the tables for a minute.
 */
export async function migrate(options: ConnectOptions): Promise<MigrateResult> {
  const release = readRelease()
  return withClient(options, async (client) => {
    const server = await serverVersion(client)
    for (let tries = 1; ; tries += 1) {
      try {
        return { ...(await applyRelease(client, options, release)), server }
      } catch (error) {
        // Whoever waits for a table makes all who come after wait too, so that is given up soon, and tried again.
        const { code } = error as { code?: unknown }
        if (code !== LOCK_NOT_AVAILABLE && code !== DEADLOCK) throw error
        if (tries === LOCK_TRIES_MAX) {
          throw new DatabaseUnreachableError(
            'migrate: other sessions have held the tables for a minute.',
            {
              hint: 'Look for a long transaction in pg_stat_activity, and try again.',
              cause: error,
            },
          )
        }
        await sleep(jittered(LOCK_PAUSE_MS))
      }
    }
  })
}

/** All in one transaction, or nothing. */
async function applyRelease(
  client: pg.Client,
  options: ConnectOptions,
  release: Release,
): Promise<Omit<MigrateResult, 'server'>> {
  const schema = quoteIdentifier(options.schema ?? CONNECT_DEFAULTS.schema)
  await client.query('begin isolation level read committed')
  try {
    await client.query(`select pg_advisory_xact_lock(hashtextextended($1, 4711))`, [
      `leasehold ${schema}`,
    ])
    const before = await stateOf(client, options, release)
    if (before === 'newer') throw newer()
    const applied: string[] = []
    if (before !== 'current') {
      await client.query(`set local lock_timeout to ${LOCK_WAIT_MS}`)
      await client.query(`create schema if not exists ${schema}`)
      await client.query(`set local search_path to ${schema}, pg_temp`)
      await client.query(`set local check_function_bodies to off`)
      await client.query(`set local client_min_messages to warning`)
      await client.query(
        `create table if not exists migration (id integer primary key, name text not null, applied_at timestamptz not null default now())`,
      )
      await client.query(
        `create table if not exists installed (single boolean primary key default true check (single), functions text not null, program text not null)`,
      )
      await dropRoutines(client, release)
      const { rows } = await client.query<{ id: number }>('select id from migration')
      const done = new Set(rows.map((row) => row.id))
      for (const migration of release.migrations) {
        if (done.has(migration.id)) continue
        await client.query('insert into migration (id, name) values ($1, $2)', [
          migration.id,
          migration.name,
        ])
        await client.query(migration.text)
        applied.push(migration.name)
      }
      for (const text of release.functions) await client.query(text)
      await client.query('select bind_database()')
      await client.query(
        `insert into installed (functions, program) values ($1, $2)
         on conflict (single) do update set functions = excluded.functions, program = excluded.program`,
        [release.fingerprint, PROGRAM_VERSION],
      )
    }
    await client.query('commit')
    return { before, applied }
  } catch (error) {
    await client.query('rollback').catch(() => undefined)
    throw error
  }
}

/**
 * Views and functions are made anew: neither a view's columns nor a function's result may be replaced by others, and tables change
 * below. Views that somebody else has put into the schema stay, unless they build on ours; one that a release no longer has is dropped
 * by its migration.
 */
async function dropRoutines(client: pg.Client, release: Release): Promise<void> {
  const views = release.functions.flatMap((text) =>
    [...text.matchAll(/^create or replace view (\w+)/gm)].map((found) => found[1]),
  )
  await client.query(`drop view if exists ${views.join(', ')} cascade`)
  await client.query(
    `do $$
     declare
       f regprocedure;
     begin
       for f in select oid from pg_proc where pronamespace = quote_ident(current_schema())::regnamespace loop
         execute format('drop routine if exists %s cascade', f);
       end loop;
     end
     $$`,
  )
}

/**
 * Makes sure that this program may work with the database: migrates a missing or older schema when the role may, refuses a
 * newer one, and a missing one unless it `creates` it.
 */
export async function ensureSchema(
  options: ConnectOptions,
  { creates = true }: { creates?: boolean } = {},
): Promise<void> {
  const { state } = await inspectSchema(options)
  if (state === 'current') return
  if (state === 'newer') throw newer()
  if (state === 'missing' && !creates) {
    throw new SchemaOutdatedError(
      `this database has no Leasehold schema ${quoteIdentifier(options.schema ?? CONNECT_DEFAULTS.schema)}, so there is nothing to see.`,
      { hint: 'Set it up: leasehold migrate. A worker and enqueue do so too.' },
    )
  }
  try {
    await migrate(options)
  } catch (error) {
    if (!(error instanceof PermissionDeniedError)) throw error
    throw new SchemaOutdatedError(
      `the database's Leasehold schema is ${state}, and this role may not change it.`,
      {
        hint: 'Run it as the owner: leasehold migrate',
        cause: error,
      },
    )
  }
}

function newer(): SchemaNewerError {
  return new SchemaNewerError(
    `the database's Leasehold schema was made by a newer program than this one (${PROGRAM_VERSION}).`,
    { hint: 'Update this program; an older one does not touch a newer schema.' },
  )
}

async function stateOf(
  client: pg.Client,
  options: ConnectOptions,
  release: Release,
): Promise<SchemaState> {
  const name = options.schema ?? CONNECT_DEFAULTS.schema
  const { rows: found } = await client.query<{ tables: boolean; answers: boolean }>(
    `select exists (select from pg_tables where schemaname = $1 and tablename = 'migration') as tables,
            exists (select from pg_proc p join pg_namespace n on n.oid = p.pronamespace
                    where n.nspname = $1 and p.proname = 'installed_release') as answers`,
    [name],
  )
  if (found[0]?.answers !== true) return found[0]?.tables === true ? 'outdated' : 'missing'
  const { rows } = await client.query<{
    release: { migration: number | null; functions: string; program: string } | null
  }>(`select ${quoteIdentifier(name)}.installed_release() as release`)
  const installed = rows[0]?.release ?? null
  const latest = release.migrations.at(-1)?.id ?? 0
  if (
    (installed?.migration ?? 0) > latest ||
    compareVersions(installed?.program ?? '0', PROGRAM_VERSION) > 0
  ) {
    return 'newer'
  }
  return installed?.migration === latest && installed.functions === release.fingerprint
    ? 'current'
    : 'outdated'
}

function compareVersions(a: string, b: string): number {
  const left = a.split('.').map(Number)
  const right = b.split('.').map(Number)
  for (let i = 0; i < 3; i += 1) {
    const difference = (left[i] ?? 0) - (right[i] ?? 0)
    if (difference !== 0) return difference
  }
  return 0
}

async function serverVersion(client: pg.Client): Promise<string> {
  const { rows } = await client.query<{ number: number; version: string }>(
    `select current_setting('server_version_num')::integer as number, current_setting('server_version') as version`,
  )
  const row = rows[0]
  if (row === undefined || row.number < POSTGRES_VERSION_MIN * 10_000) {
    throw new UsageError(
      `the server is PostgreSQL ${row?.version}, and Leasehold needs ${POSTGRES_VERSION_MIN} or newer.`,
    )
  }
  return row.version.replace(/ .*/, '')
}

async function withClient<T>(
  options: ConnectOptions,
  work: (client: pg.Client) => Promise<T>,
): Promise<T> {
  let client: pg.Client
  try {
    client = await connectOne({ ...options, callTimeoutMs: 120_000 })
  } catch (error) {
    throw explainFailure(error, 'connect')
  }
  try {
    return await work(client)
  } catch (error) {
    throw explainFailure(error, 'migrate')
  } finally {
    await client.end().catch(() => undefined)
  }
}
