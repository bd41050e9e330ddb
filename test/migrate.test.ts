/** Migrations: idempotent, safe from ten processes at once, refused where they must be, and their result as checked in. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { randomBytes } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { describe, expect, onTestFinished, test } from 'vitest'
import { openDatabase } from '../src/db/connect.ts'
import { ensureSchema, inspectSchema, migrate } from '../src/db/migrate.ts'
import { createTestDatabase, testDatabaseUrl } from './support/database.ts'
import { dumpSchema } from './support/dump-schema.ts'

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
