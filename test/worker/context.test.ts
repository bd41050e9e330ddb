/** What a handler may rely on in its context, whatever the attempt. */
import { expect, test } from 'vitest'
import { createClient } from '../../src/client/client.ts'
import { defineJob } from '../../src/client/define-job.ts'
import { createTestDatabase } from '../support/database.ts'
import { anything } from '../support/jobs.ts'
import { builtApi } from '../support/process.ts'

const { createWorker } = await builtApi()

test('H2: the idempotency key is the same in every attempt of a job, and another one for each job', async () => {
  const db = await createTestDatabase()
  const connect = { databaseUrl: db.databaseUrl, schema: db.schemaName }
  const seen: { jobId: string; attempt: number; key: string }[] = []
  const flaky = defineJob({
    type: 'flaky',
    input: anything,
    maxAttempts: 3,
    backoff: { baseMs: 1, factor: 1, maxMs: 1 },
    run(ctx) {
      seen.push({ jobId: ctx.jobId, attempt: ctx.attempt, key: ctx.idempotencyKey })
      if (ctx.attempt < 3) throw new Error('not yet')
      return ctx.idempotencyKey
    },
  })
  await using client = createClient(connect)
  await using worker = createWorker({ ...connect, jobs: [flaky] })
  await worker.start()
  const jobIds = await client.enqueueMany(flaky, [1, 1])
  const keys: unknown[] = []
  for (const jobId of jobIds) {
    const key = await client.wait(jobId, { timeoutMs: 30_000 })
    keys.push(key)
    const attempts = seen.filter((one) => one.jobId === jobId)
    expect(attempts.map(({ attempt }) => attempt)).toEqual([1, 2, 3])
    expect(new Set(attempts.map((one) => one.key))).toEqual(new Set([key]))
  }
  expect(new Set(keys).size).toBe(2)
  // A key without content would be the same for everybody.
  for (const key of keys) expect(key).toMatch(/\S{8,}/)
})
