/** A worker renews on a connection of its own, which no handler can take from it, and says so when the server gives it too few. */
import { randomBytes } from 'node:crypto'
import pg from 'pg'
import { expect, onTestFinished, test } from 'vitest'
import { createClient } from '../../src/client/client.ts'
import { defineJob } from '../../src/client/define-job.ts'
import type { StandardSchema } from '../../src/client/standard-schema.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'
import { builtApi, until } from '../support/process.ts'

const { createWorker } = await builtApi()

const LEASE_MS = 6_000
const anything: StandardSchema = {
  '~standard': { version: 1, vendor: 'test', validate: (value) => ({ value }) },
}

test('B4: handlers that hold every connection of their pool for three leases lose none', async () => {
  const db = await createTestDatabase()
  const connect = { databaseUrl: db.databaseUrl, schema: db.schemaName }
  const pool = new pg.Pool({ connectionString: db.databaseUrl, max: 2 })
  onTestFinished(() => pool.end())
  let waiting = 0
  const greedy = defineJob({
    type: 'greedy',
    input: anything,
    run: async () => {
      waiting = Math.max(waiting, pool.waitingCount + 1)
      await pool.query('select pg_sleep($1)', [(3 * LEASE_MS) / 1_000 / 2])
    },
  })
  await using client = createClient(connect)
  await using worker = createWorker({
    ...connect,
    jobs: [greedy],
    concurrency: 4,
    leaseMs: LEASE_MS,
    renewMs: LEASE_MS / 3,
  })
  const lost: unknown[] = []
  worker.on('lease.lost', (event) => lost.push(event))
  await worker.start()
  // Four for two connections: two of them wait for half of the time.
  const jobIds = await client.enqueueMany(greedy, [1, 2, 3, 4])
  for (const jobId of jobIds) await client.wait(jobId, { timeoutMs: 60_000 })
  expect(waiting).toBeGreaterThan(1)
  expect(lost).toEqual([])
  for (const jobId of jobIds) expect(await client.get(jobId)).toMatchObject({ attempt: 1, lost: 0 })
}, 60_000)

test('B4: a worker that gets no connection refuses to start, and one that gets too few says what is missing', async () => {
  const db = await createTestDatabase()
  const job = defineJob({ type: 'job', input: anything, run: () => null })
  const none = createWorker({ ...(await narrowed(db, 0)), jobs: [job] })
  await expect(none.start()).rejects.toMatchObject({
    code: 'ERR_DATABASE_UNREACHABLE',
    message: expect.stringContaining('too many connections') as string,
  })
  await using one = createWorker({ ...(await narrowed(db, 1)), jobs: [job] })
  const reasons: string[] = []
  one.on('worker.degraded', ({ reason }) => reasons.push(reason))
  await one.start()
  await until('a word of it', () => reasons.some((reason) => /too many connections/.test(reason)))
}, 60_000)

/** As a role that may have so many connections. */
async function narrowed(
  db: TestDatabase,
  connections: number,
): Promise<{ databaseUrl: string; schema: string }> {
  const role = `narrow_${randomBytes(4).toString('hex')}`
  const password = randomBytes(8).toString('hex')
  await db.rows(`create role ${role} login password '${password}' connection limit ${connections}`)
  await db.rows(`grant leasehold_worker to ${role}`)
  onTestFinished(async () => {
    const owner = new pg.Client({ connectionString: db.databaseUrl })
    await owner.connect()
    await owner.query(`drop role ${role}`)
    await owner.end()
  })
  const url = new URL(db.databaseUrl)
  url.username = role
  url.password = password
  return { databaseUrl: url.href, schema: db.schemaName }
}
