/** Orders 1, 3 to 6 and 10: lost replies, fences, outages, restarts and dead sweepers, on the database's side. */
import { expect, test } from 'vitest'
import { heldOf, LEASE_MS, type WorkerRow } from '../support/functions.ts'
import { checkInvariantsAfterEach, openProtocol, type Protocol } from '../support/protocol.ts'

checkInvariantsAfterEach()

const SELF_FENCED = { code: 'self_fenced', message: 'its lease had lapsed' }

const over = (p: Protocol): Promise<unknown> =>
  p.db.rows(`update %s.tick set writable_since = '-infinity'`)

test('order 1: a claim whose reply was lost is given back by the reconciling release, not charged', async () => {
  const p = await openProtocol()
  const { worker, held } = await p.running(1)
  const ids = await p.enqueue(2)
  await p.claim(worker)
  // The reply never came: the worker knows one token, the database holds three.
  const known = new Set(held.map((one) => one.token))
  const unknown = (await p.renew(worker)).held.filter((one) => !known.has(one.token))
  expect(unknown.map((one) => one.job).toSorted()).toEqual(ids)
  expect(await p.release(unknown)).toEqual(['released', 'released'])
  for (const job of await p.jobs(ids)) {
    expect(job).toMatchObject({ state: 'pending', failures: 0, lost: 0, interruptions: 0 })
  }
  expect((await p.renew(worker)).held.map((one) => one.token)).toEqual([...known])
  expect((await p.claim(await p.register())).jobs.map((job) => job.id)).toEqual(ids)
  // The release itself is sent twice: the second changes nothing.
  expect(await p.release(unknown)).toEqual(['accepted before', 'accepted before'])
})

test('order 3: a single worker that fenced itself ends its row, and its next incarnation goes on', async () => {
  const p = await openProtocol()
  const { worker, held, ids } = await p.running(1)
  // The partition heals before any sweep: the row is live, the handler is not.
  expect(await p.endWorker(worker, 'uncharged', SELF_FENCED)).toMatchObject({
    released: ids,
  })
  expect(await p.renewAnswer(worker)).toMatchObject({
    outcome: 'lease_lost',
    reason: { code: 'self_fenced' },
  })
  const next = await p.register()
  const answer = await p.claim(next)
  expect(answer.jobs).toMatchObject([{ id: ids[0], attempt: 2 }])
  expect(await p.job(ids[0]!)).toMatchObject({ lost: 0 })
  expect(await p.complete(held)).toEqual(['lease_lost'])
  expect(await p.complete(heldOf(answer))).toEqual(['completed'])
})

test('order 4: after an outage of five leases one worker renews first, the others at L - 1 s: nobody is recovered', async () => {
  const p = await openProtocol()
  await over(p)
  const workers: WorkerRow[] = []
  for (let n = 0; n < 5; n += 1) workers.push((await p.running(2, { queue: `q${n}` })).worker)
  await p.outage(5 * LEASE_MS)
  expect((await p.renew(workers[0]!)).outcome).toBe('renewed')
  for (let second = 0; second < 29; second += 1) {
    expect(await p.sweep({ worker: workers[0]! })).toMatchObject({ ended: [], recovered: [] })
    if (second % 9 === 8) await p.renew(workers[0]!)
    await p.outage(1_000)
  }
  for (const worker of workers) expect((await p.renew(worker)).held).toHaveLength(2)
  for (let second = 0; second < 20; second += 1) {
    expect((await p.sweep({ worker: workers[0]! })).ended).toEqual([])
    await p.outage(1_000)
  }
})

test('order 5: with a restart every half lease a dead worker is recovered within three leases of writable time', async () => {
  const p = await openProtocol()
  await over(p)
  const dead = await p.running(1)
  const alive = await p.running(1, { queue: 'b' })
  let writableMs = 0
  let recoveredAfterMs: number | undefined
  for (let restart = 0; restart < 20 && recoveredAfterMs === undefined; restart += 1) {
    for (let second = 0; second < 15; second += 1) {
      await p.outage(1_000)
      writableMs += 1_000
      if (second % 8 === 0) await p.renew(alive.worker)
      const swept = await p.sweep()
      expect(swept.ended).not.toContain(alive.worker.incarnation)
      if (swept.ended.includes(dead.worker.incarnation)) {
        recoveredAfterMs = writableMs
        break
      }
    }
    await p.outage(6_000)
  }
  expect(recoveredAfterMs).toBeGreaterThan(2 * LEASE_MS)
  expect(recoveredAfterMs).toBeLessThanOrEqual(3 * LEASE_MS + 7_000)
})

test('order 6: with the sweeper killed every half lease a dead worker is recovered as fast as ever', async () => {
  const p = await openProtocol()
  await over(p)
  const dead = await p.running(1)
  const sweepers = [await p.register(), await p.register(), await p.register()]
  let leader = 0
  let recoveredAfterMs: number | undefined
  for (let second = 1; second <= 60 && recoveredAfterMs === undefined; second += 1) {
    await p.outage(1_000)
    if (second % 15 === 0) {
      // Whoever led is gone, and a fresh one comes.
      sweepers[leader] = await p.register()
    }
    for (const [n, worker] of sweepers.entries()) {
      if (second % 8 === 0) await p.renew(worker)
      const swept = await p.sweep({ worker })
      if (swept.role === 'none') continue
      if (swept.role === 'leader') leader = n
      if (swept.ended.includes(dead.worker.incarnation)) recoveredAfterMs = second * 1_000
    }
  }
  expect(recoveredAfterMs).toBeGreaterThan(LEASE_MS)
  expect(recoveredAfterMs).toBeLessThanOrEqual(LEASE_MS + 4_000)
})

test('order 10: of two workers on one machine the silent one is recovered, and the other is left alone', async () => {
  const p = await openProtocol()
  await over(p)
  const rejected = await p.running(1)
  const dropped = await p.running(1, { queue: 'b' })
  for (let second = 0; second < 31; second += 1) {
    await p.outage(1_000)
    if (second % 9 === 8) await p.renew(rejected.worker)
    const swept = await p.sweep()
    expect(swept.ended).toEqual(
      second < 29 ? [] : second === 29 ? [dropped.worker.incarnation] : [],
    )
  }
  expect((await p.renew(rejected.worker)).held).toHaveLength(1)
  expect(await p.renewAnswer(dropped.worker)).toMatchObject({ outcome: 'lease_lost' })
})

test('G3: ownership is a row: all connections are cut and nothing is lost', async () => {
  const p = await openProtocol()
  const session = await p.session()
  const worker = await session.register()
  await p.enqueue(100)
  const answer = await session.claim(worker, { want: 100 })
  await p.db.rows('select pg_terminate_backend($1)', [session.pid]).catch(() => undefined)
  expect((await p.sweep()).recovered).toEqual([])
  expect((await p.renew(worker)).held).toHaveLength(100)
  expect(new Set(await p.complete(heldOf(answer)))).toEqual(new Set(['completed']))
})
