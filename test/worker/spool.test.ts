/** G5: what a worker does with outcomes that the database does not take, as the program around it sees it. */
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { type Client, createClient } from '../../src/client/client.ts'
import { defineJob } from '../../src/client/define-job.ts'
import type { Worker } from '../../src/worker/worker.ts'
import type { WorkerOptions } from '../../src/worker/worker-options.ts'
import { Proxy } from '../process/proxy.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'
import { anything } from '../support/jobs.ts'
import { builtApi } from '../support/process.ts'
import { until } from '../support/until.ts'

const { createWorker } = await builtApi()

interface Setting {
  readonly db: TestDatabase
  readonly proxy: Proxy
  readonly worker: Worker
  readonly client: Client
  readonly spoolDir: string
  readonly events: { name: string; fields: Record<string, unknown> }[]
  /** Enqueues a job of this result and resolves when it runs; `finish` lets all of them end. */
  run(result: unknown): Promise<string>
  finish(): void
  event(name: string, fits?: (fields: Record<string, unknown>) => boolean): Promise<unknown>
  /** Files of the spool whose names end like this. */
  files(ending: string): string[]
}

/** A started worker behind a proxy, and a client that goes round it. */
async function setUp(options: Partial<WorkerOptions> = {}): Promise<Setting> {
  const db = await createTestDatabase()
  const proxy = await Proxy.open(db.databaseUrl)
  const home = mkdtempSync(path.join(tmpdir(), 'leasehold-worker-spool-'))
  const spoolDir = path.join(home, 'spool')
  const results: unknown[] = []
  let begun = 0
  let finish: () => void = () => undefined
  const finished = new Promise<void>((resolve) => {
    finish = resolve
  })
  const job = defineJob({
    type: 'job',
    input: anything,
    async run(ctx) {
      begun += 1
      await finished
      return results[ctx.input as number]
    },
  })
  const worker = createWorker({
    databaseUrl: proxy.url,
    schema: db.schemaName,
    jobs: [job],
    spoolDir,
    shutdownGraceMs: 500,
    hardExitMs: 1_500,
    ...options,
  })
  const events: Setting['events'] = []
  worker.onEvery((name, fields) => events.push({ name, fields }))
  const client = createClient({ databaseUrl: db.databaseUrl, schema: db.schemaName })
  onTestFinished(async () => {
    await proxy.heal()
    await worker.stop({ graceMs: 0 })
    await client.close()
    await proxy[Symbol.asyncDispose]()
    rmSync(home, { recursive: true, force: true })
  })
  await worker.start()
  return {
    db,
    proxy,
    worker,
    client,
    spoolDir,
    events,
    finish,
    async run(result) {
      const before = begun
      const jobId = await client.enqueue(job, results.push(result) - 1)
      await until('the job runs', () => begun > before)
      return jobId
    },
    event: (name, fits = () => true) =>
      until(`event ${name}`, () => events.find((e) => e.name === name && fits(e.fields)), {
        told: () => JSON.stringify(events, null, 1),
      }),
    files: (ending) =>
      existsSync(spoolDir)
        ? readdirSync(spoolDir, { recursive: true, encoding: 'utf8' }).filter((name) =>
            name.endsWith(ending),
          )
        : [],
  }
}

test('while the database takes outcomes at once, nothing is written to disk', async () => {
  const s = await setUp()
  const jobIds: string[] = []
  for (let n = 0; n < 10; n += 1) jobIds.push(await s.run(n))
  s.finish()
  for (const jobId of jobIds) await s.client.wait(jobId)
  await s.worker.stop()
  expect(existsSync(s.spoolDir)).toBe(false)
})

test('a handler that keeps the thread busy while an outcome is under way is no trouble of the database', async () => {
  const s = await setUp()
  const jobId = await s.run('paid for')
  s.finish()
  while (!s.proxy.statements.some(({ text }) => text.includes('settle(')))
    await new Promise((resolve) => setImmediate(resolve))
  // The outcome has been sent, and the answer passes through this thread.
  const endMs = performance.now() + 2_000
  while (performance.now() < endMs);
  expect(await s.client.wait(jobId)).toBe('paid for')
  await s.worker.stop()
  expect(s.events.filter(({ name }) => name.startsWith('spool.'))).toEqual([])
  expect(existsSync(s.spoolDir)).toBe(false)
})

test('an outcome that is not answered for a second is on disk, and goes from there when it is', async () => {
  const s = await setUp()
  const jobId = await s.run('paid for')
  s.proxy.drop()
  s.finish()
  await s.event('spool.buffered', ({ onDisk }) => onDisk === 1)
  expect(s.files('.jsonl')).toHaveLength(1)
  await s.proxy.heal()
  expect(await s.client.wait(jobId)).toBe('paid for')
  await s.event(
    'spool.flushed',
    ({ answers }) => (answers as { completed?: number }).completed === 1,
  )
  await until('the file is gone', () => s.files('.jsonl').length === 0)
  expect(JSON.stringify(s.events)).not.toContain('paid for')
})

test('without a usable directory outcomes wait in memory, with one warning', async () => {
  const home = mkdtempSync(path.join(tmpdir(), 'leasehold-no-spool-'))
  onTestFinished(() => rmSync(home, { recursive: true, force: true }))
  const inTheWay = path.join(home, 'file')
  writeFileSync(inTheWay, '')
  const s = await setUp({ spoolDir: inTheWay })
  const jobId = await s.run('paid for')
  s.proxy.drop()
  s.finish()
  await s.event('spool.buffered', ({ depth, onDisk }) => depth === 1 && onDisk === 0)
  await s.proxy.heal()
  expect(await s.client.wait(jobId)).toBe('paid for')
  expect(s.events.filter(({ name }) => name === 'spool.degraded')).toHaveLength(1)
})

test('a worker that stops while the database is away leaves its outcomes on disk, for its next start', async () => {
  const s = await setUp()
  const jobId = await s.run('paid for')
  s.proxy.drop()
  s.finish()
  await s.event('spool.buffered')
  const stopped = s.worker.stop()
  await until('its call is cut', async () => {
    await s.proxy.heal()
    s.proxy.drop()
    return s.worker.state === 'stopped'
  })
  await stopped
  expect(s.files('.jsonl')).toHaveLength(1)

  await s.proxy.heal()
  await s.worker.start()
  await s.event('spool.taken_over', ({ count }) => count === 1)
  await s.event('spool.flushed', ({ count }) => count === 1)
  expect(await s.client.get(jobId)).toMatchObject({ status: 'completed', attempt: 1 })
  await until('the file is gone', () => s.files('.jsonl').length === 0)
})

test.each([
  ['half a surrogate pair', 'paid \ud800'],
  ['NUL', 'paid \0'],
  ['more than is stored', `paid ${'x'.repeat(1_048_576)}`],
  // The sum of what a trigger of the owner's refuses.
  ['what the database alone refuses', 'paid in cash'],
])(
  'rule 14: a result with %s fails its job, and stays on disk where nobody sends it again',
  async (_, text) => {
    const s = await setUp()
    await s.db.rows(
      `create function %s.no_cash() returns trigger language plpgsql as $$
     begin
       if new.value ->> 'text' = 'paid in cash' then raise exception using errcode = '23514', message = 'no cash'; end if;
       return new;
     end $$`,
    )
    await s.db.rows(
      'create trigger no_cash before insert on %s.attempt for each row execute function %s.no_cash()',
    )
    const jobId = await s.run({ text })
    s.finish()
    await s.event('job.failed', ({ code }) => code === 'result_unstorable')
    const job = await s.client.get(jobId)
    const [file = ''] = s.files('.refused')
    expect(job).toMatchObject({ status: 'failed', attempt: 1 })
    expect(job.error).toMatchObject({
      code: 'result_unstorable',
      message: expect.stringContaining(path.join(s.spoolDir, file)) as string,
    })
    expect(readFileSync(path.join(s.spoolDir, file), 'utf8')).toContain('paid')
    expect(JSON.stringify(s.events)).not.toContain('paid')
    await s.worker.stop()
    await s.worker.start()
    expect(s.files('.refused')).toEqual([file])
    expect(s.events.filter(({ name }) => name === 'spool.taken_over')).toEqual([])
  },
)
