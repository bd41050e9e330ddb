/** A worker looks for work again whenever a slot is free, at whatever moment that becomes so. */
import { expect, test } from 'vitest'
import { createClient } from '../../src/client/client.ts'
import { defineJob } from '../../src/client/define-job.ts'
import type { StandardSchema } from '../../src/client/standard-schema.ts'
import { createTestDatabase } from '../support/database.ts'
import { builtApi, until } from '../support/process.ts'

const { createWorker } = await builtApi()

const turns: StandardSchema<number> = {
  '~standard': { version: 1, vendor: 'test', validate: (value) => ({ value: value as number }) },
}

test('a slot that is freed while a claim comes back is filled at once, not at the next poll', async () => {
  const db = await createTestDatabase()
  const connect = { databaseUrl: db.databaseUrl, schema: db.schemaName }
  await using client = createClient(connect)
  const job = defineJob({
    type: 'job',
    input: turns,
    async run(ctx) {
      // Ends so many microtasks after the claim's answer: at one of them the claim loop is just ending.
      for (let turn = 0; turn < ctx.input; turn += 1) await Promise.resolve()
      return null
    },
  })
  const inputs = Array.from({ length: 12 }, (_, index) => index)
  // Without LISTEN, and no poll before the test is over: only what a worker knows itself makes it look.
  await using worker = createWorker({
    ...connect,
    jobs: [job],
    concurrency: 1,
    listen: false,
    pollMs: 3_600_000,
  })
  await worker.start()
  await worker.stop()
  for (const input of inputs) {
    await client.enqueueMany(job, [input, input, input])
    await worker.start()
    await until(
      `three jobs of ${input} turns are done`,
      async () => (await client.stats()).jobs.completed === 3 * (input + 1),
      { limitMs: 5_000 },
    )
    await worker.stop()
  }
  expect((await client.stats()).jobs.pending).toBe(0)
}, 60_000)
