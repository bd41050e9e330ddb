/** begin_retention, jobs_to_drop, drop_jobs, drop_events, end_retention, set_retention, and the pass that is made of them. */
import { randomUUID } from 'node:crypto'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { createClient } from '../../src/client/client.ts'
import type { JobDocument } from '../../src/client/documents.ts'
import type { ClientEvent } from '../../src/client/event-feed.ts'
import {
  type Archive,
  ARCHIVE_LIMIT_MS,
  type Pass,
  passRetention,
} from '../../src/client/retention.ts'
import {
  EventsDroppedError,
  NotFoundError,
  StateRefusedError,
  UsageError,
} from '../../src/errors.ts'
import type { RetentionBegun } from '../../src/sql/retention.ts'
import type { Functions, Held } from '../support/functions.ts'
import {
  checkInvariantsAfterEach,
  openProtocol,
  type Protocol,
  SCHEMAS,
} from '../support/protocol.ts'

checkInvariantsAfterEach()
afterEach(() => void vi.restoreAllMocks())

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS
const KEEP_MS = 14 * DAY_MS
/** Where a slow machine stops before all steps. */
const WALK_BUDGET_MS = 15_000
const WAIT = { timeout: 20_000, interval: 100 }

function pass(
  p: Protocol,
  options: { archive?: Archive; namespace?: string; now?: boolean } = {},
): Promise<Pass> {
  return passRetention(p.db, {
    namespace: options.namespace ?? p.namespace,
    archive: options.archive ?? null,
    now: options.now ?? true,
    retryMs: 60_000,
    stop: new AbortController().signal,
  })
}

const set = (p: Functions, changes: object): Promise<unknown> =>
  p.run('set_retention', p.namespace, changes)
const begin = (p: Functions, archives = false, now = true): Promise<RetentionBegun> =>
  p.run('begin_retention', p.namespace, archives, now)
const drop = (p: Functions, jobs: string[]): Promise<number> =>
  p.run('drop_jobs', p.namespace, jobs, null)
const ids = async (p: Protocol): Promise<string[]> =>
  (await p.db.rows<{ id: string }>('select job_id as id from %s.job_detail order by 1')).map(
    ({ id }) => id,
  )

/** Completed one after the other, so that each has an end and a place of its own. */
async function completed(
  p: Protocol,
  count: number,
  options: Record<string, unknown> = {},
): Promise<string[]> {
  const { ids: jobs, held } = await p.running(count, options)
  await p.complete(held)
  return jobs
}

describe.each(SCHEMAS)('retention (%s schema)', (schema) => {
  test('jobs are dropped two weeks after their end, with all that was kept about them', async () => {
    const p = await openProtocol(schema)
    const { held } = await p.running(3)
    await p.checkpoint(held, [1, 2, 3])
    await p.progress(held, [1, 2, 3])
    await p.log(held, ['a', 'b', 'c'])
    await p.settle(held, ['completed', 'failed_finally', 'cancelled'])
    const waiting = await p.enqueue(1, { key: 'once' })
    await p.cancel(waiting)
    const all = [...held.map(({ job }) => job), ...waiting]
    await p.passTime(KEEP_MS - 1_000)
    const young = await completed(p, 1)
    expect((await pass(p)).dropped).toBe(0)
    await p.passTime(2_000)
    expect((await pass(p)).dropped).toBe(4)
    expect(await ids(p)).toEqual(young)
    for (const table of [
      'attempt',
      'attempt_log',
      'checkpoint',
      'progress',
      'job_end',
      'job_key',
    ]) {
      const rows = await p.db.rows(`select job_id from %s.${table} where job_id = any ($1)`, [all])
      expect(rows, table).toEqual([])
    }
  })

  test('a dropped job is no such job: shown, listed, counted, cancelled, retried, settled late', async () => {
    const p = await openProtocol(schema)
    const { held } = await p.running(1)
    await p.complete(held)
    await p.passTime(KEEP_MS + 1_000)
    await pass(p)
    const [one] = held
    const gone = [one!.job]
    expect(await p.jobs(gone)).toEqual([])
    expect(await p.run('list_jobs', p.namespace)).toEqual([])
    expect(await p.run('find_jobs', p.namespace, one!.job.slice(-6))).toEqual([])
    expect(await p.run('job_logs', p.namespace, one!.job)).toEqual([])
    const stats = await p.run<{ jobs: Record<string, number> }>('stats', p.namespace)
    expect(stats.jobs['completed']).toBe(0)
    for (const act of [
      p.cancel(gone),
      p.retry(gone),
      p.hold(gone),
      p.resume(gone),
      p.releaseJobs(gone),
    ])
      expect(await act).toEqual(['not_found'])
    expect(await p.complete(held)).toEqual(['lease_lost'])
    expect(await p.checkpoint(held, [1])).toEqual(['lease_lost'])
  })

  test('whatever has not ended stays, however old: waiting, running, held, parked, to be retried; and all that is known of it', async () => {
    const p = await openProtocol(schema)
    const worker = await p.register({ leaseMs: 23 * DAY_MS, renewMs: DAY_MS })
    const states: Record<string, string> = {}
    const { held } = await p.running(3, { concurrencyKey: undefined }, worker)
    await p.checkpoint([held[0]!], [7])
    await p.log([held[0]!], ['still here'])
    states['running'] = held[0]!.job
    await p.fail([held[1]!], [{ message: 'again' }], [400 * DAY_MS])
    states['retrying'] = held[1]!.job
    await p.complete([held[2]!])
    states['retried'] = held[2]!.job
    const keyed = await p.running(1, { concurrencyKey: 'k' }, worker)
    states['keyed'] = keyed.ids[0]!
    states['parked'] = (await p.enqueue(1, { concurrencyKey: 'k' }))[0]!
    await p.claim(worker, { want: 5 })
    states['scheduled'] = (await p.enqueue(1, { delayMs: 365 * DAY_MS }))[0]!
    states['pending'] = (await p.enqueue(1, { queue: 'nobody' }))[0]!
    states['held'] = (await p.enqueue(1, { queue: 'nobody' }))[0]!
    await p.hold([states['held']])
    await p.passTime(10 * DAY_MS)
    // An operator's new start, of a job whose end is two weeks ago when the pass comes.
    await p.renew(worker)
    await p.retry([states['retried']])
    await p.passTime(20 * DAY_MS)
    const before = await p.jobs(Object.values(states))
    expect(before.map(({ state }) => state)).toEqual([
      'running',
      'retrying',
      'pending',
      'running',
      'pending',
      'scheduled',
      'pending',
      'held',
    ])
    expect(await pass(p)).toMatchObject({ dropped: 0 })
    // A cut through all of them is no reason either.
    await set(p, { keepCount: 0 })
    expect(await pass(p)).toMatchObject({ dropped: 0 })
    const timeless = (jobs: JobDocument[]): unknown[] =>
      jobs.map((job) => ({
        ...job,
        now: null,
        leaseLeftMs: null,
        heartbeatAt: null,
        workersForType: null,
      }))
    expect(timeless((await p.jobs(Object.values(states))) as never)).toEqual(
      timeless(before as never),
    )
    expect(await drop(p, Object.values(states))).toBe(0)
    expect(await p.complete([held[0]!])).toEqual(['completed'])
    expect(await p.job(states['held'])).toMatchObject({
      events: expect.arrayContaining([expect.objectContaining({ kind: 'job.held' })]),
    })
  })

  test('by count the newest stay, each namespace by its own number, and nothing of the last hour goes', async () => {
    const p = await openProtocol(schema)
    const other = p.in('other')
    await set(p, { keepMs: null, keepCount: 3 })
    await set(other, { keepMs: null, keepCount: null })
    const mine = [...(await completed(p, 4)), ...(await completed(p, 4))]
    const live = await p.enqueue(2, { delayMs: 365 * DAY_MS })
    const worker = await other.register()
    const theirs = await other.enqueue(5)
    await other.complete(
      (await other.claim(worker)).jobs.map((job): Held => ({ job: job.id, token: job.token })),
    )
    expect(await pass(p)).toMatchObject({ dropped: 0, begun: { begins: true } })
    await p.passTime(HOUR_MS + 1_000)
    expect(await pass(p)).toMatchObject({ dropped: 5 })
    expect(await ids(p)).toEqual([...mine.slice(-3), ...live, ...theirs].toSorted())
    expect(await pass(p, { namespace: 'other' })).toMatchObject({
      dropped: 0,
      begun: { begins: false },
    })
    // By time as well, whichever comes first.
    await set(p, { keepMs: DAY_MS, keepCount: 1_000 })
    await p.passTime(DAY_MS)
    expect(await pass(p)).toMatchObject({ dropped: 3 })
    expect(await ids(p)).toEqual([...live, ...theirs].toSorted())
    expect(await p.run('retention_of', p.namespace)).toMatchObject({
      dropped: 8,
      problem: null,
      keepCount: 1_000,
    })
  })

  test('more jobs than a step looks at go in one pass', async () => {
    const p = await openProtocol(schema)
    await p.enqueue(2_500)
    const all = await ids(p)
    await p.cancel(all)
    const kept = await p.enqueue(1)
    await p.passTime(KEEP_MS + 1_000)
    expect(await pass(p)).toMatchObject({ dropped: 2_500 })
    expect(await ids(p)).toEqual(kept)
  })

  test('a pass is due once an hour; one that is under way keeps others out until it is not heard of', async () => {
    const p = await openProtocol(schema)
    expect(await begin(p, false, false)).toMatchObject({ begins: true })
    expect(await begin(p, false, false)).toMatchObject({ begins: false, needsArchive: false })
    await p.passTime(120_000)
    expect(await begin(p, false, false)).toMatchObject({ begins: true })
    await p.run('end_retention', p.namespace)
    const next = await begin(p, false, false)
    expect(next.begins).toBe(false)
    expect(next.nextMs).toBeGreaterThan(HOUR_MS - 60_000)
    await p.passTime(HOUR_MS)
    expect(await begin(p, false, false)).toMatchObject({ begins: true })
    // The clock went back by a month: what it says now is the time.
    await p.run('end_retention', p.namespace)
    await p.passTime(-30 * DAY_MS)
    expect(await begin(p, false, false)).toMatchObject({ begins: true })
  })

  test('passes at the same time drop each job once', async () => {
    const p = await openProtocol(schema)
    const { ids: jobs } = await p.running(50)
    await p.releaseJobs(jobs)
    await p.cancel(jobs)
    await p.passTime(KEEP_MS + 1_000)
    const dropped = await Promise.all(Array.from({ length: 4 }, () => drop(p, jobs).catch(() => 0)))
    expect(dropped.reduce((sum, n) => sum + n, 0)).toBe(0)
    await begin(p)
    const now = await Promise.all(Array.from({ length: 4 }, () => drop(p, jobs)))
    expect(now.reduce((sum, n) => sum + n, 0)).toBe(50)
  })

  test('settings: what is unknown or out of range is refused, and what is not said stays', async () => {
    const p = await openProtocol(schema)
    const client = createClient({ pool: p.db, namespace: p.namespace, schema: p.db.schemaName })
    expect(await client.retention.get()).toEqual({
      namespace: p.namespace,
      keepMs: KEEP_MS,
      keepCount: null,
      archive: false,
      passedAt: null,
      dueAt: null,
      dropped: 0,
      problem: null,
    })
    const wrong: object[] = [
      { keepMs: HOUR_MS - 1 },
      { keepMs: -1 },
      { keepMs: HOUR_MS + 0.5 },
      { keepMs: '14d' },
      { keepMs: Number.POSITIVE_INFINITY },
      { keepCount: -1 },
      { keepCount: 2e9 },
      { archive: null },
      { keep: 1 },
    ]
    for (const changes of wrong)
      await expect(client.retention.set(changes), JSON.stringify(changes)).rejects.toBeInstanceOf(
        UsageError,
      )
    await client.retention.set({ keepMs: null })
    expect(await client.retention.set({ keepCount: 5 })).toMatchObject({
      keepMs: null,
      keepCount: 5,
    })
    expect(await client.retention.set({ keepMs: HOUR_MS, archive: true })).toMatchObject({
      keepMs: HOUR_MS,
      keepCount: 5,
      archive: true,
    })
    expect(await p.in('other').run('retention_of', 'other')).toMatchObject({ keepMs: KEEP_MS })
  })

  test('keys of dropped jobs are free, those of kept ones are not', async () => {
    const p = await openProtocol(schema)
    const [first] = await completed(p, 1, { key: 'daily' })
    const [waits] = await p.enqueue(1, { key: 'waits', delayMs: 365 * DAY_MS })
    await p.passTime(KEEP_MS + 1_000)
    expect(await p.enqueue(1, { key: 'daily' })).toEqual([first])
    await pass(p)
    const [second] = await p.enqueue(1, { key: 'daily' })
    expect(second).not.toBe(first)
    expect(await p.enqueue(1, { key: 'daily' })).toEqual([second])
    expect(await p.enqueue(1, { key: 'waits' })).toEqual([waits])
  })
})

describe('nobody waits', () => {
  /** A step whose transaction is stopped just before it commits. */
  async function stopped(p: Protocol, jobs: string[]): Promise<{ commit: () => Promise<void> }> {
    const session = await p.session()
    await begin(p)
    await session.begin()
    expect(await drop(session, jobs)).toBe(jobs.length)
    return session
  }

  test('while a step is stopped in its middle everybody enqueues, claims, settles, reads and renews', async () => {
    const p = await openProtocol()
    const { worker, held } = await p.running(3)
    const old = (await completed(p, 1, { key: 'old', queue: 'old' })).concat(await completed(p, 5))
    await p.passTime(KEEP_MS + 1_000)
    const step = await stopped(p, old)
    const session = await p.session()
    await session.query(`set lock_timeout = '1ms'`)
    await session.enqueue(3)
    await session.enqueue(1, { key: 'new' })
    expect((await session.claim(await session.register())).jobs).toHaveLength(4)
    expect(await session.fail([held[0]!], [{}], [0])).toEqual(['retrying'])
    expect(await session.complete(held.slice(1))).toEqual(['completed', 'completed'])
    await session.renew(worker)
    await session.sweep()
    await session.cancel([held[0]!.job])
    await session.retry([held[1]!.job])
    await session.events()
    await session.run('list_jobs', p.namespace)
    await session.run('stats', p.namespace)
    // The next pass finds the row of retention in somebody's hand, and does not wait for it either.
    expect(await session.run('begin_retention', p.namespace, false, true)).toMatchObject({
      begins: false,
    })
    await step.commit()
  })

  test('an enqueue with the key of a job that is just being dropped is a new job', async () => {
    const p = await openProtocol()
    const [old] = await completed(p, 1, { key: 'daily' })
    await p.passTime(KEEP_MS + 1_000)
    const step = await stopped(p, [old!])
    const session = await p.session()
    const asked = session.enqueue(1, { key: 'daily' })
    await p.waitsForLock(session)
    await step.commit()
    const [id] = await asked
    expect(id).toMatch(/^[0-9a-f-]{36}$/)
    expect(id).not.toBe(old)
    expect((await p.job(id!)).state).toBe('pending')
  })

  test('a retry that comes while a job is dropped finds none; one that came before keeps it', async () => {
    const p = await openProtocol()
    const [gone, kept] = await completed(p, 2)
    await p.passTime(KEEP_MS + 1_000)
    const step = await stopped(p, [gone!])
    const session = await p.session()
    const retried = session.retry([gone!])
    await p.waitsForLock(session)
    await step.commit()
    expect(await retried).toEqual(['not_found'])
    await session.begin()
    expect(await session.retry([kept!])).toEqual(['retried'])
    expect(await drop(p, [kept!])).toBe(0)
    await session.commit()
    expect(await drop(p, [kept!])).toBe(0)
    expect((await p.job(kept!)).state).toBe('pending')
  })

  test('a step that would wait for somebody gives up after 200 ms, and nothing of it has happened', async () => {
    const p = await openProtocol()
    const jobs = await completed(p, 3)
    await p.passTime(KEEP_MS + 1_000)
    const session = await p.session()
    await session.begin()
    await session.query('select from %s.attempt where job_id = $1 for no key update', [jobs[1]])
    const startedMs = performance.now()
    await expect(pass(p)).rejects.toMatchObject({ code: '55P03' })
    expect(performance.now() - startedMs).toBeLessThan(5_000)
    expect(await ids(p)).toEqual(jobs)
    expect(await p.run('retention_of', p.namespace)).toMatchObject({
      dropped: 0,
      problem: expect.stringContaining('lock timeout'),
    })
    await session.commit()
    expect(await pass(p)).toMatchObject({ dropped: 3 })
    expect(await p.run('retention_of', p.namespace)).toMatchObject({ problem: null })
  })
})

describe('an archive hook', () => {
  test('gets each job whole, and each is dropped after that alone', async () => {
    const p = await openProtocol()
    const { held } = await p.running(1)
    await p.checkpoint(held, [{ at: 3 }])
    await p.complete(held, [{ url: 'somewhere' }])
    const many = await p.enqueue(250)
    await p.cancel(many)
    await p.passTime(KEEP_MS + 1_000)
    const got: JobDocument[][] = []
    const archive: Archive = async (jobs, { namespace, signal }) => {
      expect([namespace, signal.aborted]).toEqual([p.namespace, false])
      expect((await p.jobs(jobs.map(({ id }) => id))).length).toBe(jobs.length)
      got.push([...jobs])
    }
    expect(await pass(p, { archive })).toMatchObject({ dropped: 251, failure: null })
    expect(got.map((jobs) => jobs.length)).toEqual([100, 100, 51])
    expect(new Set(got.flat().map(({ id }) => id)).size).toBe(251)
    expect(got[0]![0]).toMatchObject({
      id: held[0]!.job,
      status: 'completed',
      result: { url: 'somewhere' },
      checkpoint: { at: 3 },
      attempts: [{ attempt: 1, endedAs: 'completed' }],
      why: expect.stringContaining('ompleted') as string,
      events: expect.arrayContaining([
        expect.objectContaining({ kind: 'job.created' }),
      ]) as unknown[],
    })
    expect(await ids(p)).toEqual([])
  })

  test('large jobs come a few at a time, one that is larger than all of that too', async () => {
    const p = await openProtocol()
    const text = 'x'.repeat(1_000_000)
    for (let n = 0; n < 10; n += 1) await p.enqueue(1, {}, 'work', text)
    await p.cancel(await ids(p))
    await p.passTime(KEEP_MS + 1_000)
    const sizes: number[] = []
    expect(await pass(p, { archive: (jobs) => void sizes.push(jobs.length) })).toMatchObject({
      dropped: 10,
    })
    expect(sizes).toEqual([8, 2])
  })

  test('that throws keeps its jobs, is told, and gets them again', async () => {
    const p = await openProtocol()
    const jobs = await completed(p, 3)
    await p.passTime(KEEP_MS + 1_000)
    const archive = vi.fn<Archive>().mockImplementationOnce(() => {
      throw new Error('the bucket is full')
    })
    expect(await pass(p, { archive })).toMatchObject({
      dropped: 0,
      failure: { jobs: 3, error: { message: 'the bucket is full' } },
    })
    expect(await p.run('retention_of', p.namespace)).toMatchObject({
      problem: 'the archive hook failed with 3 jobs, which are kept: the bucket is full',
      dropped: 0,
    })
    expect(await begin(p, true, false)).toMatchObject({ begins: false })
    await p.passTime(60_000)
    expect(await pass(p, { archive, now: false })).toMatchObject({ dropped: 3, failure: null })
    expect(archive.mock.calls.map(([given]) => given.map(({ id }) => id))).toEqual([jobs, jobs])
    expect(await p.run('retention_of', p.namespace)).toMatchObject({ problem: null })
  })

  test('that does not end is told to, and given up after a minute', async () => {
    const p = await openProtocol()
    await completed(p, 1)
    await p.passTime(KEEP_MS + 1_000)
    const real = globalThis.setTimeout
    vi.spyOn(globalThis, 'setTimeout').mockImplementation((run: () => void, ms?: number) =>
      real(run, ms === ARCHIVE_LIMIT_MS ? 20 : ms),
    )
    let told = false
    const archive: Archive = (_, { signal }) =>
      new Promise(() => signal.addEventListener('abort', () => (told = true)))
    const { failure } = await pass(p, { archive })
    expect(failure?.error.message).toContain('longer than 60000 ms')
    expect(told).toBe(true)
    expect(await ids(p)).toHaveLength(1)
  })

  test('that is cut by a stop leaves its jobs where they are, and no problem', async () => {
    const p = await openProtocol()
    await completed(p, 1)
    await p.passTime(KEEP_MS + 1_000)
    const stop = new AbortController()
    const archive: Archive = () => {
      stop.abort()
      return new Promise(() => undefined)
    }
    const input = { namespace: p.namespace, archive, now: true, retryMs: 60_000, stop: stop.signal }
    expect(await passRetention(p.db, input)).toMatchObject({ dropped: 0, failure: null })
    expect(await ids(p)).toHaveLength(1)
    expect(await p.run('retention_of', p.namespace)).toMatchObject({
      problem: null,
      passedAt: null,
    })
  })

  test('a job that lives again, or has ended anew since the hook was given it, stays', async () => {
    const p = await openProtocol()
    await set(p, { keepMs: null, keepCount: 0 })
    const worker = await p.register()
    const jobs = await completed(p, 3)
    await p.passTime(2 * HOUR_MS)
    const archive = vi.fn<Archive>().mockImplementationOnce(async () => {
      await p.retry(jobs.slice(0, 2))
      const { jobs: claimed } = await p.claim(worker, { want: 1 })
      await p.complete([{ job: claimed[0]!.id, token: claimed[0]!.token }])
      await p.passTime(2 * HOUR_MS)
    })
    expect(await pass(p, { archive })).toMatchObject({ dropped: 1 })
    expect(await ids(p)).toEqual(jobs.slice(0, 2))
    expect(await pass(p, { archive })).toMatchObject({ dropped: 1 })
    expect(archive.mock.calls[1]![0]).toMatchObject([{ attempt: 2 }])
  })

  test('once there was one, nobody drops without it until an operator says so', async () => {
    const p = await openProtocol()
    const jobs = await completed(p, 1)
    const client = createClient({ pool: p.db, namespace: p.namespace, schema: p.db.schemaName })
    expect(await begin(p, true, false)).toMatchObject({ begins: true })
    await p.run('end_retention', p.namespace)
    await p.passTime(KEEP_MS + 1_000)
    const asked = await begin(p, false, false)
    expect(asked).toMatchObject({ begins: false, needsArchive: true })
    expect(asked.overdueMs).toBeGreaterThan(13 * DAY_MS)
    await expect(client.retention.run()).rejects.toBeInstanceOf(StateRefusedError)
    expect(await drop(p, jobs)).toBe(0)
    await client.retention.set({ archive: false })
    expect(await client.retention.run()).toBe(1)
  })
})

describe('the feed of events', () => {
  test('old events go with the jobs; those about one that is kept stay with it', async () => {
    const p = await openProtocol()
    await completed(p, 2)
    const [live] = await p.enqueue(1, { delayMs: 400 * DAY_MS })
    await p.hold([live!])
    await p.passTime(KEEP_MS + 1_000)
    const late = await completed(p, 1)
    await p.allEvents()
    await pass(p)
    const events = await p.events()
    expect(events.filter(({ jobIds }) => jobIds[0] === live).map(({ kind }) => kind)).toEqual([
      'job.held',
    ])
    expect(
      events.filter(({ kind }) => kind === 'job.completed').flatMap(({ jobIds }) => jobIds),
    ).toEqual(late)
    expect((await p.job(live!)).events.map(({ kind }) => kind)).toEqual(['job.created', 'job.held'])
  })

  test('a reader that stands before what was dropped is told, and goes on from events_dropped', async () => {
    const p = await openProtocol()
    await completed(p, 2)
    const all = await p.allEvents()
    await p.passTime(KEEP_MS + 1_000)
    await pass(p)
    for (const position of ['0:0', all[0]!.position])
      await expect(p.events(position)).rejects.toMatchObject({ code: 'ERR_EVENTS_DROPPED' })
    expect(await p.events(all.at(-1)!.position)).toEqual([])
    // Who begins now, at the beginning or at the end, has missed nothing that it asked for.
    expect(await p.events(null)).toEqual([])
    const end = await p.run<string>('events_end', p.namespace)
    expect(end).toBe(all.at(-1)!.position)
    expect(await p.run('events_dropped', p.namespace)).toBe(end)
    const later = await completed(p, 1)
    await p.allEvents()
    expect((await p.events(end)).at(-1)).toMatchObject({ kind: 'job.completed', jobIds: later })
    expect(await p.in('other').events('0:0')).toEqual([])
  })

  test('an event that nobody could read yet is not dropped, and is not behind anybody later', async () => {
    const p = await openProtocol()
    await set(p, { keepMs: null, keepCount: 0 })
    const open = await p.session()
    await open.begin()
    const [cancelled] = await p.enqueue(1)
    await open.cancel([cancelled!])
    await completed(p, 1)
    await p.passTime(2 * HOUR_MS)
    await pass(p)
    expect(await p.run('events_dropped', p.namespace)).toBe('0:0')
    await open.commit()
    const all = await p.allEvents()
    expect(all.map(({ kind }) => kind)).toContain('job.cancelled')
    await completed(p, 1)
    await p.passTime(2 * HOUR_MS)
    await pass(p)
    expect(await p.run('events_dropped', p.namespace)).not.toBe('0:0')
    expect((await p.events()).map(({ kind }) => kind)).not.toContain('job.cancelled')
  })

  test('events that were written while the clock was ahead keep no others', async () => {
    const p = await openProtocol()
    await p.passTime(3_650 * DAY_MS)
    await completed(p, 1)
    await p.passTime(-3_650 * DAY_MS)
    const jobs = await completed(p, 1)
    const before = (await p.allEvents()).length
    await p.passTime(KEEP_MS + 1_000)
    expect(await pass(p)).toMatchObject({ dropped: 1 })
    expect((await p.events()).flatMap(({ jobIds }) => jobIds)).not.toContain(jobs[0])
    expect((await p.events()).length).toBeLessThan(before)
  })

  test('client.on: a feed that was away says so and goes on', async () => {
    const p = await openProtocol()
    let away = false
    const pool = {
      query: async (text: string, values: unknown[]) => {
        if (away) throw new Error('away')
        return p.db.query(text, values)
      },
    }
    await using client = createClient({ pool, namespace: p.namespace, schema: p.db.schemaName })
    const heard: ClientEvent[] = []
    for (const name of ['worker.started', 'events.dropped', 'job.completed'] as const)
      client.on(name, (event) => void heard.push(event))
    const kinds = (): string[] => heard.map(({ kind }) => kind)
    // It may begin behind the first one.
    await vi.waitFor(async () => {
      await p.register()
      expect(kinds()).toContain('worker.started')
    }, WAIT)
    away = true
    await completed(p, 1)
    await p.passTime(KEEP_MS + 1_000)
    await p.allEvents()
    await pass(p)
    away = false
    await vi.waitFor(() => expect(kinds()).toContain('events.dropped'), WAIT)
    const until = await p.run('events_dropped', p.namespace)
    expect(heard.find(({ kind }) => kind === 'events.dropped')).toMatchObject({ data: { until } })
    expect(kinds()).not.toContain('job.completed')
    const [later] = await completed(p, 1)
    await vi.waitFor(() => expect(heard.at(-1)).toMatchObject({ jobIds: [later] }), WAIT)
    await expect(client.get(randomUUID())).rejects.toBeInstanceOf(NotFoundError)
    await expect(p.events('0:0')).rejects.toBeInstanceOf(EventsDroppedError)
  })
})

test('a random walk: exactly what is over goes, nothing that lives, and nothing of another namespace', async () => {
  const p = await openProtocol()
  const spaces = [p, p.in('other')]
  const seed = Number(process.env['LEASEHOLD_TEST_SEED'] ?? Math.floor(Math.random() * 2 ** 31))
  let state = seed
  const below = (n: number): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return Math.floor((state / 2 ** 32) * n)
  }
  const pick = <T>(from: readonly T[]): T => from[below(from.length)]!
  await set(spaces[0]!, { keepMs: 2 * DAY_MS, keepCount: 15 })
  await set(spaces[1]!, { keepMs: 5 * DAY_MS })
  const running: { space: Functions; held: Held }[] = []
  const known = new Map<string, Functions>()
  try {
    const untilMs = performance.now() + WALK_BUDGET_MS
    for (let step = 0; step < 250 && performance.now() < untilMs; step += 1) {
      const space = pick(spaces)
      const jobs = [...known].filter(([, owner]) => owner === space).map(([id]) => id)
      const some = jobs.length === 0 ? [] : [pick(jobs), pick(jobs)]
      switch (below(9)) {
        case 0:
        case 1:
          for (const id of await space.enqueue(1 + below(4), {
            ...(below(3) === 0 ? { key: `key-${below(5)}` } : {}),
            ...(below(4) === 0 ? { concurrencyKey: `lock-${below(2)}` } : {}),
            ...(below(5) === 0 ? { delayMs: below(20) * DAY_MS } : {}),
          }))
            known.set(id, space)
          break
        case 2:
        case 3: {
          const worker = await space.register({ leaseMs: 30_000 + below(3) * DAY_MS })
          const { jobs: claimed } = await space.claim(worker, { want: 1 + below(6) })
          running.push(...claimed.map(({ id, token }) => ({ space, held: { job: id, token } })))
          break
        }
        case 4:
        case 5:
          for (const { space: owner, held } of running.splice(0, below(running.length + 1))) {
            await owner.checkpoint([held], [step])
            const outcome = pick(['completed', 'failed', 'failed_finally', 'released', 'cancelled'])
            await owner.settle([held], [outcome])
          }
          break
        case 6:
          await pick([space.cancel, space.retry, space.hold, space.resume, space.releaseJobs])(some)
          break
        case 7:
          await p.passTime(below(36) * HOUR_MS)
          await space.sweep()
          break
        default: {
          const stays = await p.db.rows<{ id: string }>(
            `select id
             from (
               select *, row_number() over (partition by namespace, finished_at is null order by id desc) as rank
               from %s.job_stored
             ) as s
             where namespace <> $1 or finished_at is null or finished_at >= %s.clock() - interval '1 hour'
                or (finished_at >= %s.clock() - $2 * interval '1 day' and rank <= $3)
             order by id`,
            space === p ? [p.namespace, 2, 15] : [space.namespace, 5, 1_000_000],
          )
          await pass(p, {
            namespace: space.namespace,
            ...(below(2) === 0 ? { archive: () => undefined } : {}),
          })
          const left = new Set(await ids(p))
          expect([...left]).toEqual(stays.map(({ id }) => id))
          for (const id of known.keys()) if (!left.has(id)) known.delete(id)
          expect(await p.invariants()).toEqual([])
          await set(space, { archive: false })
        }
      }
    }
    await p.passTime(6 * DAY_MS)
    for (const space of spaces) await pass(p, { namespace: space.namespace })
    expect(
      await p.db.rows(
        `select id from %s.job_stored where finished_at < %s.clock() - interval '5 days'`,
      ),
    ).toEqual([])
  } catch (error) {
    throw new Error(`seed ${seed}`, { cause: error })
  }
})
