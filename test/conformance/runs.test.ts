/** Runs: create, fill, count, cost, the rules that end one, ends by hand, what becomes of the rest, lanes, and workers aimed at one. */
import { describe, expect, test } from 'vitest'
import type { RunOptionsJson } from '../../src/sql/runs.ts'
import { type Held, heldOf, type WorkerRow } from '../support/functions.ts'
import {
  checkInvariantsAfterEach,
  openProtocol,
  type Protocol,
  SCHEMAS,
} from '../support/protocol.ts'

checkInvariantsAfterEach()

const UNKNOWN = '01890a5d-ac96-774b-bcce-b302099a8057'
const GRACE_MS = 30_000

/** A run with jobs that a worker holds. */
async function started(
  p: Protocol,
  count: number,
  options: Record<string, unknown> = {},
): Promise<{ id: string; worker: WorkerRow; held: Held[]; jobs: string[] }> {
  const { id } = await p.createRun(options)
  const jobs = await p.enqueue(count, { runId: id, maxAttempts: 1 })
  const worker = await p.register()
  return { id, worker, held: heldOf(await p.claim(worker, { want: count })), jobs }
}

const lanesOf = (p: Protocol, run: string): Promise<unknown[]> =>
  p.db.rows('select id from %s.lane where run_id = $1', [run])

describe.each(SCHEMAS)('runs (%s schema)', (schema) => {
  test('create_run: a run is active, empty, and says all that it was given', async () => {
    const p = await openProtocol(schema)
    const run = await p.createRun({
      stage: 'loading',
      target: 10,
      maxFailed: 2,
      budget: { tokens: 1_000, usd: 2.5 },
      rest: 'keep',
    })
    expect(run).toMatchObject({
      name: 'batch',
      status: 'active',
      stage: 'loading',
      criteria: { about: 'a test' },
      target: 10,
      counts: { total: 0, waiting: 0, running: 0, completed: 0, failed: 0, cancelled: 0 },
      progress: { done: 0, failed: 0, target: 10 },
      cost: { tokens: 0, usd: 0 },
      budget: { tokens: 1_000, usd: 2.5 },
      rules: { maxFailed: 2, fillGraceMs: GRACE_MS, rest: 'keep' },
      finishedAt: null,
    })
    expect((await p.createRun()).budget).toBeNull()
    expect(await p.in('other').run('find_runs', 'other', run.id)).toEqual([])
  })

  test.each([
    ['a target below 1', { target: 0 }],
    ['a budget of nothing', { budget: { usd: 0 } }],
    ['fewer failures than none', { maxFailed: -1 }],
    ['another word for rest', { rest: 'forget' }],
  ])('create_run refuses %s', async (_, options) => {
    const p = await openProtocol(schema)
    await expect(p.createRun(options as RunOptionsJson)).rejects.toMatchObject({
      code: 'ERR_USAGE',
    })
    await expect(p.createRun({}, ' ')).rejects.toMatchObject({ code: 'ERR_USAGE' })
  })

  test('enqueue into a run: its jobs say so, anybody claims them, and the counts are exact at any moment', async () => {
    const p = await openProtocol(schema)
    const { id } = await p.createRun()
    const jobs = await p.enqueue(4, { runId: id, maxAttempts: 1 })
    const counts = async (): Promise<unknown> => (await p.runDocument(id)).counts
    expect(await counts()).toMatchObject({ total: 4, waiting: 4, running: 0 })
    const worker = await p.register()
    const claimed = await p.claim(worker, { want: 3 })
    expect(claimed.run).toBeNull()
    expect(claimed.jobs.map((job) => job.runId)).toEqual(Array(3).fill(id))
    expect(await counts()).toMatchObject({ total: 4, waiting: 1, running: 3 })
    const [one, two, three] = heldOf(claimed)
    await p.complete([one!])
    await p.fail([two!], [{ message: 'no' }])
    await p.cancel([three!.job])
    await p.acknowledgeCancel([three!])
    expect(await counts()).toEqual({
      total: 4,
      waiting: 1,
      running: 0,
      completed: 1,
      failed: 1,
      cancelled: 1,
    })
    expect(await p.job(jobs[0]!)).toMatchObject({ runId: id })
    // Folding moves nothing that anybody sees.
    const before = await p.runDocument(id)
    await p.sweep()
    expect(await p.db.rows('select from %s.run_tally')).toEqual([])
    expect((await p.runDocument(id)).counts).toEqual(before.counts)
    const listed = await p.run<{ id: string }[]>(
      'list_jobs',
      p.namespace,
      null,
      null,
      null,
      null,
      null,
      50,
      id,
    )
    expect(listed.map((job) => job.id)).toEqual(jobs.toReversed())
  })

  test('the same key again is the same job, and is counted once', async () => {
    const p = await openProtocol(schema)
    const { id } = await p.createRun()
    await p.enqueue(1, { runId: id, key: 'k' })
    await p.enqueue(1, { runId: id, key: 'k' })
    expect((await p.runDocument(id)).counts.total).toBe(1)
  })

  test('enqueue into a run that there is not, or has ended, or is of another namespace, is refused', async () => {
    const p = await openProtocol(schema)
    const { id } = await p.createRun()
    await expect(p.enqueue(1, { runId: UNKNOWN })).rejects.toMatchObject({ code: 'ERR_NOT_FOUND' })
    await expect(p.in('other').enqueue(1, { runId: id })).rejects.toMatchObject({
      code: 'ERR_NOT_FOUND',
    })
    await p.endRun(id, 'archived')
    await expect(p.enqueue(1, { runId: id })).rejects.toMatchObject({ code: 'ERR_RUN_TERMINAL' })
  })

  test('a run that nobody has put a job into does not end by itself', async () => {
    const p = await openProtocol(schema)
    const { id } = await p.createRun()
    await p.updateRun(id, null, true)
    await p.passTime(10 * GRACE_MS)
    await p.sweep()
    expect(await p.judge(id)).toEqual(['active'])
    expect((await p.sweep()).running).toBe(false)
  })

  test('a run that is still being filled does not end when its jobs have; its grace ends that, and sweeps wait for it', async () => {
    const p = await openProtocol(schema)
    const { id, held } = await started(p, 2)
    await p.complete(held)
    expect(await p.judge(id)).toEqual(['active'])
    // Nothing is leased, yet somebody has to go on looking.
    expect((await p.sweep()).running).toBe(true)
    await p.passTime(GRACE_MS - 1_000)
    await p.enqueue(1, { runId: id })
    await p.passTime(GRACE_MS - 1_000)
    await p.sweep()
    expect((await p.runDocument(id)).status).toBe('active')
    const worker = await p.register()
    await p.complete(heldOf(await p.claim(worker)))
    await p.passTime(2_000)
    await p.sweep()
    expect(await p.runDocument(id)).toMatchObject({
      status: 'completed',
      endReason: { code: 'all_ended' },
    })
  })

  test('a run with a target is filled by as many jobs: one that holds fewer goes on, however long', async () => {
    const p = await openProtocol(schema)
    const { id, held } = await started(p, 2, { target: 3, maxFailed: 3 })
    await p.complete(held.slice(0, 1))
    await p.fail(held.slice(1), [{ message: 'no' }])
    await p.passTime(10 * GRACE_MS)
    expect(await p.judge(id)).toEqual(['active'])
    expect((await p.sweep()).running).toBe(false)
    await p.enqueue(1, { runId: id })
    await p.complete(heldOf(await p.claim(await p.register())))
    expect(await p.judge(id)).toEqual(['completed'])
  })

  describe('update_run', () => {
    test('says the stage; filled ends a run whose jobs have ended at once', async () => {
      const p = await openProtocol(schema)
      const { id, held } = await started(p, 1)
      expect(await p.updateRun(id, 'rendering', null)).toBe('active')
      expect(await p.updateRun(id, null, true)).toBe('active')
      expect(await p.runDocument(id)).toMatchObject({ stage: 'rendering', filled: true })
      await p.complete(held)
      expect(await p.judge(id)).toEqual(['completed'])
      const other = await started(p, 1)
      await p.complete(other.held)
      expect(await p.updateRun(other.id, null, true)).toBe('completed')
      expect(await p.updateRun(other.id, 'late', null)).toBe('completed')
      expect((await p.runDocument(other.id)).stage).toBeNull()
      expect(await p.updateRun(UNKNOWN, null, true)).toBe('not_found')
    })
  })

  describe('the rules', () => {
    const outcomes: [string, Record<string, unknown>, string[], string, string][] = [
      ['all completed', {}, ['completed', 'completed'], 'completed', 'all_ended'],
      ['one failed, none may', {}, ['completed', 'failed_finally'], 'error', 'too_many_failed'],
      [
        'one failed of one that may',
        { maxFailed: 1 },
        ['completed', 'failed_finally'],
        'completed',
        'all_ended',
      ],
      [
        'all failed, and may',
        { maxFailed: 2 },
        ['failed_finally', 'failed_finally'],
        'error',
        'nothing_completed',
      ],
      ['one was cancelled', {}, ['completed', 'cancelled'], 'completed', 'all_ended'],
      ['all were cancelled', {}, ['cancelled', 'cancelled'], 'error', 'nothing_completed'],
      [
        'the target is met',
        { target: 2 },
        ['completed', 'completed'],
        'completed',
        'target_reached',
      ],
      [
        'the target is missed by a cancelled job',
        { target: 2 },
        ['completed', 'cancelled'],
        'error',
        'target_missed',
      ],
      [
        'the target is met by failures that may be',
        { target: 2, maxFailed: 1 },
        ['completed', 'failed_finally'],
        'completed',
        'all_ended',
      ],
      [
        'the budget is spent by what completed it',
        { budget: { tokens: 5 } },
        ['completed', 'completed'],
        'completed',
        'all_ended',
      ],
    ]
    test.each(outcomes)('all jobs have ended: %s', async (_, options, ends, status, code) => {
      const p = await openProtocol(schema)
      const { id, held } = await started(p, 2, options)
      await p.updateRun(id, null, true)
      await p.cost(held.slice(0, 1), [options['budget'] === undefined ? 0 : 5], [0])
      await p.settle(held, ends)
      expect(await p.judge(id)).toEqual([status])
      expect(await p.runDocument(id)).toMatchObject({ status, endReason: { code } })
    })

    test('the target is reached before all have ended: the rest is cancelled, and the lanes go', async () => {
      const p = await openProtocol(schema)
      const { id, held, worker, jobs } = await started(p, 3, { target: 1 })
      const [waiting] = await p.enqueue(1, { runId: id })
      await p.complete(held.slice(0, 1))
      expect(await p.judge(id)).toEqual(['completed'])
      expect(await p.job(waiting!)).toMatchObject({
        status: 'cancelled',
        endReason: { code: 'run_ended', message: expect.stringContaining('completed') as string },
      })
      expect((await p.renew(worker)).held.map(({ cancel }) => cancel)).toEqual([true, true])
      expect(await lanesOf(p, id)).not.toEqual([])
      await p.acknowledgeCancel(held.slice(1))
      await p.sweep()
      expect(await lanesOf(p, id)).toEqual([])
      expect((await p.runDocument(id)).counts).toMatchObject({ completed: 1, cancelled: 3 })
      expect((await p.job(jobs[0]!)).status).toBe('completed')
      await p.claim(worker)
      expect((await p.sweep()).running).toBe(false)
    })

    test('more failures than may be end it at once, and keep what is left where that is asked', async () => {
      const p = await openProtocol(schema)
      const { id, held, worker } = await started(p, 3, { maxFailed: 1, rest: 'keep' })
      const [waiting] = await p.enqueue(1, { runId: id })
      await p.fail(held.slice(0, 1), [{ message: 'no' }])
      expect(await p.judge(id)).toEqual(['active'])
      await p.fail(held.slice(1, 2), [{ message: 'no' }])
      expect(await p.judge(id)).toEqual(['error'])
      expect((await p.renew(worker)).held).toMatchObject([{ cancel: false }])
      const rest = heldOf(await p.claim(worker))
      expect(rest.map(({ job }) => job)).toEqual([waiting])
      await p.complete([...held.slice(2), ...rest])
      await p.sweep()
      expect(await lanesOf(p, id)).toEqual([])
      expect((await p.runDocument(id)).counts).toMatchObject({
        completed: 2,
        failed: 2,
        waiting: 0,
      })
    })

    test('a retry after a failure is no failed job', async () => {
      const p = await openProtocol(schema)
      const { id } = await p.createRun({ maxFailed: 0 })
      await p.enqueue(1, { runId: id, maxAttempts: 2 })
      const worker = await p.register()
      await p.fail(heldOf(await p.claim(worker)), [{ message: 'no' }], [0])
      expect(await p.judge(id)).toEqual(['active'])
      expect((await p.runDocument(id)).counts).toMatchObject({ waiting: 1, failed: 0 })
      await p.settle(heldOf(await p.claim(worker)), ['failed_finally'])
      expect(await p.judge(id)).toEqual(['error'])
    })

    test('a poisoned job is a failed job of its run, and the sweep that ends it ends the run', async () => {
      const p = await openProtocol(schema)
      const { id } = await p.createRun({ maxFailed: 0 })
      await p.enqueue(1, { runId: id, maxLost: 1 })
      await p.claim(await p.register())
      await p.lapse()
      await p.sweep()
      expect(await p.runDocument(id)).toMatchObject({ status: 'error', counts: { failed: 1 } })
    })
  })

  describe('cost', () => {
    test('is a sum for each attempt: said again, or an older one, it changes nothing', async () => {
      const p = await openProtocol(schema)
      const { id, held } = await started(p, 2)
      expect(await p.cost(held, [10, 1], [0.5, 0.25])).toEqual(['stored', 'stored'])
      expect(await p.cost(held, [10, 1], [0.5, 0.25])).toEqual(['stored', 'stored'])
      await p.cost(held.slice(0, 1), [30], [0.5])
      await p.cost(held.slice(0, 1), [20], [0.75])
      expect((await p.runDocument(id)).cost).toEqual({ tokens: 31, usd: 1 })
    })

    test('counts every attempt, and is refused with a stale token', async () => {
      const p = await openProtocol(schema)
      const { id, worker, held } = await started(p, 1)
      await p.cost(held, [10], [0])
      await p.release(held)
      expect(await p.cost(held, [99], [0])).toEqual(['lease_lost'])
      const again = heldOf(await p.claim(worker))
      await p.cost(again, [7], [0])
      expect((await p.runDocument(id)).cost.tokens).toBe(17)
      await p.cancel([again[0]!.job])
      expect(await p.cost(again, [8], [0])).toEqual(['cancelling'])
    })

    test('a spent budget ends the run and cancels what is left; a job without a run only has its cost', async () => {
      const p = await openProtocol(schema)
      const { id, held, worker } = await started(p, 2, { budget: { usd: 1 } })
      await p.cost(held.slice(0, 1), [0], [0.9])
      expect(await p.judge(id)).toEqual(['active'])
      await p.cost(held.slice(1), [0], [0.1])
      expect(await p.judge(id)).toEqual(['error'])
      expect((await p.runDocument(id)).endReason).toEqual({
        code: 'budget_spent',
        message: '1 of 1 USD are spent',
      })
      expect((await p.renew(worker)).held.map(({ cancel }) => cancel)).toEqual([true, true])
      const alone = await p.running(1)
      expect(await p.cost(alone.held, [5], [5])).toEqual(['stored'])
      expect(await p.db.rows('select from %s.run_tally t where t.tokens = 5')).toEqual([])
    })
  })

  describe('end_run', () => {
    test('ends a run as asked, is safe to repeat, and refuses another end', async () => {
      const p = await openProtocol(schema)
      const { id } = await p.createRun()
      expect(await p.endRun(id, 'completed')).toBe('completed')
      expect(await p.endRun(id, 'completed')).toBe('completed')
      expect(await p.endRun(id, 'error')).toBe('completed')
      expect(await p.endRun(UNKNOWN, 'error')).toBe('not_found')
      expect(await p.in('other').endRun(id, 'completed')).toBe('not_found')
      await expect(p.endRun(id, 'active')).rejects.toMatchObject({ code: 'ERR_USAGE' })
      const kinds = (await p.allEvents()).map((event) => event.kind)
      expect(kinds.filter((kind) => kind.startsWith('run.'))).toEqual([
        'run.created',
        'run.completed',
      ])
      expect((await p.runDocument(id)).endReason).toMatchObject({ code: 'by_hand' })
    })

    test('cancels what waits, runs, is held, is delayed or parked; more than one batch by the next sweeps', async () => {
      const p = await openProtocol(schema)
      const { id } = await p.createRun()
      await p.enqueue(2_300, { runId: id })
      await p.enqueue(1, { runId: id, delayMs: 60_000 })
      const [held] = await p.enqueue(1, { runId: id, priority: 5 })
      await p.hold([held!])
      await p.enqueue(2, { runId: id, priority: 9, concurrencyKey: 'k' })
      const worker = await p.register()
      const keyed = heldOf(await p.claim(worker, { want: 2 }))
      expect(await p.endRun(id, 'archived', 'cancel')).toBe('archived')
      expect((await p.claim(worker)).jobs).toEqual([])
      expect((await p.sweep()).more).toBe(true)
      await p.sweep()
      expect((await p.runDocument(id)).counts).toMatchObject({ waiting: 0, running: keyed.length })
      await p.acknowledgeCancel(keyed)
      await p.sweep()
      expect((await p.runDocument(id)).counts).toMatchObject({ cancelled: 2_304, total: 2_304 })
      expect(await lanesOf(p, id)).toEqual([])
    })

    test('what is left while jobs stop slowly is found without walking over all jobs of the run: at once, or within a minute', async () => {
      const p = await openProtocol(schema)
      const { id, held, worker } = await started(p, 3)
      const [aside] = await p.enqueue(1, { runId: id })
      const [holder, late] = [await p.session(), await p.session()]
      await holder.begin()
      await holder.hold([aside!])
      await late.begin()
      const [added] = await late.enqueue(1, { runId: id })
      await p.complete(held.slice(0, 1))
      await p.endRun(id, 'completed', 'cancel')
      await p.sweep()
      await holder.commit()
      await late.commit()
      const walked = async () =>
        (await p.db.rows<{ at: string }>('select rest_walked_at as at from %s.run'))[0]?.at
      const walkedAt = await walked()
      expect(walkedAt).not.toBeNull()
      const status = async () => (await p.jobs([aside!, added!])).map((job) => job.status)
      await p.sweep()
      expect(await status()).toEqual(['held', 'cancelled'])
      expect(await walked()).toEqual(walkedAt)
      await p.passTime(61_000)
      await p.renew(worker)
      await p.sweep()
      expect(await status()).toEqual(['cancelled', 'cancelled'])
      await p.acknowledgeCancel(held.slice(1))
      await p.sweep()
      expect(await lanesOf(p, id)).toEqual([])
    })

    test('a job that comes back to a run that cancels its rest is cancelled too', async () => {
      const p = await openProtocol(schema)
      const { id, worker, held } = await started(p, 1)
      await p.db.rows(
        'update %s.run set status = $2, keeps_rest = false, finished_at = now(), end_reason = $3 where id = $1',
        [id, 'error', { code: 'by_hand', message: 'before it was cancelled' }],
      )
      await p.release(held)
      expect((await p.claim(worker)).jobs).toEqual([])
      await p.sweep()
      expect((await p.job(held[0]!.job)).status).toBe('cancelled')
    })
  })

  describe('retry', () => {
    test('of a job of an ended run: it goes on without it, in a lane that is known again, and then that goes again', async () => {
      const p = await openProtocol(schema)
      const { id, held, jobs } = await started(p, 1, { target: 1 })
      await p.complete(held)
      await p.judge(id)
      await p.sweep()
      expect(await lanesOf(p, id)).toEqual([])
      expect(await p.retry(jobs)).toEqual(['retried'])
      expect(await p.runDocument(id)).toMatchObject({
        status: 'completed',
        counts: { total: 1, waiting: 1, completed: 0 },
      })
      await p.sweep()
      const again = heldOf(await p.claim(await p.register()))
      expect(again.map(({ job }) => job)).toEqual(jobs)
      await p.complete(again)
      await p.sweep()
      expect(await lanesOf(p, id)).toEqual([])
    })

    test('is refused while its run cancels what it held', async () => {
      const p = await openProtocol(schema)
      const { id, held, jobs } = await started(p, 2)
      await p.settle(held.slice(0, 1), ['failed_finally'])
      await p.endRun(id, 'error')
      expect(await p.retry([jobs[0]!])).toEqual(['failed'])
      await p.acknowledgeCancel(held.slice(1))
      await p.sweep()
      expect(await p.retry([jobs[0]!])).toEqual(['retried'])
    })

    test('in a run that goes on is counted anew', async () => {
      const p = await openProtocol(schema)
      const { id, held, jobs } = await started(p, 1, { target: 1, maxFailed: 1 })
      await p.settle(held, ['failed_finally'])
      expect((await p.runDocument(id)).counts.failed).toBe(1)
      await p.retry(jobs)
      expect((await p.runDocument(id)).counts).toMatchObject({ failed: 0, waiting: 1 })
    })
  })

  test('a child belongs to the run of its parent, unless its options say another', async () => {
    const p = await openProtocol(schema)
    const { id, held } = await started(p, 1, { target: 9 })
    const other = await p.createRun()
    const [{ job, token }] = held as [Held]
    const child = (options: object | null): Promise<string[]> =>
      p.run('enqueue_child', job, token, ['work'], ['{}'], options && [JSON.stringify(options)])
    const [first] = await child(null)
    const [second] = await child({ priority: 1 })
    const [third] = await child({ runId: other.id })
    expect((await p.jobs([first!, second!, third!])).map((one) => one.runId)).toEqual([
      id,
      id,
      other.id,
    ])
  })

  describe('an aimed worker', () => {
    test('claims the jobs of its run alone, and is told what it is', async () => {
      const p = await openProtocol(schema)
      const { id } = await p.createRun({ target: 1 })
      await p.enqueue(2)
      const other = await p.createRun()
      await p.enqueue(1, { runId: other.id })
      const [mine] = await p.enqueue(1, { runId: id })
      const worker = await p.register({ runId: id })
      expect(await p.worker(worker)).toMatchObject({ runId: id })
      const answer = await p.claim(worker, { runId: id })
      expect(answer.run).toBe('active')
      expect(answer.jobs.map((job) => job.id)).toEqual([mine])
      await p.complete(heldOf(answer))
      await p.judge(id)
      expect(await p.claim(worker, { runId: id })).toMatchObject({ run: 'completed', jobs: [] })
    })

    test('is refused where its run is unknown or has ended', async () => {
      const p = await openProtocol(schema)
      const { id } = await p.createRun()
      await expect(p.register({ runId: UNKNOWN })).rejects.toMatchObject({ code: 'ERR_NOT_FOUND' })
      await p.endRun(id, 'completed')
      await expect(p.register({ runId: id })).rejects.toMatchObject({ code: 'ERR_RUN_TERMINAL' })
    })
  })

  test('list_runs: the newest first, by status, in pages', async () => {
    const p = await openProtocol(schema)
    const ids: string[] = []
    for (let n = 0; n < 5; n += 1) {
      await p.db.advance(2)
      ids.push((await p.createRun({}, `run ${n}`)).id)
    }
    await p.endRun(ids[1]!, 'archived')
    const list = async (...args: unknown[]): Promise<string[]> =>
      (await p.run<{ id: string }[]>('list_runs', p.namespace, ...args)).map(({ id }) => id)
    expect(await list()).toEqual(ids.toReversed())
    expect(await list(['archived'])).toEqual([ids[1]])
    expect(await list(null, ids[3], 2)).toEqual([ids[2], ids[1]])
  })

  test('a claim of nobody is slower for ended runs: their lanes are gone', async () => {
    const p = await openProtocol(schema)
    const worker = await p.register()
    for (let n = 0; n < 20; n += 1) {
      const { id } = await p.createRun({ target: 1 })
      await p.enqueue(1, { runId: id })
      await p.complete(heldOf(await p.claim(worker)))
      await p.judge(id)
    }
    await p.sweep()
    expect(await p.db.rows('select from %s.lane where run_id is not null')).toEqual([])
  })
})
