/** Concurrency keys: one job of a key at a time, counted over live rows, whoever crashes, completes or cancels in whatever order. */
import { describe, expect, test } from 'vitest'
import { type Held, heldOf, type WorkerRow } from '../support/functions.ts'
import {
  checkInvariantsAfterEach,
  openProtocol,
  type Protocol,
  recoverAll,
  SCHEMAS,
} from '../support/protocol.ts'

checkInvariantsAfterEach()

const keyed = { concurrencyKey: 'customer-7', maxLost: 99 }

const runningWith = async (p: Protocol): Promise<number> => {
  const [row] = await p.db.rows<{ most: number | null }>(
    `select max(n)::integer as most from (
       select count(*) as n from %s.job where token is not null and concurrency_key is not null
       group by namespace, concurrency_key) x`,
  )
  return row?.most ?? 0
}

describe.each(SCHEMAS)('concurrency key (%s schema)', (schema) => {
  test('claim: at most one job of a key is given, and the others do not hold up jobs behind them', async () => {
    const p = await openProtocol(schema)
    const ids = await p.enqueue(20, keyed)
    const [other] = await p.enqueue(1, { concurrencyKey: 'customer-8' })
    const [free] = await p.enqueue(1)
    const worker = await p.register()
    const answer = await p.claim(worker, { want: 3 })
    expect(answer.jobs.map((job) => job.id)).toEqual([ids[0], other, free])
    expect(await p.job(ids[1]!)).toMatchObject({ state: 'pending', waitsBehind: [ids[0]] })
    expect((await p.claim(await p.register())).jobs).toEqual([])
  })

  test('sweep: a key whose waiting job was cancelled is handed on, however many jobs wait for another', async () => {
    const p = await openProtocol(schema)
    const worker = await p.register()
    await p.enqueue(1_100, { concurrencyKey: 'a' })
    const ids = await p.enqueue(3, { concurrencyKey: 'z', priority: 1 })
    const held = heldOf(await p.claim(worker, { want: 1_200 }))
    const [parked] = await p.db.rows('select count(*)::integer as n from %s.job where parked')
    expect(parked).toEqual({ n: 1_099 + 2 })
    // The end of the first one hands the key to the second, and with that only a sweep can hand it on.
    await p.complete(held.filter(({ job }) => job === ids[0]))
    expect(await p.cancel([ids[1]!])).toEqual(['cancelled'])
    expect((await p.claim(worker)).jobs).toEqual([])
    await p.sweep()
    expect((await p.claim(worker)).jobs).toMatchObject([{ id: ids[2] }])
  })

  test.each(['complete', 'fail', 'release', 'cancel'] as const)(
    'settle: after %s the next one of the key is due, in order',
    async (how) => {
      const p = await openProtocol(schema)
      const ids = await p.enqueue(3, { ...keyed, maxAttempts: 1 })
      const worker = await p.register()
      const first = heldOf(await p.claim(worker))
      expect(first.map((one) => one.job)).toEqual([ids[0]])
      if (how === 'cancel') {
        await p.cancel([ids[0]!])
        await p.acknowledgeCancel(first)
      } else {
        await p[how](first)
      }
      const next = await p.claim(worker)
      expect(next.jobs).toHaveLength(1)
      // What was given back stands at the front again.
      expect(next.jobs[0]!.id).toBe(how === 'release' ? ids[0] : ids[1])
    },
  )

  test('claim: while somebody decides about a key its jobs stay where they are, and are looked at again soon', async () => {
    const p = await openProtocol(schema)
    const [a, b] = [await p.register(), await p.register()]
    await p.enqueue(1, keyed)
    const held = heldOf(await p.claim(a))
    const [second] = await p.enqueue(1, keyed)
    const session = await p.session()
    await session.begin()
    await session.complete(held)
    expect(await p.claim(b)).toMatchObject({ jobs: [], nextDueMs: 100 })
    await session.commit()
    expect(await p.claim(b)).toMatchObject({ jobs: [{ id: second }], nextDueMs: null })
    // Parked is not undecided: whoever ends the first brings it back.
    await p.enqueue(1, keyed)
    expect(await p.claim(a)).toMatchObject({ jobs: [], nextDueMs: null })
  })

  test('A7: the key of a lost worker is free once its job was taken back', async () => {
    const p = await openProtocol(schema)
    const ids = await p.enqueue(2, { ...keyed, onWorkerLost: 'fail' })
    expect((await p.claim(await p.register())).jobs).toHaveLength(1)
    const living = await p.register()
    expect((await p.claim(living)).jobs).toEqual([])
    await p.lapse([living])
    expect((await p.claim(living)).jobs).toEqual([])
    expect((await p.sweep()).recovered).toHaveLength(1)
    expect((await p.claim(living)).jobs.map((job) => job.id)).toEqual([ids[1]])
  })

  test('operators: a parked job can be cancelled, held, resumed and retried, and its key counts again', async () => {
    const p = await openProtocol(schema)
    const ids = await p.enqueue(4, keyed)
    const worker = await p.register()
    const first = heldOf(await p.claim(worker))
    expect(await p.cancel([ids[1]!])).toEqual(['cancelled'])
    expect(await p.hold([ids[2]!])).toEqual(['held'])
    await p.complete(first)
    const third = heldOf(await p.claim(worker))
    expect(third.map((one) => one.job)).toEqual([ids[3]])
    expect(await p.resume([ids[2]!])).toEqual(['resumed'])
    expect(await p.retry([ids[1]!])).toEqual(['retried'])
    expect((await p.claim(worker)).jobs).toEqual([])
    await p.complete(third)
    const rest: string[] = []
    for (let turn = 0; turn < 2; turn += 1) {
      const answer = await p.claim(worker)
      expect(answer.jobs).toHaveLength(1)
      rest.push(answer.jobs[0]!.id)
      await p.complete(heldOf(answer))
    }
    expect(rest.toSorted()).toEqual([ids[1]!, ids[2]!].toSorted())
  })

  test('sweep: a parked job that was in another hand when its turn came is not forgotten', async () => {
    const p = await openProtocol(schema)
    const ids = await p.enqueue(2, keyed)
    const worker = await p.register()
    const first = heldOf(await p.claim(worker))
    expect((await p.claim(worker)).jobs).toEqual([])
    const hand = await p.session()
    await hand.begin()
    await hand.query('select 1 from %s.job where id = $1 for update', [ids[1]])
    await p.complete(first)
    await hand.rollback()
    expect(await p.claim(worker)).toMatchObject({ jobs: [], running: true })
    await p.sweep()
    expect((await p.claim(worker)).jobs.map((job) => job.id)).toEqual([ids[1]])
  })
})

test('A7: 1,000 random claims, ends, crashes and cancels by four workers at once never run two jobs of a key', async () => {
  const p = await openProtocol('plain')
  const some = (n: number): number => Math.floor(Math.random() * n)
  const keys = ['a', 'b', 'c']
  const ids: string[] = []
  let left = 1_000
  let most = 0
  const worker = async (): Promise<void> => {
    let row: WorkerRow = await p.register()
    let held: Held[] = []
    while (left > 0) {
      left -= 1
      const what = some(12)
      if (what < 2) {
        const options = { concurrencyKey: keys[some(3)]!, maxLost: 999, maxAttempts: 999 }
        ids.push(...(await p.enqueue(1 + some(2), options)))
      } else if (what < 6) {
        held.push(...heldOf(await p.claim(row, { want: 1 + some(3) })))
        most = Math.max(most, await runningWith(p))
      } else if (what < 9) {
        await p.complete(held)
        held = []
      } else if (what === 9) {
        await (some(2) === 0 ? p.fail(held) : p.release(held))
        held = []
      } else if (what === 10) {
        await p.evict([row])
        row = await p.register()
        held = []
      } else if (ids.length > 0) {
        await p.cancel([ids[some(ids.length)]!])
      }
    }
    await p.complete(held)
  }
  await Promise.all(Array.from({ length: 4 }, worker))
  expect(most).toBe(1)
  // And nothing is left behind: one worker alone finds all of them.
  await recoverAll(p)
  const last = await p.register()
  for (;;) {
    await p.sweep()
    const answer = await p.claim(last)
    if (answer.jobs.length === 0) break
    await p.complete(heldOf(answer))
  }
  expect(await p.db.rows('select id from %s.job')).toEqual([])
})
