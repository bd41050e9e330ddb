/** O1, O2: who shares a database and not a namespace shares no jobs, no recovery and no cancel. */
import { randomUUID } from 'node:crypto'
import { expect, test } from 'vitest'
import { createClient } from '../../src/client/client.ts'
import { defineJob } from '../../src/client/define-job.ts'
import { createTestDatabase } from '../support/database.ts'
import { anything } from '../support/jobs.ts'
import { builtApi } from '../support/process.ts'
import { until } from '../support/until.ts'

const { createWorker } = await builtApi()

test('O1: two stacks on one database claim only their own jobs', async () => {
  const db = await createTestDatabase()
  const connect = { databaseUrl: db.databaseUrl, schema: db.schemaName }
  const ran: string[] = []
  const stacks = await Promise.all(
    ['ann', 'bob'].map(async (namespace) => {
      const job = defineJob({
        type: 'job',
        input: anything,
        run: (ctx) => {
          ran.push(`${namespace} ran ${String(ctx.input)}`)
          return null
        },
      })
      const client = createClient({ ...connect, namespace })
      const worker = createWorker({ ...connect, namespace, jobs: [job] })
      await worker.start()
      return { namespace, job, client, worker }
    }),
  )
  const [ann, bob] = stacks
  const ids = await Promise.all(
    stacks.map(({ namespace, job, client }) => client.enqueue(job, namespace)),
  )
  for (const { client } of stacks)
    await until('its job is done', async () => (await client.stats()).jobs.completed === 1)
  expect(ran.sort()).toEqual(['ann ran ann', 'bob ran bob'])
  await expect(bob?.client.cancel(ids[0] ?? '')).rejects.toMatchObject({ code: 'ERR_NOT_FOUND' })
  expect((await ann?.client.workers.list())?.map(({ id }) => id)).toEqual([ann?.worker.id])
  for (const { client, worker } of stacks) {
    await worker.stop()
    await client.close()
  }
})

test('O2: starting one application leaves the lost jobs of another alone', async () => {
  const db = await createTestDatabase()
  const connect = { databaseUrl: db.databaseUrl, schema: db.schemaName }
  await using ann = createClient({ ...connect, namespace: 'ann' })
  const job = defineJob({ type: 'job', input: anything, run: () => null })
  const id = await ann.enqueue(job, {})
  const gone = randomUUID()
  await db.rows(`select %s.register('ann', $1::jsonb)`, [
    JSON.stringify({
      incarnation: gone,
      machineId: 'machine',
      hostname: 'gone',
      pid: 4_000_000,
      concurrency: 1,
      queues: ['default'],
      types: ['job'],
      version: 'test',
      command: 'test',
      leaseMs: 6_000,
      renewMs: 2_000,
      idleBeatMs: 2_000,
      direct: false,
    }),
  ])
  await db.rows(`select %s.claim($1, gen_random_uuid(), 1, '{default}', '{job}')`, [gone])
  const worker = createWorker({ ...connect, namespace: 'bob', machineId: 'machine', jobs: [job] })
  await worker.start()
  await until('it is lost', async () => (await ann.get(id)).state === 'lost')
  await using bob = createClient({ ...connect, namespace: 'bob' })
  expect(await bob.sweep()).toMatchObject({ ended: [], recovered: [] })
  expect(await ann.get(id)).toMatchObject({ state: 'lost', attempt: 1 })
  expect(await bob.list()).toMatchObject({ items: [] })
  await worker.stop()
})
