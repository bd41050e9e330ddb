/** Calls of enqueue that are made at the same time share a statement, and each still gets its own id or its own error. */
import { expect, test } from 'vitest'
import { createClient } from '../../src/client/client.ts'
import { connectOne } from '../../src/db/connect.ts'
import { Proxy } from '../process/proxy.ts'
import { createTestDatabase } from '../support/database.ts'

const calls = ({ statements }: Proxy): number =>
  statements.filter(({ text }) => /\.enqueue\(/.test(text)).length

test('two hundred calls at once are a handful of statements, and each caller gets its own job', async () => {
  const db = await createTestDatabase()
  await using proxy = await Proxy.open(db.databaseUrl)
  await using client = createClient({ databaseUrl: proxy.url, schema: db.schemaName })
  const ids = await Promise.all(
    Array.from({ length: 200 }, (_, n) =>
      client.enqueueRaw(`type-${n % 3}`, { n }, n % 5 === 0 ? { priority: n } : {}),
    ),
  )
  expect(new Set(ids).size).toBe(200)
  for (const n of [0, 1, 77, 199]) {
    const job = await client.get(ids[n]!)
    expect(job).toMatchObject({ type: `type-${n % 3}`, input: { n } })
    expect(job.priority).toBe(n % 5 === 0 ? n : 0)
  }
  expect(calls(proxy)).toBeLessThanOrEqual(3)
})

test('a lone call is sent at once, and calls one after the other are not held back', async () => {
  const db = await createTestDatabase()
  await using proxy = await Proxy.open(db.databaseUrl)
  await using client = createClient({ databaseUrl: proxy.url, schema: db.schemaName })
  for (let n = 0; n < 3; n += 1) await client.enqueueRaw('work', n)
  expect(calls(proxy)).toBe(3)
})

test('of many calls at once only the one that the database refuses fails', async () => {
  const db = await createTestDatabase()
  await using client = createClient({ databaseUrl: db.databaseUrl, schema: db.schemaName })
  const answers = await Promise.allSettled(
    Array.from({ length: 20 }, (_, n) =>
      client.enqueueRaw('work', n, n === 7 ? { queue: 'a\0' } : {}),
    ),
  )
  expect(answers.flatMap((answer, n) => (answer.status === 'rejected' ? [n] : []))).toEqual([7])
  expect(answers[7]).toMatchObject({ reason: { code: 'ERR_VALUE_UNSTORABLE' } })
  expect((await client.stats()).jobs.pending).toBe(19)
})

test('the same key in two calls at once is one job', async () => {
  const db = await createTestDatabase()
  await using client = createClient({ databaseUrl: db.databaseUrl, schema: db.schemaName })
  const ids = await Promise.all(
    ['k', 'k', 'other', 'k'].map((key) => client.enqueueRaw('work', null, { key })),
  )
  expect(new Set(ids).size).toBe(2)
  expect((await client.stats()).jobs.pending).toBe(2)
})

test('a call whose key stands in an open transaction holds up no other, and neither do those of one program another’s', async () => {
  const db = await createTestDatabase()
  await using client = createClient({ databaseUrl: db.databaseUrl, schema: db.schemaName })
  const stranger = await connectOne({ databaseUrl: db.databaseUrl })
  try {
    await stranger.query('begin')
    const executor = {
      query: (text: string, values: unknown[]) => stranger.query(text, values),
    }
    const stored = await client.enqueueRaw('work', 0, { key: 'daily', executor })
    const waiting = [1, 2, 3].map((n) => client.enqueueRaw('work', n, { key: 'daily' }))
    await Promise.all([
      ...[1, 2, 3].map((n) => client.enqueueRaw('work', n)),
      ...[1, 2, 3].map((n) => client.enqueueRaw('work', n, { key: `k${n}` })),
    ])
    await stranger.query('commit')
    expect(await Promise.all(waiting)).toEqual([stored, stored, stored])
  } finally {
    await stranger.end()
  }
})

test('when the database refuses connections, every caller is told so', async () => {
  const db = await createTestDatabase()
  await using proxy = await Proxy.open(db.databaseUrl)
  await using client = createClient({ databaseUrl: proxy.url, schema: db.schemaName })
  await proxy.refuse()
  const answers = await Promise.allSettled(
    Array.from({ length: 5 }, (_, n) => client.enqueueRaw('work', n)),
  )
  for (const answer of answers) {
    expect(answer).toMatchObject({
      status: 'rejected',
      reason: { code: 'ERR_DATABASE_UNREACHABLE' },
    })
  }
  expect(await db.rows('select 1 from %s.job')).toEqual([])
})
