/** Sessions and hooks of a worker inside a program of its owner's: told, closed and run in order, whatever hangs, and reported. */
import { expect, test } from 'vitest'
import { createClient } from '../../src/client/client.ts'
import { defineJob } from '../../src/client/define-job.ts'
import type { JobContext } from '../../src/client/job-context.ts'
import type { Worker } from '../../src/worker/worker.ts'
import type { WorkerOptions } from '../../src/worker/worker-options.ts'
import { Proxy } from '../process/proxy.ts'
import { createTestDatabase } from '../support/database.ts'
import { anything } from '../support/jobs.ts'
import { builtApi } from '../support/process.ts'
import { until } from '../support/until.ts'

const { createWorker, StateRefusedError, UsageError } = await builtApi()

const never = (): Promise<never> => new Promise(() => undefined)

/** A worker whose one job runs `run`, and what happened, in order. */
async function setUp(
  run: (ctx: JobContext, saw: (what: string) => void) => unknown = () => null,
  options: Partial<WorkerOptions> = {},
) {
  const db = await createTestDatabase()
  const happened: string[] = []
  const saw = (what: string): void => void happened.push(what)
  const job = defineJob({ type: 'job', input: anything, run: (ctx) => run(ctx, saw) })
  const connect = { databaseUrl: db.databaseUrl, schema: db.schemaName }
  const worker: Worker = createWorker({ ...connect, jobs: [job], ...options })
  const client = createClient({ ...connect, connectionsMax: 2 })
  const begin = async (): Promise<string> => {
    const id = await client.enqueue(job, {})
    await until('the job runs', () => worker.running.length === 1)
    return id
  }
  return { worker, client, happened, saw, begin, job }
}

test('sessions are told first, all of them, and then closed, the last one first, before our connections', async () => {
  const { worker, client, happened, saw } = await setUp()
  for (const name of ['model', 'browser', 'page']) {
    worker.sessions.add(name, {
      notify: ({ reason, deadline }) => saw(`tell ${name} ${reason} ${deadline instanceof Date}`),
      async close() {
        const { status } = await client.workers.get(worker.id ?? '')
        saw(`close ${name} ${status}`)
      },
    })
  }
  await worker.start()
  expect(worker.sessions.names).toEqual(['model', 'browser', 'page'])
  const report = await worker.stop({ reason: 'a deploy' })
  expect(happened).toEqual([
    'tell model a deploy true',
    'tell browser a deploy true',
    'tell page a deploy true',
    expect.stringMatching(/^close page (online|draining)$/),
    expect.stringMatching(/^close browser (online|draining)$/),
    expect.stringMatching(/^close model (online|draining)$/),
  ])
  expect(report?.sessions.map(({ name, outcome }) => [name, outcome])).toEqual([
    ['page', 'done'],
    ['browser', 'done'],
    ['model', 'done'],
  ])
  expect(worker.sessions.names).toEqual([])
  await client.close()
})

test('a session that throws or hangs is logged and passed over, each within its own limit', async () => {
  const { worker, client } = await setUp()
  const told: unknown[] = []
  worker.on('session.failed', (fields) => told.push(fields))
  worker.sessions.add('fine', { close: () => undefined })
  worker.sessions.add('hangs', { close: never, timeoutMs: 200 })
  worker.sessions.add('deaf to the news', {
    notify: never,
    close: () => undefined,
    timeoutMs: 200,
  })
  worker.sessions.add('throws', {
    notify() {
      throw new Error('not told')
    },
    close: () => Promise.reject(new Error('not closed')),
  })
  await worker.start()
  const report = await worker.stop()
  expect(report).toMatchObject({ outcome: 'timed_out', error: null })
  expect(report?.sessions.map(({ name, outcome }) => [name, outcome])).toEqual([
    ['throws', 'failed'],
    ['deaf to the news', 'done'],
    ['hangs', 'timed_out'],
    ['fine', 'done'],
  ])
  expect(told).toEqual([
    { name: 'throws', step: 'notify', outcome: 'failed', error: 'not told' },
    { name: 'throws', step: 'close', outcome: 'failed', error: 'not closed' },
    {
      name: 'deaf to the news',
      step: 'notify',
      outcome: 'timed_out',
      error: expect.stringContaining('not done within'),
    },
    {
      name: 'hangs',
      step: 'close',
      outcome: 'timed_out',
      error: expect.stringContaining('not done within'),
    },
  ])
  expect(await client.workers.list()).toMatchObject([{ status: 'offline' }])
  await client.close()
})

test('any number of sessions that hang leave time for those after them, and for the end in order', async () => {
  const { worker, client } = await setUp(undefined, { shutdownGraceMs: 0, hardExitMs: 4_000 })
  let closed = 0
  worker.sessions.add('first', { close: () => (closed += 1) })
  for (let n = 1; n <= 5; n += 1) worker.sessions.add(`hangs ${n}`, { close: never })
  worker.onShutdown('after them', () => (closed += 1))
  await worker.start()
  const startedMs = performance.now()
  const report = await worker.stop()
  expect(performance.now() - startedMs).toBeLessThan(10_000)
  expect(closed).toBe(2)
  expect(report).toMatchObject({ outcome: 'timed_out', error: null })
  expect(report?.phases.map(({ phase }) => phase)).toContain('offline')
  await client.close()
})

test('a session is removed, refused or taken, each with a clear answer', async () => {
  const { worker, client, saw, happened } = await setUp()
  const session = { notify: () => saw('told'), close: () => saw('closed') }
  expect(worker.sessions.add('chat', session)).toBeNull()
  expect(() => worker.sessions.add('chat', session)).toThrow(UsageError)
  expect(() => worker.sessions.add('', session)).toThrow('needs a name')
  expect(() => worker.sessions.add('x', {} as never)).toThrow('needs a function `close`')
  expect(() => worker.sessions.add('x', { ...session, timeoutMs: -1 })).toThrow('timeoutMs')
  expect(worker.sessions.remove('chat')).toBe(true)
  expect(worker.sessions.remove('chat')).toBe(false)
  await worker.start()
  await worker.stop()
  expect(happened).toEqual([])
  await client.close()
})

test('disconnectAll closes all of them by hand, and the worker goes on', async () => {
  const { worker, client, saw, happened, job } = await setUp()
  await worker.start()
  worker.sessions.add('a', { notify: () => saw('tell a'), close: () => saw('close a') })
  worker.sessions.add('b', { notify: () => saw('tell b'), close: () => saw('close b') })
  const results = await worker.sessions.disconnectAll('maintenance')
  expect(happened).toEqual(['tell a', 'tell b', 'close b', 'close a'])
  expect(results.map(({ name, outcome }) => [name, outcome])).toEqual([
    ['b', 'done'],
    ['a', 'done'],
  ])
  expect(worker.state).toBe('ready')
  expect(worker.sessions.add('a', { close: () => saw('close the new a') })).toBeNull()
  await client.wait(await client.enqueue(job, {}))
  await worker.stop()
  expect(happened.at(-1)).toBe('close the new a')
  await client.close()
})

test('a handler adds and removes sessions, also while its worker drains, and is told so', async () => {
  let drain: () => void = () => undefined
  const draining = new Promise<void>((resolve) => (drain = resolve))
  const { worker, client, saw, happened, begin } = await setUp(async (ctx, see) => {
    const early = ctx.sessions.add('early', { close: () => see('close early') })
    ctx.sessions.add('gone', { close: () => see('close gone') })
    see(`early ${early === null}`)
    await draining
    const notice = ctx.sessions.add('late', {
      notify: ({ reason }) => see(`tell late ${reason}`),
      close: () => see('close late'),
    })
    see(`late ${notice?.reason} ${ctx.sessions.remove('gone')}`)
  })
  await worker.start()
  await begin()
  worker.on('worker.draining', () => drain())
  const report = await worker.stop({ reason: 'a deploy' })
  expect(happened).toEqual([
    'early true',
    'tell late a deploy',
    'late a deploy true',
    'close late',
    'close early',
  ])
  expect(report?.finished).toHaveLength(1)
  saw('end')
  await client.close()
})

test('once sessions are closed none may begin, until the worker is started again', async () => {
  const { worker, client } = await setUp()
  let refusal: unknown = null
  worker.onShutdown('too late', () => {
    try {
      worker.sessions.add('late', { close: () => undefined })
    } catch (error) {
      refusal = error
    }
  })
  await worker.start()
  await worker.stop()
  expect(refusal).toBeInstanceOf(StateRefusedError)
  expect((refusal as Error).message).toContain('has closed its sessions')
  expect(worker.sessions.add('next life', { close: () => undefined })).toBeNull()
  await worker.start()
  expect((await worker.stop())?.sessions).toMatchObject([{ name: 'next life', outcome: 'done' }])
  await client.close()
})

test('hooks run in their phases, in the order of registration, around sessions and the end in the registry', async () => {
  const { worker, client, happened, saw, begin } = await setUp(async (ctx, see) => {
    await new Promise((resolve) => ctx.signal.addEventListener('abort', resolve))
    see('handler ends')
  })
  const status = async (): Promise<string> =>
    (await client.workers.list())[0]?.status === 'offline' ? 'offline' : 'there'
  for (const phase of ['after-offline', 'before-close', 'after-drain', 'before-drain'] as const) {
    for (const name of ['one', 'two'])
      worker.onShutdown(name, async () => saw(`${phase} ${name} ${await status()}`), { phase })
  }
  worker.onShutdown('default', () => saw('default'))
  worker.sessions.add('session', { close: () => saw('session closed') })
  await worker.start()
  const jobId = await begin()
  const report = await worker.stop({ graceMs: 100 })
  expect(happened).toEqual([
    'before-drain one there',
    'before-drain two there',
    'handler ends',
    'after-drain one there',
    'after-drain two there',
    'session closed',
    'before-close one there',
    'before-close two there',
    'default',
    'after-offline one offline',
    'after-offline two offline',
  ])
  expect(report?.phases.map(({ phase }) => phase)).toEqual([
    'before-drain',
    'draining',
    'aborting',
    'after-drain',
    'sessions',
    'before-close',
    'flushing',
    'offline',
    'after-offline',
    'closing',
  ])
  // It was told to stop, and had a result all the same.
  expect(report).toMatchObject({ outcome: 'graceful', interrupted: [], finished: [jobId] })
  await client.close()
})

test('hooks that throw, hang or call stop themselves do not stop the shutdown', async () => {
  const { worker, client, saw, happened } = await setUp()
  const failed: unknown[] = []
  worker.on('hook.failed', ({ name, outcome }) => failed.push([name, outcome]))
  worker.onShutdown('throws', () => {
    throw new Error('no')
  })
  worker.onShutdown('rejects', () => Promise.reject(new Error('no')), { phase: 'before-drain' })
  worker.onShutdown('hangs', never, { timeoutMs: 100 })
  worker.onShutdown('stops', async () =>
    saw(`stop says ${JSON.stringify(await worker.stop({ graceMs: 9 }))}`),
  )
  worker.onShutdown('last', () => saw('last'), { phase: 'after-offline' })
  await worker.start()
  const report = await worker.stop()
  expect(happened).toEqual(['stop says null', 'last'])
  expect(failed).toEqual([
    ['rejects', 'failed'],
    ['throws', 'failed'],
    ['hangs', 'timed_out'],
  ])
  expect(report?.hooks.map(({ name, outcome }) => [name, outcome])).toEqual([
    ['rejects', 'failed'],
    ['throws', 'failed'],
    ['hangs', 'timed_out'],
    ['stops', 'done'],
    ['last', 'done'],
  ])
  expect(worker.state).toBe('stopped')
  expect(() => worker.onShutdown('x', () => null, { phase: 'sometime' as never })).toThrow(
    'there are before-drain, after-drain, before-close, after-offline',
  )
  await client.close()
})

test('a second stop without grace cuts hooks and sessions that hang', async () => {
  const { worker, client } = await setUp()
  worker.sessions.add('hangs', { close: never, timeoutMs: 20_000 })
  worker.onShutdown('skipped', () => null)
  await worker.start()
  const stopping = worker.stop()
  await until('sessions are being closed', () => worker.state === 'stopping')
  const startedMs = performance.now()
  const report = await worker.stop({ graceMs: 0 })
  expect(performance.now() - startedMs).toBeLessThan(5_000)
  expect(await stopping).toBe(report)
  expect(report).toMatchObject({
    outcome: 'timed_out',
    sessions: [{ name: 'hangs', outcome: 'timed_out' }],
    hooks: [{ name: 'skipped', outcome: 'skipped' }],
  })
  await client.close()
})

test('D5: a handler that stops its own worker and waits for it does not wait for itself', async () => {
  let stop: () => Promise<unknown> = never
  const { worker, client, happened, job } = await setUp(async (_ctx, see) => {
    see(`stop says ${JSON.stringify(await stop())}`)
    return 'finished'
  })
  stop = () => worker.stop({ reason: 'enough' })
  await worker.start()
  const id = await client.enqueue(job, {})
  await until('stopped', () => worker.state === 'stopped')
  expect(happened).toEqual(['stop says null'])
  const report = await worker.stop()
  expect(report).toMatchObject({ reason: 'enough', outcome: 'graceful' })
  expect(report?.finished).toEqual([id])
  expect(await client.get(id)).toMatchObject({ status: 'completed' })
  await client.close()
})

test('the report is what stop resolves to, what is logged, and in short what the registry keeps', async () => {
  const { worker, client, begin } = await setUp(
    async (ctx) =>
      new Promise((_, reject) => {
        ctx.signal.addEventListener('abort', () => reject(ctx.signal.reason as Error))
      }),
  )
  const logged: unknown[] = []
  worker.on('worker.stopped', (fields) => logged.push(fields))
  worker.sessions.add('chat', { close: () => Promise.reject(new Error('gone')) })
  await worker.start()
  const { id } = worker
  const jobId = await begin()
  const report = await worker.stop({
    graceMs: 50,
    reason: 'SIGTERM',
    signal: 'SIGTERM',
    exitCode: 0,
  })
  expect(report).toMatchObject({
    workerId: id,
    outcome: 'graceful',
    reason: 'SIGTERM',
    signal: 'SIGTERM',
    exitCode: 0,
    finished: [],
    interrupted: [jobId],
    released: [],
    error: null,
  })
  const { workerId, reason, durationMs } = report ?? {}
  expect(logged).toEqual([{ workerId, reason, durationMs, released: 0, report }])
  const document = await client.workers.get(id ?? '')
  const { shutdown } = document
  expect(shutdown).toMatchObject({
    outcome: 'graceful',
    signal: 'SIGTERM',
    exitCode: 0,
    finished: 0,
    interrupted: 1,
    sessions: 1,
    troubled: [{ session: 'chat', outcome: 'failed' }],
  })
  expect(shutdown.phases?.map(({ phase }) => phase)).toEqual([
    'draining',
    'aborting',
    'sessions',
    'flushing',
  ])
  expect(document).not.toHaveProperty('endReason.shutdown')
  expect(await worker.stop()).toBe(report)
  await client.close()
})

test('D6: handlers know when a shutdown will abort them, and the default grace leaves 5 of 30 seconds', async () => {
  const seen: (Date | null)[] = []
  const { worker, client, begin } = await setUp(async (ctx) => {
    seen.push(ctx.shutdownDeadline)
    await until('the deadline is known', () => ctx.shutdownDeadline)
    seen.push(ctx.shutdownDeadline)
  })
  expect(worker.settings).toMatchObject({ shutdownGraceMs: 25_000, hardExitMs: 30_000 })
  await worker.start()
  await begin()
  const beforeMs = Date.now()
  await worker.stop()
  const [first, second] = seen
  expect(first).toBeNull()
  expect(second?.getTime()).toBeGreaterThanOrEqual(beforeMs + 25_000)
  expect(second?.getTime()).toBeLessThan(beforeMs + 30_000)
  await client.close()
})

test('without its database a worker stops in time, and its report says what the registry does not know', async () => {
  const db = await createTestDatabase()
  await using proxy = await Proxy.open(db.databaseUrl)
  const job = defineJob({ type: 'job', input: anything, run: () => null })
  const connect = { databaseUrl: proxy.url, schema: db.schemaName }
  const worker = createWorker({ ...connect, jobs: [job], shutdownGraceMs: 1_000 })
  let closed = false
  worker.sessions.add('chat', { close: () => (closed = true) })
  await worker.start()
  await proxy.refuse()
  const startedMs = performance.now()
  const report = await worker.stop()
  expect(performance.now() - startedMs).toBeLessThan(10_000)
  expect(closed).toBe(true)
  expect(report).toMatchObject({ outcome: 'timed_out', sessions: [{ outcome: 'done' }] })
  // As it was, as the statement under way ended, or as the last try to connect did.
  expect(report?.error).toMatch(/not connected|Connection terminated|ECONNREFUSED/)
  expect(worker.state).toBe('stopped')
})

test('stopped while it starts, a worker gives up starting and says so', async () => {
  const { worker, client } = await setUp()
  const starting = worker.start()
  await worker.stop()
  await expect(starting).rejects.toThrow('stopped before it was ready')
  expect(['failed', 'stopped']).toContain(worker.state)
  await worker.start()
  expect(worker.state).toBe('ready')
  await worker.stop()
  await client.close()
})
