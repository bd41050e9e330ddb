/** How a client learns what became of a job: the error of a wait, by class and code, and the event. */
import pg from 'pg'
import { expect, test } from 'vitest'
import { createClient } from '../../src/client/client.ts'
import { defineJob } from '../../src/client/define-job.ts'
import { JobEndedError, WaitTimeoutError } from '../../src/index.ts'
import { createTestDatabase } from '../support/database.ts'
import { heldOf } from '../support/functions.ts'
import { anything } from '../support/jobs.ts'
import { openProtocol } from '../support/protocol.ts'
import { until } from '../support/until.ts'

const job = defineJob({ type: 'job', input: anything, run: () => null })

test('wait rejects with JobEndedError once the job is cancelled, and at once where it was', async () => {
  const db = await createTestDatabase()
  await using client = createClient({ databaseUrl: db.databaseUrl, schema: db.schemaName })
  const jobId = await client.enqueue(job, 1)
  const waited = client.wait(jobId).catch((error: unknown) => error)
  expect(await client.cancel(jobId, { reason: 'not needed' })).toBe('cancelled')
  for (const error of [await waited, await client.wait(jobId).catch((e: unknown) => e)]) {
    expect(error).toBeInstanceOf(JobEndedError)
    expect(error).toMatchObject({
      code: 'ERR_JOB_ENDED',
      exitCode: 1,
      message: expect.stringMatching(/^Cancelled/) as string,
      hint: expect.stringContaining(`jobs show ${jobId}`) as string,
      jobId,
      status: 'cancelled',
      endReason: { code: 'cancelled', message: 'not needed' },
      error: null,
    })
  }
})

test('wait rejects with JobEndedError once the job has failed for good', async () => {
  const p = await openProtocol()
  await using client = createClient({
    databaseUrl: p.db.databaseUrl,
    schema: p.db.schemaName,
    namespace: p.namespace,
  })
  const jobId = await client.enqueue(job, 1, { maxAttempts: 1 })
  const answer = await p.claim(await p.register(), { types: ['job'] })
  const waited = client.wait(jobId).catch((error: unknown) => error)
  await p.fail(heldOf(answer), [{ code: 'no', message: 'it never works' }])
  const error = await waited
  expect(error).toBeInstanceOf(JobEndedError)
  expect(error).toMatchObject({
    code: 'ERR_JOB_ENDED',
    message: expect.stringContaining('it never works') as string,
    jobId,
    status: 'failed',
    error: { code: 'no', message: 'it never works' },
  })
  const { endReason } = await client.get(jobId)
  expect((error as JobEndedError).endReason).toEqual(endReason)
})

test('wait rejects with WaitTimeoutError when its time is over, and the job goes on', async () => {
  const db = await createTestDatabase()
  await using client = createClient({ databaseUrl: db.databaseUrl, schema: db.schemaName })
  const jobId = await client.enqueue(job, 1)
  const startedMs = performance.now()
  const error = await client.wait(jobId, { timeoutMs: 300 }).catch((e: unknown) => e)
  expect(performance.now() - startedMs).toBeGreaterThan(290)
  expect(error).toBeInstanceOf(WaitTimeoutError)
  expect(error).toMatchObject({
    code: 'ERR_WAIT_TIMEOUT',
    exitCode: 1,
    message: `job ${jobId} is pending after 300 ms. It goes on.`,
  })
  expect((await client.get(jobId)).status).toBe('pending')
})

test('client.on tells of a cancel, once, with what events have: of the job that waited, and of the one that ran', async () => {
  const p = await openProtocol()
  const connect = {
    databaseUrl: p.db.databaseUrl,
    schema: p.db.schemaName,
    namespace: p.namespace,
  }
  await using client = createClient(connect)
  const heard: { jobIds: readonly string[] }[] = []
  const stop = client.on('job.cancelled', (event) => void heard.push(event))
  const of = (jobId: string): unknown[] => heard.filter(({ jobIds }) => jobIds.includes(jobId))
  const cancelWaiting = async (): Promise<string> => {
    const jobId = await client.enqueue(job, 1)
    await client.cancel(jobId, { reason: 'not needed' })
    return jobId
  }
  // The feed begins where it first looked.
  await until('the feed to have begun', async () => {
    await cancelWaiting()
    return heard.length > 0
  })

  const waited = await cancelWaiting()
  const ran = await client.enqueue(job, 1)
  const worker = await p.register()
  const held = heldOf(await p.claim(worker, { types: ['job'] }))
  expect(await client.cancel(ran)).toBe('cancelling')
  expect(await p.acknowledgeCancel(held)).toEqual(['cancelled'])
  await until('both', () => of(waited).length > 0 && of(ran).length > 0)
  const event = { kind: 'job.cancelled', at: expect.any(String) as string }
  expect(of(waited)).toEqual([
    { ...event, jobIds: [waited], workerId: null, data: { message: 'not needed' } },
  ])
  expect(of(ran)).toEqual([{ ...event, jobIds: [ran], workerId: worker.id, data: null }])
  // No longer once it was told to stop.
  stop()
  const unheard = await cancelWaiting()
  let last = ''
  client.on('job.cancelled', ({ jobIds }) => {
    last = jobIds[0] ?? ''
  })
  await until('another listener to hear of a later one', async () => {
    await cancelWaiting()
    return last !== ''
  })
  expect(of(unheard)).toEqual([])
})

test('an error without a hint has none, rather than one that is undefined', () => {
  const bare = new WaitTimeoutError('it goes on.')
  expect(Object.keys(bare)).not.toContain('hint')
  expect(bare.hint).toBeUndefined()
  expect(new WaitTimeoutError('it goes on.', { hint: 'Wait.' }).hint).toBe('Wait.')
})

test('a client that was closed refuses every call in words that nobody retries, whoever owns its connections', async () => {
  const db = await createTestDatabase()
  const schema = db.schemaName
  const pool = new pg.Pool({ connectionString: db.databaseUrl })
  // Asked for before it was closed: there is a connection left for that.
  const before = createClient({ pool, schema })
  const enqueued = before.enqueue(job, 1)
  await before.close()
  const jobId = await enqueued
  for (const client of [
    createClient({ databaseUrl: db.databaseUrl, schema }),
    createClient({ pool, schema }),
    createClient({ executor: pool, schema }),
  ]) {
    client.on('job.failed', () => undefined)
    const waited = client.wait(jobId).catch((error: unknown) => error)
    await client.close()
    const calls: (() => Promise<unknown>)[] = [
      () => waited.then((error) => Promise.reject(error as Error)),
      () => client.enqueue(job, 1),
      () => client.enqueueMany(job, [1, 2]),
      () => client.enqueue(job, 1, { executor: pool }),
      () => client.get(jobId),
      () => client.list(),
      () => client.cancel(jobId),
      () => client.stats(),
      () => client.wait(jobId),
      () => client.runs.get('nightly'),
      () => client.workers.list(),
      () => client.alerts.list(),
      () => client.retention.get(),
      async () => client.on('job.failed', () => undefined),
    ]
    for (const call of calls) {
      await expect(call()).rejects.toMatchObject({
        code: 'ERR_STATE_REFUSED',
        message: expect.stringContaining('the client was closed') as string,
      })
    }
    await client.close()
  }
  // It is the caller's, and open.
  expect((await pool.query('select 1 as one')).rows).toEqual([{ one: 1 }])
  await pool.end()
})
