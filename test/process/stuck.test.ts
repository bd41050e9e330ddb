/** A9: a worker whose process lives and renews, and which takes no work: it says so, and by default makes room for another. */
import { describe, expect, test } from 'vitest'
import { defineJob } from '../../src/client/define-job.ts'
import { createClient } from '../../src/client/client.ts'
import { createTestDatabase, testDatabaseUrl } from '../support/database.ts'
import { anything } from '../support/jobs.ts'
import { builtApi, Scenario } from '../support/process.ts'
import { until } from '../support/until.ts'
import { Proxy } from './proxy.ts'

const { createWorker } = await builtApi()

const RENEW_MS = 4_000
const ENV = { LEASE_DURATION: String((3 * RENEW_MS) / 1_000) }

describe.concurrent('a stuck worker', () => {
  test('A9: whose claims are not answered is unhealthy within three renewals, gives its jobs back and exits with 1', async (context) => {
    const s = await Scenario.open(context)
    await using proxy = await Proxy.open(testDatabaseUrl())
    const gate = s.gate('go')
    const held = await s.enqueue('wait', { gate: gate.file })
    const first = await s.worker({ databaseUrl: proxy.url, env: ENV })
    await s.journalLine('start')
    // Between the renewal that says it and the end of the worker are milliseconds: it is stopped before that commits.
    const holder = await s.holdTable('attempt')
    proxy.drop('leasehold worker')
    const wanted = await s.enqueue('plain')
    const wedgedMs = Date.now()
    const listed = await s.until('unhealthy', async () => {
      const [worker] = await s.client.workers.list()
      return worker?.status === 'unhealthy' ? worker : null
    })
    const knownAfterMs = Date.now() - wedgedMs
    expect(knownAfterMs).toBeGreaterThan(RENEW_MS)
    expect(knownAfterMs).toBeLessThan(3 * RENEW_MS)
    expect(listed).toMatchObject({ reason: 'alive, but its claims are not answered', running: 1 })
    expect(listed.leaseLeftMs).toBeGreaterThan(RENEW_MS)
    const said = await first.event('worker.stuck')
    expect(said).toMatchObject({ part: 'claims', level: 50 })
    expect(said['forMs']).toBeGreaterThan(RENEW_MS)
    await holder.release()
    expect(await first.exit()).toMatchObject({ code: 1 })

    expect(await s.jobIs(held, 'pending')).toMatchObject({ attempt: 1, lost: 1, failures: 0 })
    const second = await s.worker({ machine: 'machine-b' })
    gate.open()
    const job = await s.jobIs(held, 'completed')
    expect(job.attempts).toMatchObject([
      { endedAs: 'lost', endReason: { code: 'worker_stuck', layer: 0 } },
      { endedAs: 'completed' },
    ])
    expect(await s.jobIs(wanted, 'completed')).toMatchObject({ attempt: 1, lost: 0 })
    expect(second.events('job.picked_up')).toHaveLength(2)
    const told = await s.rows(`select data ->> 'part' as part from %s.event where kind = $1`, [
      'worker.stuck',
    ])
    expect(told).toEqual([{ part: 'claims' }])
  })

  test('A9: whose main thread is blocked by no handler is ended by force, and what it held goes back', async (context) => {
    const s = await Scenario.open(context)
    const jobId = await s.enqueue('jam')
    const first = await s.worker({ env: ENV })
    expect(await first.exit()).toMatchObject({ signal: 'SIGKILL' })
    expect(first.events('worker.killed')).toMatchObject([
      { reason: 'its event loop was blocked, and by no handler' },
    ])
    expect(await s.job(jobId)).toMatchObject({ status: 'pending', attempt: 1, lost: 1 })
    const [ended] = await s.client.workers.list()
    expect(ended).toMatchObject({
      status: 'offline',
      reason: 'its event loop was blocked, and by no handler',
    })
    const told = await s.rows(`select data ->> 'part' as part from %s.event where kind = $1`, [
      'worker.stuck',
    ])
    expect(told).toEqual([{ part: 'event_loop' }])
    await s.worker({ machine: 'machine-b' })
    expect(await s.jobIs(jobId, 'completed')).toMatchObject({ attempt: 2 })
  })

  test('A9: an outage of the database is nobody’s wedge', async (context) => {
    const s = await Scenario.open(context)
    await using proxy = await Proxy.open(testDatabaseUrl())
    const worker = await s.worker({ databaseUrl: proxy.url, env: ENV })
    const jobId = await s.enqueue('plain')
    await s.jobIs(jobId, 'completed')
    proxy.drop()
    const droppedMs = Date.now()
    const later = await s.enqueue('plain')
    await s.until('four renewals have passed', () => Date.now() - droppedMs > 4 * RENEW_MS)
    await proxy.heal()
    await s.jobIs(later, 'completed')
    expect(worker.events('worker.stuck')).toEqual([])
    expect(worker.ended).toBe(false)
  })

  test('A9: connections that died in silence are replaced before a worker counts as stuck', async (context) => {
    const s = await Scenario.open(context)
    await using proxy = await Proxy.open(testDatabaseUrl())
    const worker = await s.worker({ databaseUrl: proxy.url, env: ENV })
    for (const jobId of await s.enqueueSome(20, 'sleep', { ms: 10 }))
      await s.jobIs(jobId, 'completed')
    proxy.forget('leasehold worker')
    const jobId = await s.enqueue('plain')
    expect(await s.jobIs(jobId, 'completed', 60_000)).toMatchObject({ attempt: 1, lost: 0 })
    expect(worker.events('worker.stuck')).toEqual([])
    expect(worker.ended).toBe(false)
  })

  test('A9: inside a program of its owner’s it says so, is degraded, and goes on when claims are answered', async () => {
    const db = await createTestDatabase()
    await using proxy = await Proxy.open(db.databaseUrl)
    const job = defineJob({ type: 'job', input: anything, run: () => 'done' })
    const client = createClient({ databaseUrl: db.databaseUrl, schema: db.schemaName })
    await using worker = createWorker({
      databaseUrl: proxy.url,
      schema: db.schemaName,
      jobs: [job],
      leaseMs: 3 * RENEW_MS,
    })
    const parts: string[] = []
    worker.on('worker.stuck', ({ part }) => parts.push(part))
    await worker.start()
    await client.wait(await client.enqueue(job, {}))
    proxy.drop('leasehold worker')
    const jobId = await client.enqueue(job, {})
    await until('it says that it is stuck', () => parts.length > 0)
    expect(parts).toEqual(['claims'])
    expect(worker.state).toBe('degraded')
    await proxy.heal()
    await client.wait(jobId)
    await until('ready', () => worker.state === 'ready')
    await until(
      'online',
      async () => (await client.workers.get(worker.id ?? '')).status === 'online',
    )
    await client.close()
  })
})
