/** A worker renews on a connection of its own, which no handler can take from it, and says so when the server gives it too few. */
import { randomBytes } from 'node:crypto'
import pg from 'pg'
import { expect, onTestFinished, test } from 'vitest'
import { createClient } from '../../src/client/client.ts'
import { defineJob } from '../../src/client/define-job.ts'
import { Proxy } from '../process/proxy.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'
import { code, readPage, section, tables } from '../docs/documents.ts'
import { anything, gate } from '../support/jobs.ts'
import { builtApi } from '../support/process.ts'
import { until } from '../support/until.ts'

const { createWorker } = await builtApi()

const LEASE_MS = 6_000
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
})

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
})

test('an idle worker holds the connections that its page says, and no more while it runs what it can', async () => {
  const db = await createTestDatabase()
  await using proxy = await Proxy.open(db.databaseUrl)
  const connect = { databaseUrl: db.databaseUrl, schema: db.schemaName }
  const held = tables(section(readPage('docs/reference/settings.md'), '## A worker'), 'Connection')
  const said = (count: string): string[] =>
    held.filter((row) => row['How many'] === count).map((row) => code(row['Connection']))
  const always = said('1').filter((name) => name !== 'leasehold retention')
  const most = Number(
    held.find((row) => row['How many']?.startsWith('up to'))?.['How many']?.slice(6),
  )
  await using client = createClient(connect)
  const job = defineJob({ type: 'job', input: anything, run: (ctx) => ctx.progress(1) })
  await using worker = createWorker({
    ...connect,
    databaseUrl: proxy.url,
    jobs: [job],
    concurrency: 100,
  })
  await worker.start()
  await until('it has looked', () => proxy.applications.includes('leasehold sweep'))
  expect(proxy.applications.toSorted()).toEqual(always.toSorted())
  const ids = await client.enqueueMany(
    job,
    Array.from({ length: 2_000 }, (_, index) => index),
  )
  for (const id of ids.slice(-10)) await client.wait(id, { timeoutMs: 60_000 })
  const own = proxy.applications.filter((name) => name === 'leasehold worker').length
  expect(own).toBeGreaterThan(1)
  expect(own).toBeLessThanOrEqual(1 + most)
})

test('G2: statements are prepared where a session is our own, and nothing is kept in one that a pooler lends', async () => {
  const db = await createTestDatabase()
  const job = defineJob({ type: 'job', input: anything, run: () => null })
  for (const likePooler of [false, true]) {
    await using proxy = await Proxy.open(db.databaseUrl)
    proxy.likePooler = likePooler
    const connect = { databaseUrl: proxy.url, schema: db.schemaName }
    await using client = createClient(connect)
    await using worker = createWorker({ ...connect, jobs: [job], pollMs: 100 })
    let listening: boolean | null = null
    worker.on('worker.started', (event) => {
      listening = event.listening
    })
    await worker.start()
    await client.wait(await client.enqueue(job, 1), { timeoutMs: 30_000 })
    await client.wait(await client.enqueue(job, 2), { timeoutMs: 30_000 })
    for (const called of ['enqueue', 'claim', 'settle', 'register']) {
      const calls = proxy.statements.filter(({ text }) => text.includes(`.${called}(`))
      const names = new Set(calls.map(({ preparedAs }) => preparedAs !== ''))
      expect({ called, prepared: [...names] }).toEqual({ called, prepared: [!likePooler] })
    }
    expect(listening).toBe(!likePooler)
  }
})

test('G1: a full worker hears of a cancel also after it has lost the connection that it listens on', async () => {
  const db = await createTestDatabase()
  const connect = { databaseUrl: db.databaseUrl, schema: db.schemaName }
  const job = defineJob({
    type: 'job',
    input: anything,
    run: (ctx) =>
      new Promise((_, reject) => {
        ctx.signal.addEventListener('abort', () => reject(ctx.signal.reason as Error))
      }),
  })
  await using client = createClient(connect)
  // A renewal would tell it too, a minute later. It has no free slot, so no claim opens the connection again.
  await using worker = createWorker({
    ...connect,
    jobs: [job],
    concurrency: 1,
    leaseMs: 180_000,
    renewMs: 60_000,
  })
  await worker.start()
  const jobId = await client.enqueue(job, 1)
  await until('it runs', () => worker.running.length === 1)
  const [told] = await db.rows<{ channel: string }>(`select %s.channel('default') as channel`)
  const ended = await db.rows(
    `select pg_terminate_backend(pid) from pg_stat_activity where query like $1`,
    [`select "${db.schemaName}".claim(%`],
  )
  expect(ended).toHaveLength(1)
  await until('it listens again', async () => {
    const rows = await db.rows(`select from pg_stat_activity where query = $1`, [
      `listen "${told?.channel}"`,
    ])
    return rows.length === 1
  })
  await client.cancel(jobId)
  await expect(client.wait(jobId, { timeoutMs: 30_000 })).rejects.toThrow(/^Cancelled/)
})

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

test('A2: a sweep that fails for another reason than an outage is said, once, and goes on when that is mended', async () => {
  const db = await createTestDatabase()
  const connect = { databaseUrl: db.databaseUrl, schema: db.schemaName }
  const finished = gate()
  const long = defineJob({ type: 'long', input: anything, run: () => finished.opened })
  await using client = createClient(connect)
  await using worker = createWorker({ ...connect, jobs: [long] })
  const failed: unknown[] = []
  worker.on('sweep.failed', (event) => failed.push(event))
  await worker.start()
  await db.rows(
    `create function %s.refuse() returns trigger language plpgsql
     as $$ begin perform nextval('%s.refused'); raise exception 'the audit refuses'; end $$`,
  )
  await db.rows('create sequence %s.refused')
  await db.rows(
    'create trigger refuse before insert or update on %s.sweeper for each row execute function %s.refuse()',
  )
  const jobId = await client.enqueue(long, 1)
  await until('several passes that failed', async () => {
    const [row] = await db.rows<{ count: string }>('select last_value as count from %s.refused')
    return Number(row?.count) >= 3
  })
  await until('a word of it', () => failed.length > 0)
  expect(failed).toEqual([
    { part: 'sweep', error: expect.stringContaining('the audit refuses') as string },
  ])
  await db.rows('drop trigger refuse on %s.sweeper')
  await until('a pass', async () => {
    const [row] = await db.rows('select from %s.sweeper where leader is not null')
    return row !== undefined
  })
  finished.open()
  await client.wait(jobId, { timeoutMs: 60_000 })
})
