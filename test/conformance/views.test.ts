/** What is shown: states of jobs, workers and machines, lists, statistics, and the feed of events. */
import { describe, expect, test } from 'vitest'
import type { FeedEvent } from '../../src/sql/inspect.ts'
import { LEASE_MS, type StoredJob } from '../support/functions.ts'
import { checkInvariantsAfterEach, openProtocol, SCHEMAS } from '../support/protocol.ts'

checkInvariantsAfterEach()

describe.each(SCHEMAS)('views (%s schema)', (schema) => {
  test('states: each job is shown as what it is, and found by that', async () => {
    const p = await openProtocol(schema)
    await p.db.rows(`update %s.tick set writable_since = '-infinity'`)
    const lost = await p.running(1, { queue: 'lost' })
    const gone = await p.running(1, { queue: 'gone' })
    await p.passTime(LEASE_MS + 1)
    await p.db.rows('delete from %s.worker where incarnation = $1', [gone.worker.incarnation])
    const worker = await p.register()
    const ids: Record<string, string> = { lost: lost.ids[0]!, gone: gone.ids[0]! }
    const run = async (name: string, options = {}): Promise<{ job: string; token: string }[]> => {
      const { held } = await p.running(1, { queue: name, ...options }, worker)
      ids[name] = held[0]!.job
      return held
    }
    await run('running', { progressDeadlineMs: 60_000 })
    const progressing = await run('progressing', { progressDeadlineMs: 5_000 })
    const checkpointing = await run('checkpointing', { progressDeadlineMs: 5_000 })
    await run('stalled', { progressDeadlineMs: 5_000 })
    await run('cancelling')
    await p.cancel([ids['cancelling']!])
    await p.fail(await run('retrying'), undefined, [1_000])
    await p.complete(await run('completed'))
    await p.settle(await run('failed'), ['failed_finally'])
    await p.acknowledgeCancel(await run('cancelled'))
    ids['pending'] = (await p.enqueue(1))[0]!
    ids['scheduled'] = (await p.enqueue(1, { delayMs: 60_000 }))[0]!
    ids['held'] = (await p.enqueue(1))[0]!
    await p.hold([ids['held']])
    await p.passTime(4_000)
    await p.progress(progressing, [1])
    await p.checkpoint(checkpointing, [1])
    await p.passTime(4_000)
    await p.renew(worker)
    const states = Object.fromEntries(
      await Promise.all(
        Object.entries(ids).map(async ([name, id]) => [name, (await p.job(id)).state] as const),
      ),
    )
    expect(states).toEqual({
      lost: 'lost',
      gone: 'lost',
      running: 'running',
      progressing: 'running',
      checkpointing: 'running',
      stalled: 'stalled',
      cancelling: 'cancelling',
      retrying: 'retrying',
      completed: 'completed',
      failed: 'failed',
      cancelled: 'cancelled',
      pending: 'pending',
      scheduled: 'scheduled',
      held: 'held',
    })
    for (const [name, state] of Object.entries(states)) {
      const found = await p.run<StoredJob[]>('list_jobs', p.namespace, [state])
      expect(found.map((job) => job.id)).toContain(ids[name])
      expect(found.every((job) => job.state === state)).toBe(true)
    }
    const stats = await p.run<{ jobs: Record<string, number>; workers: Record<string, number> }>(
      'stats',
      p.namespace,
    )
    expect(stats.jobs).toEqual({
      pending: 1,
      scheduled: 1,
      retrying: 1,
      blocked: 0,
      held: 1,
      running: 3,
      cancelling: 1,
      stalled: 1,
      lost: 2,
      completed: 1,
      failed: 1,
      cancelled: 1,
    })
    expect(stats.workers).toMatchObject({ online: 1, offline: 1 })
  })

  test('states: running is shown exactly while a live lease holds the job', async () => {
    const p = await openProtocol(schema)
    const { ids } = await p.running(1)
    await p.passTime(LEASE_MS - 1_000)
    expect(await p.job(ids[0]!)).toMatchObject({ state: 'running', recoveryNotBefore: null })
    await p.passTime(1_001)
    const job = await p.job(ids[0]!)
    expect(job).toMatchObject({ status: 'running', state: 'lost' })
    expect(job.leaseLeftMs).toBeLessThan(0)
    expect(job.recoveryNotBefore).not.toBeNull()
  })

  test('F1: a worker is online, late, draining or offline by the time of its last sign of life', async () => {
    const p = await openProtocol(schema)
    const worker = await p.register()
    await p.renew(worker)
    const status = async (): Promise<string> => (await p.worker(worker)).status
    const machine = async (): Promise<unknown> => (await p.machines())[0]
    expect(await status()).toBe('online')
    await p.passTime(20_500)
    expect(await status()).toBe('late')
    expect(await machine()).toMatchObject({ status: 'online', workersOnline: 1 })
    await p.renew(worker, { draining: true })
    expect(await status()).toBe('draining')
    expect(await machine()).toMatchObject({ status: 'online' })
    const idle = await p.register({ machineId: 'machine-2' })
    await p.renew(idle, { idle: true })
    await p.passTime(LEASE_MS + 1_000)
    // An idle worker beats slowly and is judged by that.
    expect(await p.worker(idle)).toMatchObject({ status: 'online' })
  })

  test('F1: a machine is online exactly while a worker on it is', async () => {
    const p = await openProtocol(schema)
    const [one, two] = [
      await p.register({ idleBeatMs: 10_000 }),
      await p.register({ idleBeatMs: 10_000 }),
    ]
    await p.register({ machineId: 'machine-2' })
    const status = async (): Promise<[string, number][]> =>
      (await p.machines())
        .toSorted((a, b) => a.id.localeCompare(b.id))
        .map((machine) => [machine.status, machine.workersOnline])
    expect(await status()).toEqual([
      ['online', 2],
      ['online', 1],
    ])
    await p.endWorker(one, 'released')
    expect((await status())[0]).toEqual(['online', 1])
    await p.passTime(LEASE_MS + 1)
    expect(await p.worker(two)).toMatchObject({ status: 'offline', reason: 'its lease lapsed' })
    expect((await status())[0]).toEqual(['offline', 0])
    expect((await status())[1]).toEqual(['online', 1])
  })

  test('lists: filters, pages and endings work, and no other namespace shines through', async () => {
    const p = await openProtocol(schema)
    const ids = await p.enqueue(5, {}, 'mail.send')
    await p.enqueue(2, { queue: 'b' }, 'report')
    await p.in('other').enqueue(3)
    const list = async (...filters: unknown[]): Promise<string[]> =>
      (await p.run<StoredJob[]>('list_jobs', p.namespace, ...filters)).map((job) => job.id)
    expect(await list()).toHaveLength(7)
    expect(await list(null, 'mail.*')).toEqual(ids.toReversed())
    expect(await list(null, 'mail')).toEqual([])
    expect(await list(null, null, 'b')).toHaveLength(2)
    expect(await list(['held'])).toEqual([])
    expect(await list(null, 'mail.send', null, null, ids[3], 2)).toEqual([ids[2], ids[1]])
    const { worker, ids: running } = await p.running(1, { queue: 'c' })
    expect(await list(null, null, null, worker.id)).toEqual(running)
    expect(await p.run('find_jobs', p.namespace, ids[1]!.slice(-9))).toEqual([ids[1]])
    expect(await p.run('find_jobs', p.namespace, '')).toHaveLength(3)
    expect(await p.run('find_jobs', 'nowhere', ids[1]!.slice(-9))).toEqual([])
    expect(await p.run('find_workers', p.namespace, worker.id)).toMatchObject([
      { id: worker.id, running: 1 },
    ])
    expect(await p.run('find_workers', p.namespace, worker.incarnation.slice(-6))).toHaveLength(1)
    expect(await p.run('find_workers', 'nowhere', worker.id)).toEqual([])
    expect(await p.run('known_types', p.namespace)).toEqual(['work'])
    expect(await p.run('get_jobs', p.namespace, [ids[2], running[0], ids[0]])).toMatchObject([
      { id: ids[2] },
      { id: running[0] },
      { id: ids[0] },
    ])
    expect(await p.run('get_jobs', 'other', ids)).toEqual([])
    expect(await p.run('stats', 'nowhere')).toMatchObject({
      oldestPendingAgeMs: null,
      workers: { online: 0 },
    })
  })

  test('F5: a job tells its whole story, oldest first', async () => {
    const p = await openProtocol(schema)
    const { worker, held, ids } = await p.running(1)
    await p.release(held)
    await p.claim(worker)
    await p.lapse()
    await p.sweep()
    const job = await p.job(ids[0]!)
    expect(job.events.map((event) => event.kind)).toEqual([
      'job.created',
      'job.picked_up',
      'job.released',
      'job.picked_up',
      'job.recovered',
    ])
    expect(job.attempts.map((attempt) => attempt.endedAs)).toEqual(['released', 'lost'])
  })

  test('read_events: pages meet without a gap or a repeat, and positions hold', async () => {
    const p = await openProtocol(schema)
    const { held } = await p.running(20)
    for (const one of held) await p.release([one])
    const all = await p.allEvents()
    const paged: FeedEvent[] = []
    for (let after: string | null = null; ;) {
      const page: FeedEvent[] = await p.events(after, 7)
      paged.push(...page)
      if (page.length === 0) break
      after = page.at(-1)!.position
    }
    expect(paged).toEqual(all)
    expect(await p.run('events_end', p.namespace)).toBe(all.at(-1)!.position)
    expect(await p.run('events_end', 'nowhere')).toBe('0:0')
    expect(await p.in('nowhere').events()).toEqual([])
  })

  test('read_events: an event of an older transaction that commits later is not skipped', async () => {
    const p = await openProtocol(schema)
    const { ids } = await p.running(2)
    const before = (await p.allEvents()).at(-1)!.position
    const [slow, fast] = [await p.session(), await p.session()]
    await slow.begin()
    await slow.cancel([ids[0]!])
    await fast.cancel([ids[1]!])
    expect(await p.events(before)).toEqual([])
    await slow.commit()
    const seen = new Set<string>()
    for (let after = before; seen.size < 2;) {
      for (const event of await p.events(after)) {
        seen.add(event.jobIds[0]!)
        after = event.position
      }
    }
    expect(seen).toEqual(new Set(ids))
  })

  test('read_events: a reader beside ten writers misses nothing and sees nothing twice', async () => {
    const p = await openProtocol(schema)
    const ids = await p.enqueue(200)
    const seen: string[] = []
    let writing = true
    let after: string | null = null
    const reader = (async () => {
      for (;;) {
        const last = !writing
        const page: FeedEvent[] = await p.events(after, 13)
        for (const event of page) {
          if (event.kind === 'job.cancelled') seen.push(event.jobIds[0]!)
          after = event.position
        }
        if (last && seen.length >= 200) return
      }
    })()
    await Promise.all(
      Array.from({ length: 10 }, async (_, writer) => {
        for (let n = writer; n < 200; n += 10) await p.cancel([ids[n]!])
      }),
    )
    writing = false
    await reader
    expect(seen).toHaveLength(200)
    expect(new Set(seen)).toEqual(new Set(ids))
  })
})
