/**
 * Jobs that a worker has claimed and not begun are nobody's hostage: while a handler keeps its main thread busy they go to whoever is
 * free, are charged nothing, and none of them begins twice.
 */
import { describe, expect, test } from 'vitest'
import type { JobDocument } from '../../src/client/documents.ts'
import { testDatabaseUrl } from '../support/database.ts'
import { builtProgram, type Program, Scenario } from '../support/process.ts'
import { Proxy } from './proxy.ts'

builtProgram()

const SPIN_MS = 15_000

const documents = (s: Scenario, ids: readonly string[]): Promise<JobDocument[]> =>
  Promise.all(ids.map((id) => s.job(id)))

const started = (s: Scenario, id: string): number =>
  s.journal(id).filter(({ what }) => what === 'start').length

/** A worker that is kept busy until the gate opens. */
async function busyWorker(s: Scenario): Promise<{ open: () => void }> {
  await s.worker({ machine: 'machine-b', args: ['--concurrency', '1'] })
  const gate = s.gate('busy')
  await s.enqueue('wait', { gate: gate.file })
  await s.journalLine('start')
  return gate
}

/** One that takes one job at a time, and has seen so many short ones that it claims ahead. */
async function workerThatClaimsAhead(s: Scenario): Promise<Program> {
  const worker = await s.worker({ args: ['--concurrency', '1'] })
  await ended(s, await s.enqueueSome(100, 'plain'))
  return worker
}

async function ended(s: Scenario, ids: readonly string[]): Promise<void> {
  await s.until('all have ended', async () => {
    const live = await s.rows('select 1 from %s.job where id = any ($1)', [ids])
    return live.length === 0
  })
}

describe.concurrent('jobs that were claimed and have not begun', () => {
  test('are run by another worker while a handler blocks the first', async (context) => {
    const s = await Scenario.open(context)
    const gate = await busyWorker(s)
    const first = await workerThatClaimsAhead(s)
    const types = [...Array<string>(30).fill('plain'), 'spin', ...Array<string>(60).fill('plain')]
    const ids = await Promise.all(types.map((type) => s.enqueue(type, { ms: SPIN_MS })))
    const spin = ids[30] as string
    await s.journalLine('start', (line) => line.jobId === spin)
    // Those that ended in the same turn of its event loop have outcomes that it could not send yet: that work is done.
    await s.until('it holds nothing that has not begun', async () => {
      const held = await s.rows<{ id: string }>(
        `select j.id from %s.job j join %s.worker_detail d on d.incarnation = j.worker
         where d.pid = $1 and j.token is not null`,
        [first.pid],
      )
      return held.every(({ id }) => s.journal(id).length > 0)
    })
    gate.open()
    await ended(s, ids.slice(31))
    expect(s.journal(spin).map(({ what }) => what)).toEqual(['start'])

    await s.jobIs(spin, 'completed')
    const all = await documents(s, ids)
    for (const job of all)
      expect(job).toMatchObject({ status: 'completed', lost: 0, failures: 0, interruptions: 0 })
    // It had claimed some ahead.
    expect(all.some(({ attempts }) => attempts?.[0]?.endedAs === 'released')).toBe(true)
    for (const id of ids) expect(started(s, id)).toBe(1)
    // And it works on.
    await s.jobWhen(
      'run by the first',
      await s.enqueue('plain', {}, { target: { machine: 'machine-a' } }),
      ({ status }) => status === 'completed',
    )
    expect(first.ended).toBe(false)
  })

  test('go on to another worker when those before them take longer than jobs did so far', async (context) => {
    const s = await Scenario.open(context)
    const gate = await busyWorker(s)
    const first = await workerThatClaimsAhead(s)
    // Each too short for anybody to notice that it blocks, and all of them in one turn of the event loop.
    const types = [...Array<string>(30).fill('plain'), ...Array<string>(60).fill('spin')]
    const ids = await Promise.all(types.map((type) => s.enqueue(type, { ms: 150 })))
    await s.journalLine('start', (line) => line.jobId === ids[30])
    gate.open()
    await ended(s, ids)
    const all = await documents(s, ids)
    const late = all.filter(({ attempts }) => attempts?.[0]?.endedAs === 'released')
    expect(late.length).toBeGreaterThan(0)
    expect(late.some(({ machineId }) => machineId === 'machine-b')).toBe(true)
    for (const id of ids) expect(started(s, id)).toBe(1)
    expect(first.ended).toBe(false)
  })

  test('nor are those of a claim that is under way when a handler begins to block', async (context) => {
    const s = await Scenario.open(context)
    await using proxy = await Proxy.open(testDatabaseUrl())
    const busy = await busyWorker(s)
    const first = await s.worker({
      databaseUrl: proxy.url,
      args: ['--concurrency', '2'],
      env: { LEASE_DURATION: '60' },
    })
    const gate = s.gate('go')
    const spin = await s.enqueue('spin.later', { gate: gate.file, ms: SPIN_MS })
    await s.journalLine('waits')
    const answered = proxy.holdAnswer('leasehold worker', 'claim(')
    const jobId = await s.enqueue('plain')
    const letThrough = await answered
    expect(await s.job(jobId)).toMatchObject({ status: 'running', attempt: 1 })
    gate.open()
    await s.jobIs(jobId, 'pending')
    expect(s.journal(spin).map(({ what }) => what)).toEqual(['waits'])
    busy.open()
    expect(await s.jobIs(jobId, 'completed')).toMatchObject({
      attempt: 2,
      machineId: 'machine-b',
      lost: 0,
      interruptions: 0,
    })
    letThrough()
    expect(await s.jobIs(spin, 'completed')).toMatchObject({ attempt: 1 })
    await s.jobIs(await s.enqueue('plain', {}, { target: { machine: 'machine-a' } }), 'completed')
    expect(started(s, jobId)).toBe(1)
    expect(first.events('lease.lost')).toEqual([])
  })
})
