/** D5: stopping a worker that lives inside somebody else's process. */
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { createClient } from '../../src/client/client.ts'
import { defineJob } from '../../src/client/define-job.ts'
import type { Worker } from '../../src/worker/worker.ts'
import type { WorkerOptions } from '../../src/worker/worker-options.ts'
import { Proxy } from '../process/proxy.ts'
import { createTestDatabase } from '../support/database.ts'
import { anything } from '../support/jobs.ts'
import { builtApi } from '../support/process.ts'
import { until } from '../support/until.ts'

const { createWorker } = await builtApi()

interface Setting {
  readonly worker: Worker
  readonly client: ReturnType<typeof createClient>
  readonly job: ReturnType<typeof defineJob>
  readonly begun: () => number
  readonly finish: () => void
}

/** A worker in this process, not started, whose jobs end when `finish` is called or when they are told to. */
async function setUp(options: Partial<WorkerOptions> = {}): Promise<Setting> {
  const db = await createTestDatabase()
  let begun = 0
  let finish: () => void = () => undefined
  const finished = new Promise<void>((resolve) => {
    finish = resolve
  })
  const child = defineJob({ type: 'child', input: anything, run: () => 'done' })
  const job = defineJob({
    type: 'job',
    input: anything,
    async run(ctx) {
      begun += 1
      await new Promise<void>((resolve, reject) => {
        void finished.then(resolve)
        ctx.signal.addEventListener('abort', () => reject(ctx.signal.reason as Error))
      })
      return ctx.enqueue(child, {})
    },
  })
  const connect = { databaseUrl: db.databaseUrl, schema: db.schemaName }
  const worker = createWorker({ ...connect, jobs: [job, child], ...options })
  return {
    worker,
    client: createClient({ ...connect, connectionsMax: 2 }),
    job,
    begun: () => begun,
    finish,
  }
}

/** What keeps this process alive, counted by kind. */
function resources(): Record<string, number> {
  const counts: Record<string, number> = {}
  // @types/node calls it experimental, Node does not any more.
  for (const kind of process.getActiveResourcesInfo()) counts[kind] = (counts[kind] ?? 0) + 1
  return counts
}

test('D5: stop comes to its end also when the database hangs, with an outcome and a claim under way', async () => {
  const db = await createTestDatabase()
  await using proxy = await Proxy.open(db.databaseUrl)
  let ended = 0
  const job = defineJob({ type: 'job', input: anything, run: () => void (ended += 1) })
  const spoolDir = mkdtempSync(path.join(tmpdir(), 'leasehold-stop-'))
  onTestFinished(() => rmSync(spoolDir, { recursive: true, force: true }))
  const worker = createWorker({
    databaseUrl: proxy.url,
    schema: db.schemaName,
    jobs: [job],
    spoolDir,
    shutdownGraceMs: 500,
    hardExitMs: 3_000,
  })
  await worker.start()
  await using client = createClient({ databaseUrl: db.databaseUrl, schema: db.schemaName })
  await client.enqueue(job, {})
  await until('it is done', () => ended === 1)
  proxy.drop()
  await worker.stop()
  expect(worker.state).toBe('stopped')
})

test('D5: stop leaves no timer, socket, port or thread behind, with a job under way or without', async () => {
  const { worker, client, job, begun } = await setUp()
  const id = await client.enqueue(job, {})
  await client.close()
  const before = resources()
  await worker.start()
  await until('the job runs', () => begun() === 1)
  expect(resources()).not.toEqual(before)
  await worker.stop({ graceMs: 0 })
  expect(worker.state).toBe('stopped')
  // Sockets of ours are gone when stop resolves; what the runtime closes in its next turns is not ours to wait for.
  await new Promise((resolve) => setImmediate(resolve))
  const after = resources()
  const more = Object.entries(after).filter(([kind, count]) => count > (before[kind] ?? 0))
  expect(more).toEqual([])
  expect(id).toMatch(/^[0-9a-f-]{36}$/)
})

test('D5: stop may be called twice, and start again after it', async () => {
  const { worker, client, job, begun, finish } = await setUp()
  await client.enqueue(job, {})
  await worker.start()
  const [firstId, incarnation] = [worker.id, worker.incarnation]
  await until('the job runs', () => begun() === 1)
  const both = Promise.all([worker.stop({ graceMs: 0 }), worker.stop({ graceMs: 0 })])
  expect(['draining', 'stopping']).toContain(worker.state)
  await both
  await worker.stop()
  await expect(worker.start()).resolves.toBeUndefined()
  await expect(worker.start()).rejects.toThrow('stop it before starting it again')
  expect(worker.id).not.toBe(firstId)
  expect(worker.incarnation).not.toBe(incarnation)
  await until('the job runs again', () => begun() === 2)
  finish()
  await until('both are done', async () => (await client.stats()).jobs.completed === 2)
  await worker.stop()
  const life = ['starting', 'ready', 'draining', 'stopping', 'stopped']
  expect(worker.history.map((change) => change.state)).toEqual([...life, ...life])
  await client.close()
})

test('D5: a second stop cuts the grace of the first', async () => {
  const { worker, client, job, begun } = await setUp({ shutdownGraceMs: 25_000 })
  const id = await client.enqueue(job, {})
  await worker.start()
  await until('the job runs', () => begun() === 1)
  const stopping = worker.stop()
  const startedMs = performance.now()
  await worker.stop({ graceMs: 0 })
  await stopping
  expect(performance.now() - startedMs).toBeLessThan(10_000)
  expect(await client.get(id)).toMatchObject({ status: 'pending', interruptions: 1, lost: 0 })
  await client.close()
})

test('D5: a job enqueues a child while its worker drains', async () => {
  const { worker, client, job, begun, finish } = await setUp()
  const id = await client.enqueue(job, {})
  await worker.start()
  await until('the job runs', () => begun() === 1)
  const stopping = worker.stop()
  await until('draining', () => worker.state === 'draining')
  finish()
  await stopping
  const { result } = await client.get(id)
  const child = { type: 'child', status: 'pending', parentId: id }
  expect(await client.get(result as string)).toMatchObject(child)
  await client.close()
})

test('D5: an idle worker stops at once, and one that never started has nothing to stop', async () => {
  const { worker, client } = await setUp()
  await worker.stop()
  await worker.start()
  const startedMs = performance.now()
  await worker.stop()
  expect(performance.now() - startedMs).toBeLessThan(3_000)
  expect(await client.workers.list()).toMatchObject([{ status: 'offline', reason: 'stop' }])
  await client.close()
})

test('a start that fails leaves nothing behind either, and may be tried again', async () => {
  const server = createServer((socket) => socket.destroy())
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  const job = defineJob({ type: 'job', input: anything, run: () => null })
  const worker = createWorker({
    databaseUrl: `postgres://nobody@127.0.0.1:${port}/none`,
    jobs: [job],
  })
  const before = resources()
  for (let time = 1; time <= 2; time += 1) {
    await expect(worker.start()).rejects.toThrow()
    expect(worker.state).toBe('failed')
  }
  expect(resources()['Timeout'] ?? 0).toBeLessThanOrEqual(before['Timeout'] ?? 0)
  await new Promise((resolve) => server.close(resolve))
})

test('a worker that stops gives back at once what it has claimed ahead, while its handler goes on', async () => {
  const db = await createTestDatabase()
  const connect = { databaseUrl: db.databaseUrl, schema: db.schemaName }
  const client = createClient({ ...connect, connectionsMax: 2 })
  let calls = 0
  let finish: () => void = () => undefined
  const finished = new Promise<void>((resolve) => {
    finish = resolve
  })
  const running = async (): Promise<number> => (await client.stats()).jobs.running
  let held = 0
  const short = defineJob({
    type: 'short',
    input: anything,
    async run() {
      calls += 1
      // Some short ones first: the worker claims ahead of its one slot.
      if (held > 1 || calls < 20) return
      held = await running()
      if (held === 1) return
      void worker.stop({ graceMs: 60_000 })
      await finished
    },
  })
  const worker = createWorker({ ...connect, jobs: [short], concurrency: 1 })
  await worker.start()
  await client.enqueueMany(
    short,
    Array.from({ length: 400 }, () => ({})),
  )
  await until('it stops, and holds nothing but what it runs', async () => {
    return worker.state === 'draining' && (await running()) === 1
  })
  expect(held).toBeGreaterThan(1)
  finish()
  const report = await worker.stop()
  expect(report?.released.length).toBeGreaterThan(0)
  for (const id of report?.released ?? [])
    expect(await client.get(id)).toMatchObject({ status: 'pending', interruptions: 0, lost: 0 })
  await client.close()
})
