/** Migrations: idempotent, safe from ten processes at once, refused where they must be, and their result as checked in. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { randomBytes, randomUUID } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { gunzipSync } from 'node:zlib'
import { describe, expect, onTestFinished, test } from 'vitest'
import { defineJob } from '../src/client/define-job.ts'
import { connectOne, type Database, openDatabase } from '../src/db/connect.ts'
import { ensureSchema, inspectSchema, migrate } from '../src/db/migrate.ts'
import { call } from '../src/sql/call.ts'
import { getJobs } from '../src/sql/inspect.ts'
import { createTestDatabase, testDatabaseUrl } from './support/database.ts'
import { dumpSchema } from './support/dump-schema.ts'
import { anything } from './support/jobs.ts'
import { builtApi } from './support/process.ts'
import { until } from './support/until.ts'

const { createWorker } = await builtApi()
const DUMP = new URL('../migrations/schema.sql', import.meta.url)

/** A name for a schema that does not exist yet and is gone after the test. */
function freshSchema(): { databaseUrl: string; schema: string } {
  const databaseUrl = testDatabaseUrl()
  const schema = `migrate_${randomBytes(5).toString('hex')}`
  onTestFinished(async () => {
    const admin = openDatabase({ databaseUrl })
    await admin.query(`drop schema if exists ${schema} cascade`, [])
    await admin.close()
  })
  return { databaseUrl, schema }
}

describe('migrate', () => {
  test('D7: ten processes at once on an empty schema all succeed, and one does the work', async () => {
    const { databaseUrl, schema } = freshSchema()
    const code = `
      import { migrate } from ${JSON.stringify(new URL('../src/db/migrate.ts', import.meta.url).href)}
      const { applied } = await migrate({ databaseUrl: ${JSON.stringify(databaseUrl)}, schema: ${JSON.stringify(schema)} })
      process.stdout.write(String(applied.length))
    `
    const children = Array.from({ length: 10 }, () =>
      spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', code], {
        stdio: ['ignore', 'pipe', 'inherit'],
      }),
    )
    const results = await Promise.all(
      children.map(async (child) => {
        let output = ''
        child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()))
        const [exitCode] = (await once(child, 'close')) as [number]
        return { exitCode, applied: Number(output) }
      }),
    )
    expect(results.map((result) => result.exitCode)).toEqual(Array(10).fill(0))
    expect(results.filter((result) => result.applied > 0)).toHaveLength(1)
  })

  test('a second run changes nothing', async () => {
    const db = await createTestDatabase()
    const again = await migrate({ databaseUrl: db.databaseUrl, schema: db.schemaName })
    expect(again).toMatchObject({ before: 'current', applied: [] })
  })

  test('functions that differ from the program are put right without touching jobs', async () => {
    const db = await createTestDatabase()
    const options = { databaseUrl: db.databaseUrl, schema: db.schemaName }
    await db.rows(`select %s.enqueue('default', '{work}', '{"{}"}')`)
    await db.rows(
      `create or replace function %s.sweep_every_ms() returns integer language sql immutable as 'select 5'`,
    )
    await db.rows(`update %s.installed set functions = 'older'`)
    expect((await inspectSchema(options)).state).toBe('outdated')
    await ensureSchema(options)
    expect((await inspectSchema(options)).state).toBe('current')
    expect(await db.rows('select %s.sweep_every_ms() as ms')).toEqual([{ ms: 1000 }])
    expect(await db.rows('select count(*)::integer as jobs from %s.job')).toEqual([{ jobs: 1 }])
  })

  test('views and functions of other columns and results are put right too', async () => {
    const db = await createTestDatabase()
    const options = { databaseUrl: db.databaseUrl, schema: db.schemaName }
    const dump = await dumpSchema(db.databaseUrl, db.schemaName)
    const views = await db.rows<{ name: string }>(
      'select viewname as name from pg_views where schemaname = $1',
      [db.schemaName],
    )
    expect(views.map(({ name }) => name)).toEqual(expect.arrayContaining(['held_job', 'job_truth']))
    // Each view as an older release might have had it, so that none can be replaced as it is; one that another reads goes with it.
    for (const { name } of views) {
      await db.rows(`drop view if exists %s.${name} cascade`)
      await db.rows(`create view %s.${name} as select 1 as other`)
    }
    await db.rows(`create view %s.gone_since as select * from %s.held_job`)
    await db.rows(`drop function %s.sweep_every_ms()`)
    await db.rows(
      `create function %s.sweep_every_ms() returns text language sql immutable as $$select 'x'$$`,
    )
    await db.rows(`update %s.installed set functions = 'older'`)
    expect((await migrate(options)).before).toBe('outdated')
    expect(await dumpSchema(db.databaseUrl, db.schemaName)).toBe(dump)
  })

  test('a schema made by a newer program is refused and left alone', async () => {
    const db = await createTestDatabase()
    const options = { databaseUrl: db.databaseUrl, schema: db.schemaName }
    await db.rows(`insert into %s.migration (id, name) values (9999, '9999_later.sql')`)
    expect((await inspectSchema(options)).state).toBe('newer')
    await expect(migrate(options)).rejects.toMatchObject({ code: 'ERR_SCHEMA_NEWER', exitCode: 5 })
    await expect(ensureSchema(options)).rejects.toMatchObject({ code: 'ERR_SCHEMA_NEWER' })
  })

  test('a migration that fails half-way leaves nothing behind', async () => {
    const { databaseUrl, schema } = freshSchema()
    const admin = openDatabase({ databaseUrl })
    onTestFinished(() => admin.close())
    await admin.query(`create schema ${schema}`, [])
    // The name of one of our tables is taken by something else.
    await admin.query(`create view ${schema}.job_key as select 1 as one`, [])
    await expect(migrate({ databaseUrl, schema })).rejects.toThrow()
    const { rows } = await admin.query(`select tablename from pg_tables where schemaname = $1`, [
      schema,
    ])
    expect(rows).toEqual([])
  })

  test('the checked-in dump of the schema is what the migrations make', async () => {
    const db = await createTestDatabase()
    const server = (
      await db.rows<{ major: number }>(
        `select current_setting('server_version_num')::integer / 10000 as major`,
      )
    )[0]
    const dump = await dumpSchema(db.databaseUrl, db.schemaName)
    if (process.env['LEASEHOLD_WRITE_SCHEMA'] === '1') await writeFile(DUMP, dump)
    // Older servers spell views and constraints otherwise; every table, column, index and function must be there all the same.
    const names = (text: string): string[] =>
      [...text.matchAll(/^(?:create \w+|function|CREATE (?:UNIQUE )?INDEX) (\w+)/gm)].map(
        (m) => m[1] ?? '',
      )
    const expected = await readFile(DUMP, 'utf8')
    if (server?.major === 18) expect(dump).toBe(expected)
    else expect(names(dump)).toEqual(names(expected))
  })
})

/**
 * An existing database: the tables of 0001 with the functions that were current when 0002 was written (kept as a fixture, since
 * src/sql has only those of today), and jobs in every state. The calls of its workers are those functions'.
 */
describe('0002 carries an existing database over', () => {
  const RUNS_ON = ['work', 'held', 'last']

  async function existing(): Promise<{
    db: Database
    connect: { databaseUrl: string; schema: string }
  }> {
    const connect = freshSchema()
    const db = openDatabase(connect)
    onTestFinished(() => db.close())
    const functions = gunzipSync(
      await readFile(new URL('fixtures/functions-of-0001.sql.gz', import.meta.url)),
    ).toString()
    const tables = await readFile(
      new URL('../migrations/0001_initial.sql', import.meta.url),
      'utf8',
    )
    const client = await connectOne(connect)
    await client.query(`create schema ${db.schema}`)
    await client.query(`set search_path to ${db.schema}, pg_temp`)
    await client.query('set client_min_messages to warning')
    await client.query('set check_function_bodies to off')
    await client.query(
      'create table migration (id integer primary key, name text not null, applied_at timestamptz not null default now())',
    )
    await client.query(
      'create table installed (single boolean primary key default true check (single), functions text not null, program text not null)',
    )
    await client.query(tables)
    await client.query(functions)
    await client.query('select bind_database()')
    await client.query("insert into migration (id, name) values (1, '0001_initial.sql')")
    await client.query("insert into installed (functions, program) values ('before', '0.1.0')")
    await client.end()
    return { db, connect }
  }

  /** A worker of the release before, as its calls: each tried again until it is answered, as that does. */
  class OldWorker {
    readonly incarnation = randomUUID()
    readonly #db: Database
    #sends = 0

    constructor(db: Database) {
      this.#db = db
    }

    async call<T>(name: string, ...values: unknown[]): Promise<T> {
      for (let tries = 1; ; tries += 1) {
        try {
          return await call<T>(this.#db, name, values)
        } catch (error) {
          if (tries === 20) throw error
          await new Promise((resolve) => setTimeout(resolve, 20))
        }
      }
    }

    async register(): Promise<this> {
      await this.call('register', 'default', {
        incarnation: this.incarnation,
        machineId: 'm1',
        hostname: 'host',
        pid: 4711,
        version: '0.1.0',
        command: 'worker',
        concurrency: 8,
        queues: ['default'],
        types: RUNS_ON,
        leaseMs: 30_000,
        renewMs: 10_000,
        idleBeatMs: 30_000,
        direct: false,
      })
      return this
    }

    async renew(): Promise<{ outcome: string; held: { job: string; token: string }[] }> {
      this.#sends += 1
      return this.call('renew', this.incarnation, this.#sends)
    }

    /** What it holds after it claimed so many more. */
    async claim(want: number): Promise<{ job: string; token: string }[]> {
      await this.call('claim', this.incarnation, randomUUID(), want, ['default'], RUNS_ON)
      return (await this.renew()).held
    }

    settle(held: { job: string; token: string }[], outcome: string, value: unknown = null) {
      return this.call<string[]>(
        'settle',
        held.map(({ job }) => job),
        held.map(({ token }) => token),
        held.map(() => outcome),
        held.map(() => JSON.stringify(value)),
        held.map(() => (outcome === 'failed' ? 3_600_000 : null)),
      )
    }
  }

  function enqueue(db: Database, type: string, count: number, options: object = {}) {
    const inputs = Array.from({ length: count }, (_, n) => JSON.stringify({ n }))
    return call<string[]>(db, 'enqueue', [
      'default',
      inputs.map(() => type),
      inputs,
      [JSON.stringify(options)],
    ])
  }

  /** What must be the same before and after, of jobs that nobody touches meanwhile. */
  async function documents(db: Database, ids: readonly string[]): Promise<unknown[]> {
    const jobs = await getJobs<Record<string, unknown>>(db, 'default', ids, true)
    const changing = ['now', 'leaseLeftMs', 'heartbeatAt', 'leaseExpiresAt', 'workersForType']
    return jobs.map((job) =>
      Object.fromEntries(Object.entries(job).filter(([name]) => !changing.includes(name))),
    )
  }

  test('with jobs pending, running and finished in it, while old workers and clients go on: none is lost, none changed', async () => {
    const { db, connect } = await existing()
    const worker = await new OldWorker(db).register()
    // Ended, and to be tried again.
    const first = await enqueue(db, 'work', 4, { maxAttempts: 2 })
    const [completed, failed, cancelled, retrying] = await worker.claim(4)
    expect(await worker.settle([completed!], 'completed', 'paid for')).toEqual(['completed'])
    expect(await worker.settle([failed!], 'failed_finally', { code: 'no', message: 'no' })).toEqual(
      ['failed'],
    )
    expect(await call(db, 'cancel', ['default', [cancelled!.job]])).toEqual(['cancelling'])
    expect(await worker.settle([cancelled!], 'cancelled')).toEqual(['cancelled'])
    expect(await worker.settle([retrying!], 'failed', { code: 'no', message: 'no' })).toEqual([
      'retrying',
    ])
    // Held, as its worker crashed.
    const crashed = await new OldWorker(db).register()
    const held = await enqueue(db, 'held', 1, { onWorkerLost: 'hold' })
    expect(await crashed.claim(1)).toHaveLength(1)
    await crashed.call('end_worker', crashed.incarnation, 'lost', { code: 'crashed' })
    // Running: one with a key (another waits behind it), one with a checkpoint, one whose cancel was asked.
    const keyed = await enqueue(db, 'work', 2, { concurrencyKey: 'one', priority: 5 })
    const running = await enqueue(db, 'work', 3, { priority: 4 })
    const claims = await worker.claim(4)
    expect(claims).toHaveLength(4)
    const marked = claims.find(({ job }) => job === running[0])!
    expect(await worker.call('checkpoint', [marked.job], [marked.token], ['{"page": 3}'])).toEqual([
      'stored',
    ])
    expect(await call(db, 'cancel', ['default', [running[1]]])).toEqual(['cancelling'])
    // Waiting: at once, later, behind its key, for its last chance.
    const pending = [
      ...(await enqueue(db, 'work', 50)),
      ...(await enqueue(db, 'last', 1, { maxLost: 1 })),
      ...(await enqueue(db, 'work', 1, { key: 'only one' })),
    ]
    const later = await enqueue(db, 'work', 1, { delayMs: 86_400_000 })
    const still = [...first, ...held, ...keyed, ...running, ...pending, ...later]
    const before = await documents(db, still)
    expect(new Set(before.map((job) => (job as { status: string }).status))).toEqual(
      new Set(['completed', 'failed', 'cancelled', 'pending', 'held', 'running']),
    )

    const busy = await new OldWorker(db).register()
    const meanwhile: string[] = []
    const stop = new AbortController()
    const goesOn = async (act: () => Promise<unknown>): Promise<number> => {
      let rounds = 0
      for (; !stop.signal.aborted; rounds += 1) await act()
      return rounds
    }
    const outcomes: string[] = []
    const loops = [
      goesOn(async () => outcomes.push((await worker.renew()).outcome)),
      goesOn(async () => {
        // Outside the queue of the others, so that what is compared stays untouched.
        meanwhile.push(...(await busy.call<string[]>('enqueue', 'default', ['other'], ['{}'])))
      }),
    ]
    const migrated = await migrate(connect)
    const said = outcomes.length
    await until('calls after it', () => outcomes.length > said + 3)
    stop.abort()
    await Promise.all(loops)

    expect(migrated).toMatchObject({
      before: 'outdated',
      applied: ['0002_claims_write_no_index.sql'],
    })
    expect(await inspectSchema(connect)).toMatchObject({ state: 'current' })
    // A release may tell more of a job than the one before; what that told is the same.
    expect(await documents(db, still)).toMatchObject(before)
    expect((await db.query(`select * from ${db.schema}.invariants()`, [])).rows).toEqual([])
    expect(await getJobs(db, 'default', meanwhile, false)).toHaveLength(meanwhile.length)

    // The old worker ends what it ran, under the tokens that it had.
    expect(new Set(outcomes)).toEqual(new Set(['renewed']))
    expect((await worker.renew()).held.toSorted(byJob)).toEqual(
      claims.map(({ job, token }) => ({ job, token, cancel: job === running[1] })).toSorted(byJob),
    )
    const answers = await worker.settle(claims, 'completed', 'by the old one')
    expect(answers.filter((answer) => answer === 'completed')).toHaveLength(3)
    expect(answers.filter((answer) => answer === 'cancelled')).toHaveLength(1)
    // And a worker of today takes all that waits, each job once.
    const started: string[] = []
    const work = ['work', 'last', 'other'].map((type) =>
      defineJob({ type, input: anything, run: (ctx) => void started.push(ctx.jobId) }),
    )
    await using today = createWorker({ ...connect, jobs: work })
    await today.start()
    const due = [...keyed.slice(1), ...pending, ...meanwhile]
    await until('all that waits is done', async () => {
      const jobs = await getJobs<{ status: string }>(db, 'default', due, false)
      return jobs.every(({ status }) => status === 'completed')
    })
    expect(started.toSorted()).toEqual(due.toSorted())
    const [waits] = await getJobs<{ status: string }>(db, 'default', later, false)
    expect(waits?.status).toBe('pending')
    expect((await db.query(`select * from ${db.schema}.invariants()`, [])).rows).toEqual([])
  })

  test('a session that holds a table delays it, holds up nobody for long, and loses nothing', async () => {
    const { db, connect } = await existing()
    await enqueue(db, 'work', 3)
    const worker = await new OldWorker(db).register()
    const claims = await worker.claim(1)
    const holder = await connectOne(connect)
    onTestFinished(() => holder.end())
    await holder.query('begin')
    await holder.query(`lock table ${db.schema}.job in access share mode`)
    const migrating = migrate(connect)
    await until('it waits', async () => {
      const { rows } = await db.query(
        `select 1 from pg_locks where not granted and relation = '${db.schema}.job'::regclass`,
        [],
      )
      return rows.length > 0
    })
    // Queued behind it, and answered before it comes to its turn.
    const startedMs = performance.now()
    expect((await worker.renew()).outcome).toBe('renewed')
    expect(performance.now() - startedMs).toBeLessThan(15_000)
    expect((await inspectSchema(connect)).state).toBe('outdated')
    await holder.query('commit')
    await migrating
    expect((await inspectSchema(connect)).state).toBe('current')
    expect(await worker.settle(claims, 'completed')).toEqual(['completed'])
  })

  function byJob(a: { job: string }, b: { job: string }): number {
    return a.job < b.job ? -1 : 1
  }
})
