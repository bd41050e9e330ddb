/**
 * Runs against everything that changes one at the same moment, in both orders: its end × claim, × a job that is put in, × the
 * completion of its last job; two last jobs at once; a budget that two workers reach at once; the clearing of its lanes × a retry.
 *
 * One session is stopped between its statement and its commit; the other runs into it, waits, or passes over. What counts is what is
 * there after both have committed, the answers that they gave, and that the run ended exactly once.
 */
import { describe, expect, test } from 'vitest'
import { type Held, heldOf, type WorkerRow } from '../support/functions.ts'
import {
  checkInvariantsAfterEach,
  openProtocol,
  type Protocol,
  type Session,
} from '../support/protocol.ts'

checkInvariantsAfterEach()

interface Scene {
  readonly p: Protocol
  readonly a: Session
  readonly b: Session
  readonly id: string
  readonly worker: WorkerRow
  readonly held: Held[]
}

async function scene(count: number, options: Record<string, unknown> = {}): Promise<Scene> {
  const p = await openProtocol()
  const { id } = await p.createRun(options)
  await p.enqueue(count, { runId: id })
  const worker = await p.register()
  const held: Held[] = []
  // Each by a claim of its own: two ends of one claim wait for each other.
  while (held.length < count) held.push(...heldOf(await p.claim(worker, { want: 1 })))
  return { p, a: await p.session(), b: await p.session(), id, worker, held }
}

const endsOf = async (p: Protocol): Promise<string[]> =>
  (await p.allEvents())
    .map((event) => event.kind)
    .filter((kind) => kind.startsWith('run.') && kind !== 'run.created')

async function stateOf(p: Protocol, job: string): Promise<string> {
  return (await p.job(job)).state
}

describe('two last jobs complete at once', () => {
  test('neither sees the other before its commit, so neither ends the run; the last one to ask does, once', async () => {
    const { p, a, b, id, held } = await scene(2, { target: 2, maxFailed: 2 })
    await a.begin()
    await a.complete(held.slice(0, 1))
    await b.begin()
    await b.complete(held.slice(1))
    await a.commit()
    expect(await a.judge(id)).toEqual(['active'])
    await b.commit()
    expect(await b.judge(id)).toEqual(['completed'])
    expect(await a.judge(id)).toEqual(['completed'])
    expect(await endsOf(p)).toEqual(['run.completed'])
  })

  test('both ask at once: one waits for the other and finds it ended', async () => {
    const { p, a, b, id, held } = await scene(2, { target: 2 })
    await p.complete(held)
    await a.begin()
    expect(await a.judge(id)).toEqual(['completed'])
    const asked = b.judge(id)
    await p.waitsForLock(b)
    await a.commit()
    expect(await asked).toEqual(['completed'])
    expect(await endsOf(p)).toEqual(['run.completed'])
  })

  test('the first asks, finds it going on, and holds nothing that the second would miss', async () => {
    const { p, a, b, id, held } = await scene(2, { target: 2 })
    await a.complete(held.slice(0, 1))
    await a.begin()
    expect(await a.judge(id)).toEqual(['active'])
    await b.complete(held.slice(1))
    expect(await b.judge(id)).toEqual(['completed'])
    await a.commit()
    expect(await endsOf(p)).toEqual(['run.completed'])
  })

  test('500 times, by two workers that ask as they end: the run has always ended with the second answer', async () => {
    const { p, a, b } = await scene(1)
    const workers = [await p.register(), await p.register()] as const
    for (let n = 0; n < 500; n += 1) {
      const { id } = await p.createRun({ target: 2 })
      await p.enqueue(2, { runId: id })
      const held: Held[] = []
      for (const worker of workers)
        held.push(...heldOf(await p.claim(worker, { want: 1, runId: id })))
      const settle = async (by: Session, one: Held): Promise<void> => {
        await by.complete([one])
        await by.judge(id)
      }
      await Promise.all([settle(a, held[0]!), settle(b, held[1]!)])
      expect((await p.runDocument(id)).status).toBe('completed')
    }
  })
})

describe('a budget that two workers reach at once', () => {
  test('neither report is lost, and the run ends with the second', async () => {
    const { p, a, b, id, held } = await scene(2, { budget: { tokens: 100 } })
    await a.begin()
    await a.cost(held.slice(0, 1), [60], [0])
    await b.begin()
    await b.cost(held.slice(1), [60], [0])
    await a.commit()
    expect(await a.judge(id)).toEqual(['active'])
    await b.commit()
    expect(await b.judge(id)).toEqual(['error'])
    expect(await p.runDocument(id)).toMatchObject({
      cost: { tokens: 120 },
      endReason: { code: 'budget_spent' },
    })
    expect(await endsOf(p)).toEqual(['run.error'])
  })

  test('the same report twice at once is one cost', async () => {
    const { p, a, b, id, held } = await scene(1, { budget: { tokens: 100 } })
    await a.begin()
    await a.cost(held, [60], [0])
    const again = b.cost(held, [60], [0])
    await p.waitsForLock(b)
    await a.commit()
    expect(await again).toEqual(['stored'])
    expect((await p.runDocument(id)).cost.tokens).toBe(60)
    expect(await p.judge(id)).toEqual(['active'])
  })
})

describe('the end of a run × a claim of its jobs', () => {
  test('claimed first: the end passes over what is being claimed, and the next sweep asks it to stop', async () => {
    const { p, a, b, id, worker, held } = await scene(1)
    const [waiting] = await p.enqueue(1, { runId: id })
    await a.begin()
    const taken = heldOf(await a.claim(await p.register()))
    expect(taken.map(({ job }) => job)).toEqual([waiting])
    expect(await b.endRun(id, 'error')).toBe('error')
    await a.commit()
    expect(await stateOf(p, waiting!)).toBe('running')
    await p.sweep()
    expect(await stateOf(p, waiting!)).toBe('cancelling')
    await p.acknowledgeCancel([...held, ...taken])
    await p.claim(worker)
    expect((await p.runDocument(id)).counts.cancelled).toBe(2)
  })

  test('ended first: a claim gets nothing of it, before the commit and after', async () => {
    const { p, a, b, id, worker } = await scene(1)
    const [waiting] = await p.enqueue(1, { runId: id })
    await a.begin()
    await a.endRun(id, 'error')
    expect((await b.claim(worker)).jobs).toEqual([])
    await a.commit()
    expect((await b.claim(worker)).jobs).toEqual([])
    expect(await stateOf(p, waiting!)).toBe('cancelled')
  })

  test('ended first and its rest kept: it is claimed', async () => {
    const { p, a, b, id, worker } = await scene(1)
    const [waiting] = await p.enqueue(1, { runId: id })
    await a.begin()
    await a.endRun(id, 'archived', 'keep')
    const taken = await b.claim(worker)
    expect(taken.jobs.map((job) => job.id)).toEqual([waiting])
    await a.commit()
    expect(await stateOf(p, waiting!)).toBe('running')
  })
})

describe('the end of a run × a job that is put in', () => {
  test('put in first: an end by hand waits for nobody, and the job is cancelled once it is there', async () => {
    const { p, a, b, id, held, worker } = await scene(1)
    await a.begin()
    const [late] = await a.enqueue(1, { runId: id })
    expect(await b.endRun(id, 'completed')).toBe('completed')
    await b.acknowledgeCancel(held)
    // Not cleared yet, although nothing that is committed is left.
    await b.sweep()
    expect(await p.db.rows('select from %s.run where emptied_at is not null')).toEqual([])
    await a.commit()
    expect((await p.claim(worker)).jobs).toEqual([])
    await p.sweep()
    expect(await stateOf(p, late!)).toBe('cancelled')
    await p.sweep()
    expect(await p.db.rows('select from %s.lane where run_id is not null')).toEqual([])
  })

  test('ended first by hand: what is put in before that is committed is cancelled; after it, refused', async () => {
    const { p, a, b, id, held } = await scene(1)
    await a.begin()
    await a.endRun(id, 'error')
    const [late] = await b.enqueue(1, { runId: id })
    await a.commit()
    await expect(b.enqueue(1, { runId: id })).rejects.toMatchObject({ code: 'ERR_RUN_TERMINAL' })
    await p.sweep()
    expect(await stateOf(p, late!)).toBe('cancelled')
    await p.acknowledgeCancel(held)
  })

  test('put in first: not all jobs have ended, so the run does not end as if they had', async () => {
    const { p, a, b, id, held } = await scene(1)
    await p.updateRun(id, null, true)
    await a.begin()
    await a.enqueue(1, { runId: id })
    await b.complete(held)
    expect(await b.judge(id)).toEqual(['active'])
    await b.sweep()
    expect((await p.runDocument(id)).status).toBe('active')
    await a.commit()
    expect(await b.judge(id)).toEqual(['active'])
    expect((await p.runDocument(id)).counts).toMatchObject({ completed: 1, waiting: 1 })
  })

  test('put in and rolled back: the next sweep ends the run', async () => {
    const { p, a, b, id, held } = await scene(1)
    await p.updateRun(id, null, true)
    await a.begin()
    await a.enqueue(1, { runId: id })
    await b.complete(held)
    expect(await b.judge(id)).toEqual(['active'])
    await a.rollback()
    expect((await b.sweep()).running).toBe(true)
    expect((await p.runDocument(id)).status).toBe('completed')
  })

  test('all have ended first: what is put in waits, and is then refused', async () => {
    const { p, a, b, id, held } = await scene(1)
    await p.updateRun(id, null, true)
    await p.complete(held)
    await a.begin()
    expect(await a.judge(id)).toEqual(['completed'])
    const late = b.enqueue(1, { runId: id })
    late.catch(() => undefined)
    await p.waitsForLock(b)
    await a.commit()
    await expect(late).rejects.toMatchObject({ code: 'ERR_RUN_TERMINAL' })
    expect((await p.runDocument(id)).counts.total).toBe(1)
  })

  test('a spent budget ends a run that somebody puts jobs into without a pause', async () => {
    const { p, a, b, id, held } = await scene(1, { budget: { tokens: 1 } })
    await a.begin()
    const [late] = await a.enqueue(1, { runId: id })
    await b.cost(held, [1], [0])
    expect(await b.judge(id)).toEqual(['error'])
    await a.commit()
    await p.sweep()
    expect(await stateOf(p, late!)).toBe('cancelled')
  })
})

describe('the end of a run × the completion of its last job', () => {
  test('completed first: the end passes over it, and the job stays completed', async () => {
    const { p, a, b, id, held } = await scene(1)
    await a.begin()
    await a.complete(held)
    expect(await b.endRun(id, 'error')).toBe('error')
    await a.commit()
    await p.sweep()
    expect(await p.runDocument(id)).toMatchObject({ status: 'error', counts: { completed: 1 } })
  })

  test('ended first: the completion waits, comes after cancel was asked, and is kept as late', async () => {
    const { p, a, b, id, held } = await scene(1)
    await a.begin()
    await a.endRun(id, 'error')
    const completed = b.complete(held)
    await p.waitsForLock(b)
    await a.commit()
    expect(await completed).toEqual(['cancelled'])
    expect((await p.job(held[0]!.job)).attempts[0]?.lateResult).toMatchObject({
      outcome: 'completed',
    })
    await p.sweep()
    expect((await p.runDocument(id)).counts).toMatchObject({ completed: 0, cancelled: 1 })
  })

  test('by a sweep and by a worker at once: once', async () => {
    const { p, a, b, id, held } = await scene(1, { target: 1 })
    await p.complete(held)
    await a.begin()
    await a.sweep()
    const asked = b.judge(id)
    await p.waitsForLock(b)
    await a.commit()
    expect(await asked).toEqual(['completed'])
    expect(await endsOf(p)).toEqual(['run.completed'])
  })

  test('a sweep does not wait for whoever judges', async () => {
    const { p, a, b, id, held } = await scene(1, { target: 1 })
    await p.complete(held)
    await a.begin()
    await a.judge(id)
    expect((await b.sweep()).role).toBe('leader')
    await a.rollback()
    await b.sweep()
    expect((await p.runDocument(id)).status).toBe('completed')
  })
})

describe('the clearing of lanes × a retry', () => {
  async function ended(): Promise<Scene> {
    const one = await scene(1, { target: 1 })
    await one.p.complete(one.held)
    await one.p.judge(one.id)
    return one
  }

  test('retried first: the run is not cleared, and the job is found', async () => {
    const { p, a, b, held, worker } = await ended()
    await p.db.rows('update %s.run set keeps_rest = true')
    await a.begin()
    expect(await a.retry([held[0]!.job])).toEqual(['retried'])
    await b.sweep()
    expect(await p.db.rows('select from %s.lane where run_id is not null')).not.toEqual([])
    await a.commit()
    await b.sweep()
    expect((await p.claim(worker)).jobs.map((job) => job.id)).toEqual([held[0]!.job])
  })

  test('cleared first: the retry waits, and makes its lane known again', async () => {
    const { p, a, b, held, worker } = await ended()
    await p.db.rows('update %s.run set keeps_rest = true')
    await a.begin()
    await a.sweep()
    const retried = b.retry([held[0]!.job])
    await p.waitsForLock(b)
    await a.commit()
    expect(await retried).toEqual(['retried'])
    expect((await p.claim(worker)).jobs.map((job) => job.id)).toEqual([held[0]!.job])
  })
})
