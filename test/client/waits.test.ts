/**
 * `client.wait` and `client.runs.wait`: they tell of the end as it is in the database, wait through whatever befalls the connection, by a
 * clock that nobody sets, and end at once for anything else.
 */
import { randomUUID } from 'node:crypto'
import pg from 'pg'
import { expect, test, vi } from 'vitest'
import { type Client, createClient } from '../../src/client/client.ts'
import { migrate } from '../../src/db/migrate.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'
import { ownServer } from '../support/own-server.ts'
import { until } from '../support/until.ts'

interface Waiting {
  readonly db: TestDatabase
  readonly client: Client
}

async function open(): Promise<Waiting> {
  const db = await createTestDatabase()
  return { db, client: createClient({ databaseUrl: db.databaseUrl, schema: db.schemaName }) }
}

/** Whether `work` is still under way after looks have been made. */
async function goesOn(work: Promise<unknown>): Promise<boolean> {
  const pause = new Promise<'pending'>((resolve) => setTimeout(() => resolve('pending'), 300))
  return (await Promise.race([work.catch(() => 'settled'), pause])) === 'pending'
}

test('a wait outlives the end of every connection it has', async () => {
  const { db, client } = await open()
  await using _ = client
  const jobId = await client.enqueueRaw('anything', {})
  const run = await client.runs.create({ name: 'nightly' })
  const waits = [
    client.wait(jobId).catch((error: unknown) => (error as { code: string }).code),
    client.runs.wait(run.id).then(({ status }) => status),
  ]
  for (let times = 0; times < 3; times += 1) {
    await until('the client has connections', async () => {
      const rows = await db.rows(
        `select pg_terminate_backend(pid) from pg_stat_activity
         where pid <> pg_backend_pid() and query like $1 and query not like '%pg_stat_activity%'`,
        [`%"${db.schemaName}".%`],
      )
      return rows.length > 0
    })
    expect(await goesOn(Promise.race(waits))).toBe(true)
  }
  await client.cancel(jobId)
  await client.runs.complete(run.id)
  expect(await Promise.all(waits)).toEqual(['ERR_JOB_ENDED', 'completed'])
})

test('a wait begins and goes on while the database is stopped, and ends when that is back', async (context) => {
  const server = await ownServer(context)
  await migrate({ databaseUrl: server.url })
  await using client = createClient({ databaseUrl: server.url })
  const jobId = await client.enqueueRaw('anything', {})
  const run = await client.runs.create({ name: 'nightly' })
  const before = client.wait(jobId).catch((error: unknown) => (error as { code: string }).code)
  await server.stop()
  const during = client.runs.wait('nightly')
  expect(await goesOn(Promise.race([before, during]))).toBe(true)
  await expect(client.wait(jobId, { timeoutMs: 200 })).rejects.toMatchObject({
    code: 'ERR_WAIT_TIMEOUT',
    message: expect.stringContaining('the database does not answer') as string,
    cause: { code: 'ERR_DATABASE_UNREACHABLE' },
  })
  await server.start()
  await client.cancel(jobId)
  await client.runs.fail(run.id)
  expect(await before).toBe('ERR_JOB_ENDED')
  expect(await during).toMatchObject({ id: run.id, status: 'error' })
})

test('what is no outage ends a wait at once', async () => {
  const { db, client } = await open()
  await using _ = client
  await using lost = createClient({ databaseUrl: db.databaseUrl, schema: 'nowhere' })
  const refusals = [
    client.wait(randomUUID()),
    client.runs.wait('no such run'),
    lost.wait(randomUUID()),
  ]
  expect(
    (await Promise.allSettled(refusals)).map((one) => 'reason' in one && one.reason.code),
  ).toEqual(['ERR_NOT_FOUND', 'ERR_NOT_FOUND', 'ERR_SCHEMA_OUTDATED'])
})

test('a client that is closed, a pool that was ended and a signal end a wait', async () => {
  const { db, client } = await open()
  const jobId = await client.enqueueRaw('anything', {})
  const pool = new pg.Pool({ connectionString: db.databaseUrl })
  const ofPool = createClient({ pool, schema: db.schemaName })
  const aborted = new AbortController()
  const waits = [
    expect(client.wait(jobId)).rejects.toMatchObject({ code: 'ERR_STATE_REFUSED' }),
    expect(ofPool.wait(jobId)).rejects.toMatchObject({ code: 'ERR_DATABASE_UNREACHABLE' }),
    expect(client.wait(jobId, { signal: aborted.signal })).rejects.toBe('enough'),
  ]
  expect(await goesOn(Promise.race(waits))).toBe(true)
  aborted.abort('enough')
  await waits[2]
  await client.close()
  await pool.end()
  await Promise.all(waits)
  await ofPool.close()
})

test('a step of the wall clock neither ends nor prolongs a wait', async () => {
  const { client } = await open()
  await using _ = client
  const jobId = await client.enqueueRaw('anything', {})
  const wait = client.wait(jobId, { timeoutMs: 60_000 })
  const short = client.wait(jobId, { timeoutMs: 700 })
  using clock = vi.spyOn(Date, 'now').mockReturnValue(Date.now() + 86_400_000)
  expect(await goesOn(Promise.race([wait, short]))).toBe(true)
  clock.mockReturnValue(0)
  await expect(short).rejects.toMatchObject({
    message: expect.stringMatching(/is pending after 700 ms. It goes on/) as string,
  })
  await client.cancel(jobId)
  await expect(wait).rejects.toMatchObject({ code: 'ERR_JOB_ENDED' })
})

test('a wait of no time answers with what is', async () => {
  const { client } = await open()
  await using _ = client
  const run = await client.runs.create({ name: 'nightly' })
  await expect(client.runs.wait(run.id, { timeoutMs: 0 })).rejects.toMatchObject({
    code: 'ERR_WAIT_TIMEOUT',
  })
  await client.runs.archive(run.id)
  expect(await client.runs.wait(run.id, { timeoutMs: 0 })).toMatchObject({ status: 'archived' })
})
