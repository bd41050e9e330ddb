/** What a worker asks of its database, counted at the wire: little when idle, one renewal an interval however much it runs. */
import { expect, test } from 'vitest'
import { createClient } from '../../src/client/client.ts'
import { defineJob } from '../../src/client/define-job.ts'
import { Proxy } from '../process/proxy.ts'
import { createTestDatabase } from '../support/database.ts'
import { anything } from '../support/jobs.ts'
import { builtApi } from '../support/process.ts'
import { until } from '../support/until.ts'

const { createWorker } = await builtApi()

function isCall(text: string): boolean {
  return !/pg_is_in_recovery|set_config|listen/i.test(text)
}

test('G6: an idle worker sends no more than a beat each half minute', async () => {
  const db = await createTestDatabase()
  await using proxy = await Proxy.open(db.databaseUrl)
  const job = defineJob({ type: 'job', input: anything, run: () => null })
  // A tenth of the default beat of 30 s, and all else in proportion: two statements in 6 s are two a minute.
  const worker = createWorker({
    databaseUrl: proxy.url,
    schema: db.schemaName,
    jobs: [job],
    idleBeatMs: 3_000,
  })
  await worker.start()
  const registered = await until('its first beat, and its look at what others may run', () =>
    ['.claim(', '.sweep('].every((call) => proxy.statements.some(({ text }) => text.includes(call)))
      ? proxy.statements.length
      : null,
  )
  await until('five beats more', () => proxy.statements.length >= registered + 5, {
    limitMs: 60_000,
  })
  const [first, ...more] = proxy.statements.slice(registered)
  const last = more.at(-1)
  expect((last?.atMs ?? 0) - (first?.atMs ?? 0)).toBeGreaterThan(4 * 3_000 * 0.95)
  await worker.stop()
})

test('G6: nor does an idle worker that is aimed at a run which goes on', async () => {
  const db = await createTestDatabase()
  await using proxy = await Proxy.open(db.databaseUrl)
  await using client = createClient({ databaseUrl: db.databaseUrl, schema: db.schemaName })
  const job = defineJob({ type: 'job', input: anything, run: () => null })
  const { id } = await client.runs.create({ name: 'batch', target: 100 })
  // Some of it is done, and for the rest the run waits: no sweep is needed for that, nor anything else.
  await client.enqueueMany(
    job,
    Array.from({ length: 3 }, () => ({})),
    { run: id },
  )
  const worker = createWorker({
    databaseUrl: proxy.url,
    schema: db.schemaName,
    jobs: [job],
    run: id,
    idleBeatMs: 3_000,
  })
  await worker.start()
  await until('its jobs are done', async () => (await client.runs.get(id)).counts.completed === 3)
  const sweeps = (): number[] =>
    proxy.statements.filter(({ text }) => text.includes('.sweep(')).map(({ atMs }) => atMs)
  await until(
    'its sweeps have stopped',
    () => performance.now() - (sweeps().at(-1) ?? Infinity) > 2_000,
  )
  await until(
    'retention was asked about, once after jobs have ended, and that is over',
    () =>
      proxy.statements.some(({ text }) => text.includes('.begin_retention(')) &&
      performance.now() - (proxy.statements.at(-1)?.atMs ?? 0) > 1_000,
  )
  const from = proxy.statements.length
  await until('five beats more', () => proxy.statements.length >= from + 6, { limitMs: 60_000 })
  const [first, ...more] = proxy.statements.slice(from + 1)
  expect((more.at(-1)?.atMs ?? 0) - (first?.atMs ?? 0)).toBeGreaterThan(4 * 3_000 * 0.95)
  await worker.stop()
})

test('J1: fifty running jobs are kept by one renewal an interval, and by nothing else', async () => {
  const db = await createTestDatabase()
  await using proxy = await Proxy.open(db.databaseUrl)
  let finish: () => void = () => undefined
  const finished = new Promise<void>((resolve) => {
    finish = resolve
  })
  const job = defineJob({ type: 'job', input: anything, run: () => finished })
  const worker = createWorker({
    databaseUrl: proxy.url,
    schema: db.schemaName,
    jobs: [job],
    leaseMs: 6_000,
    concurrency: 50,
  })
  await using client = createClient({ databaseUrl: db.databaseUrl, schema: db.schemaName })
  await client.enqueueMany(
    job,
    Array.from({ length: 50 }, () => ({})),
  )
  await worker.start()
  await until('all run', () => worker.running.length === 50)
  const from = proxy.statements.length
  const renewals = (): number[] =>
    proxy.statements
      .slice(from)
      .filter(({ text }) => text.includes('.renew('))
      .map(({ atMs }) => atMs)
  await until('five renewals', () => renewals().length >= 5)
  const sent = renewals()
  expect((sent[4] ?? 0) - (sent[0] ?? 0)).toBeGreaterThan(4 * 2_000 * 0.9)
  // Sweeping has a connection of its own and a pass has one statement, whatever runs.
  const others = proxy.statements
    .slice(from)
    .filter(({ text }) => isCall(text) && !/\.(renew|sweep)\(/.test(text))
  expect(others.map(({ text }) => text)).toEqual([])
  finish()
  await until('all are done', async () => (await client.stats()).jobs.completed === 50)
  await worker.stop()
})

test('a job that waits and that nobody takes makes no worker sweep', async () => {
  const db = await createTestDatabase()
  const connect = { databaseUrl: db.databaseUrl, schema: db.schemaName }
  await using one = await Proxy.open(db.databaseUrl)
  await using two = await Proxy.open(db.databaseUrl)
  const proxies = [one, two]
  const job = defineJob({ type: 'job', input: anything, run: () => null })
  const workers = proxies.map(({ url }) =>
    createWorker({ ...connect, databaseUrl: url, jobs: [job] }),
  )
  await using client = createClient(connect)
  for (const worker of workers) await worker.start()
  await client.enqueueRaw('unknown', null)
  const lastSweep = ({ statements }: Proxy): number =>
    statements.filter(({ text }) => text.includes('.sweep(')).at(-1)?.atMs ?? Infinity
  for (const proxy of proxies)
    await until('it has looked, and rests', () => performance.now() - lastSweep(proxy) > 2_000)
  await Promise.all(workers.map((worker) => worker.stop()))
})

test('of three workers the one that neither leads nor watches asks seldom for a part in sweeping', async () => {
  const db = await createTestDatabase()
  await using one = await Proxy.open(db.databaseUrl)
  await using two = await Proxy.open(db.databaseUrl)
  await using three = await Proxy.open(db.databaseUrl)
  let finish: () => void = () => undefined
  const finished = new Promise<void>((resolve) => {
    finish = resolve
  })
  const job = defineJob({ type: 'job', input: anything, run: () => finished })
  const proxies = [one, two, three]
  const workers = proxies.map((proxy) =>
    createWorker({ databaseUrl: proxy.url, schema: db.schemaName, jobs: [job], concurrency: 1 }),
  )
  await using client = createClient({ databaseUrl: db.databaseUrl, schema: db.schemaName })
  await client.enqueueMany(job, [{}, {}, {}])
  for (const worker of workers) await worker.start()
  const sweeps = (): number[] =>
    proxies.map(({ statements }) => statements.filter(({ text }) => /\.sweep\(/.test(text)).length)
  await until('all have asked', () => Math.min(...sweeps()) >= 1)
  const before = sweeps()
  const since = (): number[] =>
    sweeps()
      .map((count, index) => count - (before[index] ?? 0))
      .toSorted((a, b) => b - a)
  // Twice a second the leader, and as often its deputy.
  await until('two of them have swept for a while', () => (since()[1] ?? 0) >= 8)
  expect(since()[2]).toBeLessThanOrEqual(4)
  finish()
  await Promise.all(workers.map((worker) => worker.stop()))
})
