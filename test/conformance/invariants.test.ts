/**
 * A5: no job is neither terminal, nor claimable now or later, nor held under a lease. First whatever ends workers and attempts may leave is
 * swept and counted, round by round, until every job has ended; then rows that nothing makes are made by hand, in a transaction that
 * is rolled back, to see that `invariants()` would tell of them.
 */
import { describe, expect, test } from 'vitest'
import { heldOf } from '../support/functions.ts'
import {
  checkInvariantsAfterEach,
  openProtocol,
  type Protocol,
  SCHEMAS,
} from '../support/protocol.ts'

checkInvariantsAfterEach()

/** More than the last chances of all jobs together, each of which a worker takes alone. */
const ROUNDS_MAX = 60

/** Workers take what they get and are lost with it, until nothing waits any more; how many attempts of each job began meanwhile. */
async function loseAll(p: Protocol): Promise<Map<string, number>> {
  const begun = new Map<string, number>()
  for (let round = 0; round < ROUNDS_MAX; round += 1) {
    for (let n = 0; n < 2; n += 1) {
      const { jobs } = await p.claim(await p.register())
      for (const { id } of jobs) begun.set(id, (begun.get(id) ?? 0) + 1)
    }
    await p.lapse()
    await p.sweep()
    expect(await p.invariants(), `after sweep ${round}`).toEqual([])
    const waiting = await p.db.rows(`select from %s.job where standing = 'pending'`)
    if (waiting.length === 0) return begun
  }
  throw new Error(`some jobs still wait after ${ROUNDS_MAX} sweeps`)
}

const stateOf = async (p: Protocol, ids: string[]): Promise<string[]> =>
  (await p.jobs(ids)).map((job) => `${job.state} ${String(job.endReason?.['code'])}`)

describe.each(SCHEMAS)('invariants (%s schema)', (schema) => {
  test('A5: whatever loses the workers of a job, it waits, runs, is held or has ended at every sweep, and a retry begins anew', async () => {
    const p = await openProtocol(schema)
    const cancelled = await p.running()
    await p.cancel(cancelled.ids)
    const failing = await p.running(1, { maxAttempts: 2 })
    expect(await p.fail(failing.held, undefined, [70_000])).toEqual(['retrying'])
    const ids: string[] = []
    for (const options of [
      {},
      { maxAttempts: 1 },
      { maxLost: 1 },
      { delayMs: 90_000 },
      { concurrencyKey: 'k' },
      { concurrencyKey: 'k', priority: 3 },
      { concurrencyKey: 'k', delayMs: 50_000 },
      { onWorkerLost: 'fail' },
      { onWorkerLost: 'hold' },
    ])
      ids.push(...(await p.enqueue(1, options)))

    await loseAll(p)
    expect(await stateOf(p, ids)).toEqual([
      ...Array<string>(7).fill('failed poison'),
      'failed worker_lost',
      'held worker_lost',
    ])
    expect(await stateOf(p, [...cancelled.ids, ...failing.ids])).toEqual([
      'cancelled cancelled',
      'failed poison',
    ])

    // A retry clears what crashes have counted: the next crash is the first again.
    const all = [...ids, ...cancelled.ids, ...failing.ids]
    expect(await p.retry(all)).toEqual(all.map(() => 'retried'))
    expect((await p.jobs(all)).map(({ state, lost, failures }) => [state, lost, failures])).toEqual(
      all.map(() => ['pending', 0, 0]),
    )
    const begun = await loseAll(p)
    expect(all.map((id) => begun.get(id))).toEqual([3, 3, 1, 3, 3, 3, 3, 1, 1, 3, 3])
    expect(await p.retry(all)).toEqual(all.map(() => 'retried'))
    const worker = await p.register()
    for (let left = all.length; left > 0;) {
      const { jobs } = await p.claim(worker)
      expect(jobs.length).toBeGreaterThan(0)
      await p.complete(heldOf({ jobs } as never))
      left -= jobs.length
    }
    expect(await stateOf(p, all)).toEqual(all.map(() => 'completed undefined'))
  })
})

test('A5: a row that no worker would ever take is told of', async () => {
  const p = await openProtocol('plain')
  await p.sweep({ worker: await p.register() })
  const broken = async (change: string): Promise<unknown> => {
    const s = await p.session()
    await s.begin()
    const [id] = await s.enqueue(1, { concurrencyKey: 'k' })
    await s.query(`update %s.job set ${change} where id = $1`, [id])
    const found = (await s.invariants()) as { rule: string; job_id: string }[]
    expect(found.map((one) => one.job_id)).toEqual(found.map(() => id))
    const worker = await s.register()
    // A time that never comes is more than a claim can say.
    const claimed = await s.claim(worker).then(
      ({ jobs }) => jobs.length,
      () => 0,
    )
    await s.rollback()
    return { rules: found.map(({ rule }) => rule), claimed }
  }
  const told = (rule: string): unknown => ({ rules: [rule], claimed: 0 })

  expect(await broken(`priority = 0`)).toEqual({ rules: [], claimed: 1 })
  expect(await broken(`place = null, run_at = 'infinity'`)).toEqual(
    told('what has not ended is due at some time'),
  )
  expect(await broken(`place = null, standing = 'blocked'`)).toEqual(
    told('nothing is blocked: no job waits for another yet, so nothing would unblock it'),
  )
  expect(await broken('place = null, parked = true, concurrency_key = null')).toEqual(
    told('what is parked waits, without a place, for a concurrency key'),
  )
  expect(await broken('place = null, parked = true')).toEqual(
    told('what is parked waits for another job of its key, or a sweep is due'),
  )
})

test('A5: what is parked is told of only when every job of its key is, and a sweep has left it so', async () => {
  const p = await openProtocol('plain')
  const [first, second] = await p.enqueue(2, { concurrencyKey: 'k' })
  const worker = await p.register()
  const held = heldOf(await p.claim(worker))
  expect(held.map(({ job }) => job)).toEqual([first])
  const asLeft = (): Promise<unknown> =>
    p.db.rows('update %s.job set parked = true, place = null where id = $1', [second])
  const sweptNow = (): Promise<unknown> =>
    p.db.rows('update %s.sweeper set compared_at = %s.clock()')
  await p.sweep({ worker })
  await p.passTime(20_000)
  await sweptNow()
  expect(await p.invariants(), 'the key is held').toEqual([])

  await p.renew(worker)
  await p.complete(held)
  await asLeft()
  await sweptNow()
  expect(await p.invariants(), 'the next sweep is due').toEqual([])
  await p.passTime(6_000)
  expect(await p.invariants(), 'nobody has swept since').toEqual([])
  await sweptNow()
  expect(await p.invariants()).toMatchObject([{ job_id: second }])

  await p.sweep()
  expect(await p.invariants()).toEqual([])
  expect((await p.claim(worker)).jobs).toMatchObject([{ id: second }])
})
