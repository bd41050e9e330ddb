/** cancel, retry, hold, resume, release_jobs, release_stuck, drain_workers, evict_workers. */
import { randomUUID } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { heldOf, LEASE_MS } from '../support/functions.ts'
import {
  checkInvariantsAfterEach,
  openProtocol,
  type Protocol,
  SCHEMAS,
} from '../support/protocol.ts'

checkInvariantsAfterEach()

/** One job in each state that an operator may find. */
async function oneOfEach(p: Protocol): Promise<Record<string, string>> {
  const worker = await p.register()
  const ids: Record<string, string> = {}
  const make = async (name: string, outcome: string): Promise<void> => {
    const { held } = await p.running(1, { queue: name }, worker)
    ids[name] = held[0]!.job
    await p.settle(held, [outcome])
  }
  await make('completed', 'completed')
  await make('failed', 'failed_finally')
  await make('cancelled', 'cancelled')
  await make('retrying', 'failed')
  ids['pending'] = (await p.enqueue(1, { queue: 'pending' }))[0]!
  ids['scheduled'] = (await p.enqueue(1, { queue: 'scheduled', delayMs: 60_000 }))[0]!
  ids['held'] = (await p.enqueue(1, { queue: 'held' }))[0]!
  await p.hold([ids['held']])
  ids['running'] = (await p.running(1, { queue: 'running' }, worker)).ids[0]!
  return ids
}

describe.each(SCHEMAS)('operators (%s schema)', (schema) => {
  test('cancel: every state has its answer, in order, and a repeat has the same', async () => {
    const p = await openProtocol(schema)
    const ids = await oneOfEach(p)
    const asked = [...Object.values(ids), randomUUID(), ids['running']!]
    const first = await p.cancel(asked, { message: 'no longer needed' })
    expect(Object.fromEntries(Object.keys(ids).map((name, n) => [name, first[n]]))).toEqual({
      completed: 'completed',
      failed: 'failed',
      cancelled: 'cancelled',
      retrying: 'cancelled',
      pending: 'cancelled',
      scheduled: 'cancelled',
      held: 'cancelled',
      running: 'cancelling',
    })
    expect(first.slice(-2)).toEqual(['not_found', 'cancelling'])
    const at = (await p.job(ids['running']!)).cancelRequestedAt
    expect(await p.cancel(asked)).toEqual(first)
    expect(await p.job(ids['running']!)).toMatchObject({
      state: 'cancelling',
      cancelRequestedAt: at,
    })
    expect(await p.job(ids['pending']!)).toMatchObject({
      status: 'cancelled',
      endReason: { code: 'cancelled', message: 'no longer needed' },
    })
    expect((await p.job(ids['completed']!)).cancelRequestedAt).toBeNull()
    const kinds = (await p.allEvents()).filter((event) => event.kind.startsWith('job.cancel'))
    expect(kinds.filter((event) => event.kind === 'job.cancelling')).toHaveLength(1)
  })

  test('cancel: a running job whose row is in another namespace, or nothing at all, is not found', async () => {
    const p = await openProtocol(schema)
    const { ids, held } = await p.running(1)
    expect(await p.in('other').cancel(ids)).toEqual(['not_found'])
    expect(await p.cancel([])).toEqual([])
    expect(await p.complete(held)).toEqual(['completed'])
  })

  test('C1: the next renewal tells a worker that cancel was asked', async () => {
    const p = await openProtocol(schema)
    const { worker, ids } = await p.running(1)
    await p.cancel(ids)
    expect((await p.renew(worker)).held).toMatchObject([{ job: ids[0], cancel: true }])
  })

  test('retry: ended and held jobs start anew with clean budgets, others say what they are', async () => {
    const p = await openProtocol(schema)
    const ids = await oneOfEach(p)
    await p.db.rows('update %s.job set lost = 2, interruptions = 9 where id = $1', [ids['failed']])
    await p.cancel([ids['pending']!])
    const names = ['completed', 'failed', 'cancelled', 'pending', 'held', 'running']
    expect(await p.retry([...names.map((name) => ids[name]!), randomUUID()])).toEqual([
      'retried',
      'retried',
      'retried',
      'retried',
      'retried',
      'running',
      'not_found',
    ])
    expect(await p.job(ids['failed']!)).toMatchObject({
      state: 'pending',
      failures: 0,
      lost: 0,
      interruptions: 0,
      finishedAt: null,
      endReason: null,
    })
    expect(await p.job(ids['pending']!)).toMatchObject({
      state: 'pending',
      cancelRequestedAt: null,
      endReason: null,
    })
    expect(await p.in('other').retry([ids['failed']!])).toEqual(['not_found'])
    expect(await p.retry([])).toEqual([])
    const worker = await p.register()
    const answer = await p.claim(worker, {
      queues: ['completed', 'failed', 'cancelled', 'pending', 'held'],
    })
    expect(answer.jobs).toHaveLength(5)
    expect(await p.complete(heldOf(answer))).toEqual(Array(5).fill('completed'))
  })

  test('retry: a completed job that is retried keeps its history and gets a new attempt', async () => {
    const p = await openProtocol(schema)
    const { worker, held, ids } = await p.running(1)
    await p.complete(held, [1])
    await p.retry(ids)
    const answer = await p.claim(worker)
    expect(answer.jobs[0]).toMatchObject({
      attempt: 2,
      resume: { previousEnd: { endedAs: 'completed' } },
    })
    expect(await p.complete(held, [1])).toEqual(['accepted before'])
    expect(await p.complete(heldOf(answer), [2])).toEqual(['completed'])
    expect(await p.job(ids[0]!)).toMatchObject({
      result: 2,
      attempts: [{ attempt: 1 }, { attempt: 2 }],
    })
  })

  test('hold and resume: only waiting jobs are held, only held ones resumed', async () => {
    const p = await openProtocol(schema)
    const ids = await oneOfEach(p)
    const names = ['pending', 'scheduled', 'retrying', 'running', 'completed', 'held']
    const asked = [...names.map((name) => ids[name]!), randomUUID()]
    expect(await p.hold(asked)).toEqual([
      'held',
      'held',
      'held',
      'running',
      'completed',
      'held',
      'not_found',
    ])
    expect((await p.claim(await p.register(), { queues: names })).jobs).toEqual([])
    expect(await p.job(ids['pending']!)).toMatchObject({
      state: 'held',
      endReason: { code: 'held' },
    })
    expect(await p.in('other').resume(asked)).toEqual(Array(7).fill('not_found'))
    expect(await p.resume(asked)).toEqual([
      'resumed',
      'resumed',
      'resumed',
      'running',
      'completed',
      'resumed',
      'not_found',
    ])
    expect(await p.resume(asked)).toEqual([
      'pending',
      'pending',
      'pending',
      'running',
      'completed',
      'pending',
      'not_found',
    ])
    expect((await p.jobs(asked)).map((job) => job.state)).toEqual([
      'pending',
      'scheduled',
      'retrying',
      'running',
      'completed',
      'pending',
    ])
    expect(await p.hold([])).toEqual([])
    expect(await p.resume([])).toEqual([])
  })

  test('release_jobs: running jobs of the living and the dead go back at once, not charged', async () => {
    const p = await openProtocol(schema)
    const one = await p.running(2)
    const [pending] = await p.enqueue(1, { queue: 'b' })
    await p.cancel([one.ids[1]!])
    expect(await p.in('other').releaseJobs(one.ids)).toEqual(['not_found', 'not_found'])
    expect(await p.releaseJobs([one.ids[1]!, pending!, one.ids[0]!, randomUUID()])).toEqual([
      'released',
      'pending',
      'released',
      'not_found',
    ])
    expect(await p.job(one.ids[0]!)).toMatchObject({
      state: 'pending',
      failures: 0,
      lost: 0,
      interruptions: 0,
      attempts: [{ endedAs: 'released', endReason: { code: 'released' } }],
    })
    expect((await p.renew(one.worker)).held).toEqual([])
    expect((await p.claim(await p.register())).jobs.map((job) => job.id)).toEqual([one.ids[0]])
    expect(await p.complete(one.held, [1, 1])).toEqual(['lease_lost', 'lease_lost'])
    expect(await p.releaseJobs([])).toEqual([])
  })

  test('K1: release_stuck takes back what no sign of life came for, and nothing else', async () => {
    const p = await openProtocol(schema)
    await p.db.rows(`update %s.tick set writable_since = '-infinity'`)
    const dead = await p.running(1)
    const rowless = await p.running(1, { queue: 'c' })
    await p.in('other').enqueue(1)
    const elsewhere = await p.in('other').register()
    await p.in('other').claim(elsewhere)
    await p.passTime(130_000)
    const alive = await p.running(1, { queue: 'b' })
    await p.db.rows('delete from %s.worker where incarnation = $1', [rowless.worker.incarnation])
    const expected = [dead.ids[0]!, rowless.ids[0]!].toSorted()
    const dry = await p.releaseStuck(120_000, { dryRun: true })
    expect(dry.map((one) => one.job).toSorted()).toEqual(expected)
    expect((await p.job(dead.ids[0]!)).status).toBe('running')
    const back = await p.releaseStuck(120_000)
    expect(back.map((one) => one.job).toSorted()).toEqual(expected)
    expect(back.every((one) => one.status === 'pending')).toBe(true)
    expect(await p.releaseStuck(120_000)).toEqual([])
    expect((await p.job(alive.ids[0]!)).state).toBe('running')
    expect((await p.in('other').renew(elsewhere)).held).toHaveLength(1)
  })

  test('drain: a worker is told, takes nothing, keeps what it has, and may take jobs again', async () => {
    const p = await openProtocol(schema)
    const { worker } = await p.running(1)
    const ended = await p.register()
    await p.endWorker(ended, 'released')
    const unknown = { ...worker, incarnation: randomUUID() }
    expect(await p.drain([worker, ended, unknown])).toEqual(['draining', 'offline', 'not_found'])
    expect(await p.in('other').drain([worker])).toEqual(['not_found'])
    expect(await p.renew(worker)).toMatchObject({ drain: true, held: [{}] })
    expect(await p.worker(worker)).toMatchObject({
      status: 'draining',
      reason: 'drained by an operator',
    })
    await p.enqueue(1)
    expect((await p.claim(worker)).jobs).toEqual([])
    expect(await p.drain([worker], false)).toEqual(['online'])
    expect(await p.renew(worker)).toMatchObject({ drain: false })
    expect((await p.claim(worker)).jobs).toHaveLength(1)
    expect(await p.drain([])).toEqual([])
  })

  test('D4: a worker that drains for twenty leases loses nothing and is shown draining all along', async () => {
    const p = await openProtocol(schema)
    const { worker, held } = await p.running(1)
    for (let beat = 0; beat < 20; beat += 1) {
      await p.renew(worker, { draining: true })
      expect((await p.worker(worker)).status).toBe('draining')
      await p.passTime(LEASE_MS - 1_000)
      expect((await p.sweep()).ended).toEqual([])
    }
    expect(await p.complete(held)).toEqual(['completed'])
  })

  test('evict: the row is ended first, the jobs go back as interrupted, and the worker has lost its lease', async () => {
    const p = await openProtocol(schema)
    const { worker, held, ids } = await p.running(2)
    await p.cancel([ids[1]!])
    expect(await p.in('other').evict([worker])).toEqual({ evicted: [], released: [] })
    const answer = await p.evict([worker, { ...worker, incarnation: randomUUID() }])
    expect(answer.evicted).toEqual([worker.incarnation])
    expect(answer.released).toEqual([
      { job: ids[0], status: 'pending' },
      { job: ids[1], status: 'cancelled', code: 'cancelled' },
    ])
    expect(await p.job(ids[0]!)).toMatchObject({
      interruptions: 1,
      lost: 0,
      attempts: [{ endedAs: 'interrupted' }],
    })
    expect(await p.renewAnswer(worker)).toMatchObject({
      outcome: 'lease_lost',
      reason: { code: 'evicted' },
    })
    expect(await p.checkpoint(held, [1, 1])).toEqual(['lease_lost', 'lease_lost'])
    expect(await p.evict([worker])).toEqual({ evicted: [], released: [] })
    expect(await p.evict([])).toEqual({ evicted: [], released: [] })
  })
})
