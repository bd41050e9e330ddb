/** settle and its five faces: outcomes, stale tokens, repeats, batches, late outcomes, cancel, budgets. */
import { randomUUID } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { heldOf } from '../support/functions.ts'
import { checkInvariantsAfterEach, openProtocol, SCHEMAS } from '../support/protocol.ts'

checkInvariantsAfterEach()

const ERROR = { code: 'Error', message: 'it broke' }

describe.each(SCHEMAS)('settle (%s schema)', (schema) => {
  test('complete: the result is stored and the job has ended', async () => {
    const p = await openProtocol(schema)
    const { held, ids, worker } = await p.running(1)
    expect(await p.complete(held, [{ pages: 3 }])).toEqual(['completed'])
    const job = await p.job(ids[0]!)
    expect(job).toMatchObject({
      status: 'completed',
      state: 'completed',
      result: { pages: 3 },
      error: null,
    })
    expect(job.finishedAt).not.toBeNull()
    expect(job.attempts).toMatchObject([{ attempt: 1, workerId: worker.id, endedAs: 'completed' }])
  })

  test('settle: an empty batch is an empty answer, for every face of it', async () => {
    const p = await openProtocol(schema)
    for (const settle of [p.complete, p.fail, p.release, p.interrupt, p.acknowledgeCancel]) {
      expect(await settle([])).toEqual([])
    }
    expect(await p.settle([], [])).toEqual([])
  })

  test('settle: answers come in the order asked, whatever the order of the rows', async () => {
    const p = await openProtocol(schema)
    const { held, ids } = await p.running(6)
    const stale = { job: held[2]!.job, token: randomUUID() }
    const unknown = { job: randomUUID(), token: randomUUID() }
    const [a, b, c, d, e, f] = held
    expect(
      await p.settle(
        [f!, stale, d!, unknown, b!, a!, e!],
        [
          'completed',
          'completed',
          'released',
          'completed',
          'failed',
          'failed_finally',
          'interrupted',
        ],
        [1, 2, null, 4, ERROR, ERROR, null],
      ),
    ).toEqual([
      'completed',
      'lease_lost',
      'released',
      'lease_lost',
      'retrying',
      'failed',
      'released',
    ])
    const states = (await p.jobs(ids)).map((job) => job.state)
    expect(states).toEqual(['failed', 'retrying', 'running', 'pending', 'pending', 'completed'])
    expect(await p.complete([c!])).toEqual(['completed'])
  })

  test('fail: each failure is charged, with its delay, and the last one is the end', async () => {
    const p = await openProtocol(schema)
    const { worker, held, ids } = await p.running(1, { maxAttempts: 3 })
    expect(await p.fail(held, [ERROR], [5_000])).toEqual(['retrying'])
    expect(await p.job(ids[0]!)).toMatchObject({ state: 'retrying', failures: 1, error: ERROR })
    expect((await p.claim(worker)).jobs).toEqual([])
    await p.passTime(5_001)
    expect(await p.fail(heldOf(await p.claim(worker)), [ERROR], [0])).toEqual(['retrying'])
    expect(await p.fail(heldOf(await p.claim(worker)), [ERROR], [0])).toEqual(['failed'])
    expect(await p.job(ids[0]!)).toMatchObject({
      status: 'failed',
      failures: 3,
      attempt: 3,
      error: ERROR,
    })
    await p.passTime(3_600_000)
    await p.renew(worker)
    expect((await p.claim(worker)).jobs).toEqual([])
  })

  test('fail: without values and delays the job is due again at once', async () => {
    const p = await openProtocol(schema)
    const { worker, held } = await p.running(1)
    expect(await p.fail(held)).toEqual(['retrying'])
    expect((await p.claim(worker)).jobs).toMatchObject([{ attempt: 2, failures: 1 }])
  })

  test('release: the job goes back to the front, not charged', async () => {
    const p = await openProtocol(schema)
    const { worker, held, ids } = await p.running(1)
    await p.enqueue(2)
    expect(await p.release(held, [{ code: 'released' }])).toEqual(['released'])
    expect(await p.job(ids[0]!)).toMatchObject({
      state: 'pending',
      failures: 0,
      lost: 0,
      interruptions: 0,
    })
    expect((await p.claim(worker, { want: 1 })).jobs.map((job) => job.id)).toEqual(ids)
  })

  test('D2: twenty interruptions in a row charge nothing and each next start is at once', async () => {
    const p = await openProtocol(schema)
    const [id] = await p.enqueue(1)
    for (let n = 0; n < 20; n += 1) {
      const worker = await p.register()
      const answer = await p.claim(worker)
      expect(answer.jobs).toHaveLength(1)
      expect(await p.interrupt(heldOf(answer))).toEqual(['released'])
    }
    expect(await p.job(id!)).toMatchObject({
      state: 'pending',
      failures: 0,
      lost: 0,
      interruptions: 20,
    })
  })

  test('interrupt: the hundredth interruption holds the job for a person', async () => {
    const p = await openProtocol(schema)
    const { worker, held, ids } = await p.running(2)
    await p.db.rows('update %s.job set interruptions = 98')
    expect(await p.interrupt(held.slice(0, 1))).toEqual(['released'])
    expect((await p.job(ids[0]!)).interruptions).toBe(99)
    expect(await p.interrupt(heldOf(await p.claim(worker)))).toEqual(['held'])
    expect(await p.job(ids[0]!)).toMatchObject({
      status: 'held',
      interruptions: 100,
      endReason: { code: 'interrupted_too_often' },
    })
    // The same through the end of a worker.
    await p.db.rows('update %s.job set interruptions = 99 where id = $1', [ids[1]])
    await p.endWorker(worker, 'interrupted')
    expect(await p.job(ids[1]!)).toMatchObject({ status: 'held', interruptions: 100 })
    expect(await p.resume(ids)).toEqual(['resumed', 'resumed'])
    expect(await p.job(ids[1]!)).toMatchObject({ state: 'pending', interruptions: 0 })
  })

  test('acknowledge_cancel: a handler that stopped ends its job cancelled', async () => {
    const p = await openProtocol(schema)
    const { held, ids } = await p.running(1)
    expect(await p.cancel(ids)).toEqual(['cancelling'])
    expect(await p.acknowledgeCancel(held)).toEqual(['cancelled'])
    expect(await p.job(ids[0]!)).toMatchObject({
      status: 'cancelled',
      attempts: [{ endedAs: 'cancelled' }],
    })
    expect(await p.acknowledgeCancel(held)).toEqual(['accepted before'])
  })

  test('C4: after cancelling was answered every outcome ends the job cancelled', async () => {
    const p = await openProtocol(schema)
    const { held, ids } = await p.running(5)
    expect(await p.cancel(ids)).toEqual(Array(5).fill('cancelling'))
    const outcomes = ['completed', 'failed', 'failed_finally', 'released', 'interrupted']
    const values = [{ n: 1 }, ERROR, ERROR, null, null]
    expect(await p.settle(held, outcomes, values)).toEqual(Array(5).fill('cancelled'))
    const jobs = await p.jobs(ids)
    expect(jobs.map((job) => job.status)).toEqual(Array(5).fill('cancelled'))
    expect(jobs[0]!.result).toBeNull()
    expect(jobs[0]!.attempts[0]!.lateResult).toMatchObject({
      outcome: 'completed',
      value: { n: 1 },
    })
    expect(jobs[1]!.failures).toBe(0)
    // The reply was lost and the worker says it again.
    expect(await p.settle(held, outcomes, values)).toEqual(Array(5).fill('accepted before'))
    expect((await p.jobs(ids)).map((job) => job.status)).toEqual(Array(5).fill('cancelled'))
  })

  test('order 20: the same outcome of the same token again was accepted before', async () => {
    const p = await openProtocol(schema)
    const { held, ids } = await p.running(5)
    const outcomes = ['completed', 'failed', 'failed_finally', 'released', 'interrupted']
    const values = [{ n: 1 }, ERROR, ERROR, null, { code: 'shutdown' }]
    expect(await p.settle(held, outcomes, values)).toEqual([
      'completed',
      'retrying',
      'failed',
      'released',
      'released',
    ])
    const before = await p.jobs(ids)
    const session = await p.session()
    expect(await session.settle(held, outcomes, values)).toEqual(Array(5).fill('accepted before'))
    const strip = (jobs: typeof before): unknown =>
      jobs.map(({ status, failures, interruptions, attempts }) => ({
        status,
        failures,
        interruptions,
        attempts,
      }))
    expect(strip(await p.jobs(ids))).toEqual(strip(before))
  })

  test('settle: the same job twice in one batch is settled once', async () => {
    const p = await openProtocol(schema)
    const { held, ids } = await p.running(1)
    const answers = await p.complete([held[0]!, held[0]!], [1, 1])
    expect(answers.toSorted()).toEqual(['accepted before', 'completed'])
    expect((await p.job(ids[0]!)).attempts).toHaveLength(1)
  })

  test('B2: a stale completion changes nothing but late_result', async () => {
    const p = await openProtocol(schema)
    const { held, ids } = await p.running(1)
    await p.lapse()
    await p.sweep()
    const second = await p.register()
    const answer = await p.claim(second)
    expect(answer.jobs).toHaveLength(1)
    const [before] = await p.db.rows('select * from %s.job_stored')
    expect(await p.complete(held, [{ late: true }])).toEqual(['lease_lost'])
    expect(await p.db.rows('select * from %s.job_stored')).toEqual([before])
    const job = await p.job(ids[0]!)
    expect(job.attempts[0]).toMatchObject({
      endedAs: 'lost',
      lateResult: { outcome: 'completed', value: { late: true } },
    })
    // The first late outcome stays.
    expect(await p.fail(held, [ERROR])).toEqual(['lease_lost'])
    expect((await p.job(ids[0]!)).attempts[0]!.lateResult).toMatchObject({ outcome: 'completed' })
    expect(await p.complete(heldOf(answer), [2])).toEqual(['completed'])
    expect(await p.job(ids[0]!)).toMatchObject({ result: 2 })
    expect(await p.complete(held, [{ late: true }])).toEqual(['lease_lost'])
    expect(await p.job(ids[0]!)).toMatchObject({ status: 'completed', result: 2 })
  })

  test('B2: every stale outcome of every kind changes no job', async () => {
    const p = await openProtocol(schema)
    const { held, worker } = await p.running(6)
    await p.evict([worker])
    expect((await p.claim(await p.register())).jobs).toHaveLength(6)
    const before = await p.db.rows('select * from %s.job_stored order by id')
    const outcomes = [
      'completed',
      'failed',
      'failed_finally',
      'cancelled',
      'released',
      'interrupted',
    ]
    expect(await p.settle(held, outcomes, [1, ERROR, ERROR, null, { x: 1 }, { x: 1 }])).toEqual(
      Array(6).fill('lease_lost'),
    )
    expect(await p.db.rows('select * from %s.job_stored order by id')).toEqual(before)
    expect(
      (await p.allEvents()).filter((event) => event.kind === 'job.stale_write').length,
    ).toBeGreaterThan(0)
  })

  test('rule 13: a late completion is adopted while the job merely waits', async () => {
    const p = await openProtocol(schema)
    const { held, ids } = await p.running(1)
    await p.lapse()
    await p.sweep()
    expect((await p.job(ids[0]!)).state).toBe('pending')
    expect(await p.complete(held, [{ paid: true }])).toEqual(['adopted'])
    expect(await p.job(ids[0]!)).toMatchObject({
      status: 'completed',
      result: { paid: true },
      attempts: [{ endedAs: 'completed' }],
    })
    expect(await p.complete(held, [{ paid: true }])).toEqual(['accepted before'])
    expect((await p.claim(await p.register())).jobs).toEqual([])
  })

  test('rule 13: a late outcome is not adopted from an older attempt, after cancel, or while held', async () => {
    const p = await openProtocol(schema)
    const first = await p.running(3)
    await p.lapse()
    await p.sweep()
    const [old, cancelled, held] = first.held
    await p.cancel([cancelled!.job])
    await p.hold([held!.job])
    const second = await p.register()
    await p.release(heldOf(await p.claim(second)))
    expect((await p.job(old!.job)).state).toBe('pending')
    expect(await p.complete([old!, cancelled!, held!], [1, 2, 3])).toEqual(
      Array(3).fill('lease_lost'),
    )
    expect((await p.jobs(first.ids)).map((job) => job.status)).toEqual([
      'pending',
      'cancelled',
      'held',
    ])
  })

  test('lost: losses count in a row, and an attempt that got on starts the count anew', async () => {
    const p = await openProtocol(schema)
    const [id] = await p.enqueue(1)
    const lose = async (
      act?: (held: { job: string; token: string }[]) => Promise<unknown>,
    ): Promise<void> => {
      const worker = await p.register()
      const answer = await p.claim(worker)
      await act?.(heldOf(answer))
      await p.lapse()
      await p.sweep()
    }
    await lose()
    await lose()
    expect((await p.job(id!)).lost).toBe(2)
    await lose((held) => p.checkpoint(held, [1]))
    expect(await p.job(id!)).toMatchObject({ state: 'pending', lost: 1 })
    await lose()
    await lose((held) => p.progress(held, [50]))
    expect(await p.job(id!)).toMatchObject({ state: 'pending', lost: 1 })
    // A failure is a sign of life: the row of losses is broken.
    await lose()
    const worker = await p.register()
    await p.fail(heldOf(await p.claim(worker)))
    expect((await p.job(id!)).lost).toBe(0)
  })

  test('lost: an interrupted or released attempt that got on starts the count anew too', async () => {
    const p = await openProtocol(schema)
    const [id] = await p.enqueue(1)
    for (let n = 0; n < 2; n += 1) {
      await p.claim(await p.register())
      await p.lapse()
      await p.sweep()
    }
    const worker = await p.register()
    let answer = await p.claim(worker)
    await p.interrupt(heldOf(answer))
    expect((await p.job(id!)).lost).toBe(2)
    answer = await p.claim(worker)
    await p.checkpoint(heldOf(answer), [{ page: 1 }])
    await p.interrupt(heldOf(answer))
    expect((await p.job(id!)).lost).toBe(0)
  })

  test('complete: an outcome that can not be stored is refused for its own sake and changes nothing', async () => {
    const p = await openProtocol(schema)
    const { held, ids } = await p.running(1)
    await expect(p.complete(held, ['nul \u0000'])).rejects.toMatchObject({
      code: 'ERR_VALUE_UNSTORABLE',
    })
    await expect(p.complete(held, ['x'.repeat(1_048_577)])).rejects.toMatchObject({
      code: 'ERR_VALUE_UNSTORABLE',
    })
    await expect(p.settle(held, ['exploded'])).rejects.toThrow()
    expect(await p.job(ids[0]!)).toMatchObject({ state: 'running' })
    expect(await p.complete(held, ['x'.repeat(1_048_574)])).toEqual(['completed'])
  })
})
