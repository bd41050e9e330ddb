/** What a handler throws may be anything; the attempt ends all the same, as failed, and its neighbours hear nothing of it. */
import { expect, test } from 'vitest'
import { createClient } from '../../src/client/client.ts'
import { defineJob } from '../../src/client/define-job.ts'
import type { StandardSchema } from '../../src/client/standard-schema.ts'
import { createTestDatabase } from '../support/database.ts'
import { anything } from '../support/jobs.ts'
import { builtApi } from '../support/process.ts'

const { createWorker } = await builtApi()

const refuses = (): never => {
  throw new Error('refused')
}

const ODD: readonly [string, unknown][] = [
  ['Error', Object.assign(new Error(), { message: { field: 'email' } })],
  ['Error', Object.assign(new Error('no stack'), { stack: null })],
  ['Error', Object.create(null)],
  ['Error', { toString: refuses }],
  ['Error', Object.defineProperty(new Error(), 'message', { get: refuses })],
  ['Error', new Proxy({}, { get: refuses, getPrototypeOf: refuses })],
  ['Error', new Error(`${'x'.repeat(9_999)}😀`)],
  ['Error', null],
]

test('whatever a handler throws, its attempt fails and the next job runs', async () => {
  const db = await createTestDatabase()
  const connect = { databaseUrl: db.databaseUrl, schema: db.schemaName }
  const odd = defineJob({
    type: 'odd',
    input: anything as StandardSchema<number>,
    maxAttempts: 1,
    async run(ctx) {
      await Promise.resolve()
      throw ODD[ctx.input]?.[1]
    },
  })
  const well = defineJob({ type: 'well', input: anything, run: () => 'done' })
  await using worker = createWorker({ ...connect, jobs: [odd, well], concurrency: 1 })
  const client = createClient({ ...connect, connectionsMax: 2 })
  await worker.start()
  const ids = await client.enqueueMany(
    odd,
    ODD.map((_, index) => index),
  )
  const next = await client.enqueue(well, {})
  expect(await client.wait(next, { timeoutMs: 20_000 })).toBe('done')
  for (const [index, id] of ids.entries())
    expect(await client.get(id)).toMatchObject({
      status: 'failed',
      error: { code: ODD[index]?.[0] },
    })
  await client.close()
})
