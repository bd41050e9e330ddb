/** The feed of events waits out what passes, and says what does not pass by itself. */
import { expect, onTestFinished, test } from 'vitest'
import { createClient } from '../../src/client/client.ts'
import { defineJob } from '../../src/client/define-job.ts'
import { createTestDatabase } from '../support/database.ts'
import { anything } from '../support/jobs.ts'
import { until } from '../support/until.ts'

const job = defineJob({ type: 'job', input: anything, run: () => null })

test('a feed that may not be read is a warning, once, and delivers all that happened as soon as it may', async () => {
  const db = await createTestDatabase()
  const warnings: string[] = []
  const note = (warning: Error): void => void warnings.push(warning.message)
  process.on('warning', note)
  onTestFinished(() => void process.off('warning', note))
  await using client = createClient({ databaseUrl: db.databaseUrl, schema: db.schemaName })
  const heard: string[] = []
  client.on('job.cancelled', ({ jobIds }) => heard.push(...jobIds))
  const cancelled = async (): Promise<string> => {
    const jobId = await client.enqueue(job, null)
    await client.cancel(jobId)
    return jobId
  }
  // The feed begins where it first looked.
  await until('the feed to have begun', async () => {
    await cancelled()
    return heard.length > 0
  })
  await db.rows('alter function %s.read_events rename to read_no_events')
  const missed = await cancelled()
  await until('a word of it', () => warnings.length > 0)
  await db.rows('alter function %s.read_no_events rename to read_events')
  await until('what happened meanwhile', () => heard.includes(missed))
  expect(warnings).toHaveLength(1)
  expect(warnings[0]).toContain("events of namespace default can't be read")
})
