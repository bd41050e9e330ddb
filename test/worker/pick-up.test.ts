/** A worker looks for work again whenever a slot is free, at whatever moment that becomes so; and asks for no more than an answer can carry. */
import { expect, test } from 'vitest'
import { createClient } from '../../src/client/client.ts'
import { defineJob } from '../../src/client/define-job.ts'
import type { StandardSchema } from '../../src/client/standard-schema.ts'
import { createTestDatabase } from '../support/database.ts'
import { anything } from '../support/jobs.ts'
import { builtApi } from '../support/process.ts'
import { until } from '../support/until.ts'

const { createWorker } = await builtApi()

const turns: StandardSchema<number> = {
  '~standard': { version: 1, vendor: 'test', validate: (value) => ({ value: value as number }) },
}

test.each([1, 100])(
  '%i slots that are freed while a claim comes back are filled at once, not at the next poll',
  async (concurrency) => {
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
      concurrency,
      listen: false,
      pollMs: 3_600_000,
    })
    await worker.start()
    await worker.stop()
    let seen = 0
    for (const input of inputs) {
      await client.enqueueMany(job, Array<number>(3 * concurrency).fill(input))
      await worker.start()
      await until(
        `jobs of ${input} turns are done`,
        async () => (await client.stats()).jobs.completed === 3 * concurrency * (input + 1),
        { limitMs: 5_000 },
      )
      const [claims] = await db.rows<{ gapMs: number }>(
        `select extract(epoch from max(gap))::float * 1000 as "gapMs"
         from (select at - lag(at) over (order by id) as gap
               from (select * from %s.event where kind = 'job.picked_up' order by id offset $1) as e) as g`,
        [seen],
      )
      // Within a second a look at the spool would wake it all the same.
      expect(claims?.gapMs).toBeLessThan(700)
      seen = (await db.rows(`select from %s.event where kind = 'job.picked_up'`)).length
      await worker.stop()
    }
    expect((await client.stats()).jobs.pending).toBe(0)
  },
  60_000,
)

test('of large inputs no more are claimed ahead than an answer can carry', async () => {
  const db = await createTestDatabase()
  const connect = { databaseUrl: db.databaseUrl, schema: db.schemaName }
  await using client = createClient(connect)
  const job = defineJob({ type: 'job', input: anything, run: () => null })
  const large = 'x'.repeat(1_000_000)
  await client.enqueueMany(job, Array<string>(60).fill(large))
  await using worker = createWorker({ ...connect, jobs: [job], concurrency: 1 })
  await worker.start()
  await until('all are done', async () => (await client.stats()).jobs.completed === 60, {
    limitMs: 30_000,
  })
  const claims = await db.rows<{ jobs: number }>(
    `select cardinality(job_ids) as jobs from %s.event where kind = 'job.picked_up' order by id`,
  )
  expect(claims[0]).toEqual({ jobs: 1 })
  const most = Math.max(...claims.map(({ jobs }) => jobs))
  expect(most).toBeGreaterThan(1)
  expect(most).toBeLessThanOrEqual(17)
})

test('a claim that is refused as too large asks for less until it is not', async () => {
  const db = await createTestDatabase()
  const connect = { databaseUrl: db.databaseUrl, schema: db.schemaName }
  await using client = createClient(connect)
  const job = defineJob({ type: 'job', input: anything, run: () => null })
  await db.rows(`
    create function %s.test_refuse() returns trigger language plpgsql as $$
    begin
      if cardinality(new.jobs) > 3 then
        raise exception using errcode = '54000', message = 'too large';
      end if;
      return new;
    end $$`)
  await db.rows(
    `create trigger test_refuse before insert on %s.claimed for each row execute function %s.test_refuse()`,
  )
  await client.enqueueMany(job, Array<number>(8).fill(0))
  await using worker = createWorker({ ...connect, jobs: [job], concurrency: 8 })
  const degraded: string[] = []
  worker.on('worker.degraded', ({ reason }) => degraded.push(reason))
  await worker.start()
  await until('all are done', async () => (await client.stats()).jobs.completed === 8, {
    limitMs: 40_000,
  })
  expect(degraded.length).toBeGreaterThanOrEqual(2)
})
