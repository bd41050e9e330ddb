/** A job that is enqueued in a transaction of the caller's own exists exactly if that commits. */
import pg from 'pg'
import { describe, expect, onTestFinished, test } from 'vitest'
import { type Client, createClient } from '../../src/client/client.ts'
import { defineJob } from '../../src/client/define-job.ts'
import { createTestDatabase } from '../support/database.ts'
import { anything } from '../support/jobs.ts'

const job = defineJob({ type: 'job', input: anything, run: () => null })

type Given = NonNullable<Parameters<typeof createClient>[0]['executor']>

/** What a caller may hand over: a connection of pg, or whatever of another library can be made to look like this. */
const executors: Record<string, (connection: pg.Client) => Given> = {
  'a connection of pg': (connection) => connection,
  'a plain { query }': (connection) => ({
    query: async (text, values) => ({ rows: (await connection.query(text, values)).rows as [] }),
  }),
}

type Enqueue = (client: Client, executor: Given, schema: string) => Promise<string[]>

/** Every way to say in which transaction. */
const ways: Record<string, Enqueue> = {
  'enqueue with the option': async (client, executor) => [
    await client.enqueue(job, 1, { executor }),
  ],
  'enqueueRaw with the option': async (client, executor) => [
    await client.enqueueRaw('job', 1, { executor }),
  ],
  'enqueueMany with the option': (client, executor) =>
    client.enqueueMany(job, [1, 2], { executor }),
  'a client that was made with it': async (_client, executor, schema) => {
    const own = createClient({ executor, schema })
    return Promise.all([own.enqueue(job, 1), own.enqueue(job, 2)])
  },
}

describe.each(Object.keys(executors))('executor: %s', (name) => {
  test.each(Object.keys(ways))('%s: rolled back, no job; committed, a job', async (way) => {
    const db = await createTestDatabase()
    await using client = createClient({ databaseUrl: db.databaseUrl, schema: db.schemaName })
    const connection = new pg.Client({ connectionString: db.databaseUrl })
    await connection.connect()
    onTestFinished(() => connection.end())
    const executor = executors[name]!(connection)
    const stored = async (): Promise<string[]> =>
      (await client.list()).items.map(({ id }) => id).toSorted()

    await connection.query('create temporary table own (id integer)')
    for (const end of ['rollback', 'commit'] as const) {
      await connection.query('begin')
      await connection.query('insert into own values (1)')
      const ids = await ways[way]!(client, executor, db.schemaName)
      // Not before it commits, for anybody else.
      expect(await stored()).toEqual([])
      await connection.query(end)
      const { rows } = await connection.query('select id from own')
      expect(rows).toHaveLength(end === 'commit' ? 1 : 0)
      expect(await stored()).toEqual(end === 'commit' ? ids.toSorted() : [])
    }
  })
})
