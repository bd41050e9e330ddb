/** What a handler reports is written before its outcome, however its statements and its end fall together. */
import { expect, test } from 'vitest'
import { createClient } from '../../src/client/client.ts'
import { defineJob } from '../../src/client/define-job.ts'
import { Proxy } from '../process/proxy.ts'
import { createTestDatabase } from '../support/database.ts'
import { anything, gate } from '../support/jobs.ts'
import { builtApi } from '../support/process.ts'
import { until } from '../support/until.ts'

const { createWorker } = await builtApi()
test('an outcome waits for the progress and the log lines that are on their way', async () => {
  const db = await createTestDatabase()
  await using proxy = await Proxy.open(db.databaseUrl)
  const finished = gate()
  let settled = false
  const job = defineJob({
    type: 'job',
    input: anything,
    async run(ctx) {
      ctx.progress(1, 2)
      ctx.log.info('half')
      await finished.opened
      settled = true
    },
  })
  await using client = createClient({ databaseUrl: db.databaseUrl, schema: db.schemaName })
  await using worker = createWorker({ databaseUrl: proxy.url, schema: db.schemaName, jobs: [job] })
  await worker.start()
  const held = proxy.holdAnswer('leasehold worker', '.progress(')
  const jobId = await client.enqueue(job, null)
  const letThrough = await held
  finished.open()
  await until('the handler has returned', () => settled)
  // Time enough for an outcome that does not wait.
  for (let round = 1; round <= 20; round += 1)
    expect(await client.get(jobId)).toMatchObject({ status: 'running' })
  letThrough()
  await client.wait(jobId, { timeoutMs: 60_000 })
  expect(await client.get(jobId)).toMatchObject({ progress: { done: 1, total: 2 } })
  expect((await client.logs(jobId)).map(({ message }) => message)).toEqual(['half'])
  const stale = await db.rows(`select from %s.event where kind = 'job.stale_write'`)
  expect(stale).toEqual([])
})
