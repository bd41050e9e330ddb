/** Workers of a library that are aimed at a run: how they start, how they stop by themselves, and what their handlers are told. */
import { expect, test } from 'vitest'
import { createClient } from '../../src/client/client.ts'
import { defineJob } from '../../src/client/define-job.ts'
import { createTestDatabase } from '../support/database.ts'
import { anything } from '../support/jobs.ts'
import { builtApi } from '../support/process.ts'
import { until } from '../support/until.ts'

const { createWorker } = await builtApi()

const UNKNOWN = '01890a5d-ac96-774b-bcce-b302099a8057'

test('start rejects where the run is unknown or has ended, and nothing is registered', async () => {
  const db = await createTestDatabase()
  const { databaseUrl, schemaName: schema } = db
  await using client = createClient({ databaseUrl, schema })
  const { id } = await client.runs.create({ name: 'over' })
  await client.runs.archive('over')
  const job = defineJob({ type: 'job', input: anything, run: () => null })
  for (const [run, code] of [
    [UNKNOWN, 'ERR_NOT_FOUND'],
    [id, 'ERR_RUN_TERMINAL'],
  ] as const) {
    const worker = createWorker({ databaseUrl, schema, jobs: [job], run })
    await expect(worker.start()).rejects.toMatchObject({ code })
    expect(worker.state).toBe('failed')
  }
  expect(await client.workers.list()).toEqual([])
})

test('it stops by itself when its run has ended, says why, and children kept the run open until then', async () => {
  const db = await createTestDatabase()
  const { databaseUrl, schemaName: schema } = db
  await using client = createClient({ databaseUrl, schema })
  const leaf = defineJob({ type: 'leaf', input: anything, run: (ctx) => ctx.runId })
  const root = defineJob({
    type: 'root',
    input: anything,
    async run(ctx) {
      await ctx.enqueue(leaf, {})
      await ctx.cost({ usd: 0.1 })
      await ctx.cost({ usd: 0.2 })
      return ctx.runId
    },
  })
  const run = await client.runs.create({ name: 'tree' })
  const worker = createWorker({ databaseUrl, schema, jobs: [root, leaf], run: run.id })
  const ended: unknown[] = []
  worker.on('run.ended', (fields) => ended.push(fields))
  await worker.start()
  const rootId = await client.enqueue(root, {}, { run: run.id })
  expect(await client.wait(rootId, { job: root })).toBe(run.id)
  await client.runs.update(run.id, { filled: true })
  await until('the worker has stopped', () => worker.state === 'stopped')
  expect(await client.runs.get(run.id)).toMatchObject({
    status: 'completed',
    counts: { completed: 2, total: 2 },
    cost: { usd: 0.3 },
  })
  expect(ended).toEqual([{ runId: run.id, status: 'completed', running: 0 }])
  expect(worker.history.at(-1)?.reason).toBe('its run ended as completed')
  await expect(worker.start()).rejects.toMatchObject({ code: 'ERR_RUN_TERMINAL' })
})

test('client.runs.wait ends a run whose time has come where no worker is left', async () => {
  const db = await createTestDatabase()
  const { databaseUrl, schemaName: schema } = db
  await using client = createClient({ databaseUrl, schema })
  const run = await client.runs.create({ name: 'alone', fillGraceMs: 300 })
  const job = defineJob({ type: 'job', input: anything, run: () => null })
  const worker = createWorker({ databaseUrl, schema, jobs: [job] })
  await worker.start()
  await client.wait(await client.enqueue(job, {}, { run: run.id }))
  await worker.stop()
  expect(await client.runs.wait(run.id)).toMatchObject({ status: 'completed' })
})
