/** Bounds of a worker's life, against a real database: each ends it gracefully, at a sharply defined moment, and says why. */
import { expect, test } from 'vitest'
import { type Client, createClient } from '../../src/client/client.ts'
import { defineJob } from '../../src/client/define-job.ts'
import type { JobContext } from '../../src/client/job-context.ts'
import { resolveSettings } from '../../src/config.ts'
import { ConfigUnsafeError } from '../../src/errors.ts'
import { Bounds } from '../../src/worker/bounds.ts'
import type { ShutdownReport } from '../../src/worker/shutdown-report.ts'
import type { Worker } from '../../src/worker/worker.ts'
import type { WorkerOptions } from '../../src/worker/worker-options.ts'
import { createTestDatabase } from '../support/database.ts'
import { anything } from '../support/jobs.ts'
import { builtApi } from '../support/process.ts'
import { until } from '../support/until.ts'

const { createWorker } = await builtApi()

interface Setting {
  readonly worker: Worker
  readonly client: Client
  readonly job: ReturnType<typeof defineJob>
  /** Starts it and resolves to its last report, once it has stopped by itself. */
  readonly life: () => Promise<ShutdownReport | null>
  readonly bounds: () => string[]
}

async function setUp(
  options: Partial<WorkerOptions>,
  run: (ctx: JobContext) => unknown = () => null,
): Promise<Setting> {
  const db = await createTestDatabase()
  const job = defineJob({
    type: 'job',
    input: anything,
    backoff: { baseMs: 60_000, factor: 1, maxMs: 60_000 },
    run,
  })
  const connect = { databaseUrl: db.databaseUrl, schema: db.schemaName }
  const worker = createWorker({ ...connect, jobs: [job], ...options })
  const client = createClient({ ...connect, connectionsMax: 2 })
  const reached: string[] = []
  worker.on('worker.bound_reached', ({ bound }) => reached.push(bound))
  return {
    worker,
    client,
    job,
    bounds: () => reached,
    async life() {
      await worker.start()
      await until('it has stopped by itself', () => worker.state === 'stopped')
      return worker.stop()
    },
  }
}

async function statuses(client: Client): Promise<string[]> {
  const { items } = await client.list({ limit: 200 })
  return items.map(({ status }) => status).toSorted()
}

test('maxJobs: exactly so many begin, never more are claimed than are left, and they are carried to their end', async () => {
  let running = 0
  let most = 0
  const { client, job, life, bounds, worker } = await setUp(
    { maxJobs: 5, concurrency: 3 },
    async () => {
      running += 1
      most = Math.max(most, running)
      await until('three have run at once', () => most === 3)
      running -= 1
    },
  )
  for (let n = 0; n < 12; n += 1) await client.enqueue(job, {})
  const report = await life()
  expect(bounds()).toEqual(['maxJobs'])
  expect(report).toMatchObject({
    outcome: 'graceful',
    reason: 'it has begun 5 jobs',
    interrupted: [],
    released: [],
  })
  expect(most).toBe(3)
  expect(await statuses(client)).toEqual([
    ...Array<string>(5).fill('completed'),
    ...Array<string>(7).fill('pending'),
  ])
  const { items } = await client.list({ limit: 200 })
  // Nothing was claimed and given back.
  expect(items.filter(({ status, attempt }) => status === 'pending' && attempt > 0)).toEqual([])
  expect(worker.history.map(({ state }) => state)).toEqual([
    'starting',
    'ready',
    'draining',
    'stopping',
    'stopped',
  ])
  await client.close()
})

test('maxJobs: short jobs, which are claimed ahead of free slots, are counted as exactly', async () => {
  const { client, job, life } = await setUp({ maxJobs: 100, concurrency: 2 })
  await Promise.all(Array.from({ length: 150 }, () => client.enqueue(job, {})))
  await life()
  expect((await statuses(client)).filter((status) => status === 'completed')).toHaveLength(100)
  const { items } = await client.list({ limit: 200 })
  expect(items.filter(({ status, attempt }) => status === 'pending' && attempt > 0)).toEqual([])
  await client.close()
})

test('maxJobs: a job that outlasts the shutdown grace is not interrupted', async () => {
  const { client, job, life, bounds } = await setUp(
    { maxJobs: 1, shutdownGraceMs: 0 },
    async (ctx) => {
      await until('the bound is reached', () => bounds().length === 1)
      // An interruption without any grace would be there before the answer of the database.
      await ctx.checkpoint({})
      return { aborted: ctx.signal.aborted }
    },
  )
  const id = await client.enqueue(job, {})
  expect(await life()).toMatchObject({ finished: [id], outcome: 'graceful' })
  expect(await client.get(id)).toMatchObject({ status: 'completed', result: { aborted: false } })
  await client.close()
})

test('a stop while a bounded worker carries its jobs to their end gives them the grace and no more', async () => {
  const { client, job, worker, bounds } = await setUp(
    { maxJobs: 1 },
    (ctx) =>
      new Promise((_, reject) => {
        ctx.signal.addEventListener('abort', () => reject(ctx.signal.reason as Error))
      }),
  )
  const id = await client.enqueue(job, {})
  await worker.start()
  await until('the bound is reached', () => bounds().length === 1)
  expect(worker.state).toBe('draining')
  const report = await worker.stop({ graceMs: 50, signal: 'SIGTERM' })
  expect(report).toMatchObject({ interrupted: [id], signal: 'SIGTERM' })
  expect(report?.reason).toBe('it has begun 1 job')
  expect(await client.get(id)).toMatchObject({ status: 'pending', interruptions: 1 })
  await client.close()
})

test('maxLoops: counts claims that were answered, with jobs or without', async () => {
  const { client, job, life, bounds } = await setUp({ maxLoops: 1, concurrency: 3 })
  for (let n = 0; n < 5; n += 1) await client.enqueue(job, {})
  expect(await life()).toMatchObject({ reason: 'it has looked for work 1 time' })
  expect(bounds()).toEqual(['maxLoops'])
  // One claim for three free slots.
  expect((await statuses(client)).filter((status) => status === 'completed')).toHaveLength(3)
  await client.close()
})

test('maxLoops: an empty look counts', async () => {
  const { client, life } = await setUp({ maxLoops: 2, pollMs: 100, listen: false })
  expect(await life()).toMatchObject({ reason: 'it has looked for work 2 times' })
  await client.close()
})

test('exitWhenIdle: takes all that is due, and waits neither for scheduled jobs nor for a retry after a pause', async () => {
  let first = true
  const { client, job, life, bounds } = await setUp({ exitWhenIdle: true, concurrency: 2 }, () => {
    if (!first) return null
    first = false
    throw new Error('once')
  })
  await client.enqueue(job, {})
  for (let n = 0; n < 6; n += 1) await client.enqueue(job, {})
  await client.enqueue(job, {}, { delayMs: 3_600_000 })
  expect(await life()).toMatchObject({
    outcome: 'graceful',
    reason: 'nothing is due, looked at twice',
  })
  expect(bounds()).toEqual(['exitWhenIdle'])
  expect(await statuses(client)).toEqual([
    ...Array<string>(6).fill('completed'),
    'pending',
    'pending',
  ])
  await client.close()
})

test('exitWhenIdle: jobs that a job leaves behind are taken too', async () => {
  const { client, job, life } = await setUp({ exitWhenIdle: true }, async (ctx) => {
    const { left } = ctx.input as { left: number }
    if (left > 0) await ctx.enqueue(job, { left: left - 1 })
  })
  await client.enqueue(job, { left: 4 })
  await life()
  expect(await statuses(client)).toEqual(Array<string>(5).fill('completed'))
  await client.close()
})

test('exitWhenIdle: a worker that an operator has drained is not idle, but kept from work', async () => {
  const { client, job, worker } = await setUp(
    { exitWhenIdle: true, pollMs: 50, listen: false },
    () => until('drained', async () => (await client.workers.list())[0]?.status === 'draining'),
  )
  await client.enqueue(job, {})
  await worker.start()
  await until('the job runs', () => worker.running.length === 1)
  await client.workers.drain(worker.id ?? '')
  await until('the job is done', async () => (await client.stats()).jobs.completed === 1)
  await client.enqueue(job, {})
  await until('it has asked again', async () => worker.running.length === 0)
  expect(worker.state).toBe('ready')
  await client.workers.resume(worker.id ?? '')
  await client.close()
  await worker.stop({ graceMs: 0 })
})

test('maxLifetimeMs: a graceful stop with the grace, whatever runs', async () => {
  const { client, job, life, bounds } = await setUp(
    { maxLifetimeMs: 700, shutdownGraceMs: 100 },
    (ctx) =>
      new Promise((_, reject) => {
        ctx.signal.addEventListener('abort', () => reject(ctx.signal.reason as Error))
      }),
  )
  const id = await client.enqueue(job, {})
  const startedMs = performance.now()
  expect(await life()).toMatchObject({
    outcome: 'graceful',
    reason: 'its lifetime of 700 ms is over',
    interrupted: [id],
  })
  expect(performance.now() - startedMs).toBeGreaterThan(700)
  expect(bounds()).toEqual(['maxLifetimeMs'])
  expect(await client.get(id)).toMatchObject({ status: 'pending', interruptions: 1, lost: 0 })
  await client.close()
})

test('D7: a worker never claims a type that it has not registered, and with nothing else due it is idle', async () => {
  const { client, job, life } = await setUp({ exitWhenIdle: true })
  const known = await client.enqueue(job, {})
  const fresh = await client.enqueueRaw('job.of.the.next.version', {})
  await life()
  expect(await client.get(known)).toMatchObject({ status: 'completed' })
  expect(await client.get(fresh)).toMatchObject({ status: 'pending', attempt: 0 })
  await client.close()
})

test('bounds that make no sense are refused together', () => {
  const wrong = { maxLoops: 0, maxJobs: 1.5, maxLifetimeMs: -1, healthPort: 65_536, healthHost: '' }
  expect(() => resolveSettings(wrong)).toThrow(ConfigUnsafeError)
  for (const name of Object.keys(wrong)) expect(() => resolveSettings(wrong)).toThrow(name)
})

test('what was claimed ahead begins before a bound on claims ends the worker', () => {
  const bounds = new Bounds(resolveSettings({ maxLoops: 1 }))
  expect(bounds.claimsOver).toBe(false)
  bounds.answered({ jobs: 5, idle: false })
  expect(bounds.claimsOver).toBe(true)
  expect(bounds.reached(0, 2)).toBeNull()
  expect(bounds.reached(0, 0)).toMatchObject({ bound: 'maxLoops', graceMs: null })
})

test('one empty look is no proof: the second has to follow it, with nothing in between', () => {
  const bounds = new Bounds(resolveSettings({ exitWhenIdle: true }))
  expect(bounds.answered({ jobs: 0, idle: true })).toBe(true)
  expect(bounds.answered({ jobs: 1, idle: true })).toBe(false)
  expect(bounds.answered({ jobs: 0, idle: false })).toBe(false)
  expect(bounds.answered({ jobs: 0, idle: true })).toBe(true)
  expect(bounds.reached(0, 0)).toBeNull()
  expect(bounds.answered({ jobs: 0, idle: true })).toBe(false)
  expect(bounds.reached(0, 0)).toMatchObject({ bound: 'exitWhenIdle' })
  expect(bounds.claimsOver).toBe(true)
})
