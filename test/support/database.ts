/**
 * A schema of its own for each test, on a real PostgreSQL, with a clock that the test can move.
 *
 * The schema is dropped when the test passes and kept, with its name printed, when it fails. `advance` moves `clock()` of this
 * schema alone, for every connection at once.
 */
import { randomBytes } from 'node:crypto'
import { onTestFinished } from 'vitest'
import { type Database, openDatabase } from '../../src/db/connect.ts'
import { migrate } from '../../src/db/migrate.ts'

export interface TestDatabase extends Database {
  readonly databaseUrl: string
  readonly schemaName: string
  /** Rows of one statement, for looking at tables and for what only a test may do. `%s` stands for the quoted schema. */
  rows<T = Record<string, unknown>>(text: string, values?: unknown[]): Promise<T[]>
  /** Moves the schema's clock forward (or back) by so many milliseconds. The first call freezes nothing: time goes on. */
  advance(ms: number): Promise<void>
}

export function testDatabaseUrl(): string {
  const url = process.env['LEASEHOLD_TEST_URL'] ?? process.env['DATABASE_URL']
  if (url === undefined) throw new Error('no test database: run npm test, or set DATABASE_URL')
  return url
}

/** @param options.schemaName A name to use instead of a random one. */
export async function createTestDatabase(
  options: { schemaName?: string } = {},
): Promise<TestDatabase> {
  const databaseUrl = testDatabaseUrl()
  const schemaName = options.schemaName ?? `test_${randomBytes(6).toString('hex')}`
  const admin = openDatabase({ databaseUrl, schema: schemaName, connectionsMax: 1 })
  await admin.query(`drop schema if exists ${admin.schema} cascade`, [])
  await migrate({ databaseUrl, schema: schemaName })
  const db = openDatabase({ databaseUrl, schema: schemaName, connectionsMax: 20 })
  let clockMoves = false
  onTestFinished(async (context) => {
    await db.close()
    if (context.task.result?.state === 'fail') {
      process.stderr.write(`kept for a look: schema ${schemaName}\n`)
    } else {
      await dropSchema(admin)
    }
    await admin.close()
  })
  const rows = async <T>(text: string, values: unknown[] = []): Promise<T[]> =>
    (await db.query(text.replaceAll('%s', db.schema), values)).rows as T[]
  return {
    ...db,
    databaseUrl,
    schemaName,
    rows,
    async advance(ms) {
      if (!clockMoves) {
        await rows(`create table %s.test_clock (shift interval not null)`)
        await rows(`insert into %s.test_clock values ('0')`)
        await rows(
          `create or replace function %s.clock() returns timestamptz language sql stable
           as 'select statement_timestamp() + (select shift from %s.test_clock)'`,
        )
        clockMoves = true
      }
      await rows(`update %s.test_clock set shift = shift + $1 * interval '1 millisecond'`, [ms])
    },
  }
}

/** The server may still be at the last statement of a worker that was killed or cut off: that one and this can deadlock. */
export async function dropSchema(db: Database): Promise<void> {
  for (let tries = 1; ; tries += 1) {
    try {
      await db.query(`drop schema ${db.schema} cascade`, [])
      return
    } catch (error) {
      if ((error as { code?: unknown }).code !== '40P01' || tries === 5) throw error
    }
  }
}
