/** claim: order, lanes, namespaces, scheduled jobs, the last chance alone, the same claim again. */
import { randomUUID } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { claim as claimByMarks, type SeenLanes } from '../../src/sql/protocol.ts'
import { heldOf, IDLE_BEAT_MS, LEASE_MS } from '../support/functions.ts'
import {
  checkInvariantsAfterEach,
  openProtocol,
  type Protocol,
  SCHEMAS,
} from '../support/protocol.ts'

checkInvariantsAfterEach()

/** Jobs whose lost count stands one below the limit, as two real losses leave it. */
async function lastChance(p: Protocol, options: Record<string, unknown> = {}): Promise<string> {
  const [id] = await p.enqueue(1, options)
  await p.db.rows('update %s.job set lost = max_lost - 1, place = null where id = $1', [id])
  return id!
}

describe.each(SCHEMAS)('claim (%s schema)', (schema) => {
  test('claim: a due job is given with what is needed to run it', async () => {
    const p = await openProtocol(schema)
    const [id] = await p.enqueue(1, { timeoutMs: 5 }, 'work', { a: 1 })
    const worker = await p.register()
    const answer = await p.claim(worker)
    expect(answer).toMatchObject({ outcome: 'claimed', drain: false, alone: false, running: true })
    expect(answer.jobs).toHaveLength(1)
    expect(answer.jobs[0]).toMatchObject({
      id,
      attempt: 1,
      queue: 'default',
      type: 'work',
      input: { a: 1 },
      options: { timeoutMs: 5 },
    })
    expect(answer.jobs[0]).not.toHaveProperty('resume')
    expect(answer.jobs[0]!.token).toMatch(/^[0-9a-f-]{14}4/)
    expect(await p.job(id!)).toMatchObject({
      status: 'running',
      state: 'running',
      workerId: worker.id,
      maxAttempts: 3,
      maxLost: 3,
    })
  })

  test('claim: nothing to do is an empty answer', async () => {
    const p = await openProtocol(schema)
    const worker = await p.register()
    expect(await p.claim(worker)).toMatchObject({
      outcome: 'claimed',
      running: false,
      jobs: [],
      nextDueMs: null,
    })
    expect((await p.claim(worker, { queues: [], types: [] })).jobs).toEqual([])
    await p.enqueue(1)
    expect((await p.claim(worker, { want: 0 })).jobs).toEqual([])
  })

  test("claim: only asked queues and types of the worker's own namespace are given", async () => {
    const p = await openProtocol(schema)
    await p.enqueue(1, {}, 'other-type')
    await p.enqueue(1, { queue: 'other-queue' })
    await p.in('elsewhere').enqueue(1)
    const worker = await p.register()
    expect((await p.claim(worker)).jobs).toEqual([])
    expect((await p.claim(worker, { queues: ['default', 'other-queue'] })).jobs).toHaveLength(1)
    expect((await p.claim(worker, { types: ['work', 'other-type'] })).jobs).toHaveLength(1)
  })

  test('claim: an unknown worker has lost its lease', async () => {
    const p = await openProtocol(schema)
    const worker = await p.register()
    expect(await p.claimAnswer({ ...worker, incarnation: randomUUID() })).toMatchObject({
      outcome: 'lease_lost',
      reason: { code: 'unknown_here' },
    })
  })

  test('claim: order is priority, then what was given back, then place, across all queues and types', async () => {
    const p = await openProtocol(schema)
    const lanes = [
      { queue: 'a', type: 'x' },
      { queue: 'a', type: 'y' },
      { queue: 'b', type: 'x' },
    ]
    const all = { want: 100, queues: ['a', 'b'], types: ['x', 'y'] }
    const jobs: { id: string; priority: number; front: boolean }[] = []
    const fill = async (count: number): Promise<void> => {
      for (let i = 0; i < count; i += 1) {
        const lane = lanes[(i + Math.floor(i / 3)) % 3]!
        const priority = (i % 3) - 1
        const [id] = await p.enqueue(1, { queue: lane.queue, priority }, lane.type)
        jobs.push({ id: id!, priority, front: false })
      }
    }
    await fill(6)
    const back = await p.claim(await p.register(), all)
    await fill(18)
    await p.release(heldOf(back))
    for (const job of jobs.slice(0, 6)) job.front = true
    const expected = jobs
      .toSorted((a, b) => b.priority - a.priority || Number(b.front) - Number(a.front))
      .map((job) => job.id)
    const worker = await p.register()
    const given: string[] = []
    for (const want of [1, 5, 2, 9, 100]) {
      const answer = await p.claim(worker, { want, queues: ['a', 'b'], types: ['x', 'y'] })
      expect(answer.jobs).toHaveLength(Math.min(want, 24 - given.length))
      given.push(...answer.jobs.map((job) => job.id))
    }
    expect(given).toEqual(expected)
  })

  test('claim: scheduled jobs of a higher priority are not in the way of due ones', async () => {
    const p = await openProtocol(schema)
    await p.enqueue(50, { priority: 9, delayMs: 60_000 })
    await p.enqueue(50, { priority: 3, delayMs: 30_000 })
    const [due] = await p.enqueue(1)
    const worker = await p.register()
    const answer = await p.claim(worker, { want: 5 })
    expect(answer.jobs.map((job) => job.id)).toEqual([due])
    expect(answer.nextDueMs).toBeGreaterThan(20_000)
    expect(answer.nextDueMs).toBeLessThanOrEqual(30_000)
    await p.passTime(31_000)
    await p.renew(worker)
    expect((await p.claim(worker, { want: 5 })).jobs).toHaveLength(5)
  })

  test('claim: two at once get different jobs, and one waits for nothing', async () => {
    const p = await openProtocol(schema)
    await p.enqueue(10)
    const [a, b] = [await p.session(), await p.session()]
    const [first, second] = [await p.register(), await p.register()]
    await a.begin()
    await b.begin()
    const one = await a.claim(first, { want: 4 })
    const two = await b.claim(second, { want: 10 })
    expect(one.jobs).toHaveLength(4)
    expect(two.jobs).toHaveLength(6)
    await a.commit()
    await b.commit()
    expect(new Set([...one.jobs, ...two.jobs].map((job) => job.id)).size).toBe(10)
  })

  test('claim: the same claim id again returns the same attempts', async () => {
    const p = await openProtocol(schema)
    await p.enqueue(5)
    const worker = await p.register()
    const claim = randomUUID()
    const first = await p.claim(worker, { claim, want: 3 })
    const again = await p.claim(worker, { claim, want: 3 })
    expect(again.jobs).toEqual(first.jobs)
    await p.complete(heldOf(first).slice(0, 1))
    expect((await p.claim(worker, { claim, want: 3 })).jobs).toEqual(first.jobs.slice(1))
    const picked = (await p.allEvents()).filter((event) => event.kind === 'job.picked_up')
    expect(picked).toHaveLength(1)
  })

  test('claim: the same claim id again keeps what the first reserved', async () => {
    const p = await openProtocol(schema)
    const { worker } = await p.running(1)
    await lastChance(p)
    const claim = randomUUID()
    expect(await p.claim(worker, { claim })).toMatchObject({ alone: true, jobs: [] })
    expect(await p.claim(worker, { claim })).toMatchObject({ alone: true, jobs: [] })
    expect((await p.db.rows('select alone_for from %s.worker'))[0]!['alone_for']).not.toBeNull()
  })

  test('claim: a draining worker gets nothing', async () => {
    const p = await openProtocol(schema)
    await p.enqueue(2)
    const [told, leaving] = [await p.register(), await p.register()]
    await p.drain([told])
    expect(await p.claim(told)).toMatchObject({ outcome: 'claimed', drain: true, jobs: [] })
    await p.renew(leaving, { draining: true })
    expect((await p.claim(leaving)).jobs).toEqual([])
  })

  test('order 14: a claim after 29 idle seconds has a whole lease', async () => {
    const p = await openProtocol(schema)
    const worker = await p.register()
    await p.enqueue(1)
    await p.passTime(29_000)
    const answer = await p.claim(worker)
    expect(answer.jobs).toHaveLength(1)
    const job = await p.job(answer.jobs[0]!.id)
    expect(job.leaseLeftMs).toBeGreaterThan(LEASE_MS - 1_000)
    expect(job.leaseLeftMs).toBeLessThanOrEqual(LEASE_MS)
    for (let beat = 0; beat < 12; beat += 1) {
      await p.passTime(9_900)
      await p.renew(worker)
      expect((await p.sweep()).recovered).toEqual([])
    }
    expect(await p.complete(heldOf(answer))).toEqual(['completed'])
  })

  test('claim: the long deadline of an idle worker does not protect a job', async () => {
    const p = await openProtocol(schema)
    const worker = await p.register()
    await p.renew(worker, { idle: true })
    await p.enqueue(1)
    const answer = await p.claim(worker)
    const job = await p.job(answer.jobs[0]!.id)
    expect(job.leaseLeftMs).toBeLessThanOrEqual(LEASE_MS)
    // An idle beat that was sent before the claim and arrives after it.
    await p.renew(worker, { idle: true })
    expect((await p.job(job.id)).leaseLeftMs).toBeLessThanOrEqual(LEASE_MS)
    expect(3 * IDLE_BEAT_MS).toBeGreaterThan(LEASE_MS)
  })

  test('claim: an idle worker takes a last chance first, and alone', async () => {
    const p = await openProtocol(schema)
    await p.enqueue(3, { priority: 9 })
    const last = await lastChance(p)
    const worker = await p.register()
    const answer = await p.claim(worker)
    expect(answer.jobs.map((job) => job.id)).toEqual([last])
    expect(answer.alone).toBe(true)
    expect(await p.claim(worker)).toMatchObject({ alone: true, jobs: [] })
    await p.complete(heldOf(answer))
    expect((await p.claim(worker)).jobs).toHaveLength(3)
  })

  test('claim: a busy worker reserves a last chance, takes nothing more and gets it when idle', async () => {
    const p = await openProtocol(schema)
    const { worker, held } = await p.running(2)
    const last = await lastChance(p)
    await p.enqueue(1)
    expect(await p.claim(worker)).toMatchObject({ alone: true, jobs: [] })
    await p.complete(held.slice(0, 1))
    expect(await p.claim(worker)).toMatchObject({ alone: true, jobs: [] })
    await p.complete(held.slice(1))
    expect((await p.claim(worker)).jobs.map((job) => job.id)).toEqual([last])
  })

  test('claim: another busy worker goes on while a live one has reserved the last chance', async () => {
    const p = await openProtocol(schema)
    const one = await p.running(1)
    const two = await p.running(1)
    await lastChance(p)
    await p.enqueue(1)
    expect(await p.claim(one.worker)).toMatchObject({ alone: true, jobs: [] })
    const other = await p.claim(two.worker)
    expect(other.alone).toBe(false)
    expect(other.jobs).toHaveLength(1)
    // The one that reserved it dies: the reservation is void at once.
    await p.lapse([two.worker])
    await p.sweep()
    expect(await p.claim(two.worker)).toMatchObject({ alone: true, jobs: [] })
  })

  test('claim: after a checkpoint a last chance shares its worker again', async () => {
    const p = await openProtocol(schema)
    await lastChance(p)
    const worker = await p.register()
    const answer = await p.claim(worker)
    await p.enqueue(1)
    expect((await p.claim(worker)).jobs).toEqual([])
    await p.checkpoint(heldOf(answer), [{ done: 1 }])
    expect((await p.claim(worker)).jobs).toHaveLength(1)
  })

  test('H1: the next attempt is told the last checkpoint and why the previous one ended', async () => {
    const p = await openProtocol(schema)
    const { held } = await p.running(1)
    await p.checkpoint(held, [{ page: 7 }])
    await p.lapse()
    await p.sweep()
    const worker = await p.register()
    const answer = await p.claim(worker)
    expect(answer.jobs[0]).toMatchObject({
      attempt: 2,
      resume: {
        checkpoint: { page: 7 },
        attempt: 1,
        previousEnd: { endedAs: 'lost', code: 'worker_lost' },
      },
    })
  })

  test('claim: while it waits for its worker row it is not overtaken by the end of that worker', async () => {
    const p = await openProtocol(schema)
    await p.enqueue(1)
    const worker = await p.register()
    const [a, b] = [await p.session(), await p.session()]
    await a.begin()
    await a.evict([worker])
    const claim = b.claimAnswer(worker)
    await p.waitsForLock(b)
    await a.commit()
    expect(await claim).toMatchObject({ outcome: 'lease_lost', reason: { code: 'evicted' } })
    expect((await p.db.rows('select status from %s.job_stored'))[0]).toEqual({ status: 'pending' })
  })

  test('claim: while it waits for a renewal of its worker, it goes on from what that has written', async () => {
    const p = await openProtocol(schema)
    const [id] = await p.enqueue(1)
    const worker = await p.register()
    const [a, b] = [await p.session(), await p.session()]
    await a.begin()
    await a.renew(worker)
    const answer = b.claim(worker)
    await p.waitsForLock(b)
    await a.commit()
    expect((await answer).jobs.map((job) => job.id)).toEqual([id])
    expect(
      await p.db.rows('select claim_number, send_number::integer, holds from %s.worker'),
    ).toEqual([{ claim_number: 1, send_number: 1, holds: true }])
  })

  test('claim: its marks say where a lane begins, and where it goes on behind what was taken', async () => {
    const p = await openProtocol(schema)
    await p.enqueue(5, { concurrencyKey: 'open' })
    await p.enqueue(4)
    const worker = await p.register()
    const marks = { reach: 'whole', lanes: [], places: [] } as const
    const take = async (want: number): Promise<SeenLanes & { took: number }> => {
      const answer = await claimByMarks(p.db, {
        incarnation: worker.incarnation,
        claim: randomUUID(),
        want,
        queues: ['default'],
        types: ['work'],
        marks,
      })
      if (answer.outcome !== 'claimed' || answer.marks === null) throw new Error('no marks')
      return { ...answer.marks, took: answer.jobs.length }
    }
    // One of the key is taken, and the others are parked: nobody knows what else was found and left.
    const first = await take(2)
    expect(first.fronts).toEqual(first.heads)
    const second = await take(2)
    expect(second.took).toBe(2)
    expect(second.fronts).toEqual([second.heads[0]! + 2])
    const third = await take(9)
    expect(third.heads).toEqual(second.fronts)
    expect((await take(9)).fronts).toEqual([null])
  })
})
