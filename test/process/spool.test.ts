/**
 * G5, and rules 5, 13 and 14: work that is done is not lost with the process that did it, nor is it done twice. Workers finish jobs
 * while the database is away or its answers are lost, are killed, and what they had finished is delivered by whoever comes next.
 */
import { readdirSync, rmSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { connectOne } from '../../src/db/connect.ts'
import { ownServer } from '../support/own-server.ts'
import { builtProgram, type LogLine, Scenario } from '../support/process.ts'
import { Proxy } from './proxy.ts'

builtProgram()

const SHORT = { LEASE_DURATION: '6' }
const LIMIT = { timeout: 150_000 }

/** Files that can be taken over, of all processes of a scenario. */
function spoolFiles(s: Scenario): string[] {
  return readdirSync(s.directory, { recursive: true, encoding: 'utf8' }).filter((name) =>
    name.endsWith('.jsonl'),
  )
}

const starts = (s: Scenario, jobId?: string): number =>
  s.journal(jobId).filter(({ what }) => what === 'start').length

const onDisk =
  (count: number) =>
  (line: LogLine): boolean =>
    line['onDisk'] === count

describe.concurrent('the spool', LIMIT, () => {
  test('G5: the database is down while ten jobs finish and their worker is killed; none is done again', async (context) => {
    const server = await ownServer(context)
    const s = await Scenario.open(context, { databaseUrl: server.url })
    const worker = await s.worker()
    const gate = s.gate('go')
    const jobIds = await s.enqueueSome(10, 'wait', { gate: gate.file })
    await s.until('all have started', () => starts(s) === 10)
    await server.stop()
    gate.open()
    await worker.event('spool.buffered', onDisk(10))
    worker.kill('SIGKILL')
    await worker.exit()
    // A start needs the database, and must not cost what lies on disk.
    const early = s.run(['worker', ...s.handlers()])
    expect((await early.exit()).code).toBe(3)
    expect(spoolFiles(s)).toHaveLength(1)

    await server.start()
    const next = await s.worker()
    await next.event('spool.taken_over', (line) => line['count'] === 10)
    expect(await next.event('spool.flushed')).toMatchObject({
      count: 10,
      answers: { completed: 10 },
    })
    for (const jobId of jobIds) {
      expect(await s.jobIs(jobId, 'completed')).toMatchObject({
        attempt: 1,
        lost: 0,
        result: { attempt: 1 },
      })
    }
    expect(starts(s)).toBe(10)
    await s.until('no file is left', () => spoolFiles(s).length === 0)
  })

  test('G5: a neighbour takes over what a killed worker has finished, while the database is still down', async (context) => {
    const server = await ownServer(context)
    const s = await Scenario.open(context, { databaseUrl: server.url })
    const worker = await s.worker()
    const gate = s.gate('go')
    const jobId = await s.enqueue('wait', { gate: gate.file })
    await s.journalLine('start')
    const neighbour = await s.worker()
    await server.stop()
    gate.open()
    await worker.event('spool.buffered', onDisk(1))
    worker.kill('SIGKILL')
    await neighbour.event('spool.taken_over', (line) => line['pid'] === worker.pid)
    await server.start()
    expect(await s.jobIs(jobId, 'completed', 60_000)).toMatchObject({ attempt: 1 })
    expect(starts(s)).toBe(1)
    await s.until('no file is left', () => spoolFiles(s).length === 0)
  })

  test('G5, rule 13: an outcome that comes when its lease was taken is kept with its attempt, and changes nothing else', async (context) => {
    const s = await Scenario.open(context)
    await using proxy = await Proxy.open(s.databaseUrl)
    const first = await s.worker({ machine: 'a', env: SHORT, databaseUrl: proxy.url })
    const gate = s.gate('go')
    const jobId = await s.enqueue('wait', { gate: gate.file })
    await s.journalLine('start')
    proxy.drop()
    gate.open()
    await first.event('spool.buffered', onDisk(1))
    first.kill('SIGKILL')
    await first.exit()
    rmSync(gate.file, { recursive: true })

    await s.worker({ machine: 'b', env: SHORT })
    await s.journalLine('start', ({ attempt }) => attempt === 2)
    await proxy.heal()
    const again = await s.worker({ machine: 'a', env: SHORT, databaseUrl: proxy.url })
    expect(await again.event('spool.flushed')).toMatchObject({ answers: { lease_lost: 1 } })
    const during = await s.job(jobId)
    expect(during).toMatchObject({ status: 'running', attempt: 2 })
    expect(during.attempts?.[0]).toMatchObject({
      endedAs: 'lost',
      lateResult: { outcome: 'completed', value: { attempt: 1 } },
    })
    gate.open()
    expect(await s.jobIs(jobId, 'completed')).toMatchObject({ result: { attempt: 2 } })
    expect(spoolFiles(s)).toEqual([])
  })

  test('order 20: a completion was acknowledged, its reply was lost and its worker killed; replayed it was accepted before', async (context) => {
    const s = await Scenario.open(context)
    await using proxy = await Proxy.open(s.databaseUrl)
    const worker = await s.worker({ databaseUrl: proxy.url })
    const gate = s.gate('go')
    const jobId = await s.enqueue('wait', { gate: gate.file })
    await s.journalLine('start')
    const answered = proxy.holdAnswer('leasehold worker', 'settle(')
    gate.open()
    await answered
    const completed = await s.jobIs(jobId, 'completed')
    await worker.event('spool.buffered', onDisk(1))
    worker.kill('SIGKILL')
    await worker.exit()

    await proxy.heal()
    const next = await s.worker({ databaseUrl: proxy.url })
    expect(await next.event('spool.flushed')).toMatchObject({
      count: 1,
      answers: { 'accepted before': 1 },
    })
    const after = await s.job(jobId)
    expect(after).toMatchObject({
      status: 'completed',
      attempt: 1,
      finishedAt: completed.finishedAt,
    })
    expect(after.attempts).toHaveLength(1)
    expect(starts(s)).toBe(1)
    expect(
      await s.rows(`select kind from %s.event where kind in ('job.completed', 'job.stale_write')`),
    ).toEqual([{ kind: 'job.completed' }])
    await s.until('no file is left', () => spoolFiles(s).length === 0)
  })

  test('order 17: a job that a stranger holds keeps its own outcome waiting on disk, and no other', async (context) => {
    const s = await Scenario.open(context)
    const worker = await s.worker()
    const gate = s.gate('go')
    const jobId = await s.enqueue('wait', { gate: gate.file })
    await s.journalLine('start')
    const stranger = await connectOne({ databaseUrl: s.databaseUrl })
    await stranger.query('begin')
    await stranger.query(`select ${s.db.schema}.cancel('default', array['${jobId}'::uuid])`)
    gate.open()
    await worker.event('spool.buffered', onDisk(1))
    const others = await s.enqueueSome(30, 'plain')
    for (const other of others) await s.jobIs(other, 'completed', 15_000)
    expect((await s.job(jobId)).status).toBe('running')
    await stranger.query('commit')
    await stranger.end()
    expect(await worker.event('spool.flushed')).toMatchObject({
      count: 1,
      answers: { cancelled: 1 },
    })
    await s.jobIs(jobId, 'cancelled')
  })

  test('a failure whose reply was lost is said to be one, when it was accepted before', async (context) => {
    const s = await Scenario.open(context)
    await using proxy = await Proxy.open(s.databaseUrl)
    const worker = await s.worker({ databaseUrl: proxy.url })
    const answered = proxy.holdAnswer('leasehold worker', 'settle(')
    const jobId = await s.enqueue(
      'wait.in_time',
      { gate: s.gate('never').file },
      { timeoutMs: 100, maxAttempts: 1 },
    )
    await answered
    await s.jobIs(jobId, 'failed')
    await proxy.heal()
    expect(await worker.event('job.failed')).toMatchObject({
      jobId,
      code: 'timeout',
      retrying: null,
    })
    expect(worker.events('jobs.released')).toEqual([])
  })

  test('G5: a stop while the database is down ends in time and leaves the outcomes on disk', async (context) => {
    const server = await ownServer(context)
    const s = await Scenario.open(context, { databaseUrl: server.url })
    const worker = await s.worker({ args: ['--shutdown-grace', '1s'] })
    const gate = s.gate('go')
    const jobId = await s.enqueue('wait', { gate: gate.file })
    await s.journalLine('start')
    await server.stop()
    gate.open()
    await worker.event('spool.buffered')
    worker.kill('SIGTERM')
    // The hard exit comes 6 s after the signal, and would be a 1.
    expect((await worker.exit()).code).toBe(0)
    expect(spoolFiles(s)).toHaveLength(1)
    await server.start()
    await s.worker()
    expect(await s.jobIs(jobId, 'completed')).toMatchObject({ attempt: 1 })
    expect(starts(s)).toBe(1)
  })

  test('rule 5: a worker that fences itself keeps its outcomes, and its next incarnation delivers them', async (context) => {
    const s = await Scenario.open(context)
    await using proxy = await Proxy.open(s.databaseUrl)
    const worker = await s.worker({ env: SHORT, databaseUrl: proxy.url })
    const gate = s.gate('go')
    const done = await s.enqueue('wait', { gate: gate.file })
    // Keeps the incarnation busy, so that it has something to fence.
    const busy = await s.enqueue('sleep', { ms: 60_000 })
    await s.until('both have started', () => starts(s) === 2)
    proxy.drop()
    gate.open()
    await worker.event('spool.buffered', onDisk(1))
    await s.journalLine('aborted lease_lost', ({ jobId }) => jobId === busy)
    expect(spoolFiles(s)).toHaveLength(1)
    await proxy.heal()
    // Nobody else is there to take the job: it is adopted, or still held.
    expect(await s.jobIs(done, 'completed', 60_000)).toMatchObject({ attempt: 1 })
    expect(starts(s, done)).toBe(1)
    expect(worker.ended).toBe(false)
    await s.until('no file is left', () => spoolFiles(s).length === 0)
  })
})
