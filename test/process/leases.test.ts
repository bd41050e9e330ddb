/** What a lease promises: a worker that lives keeps its job however long it takes, and one that can't prove it stops in time. */
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { describe, expect, test } from 'vitest'
import { limitOf, rounds } from '../support/long.ts'
import { builtProgram, Scenario } from '../support/process.ts'
import { LIMIT_MS } from '../support/until.ts'
import { testDatabaseUrl } from '../support/database.ts'
import { Proxy } from './proxy.ts'

builtProgram()

const LEASE_MS = 6_000
const SHORT = { LEASE_DURATION: String(LEASE_MS / 1_000) }

describe.concurrent('a lease', () => {
  test('B1, H3: a job of several leases runs once', limitOf(120_000, 900_000), async (context) => {
    const s = await Scenario.open(context)
    // Idle first: its next beat is far away when the job comes.
    const worker = await s.worker({ env: SHORT })
    await s.worker({ machine: 'machine-b', env: SHORT, args: ['--queue', 'other'] })
    const jobId = await s.enqueue('sleep', { ms: rounds(3, 100) * LEASE_MS })
    const job = await s.jobIs(jobId, 'completed', rounds(10, 110) * LEASE_MS)
    expect(job).toMatchObject({ attempt: 1, lost: 0 })
    expect(worker.events('lease.lost')).toEqual([])
  })

  test('H3: a time limit is apart from the lease', async (context) => {
    const s = await Scenario.open(context)
    await s.worker()
    const jobId = await s.client.enqueueRaw(
      'wait.in_time',
      { gate: s.gate('never').file },
      { timeoutMs: 1_000, maxAttempts: 1 },
    )
    expect(await s.jobIs(jobId, 'failed')).toMatchObject({ error: { code: 'timeout' }, attempt: 1 })
  })

  test('B3: a worker that is cut off tells its handler before another begins', async (context) => {
    const s = await Scenario.open(context)
    await using proxy = await Proxy.open(testDatabaseUrl())
    const gate = s.gate('go')
    const jobId = await s.enqueue('wait', { gate: gate.file })
    const first = await s.worker({ databaseUrl: proxy.url, env: SHORT })
    await s.journalLine('start')
    await s.worker({ machine: 'machine-b', env: SHORT })
    proxy.drop()
    const told = await s.journalLine('aborted lease_lost')
    const again = await s.journalLine('start', (line) => line.attempt === 2)
    expect(told.atMs).toBeLessThan(again.atMs)
    // Cut off as it is, it goes on as a fresh incarnation when packets flow again.
    await proxy.heal()
    await s.until('a second incarnation', () => first.events('worker.started').length === 2)
    gate.open()
    const job = await s.jobIs(jobId, 'completed')
    expect(job).toMatchObject({ attempt: 2, failures: 0 })
    expect(job.attempts?.[0]).toMatchObject({ endedAs: 'lost', endReason: { layer: 4 } })
    expect(first.ended).toBe(false)
  })

  test('B3: a reserved connection that a firewall forgets is replaced, and the lease is kept', async (context) => {
    const s = await Scenario.open(context)
    await using proxy = await Proxy.open(testDatabaseUrl())
    const gate = s.gate('go')
    const jobId = await s.enqueue('wait', { gate: gate.file })
    const worker = await s.worker({ databaseUrl: proxy.url, env: SHORT })
    await s.journalLine('start')
    const session = async (): Promise<number | null> => {
      const [row] = await s.rows<{ pid: number | null }>(
        `select w.backend_pid as pid from %s.worker w join %s.worker_detail d using (incarnation)
         where d.pid = $1 and w.ended_at is null`,
        [worker.pid],
      )
      return row?.pid ?? null
    }
    const before = await session()
    proxy.forget('leasehold lifeline')
    await s.until('a renewal over another connection', async () => {
      const now = await session()
      return now !== null && now !== before
    })
    expect(worker.events('lease.lost')).toEqual([])
    gate.open()
    expect(await s.jobIs(jobId, 'completed')).toMatchObject({ attempt: 1, lost: 0 })
  })

  test('B3, rule 4: trust counts from when the last accepted renewal was sent, however late its answer came', async (context) => {
    const s = await Scenario.open(context)
    await using proxy = await Proxy.open(testDatabaseUrl())
    await s.enqueue('wait', { gate: s.gate('never').file })
    // Renewals every 4 s, and the fence 10 s after one. With its only slot taken it claims nothing, which would be a renewal too.
    const worker = await s.worker({
      databaseUrl: proxy.url,
      env: { LEASE_DURATION: '12' },
      args: ['--concurrency', '1'],
    })
    const fenceMs = 10_000
    await s.journalLine('start')
    const letThrough = await proxy.holdAnswer('leasehold lifeline', '.renew(')
    const renewal = proxy.statements.findLast(({ text }) => text.includes('.renew('))
    const sentMs = Date.now() - (performance.now() - (renewal?.atMs ?? 0))
    // Less than an interval, after which it would count as not answered.
    await s.until('the answer to be late', () => Date.now() - sentMs >= 2_500)
    letThrough()
    proxy.drop()
    const told = await s.journalLine('aborted lease_lost')
    // An earlier one would be that of the renewal before, and a later one that of the answer.
    expect(told.atMs - sentMs).toBeGreaterThan(fenceMs - 500)
    expect(told.atMs - sentMs).toBeLessThan(fenceMs + 2_300)
    expect(worker.events('lease.lost')).toHaveLength(1)
  })

  test('order 9: a worker that is cut off while its handler spins ends by force in time', async (context) => {
    const s = await Scenario.open(context)
    await using proxy = await Proxy.open(testDatabaseUrl())
    const jobId = await s.enqueue('spin', { ms: 60_000 })
    const first = await s.worker({ databaseUrl: proxy.url, env: SHORT })
    await s.journalLine('start')
    await s.worker({ machine: 'machine-b', env: SHORT })
    proxy.drop()
    const end = await first.exit()
    expect(end.signal).toBe('SIGKILL')
    const [last] = first.events('worker.killed')
    expect(last?.['reason']).toMatch(
      /^its lease had no accepted renewal for \d\S* s, and a handler/,
    )
    const [row] = await s.rows<{ seenMs: number }>(
      `select extract(epoch from w.seen_at)::double precision * 1000 as "seenMs"
       from %s.worker w join %s.worker_detail d using (incarnation) where d.pid = $1`,
      [first.pid],
    )
    // One clock: the server runs on this machine. The time of its end is when this process heard of it.
    expect(end.atMs).toBeLessThan((row?.seenMs ?? 0) + LEASE_MS + 500)
    const again = await s.journalLine('start', (line) => line.attempt === 2)
    expect(end.atMs).toBeLessThan(again.atMs + 100)
    expect((await s.job(jobId)).attempts?.[0]).toMatchObject({ endedAs: 'lost' })
  })

  test('a worker that is frozen among short jobs begins none of those that it had claimed ahead', async (context) => {
    const s = await Scenario.open(context)
    const first = await s.worker({ env: SHORT, args: ['--concurrency', '20'] })
    for (let round = 0; round < 4; round += 1) await s.enqueueSome(200, 'spin', { ms: 3 })
    const held = async (): Promise<number> =>
      (await s.rows('select from %s.job where token is not null')).length
    await s.until('it holds jobs ahead, and is frozen', async () => {
      first.kill('SIGSTOP')
      if (s.journal().length > 100 && (await held()) > 20) return true
      first.kill('SIGCONT')
      return false
    })
    const second = await s.worker({ machine: 'machine-b', env: SHORT })
    const left = async (): Promise<number> => (await s.rows('select from %s.job')).length
    await s.until('the other has run all', async () => (await left()) === 0, 2 * LIMIT_MS)
    const thawMs = Date.now()
    first.kill('SIGCONT')
    await s.until('it has begun anew', () => first.events('worker.started').length === 2)
    const begun = s
      .journal()
      .filter((line) => line.pid === first.pid && line.what === 'start' && line.atMs >= thawMs)
    // One that was about to begin when it froze may say so.
    expect(begun.length).toBeLessThanOrEqual(1)
    expect(second.ended).toBe(false)
  })

  test('B7: a frozen worker is overtaken once, is told at its thaw, and writes nothing', async (context) => {
    const s = await Scenario.open(context)
    const jobId = await s.enqueue('careful')
    const first = await s.worker({ env: SHORT })
    await s.journalLine('step')
    const second = await s.worker({ machine: 'machine-b', env: SHORT })
    first.kill('SIGSTOP')
    await s.journalLine('step', (line) => line.attempt === 2)
    await s.until('two leases have passed', async () => {
      const [row] = await s.rows<{ over: boolean }>(
        `select w.seen_at < clock_timestamp() - interval '12 s' as over
         from %s.worker w join %s.worker_detail d using (incarnation) where d.pid = $1`,
        [first.pid],
      )
      return row?.over
    })
    const thawMs = Date.now()
    first.kill('SIGCONT')
    await s.journalLine('told lease_lost', (line) => line.attempt === 1)
    await s.journalLine('enqueue refused ERR_LEASE_LOST', (line) => line.attempt === 1)
    // Its handler has blocked nothing in that time.
    const still = await first.event('worker.stood_still')
    expect(still['forMs']).toBeGreaterThan(9_000)
    expect(first.events('event_loop.blocked')).toEqual([])
    const afterThaw = s.journal(jobId).filter((line) => line.attempt === 1 && line.atMs >= thawMs)
    expect(afterThaw.map((line) => line.what)).toEqual([
      'told lease_lost',
      'checkpoint refused ERR_LEASE_LOST',
      'progress refused ERR_LEASE_LOST',
      'log refused ERR_LEASE_LOST',
      'enqueue refused ERR_LEASE_LOST',
    ])
    // What it returned all the same is kept with its attempt and changes nothing.
    const job = await s.jobWhen(
      'overtaken, with a late result',
      jobId,
      ({ attempts }) => attempts?.[0]?.lateResult != null,
    )
    expect(job).toMatchObject({ status: 'running', attempt: 2, checkpoint: null })
    expect(job.attempts?.[0]).toMatchObject({
      endedAs: 'lost',
      endReason: { layer: 4 },
      lateResult: { outcome: 'completed', value: { attempt: 1 } },
    })
    expect(job.events?.map((event) => event.kind)).toContain('job.stale_write')
    expect(second.events('job.picked_up')).toHaveLength(1)
    expect(await s.rows('select job_id from %s.job_detail')).toHaveLength(1)
  })

  test('B7: time for which a process was stopped does not count against the time limit of its job', async (context) => {
    const s = await Scenario.open(context)
    const gate = s.gate('go')
    const timeoutMs = 4_000
    const jobId = await s.enqueue('wait', { gate: gate.file }, { timeoutMs, maxAttempts: 1 })
    // With the default lease, which lasts longer than the stop.
    const worker = await s.worker()
    await s.journalLine('start')
    worker.kill('SIGSTOP')
    const stoppedMs = Date.now()
    await s.until('more than the limit', () => Date.now() - stoppedMs > 1.5 * timeoutMs)
    worker.kill('SIGCONT')
    // Once it has run another job it has also looked at its time limits.
    await s.jobIs(await s.enqueue('plain'), 'completed')
    gate.open()
    expect(await s.jobIs(jobId, 'completed')).toMatchObject({ attempt: 1, lost: 0, failures: 0 })
    expect(s.journal(jobId).map(({ what }) => what)).toEqual(['start', 'end'])
  })

  test('E1: a handler that spins for five leases runs once, and the log names it', async (context) => {
    const s = await Scenario.open(context)
    const jobId = await s.enqueue('spin', { ms: 5 * LEASE_MS })
    const worker = await s.worker({ env: SHORT })
    await s.worker({ machine: 'machine-b', env: SHORT })
    const job = await s.jobIs(jobId, 'completed', 60_000)
    expect(job).toMatchObject({ attempt: 1, lost: 0 })
    const blocked = await worker.event('event_loop.blocked')
    expect(blocked).toMatchObject({ jobIds: [jobId], types: ['spin'] })
    expect(blocked['forMs']).toBeGreaterThan(4 * LEASE_MS)
  })

  test('E2: a handler past its progress deadline is stalled and aborted while renewals are well; one without a deadline is not', async (context) => {
    const s = await Scenario.open(context)
    const gate = s.gate('go')
    const input = { gate: gate.file }
    const progressDeadlineMs = 1_500
    const worker = await s.worker({ env: SHORT })
    const quiet = await s.enqueue('wait', input, { progressDeadlineMs, maxAttempts: 1 })
    const deaf = await s.enqueue('stubborn', input, { progressDeadlineMs })
    const progresses = await s.enqueue('ticking', input, { progressDeadlineMs })
    const unlimited = await s.enqueue('wait', input)

    const failed = await s.jobIs(quiet, 'failed')
    expect(failed).toMatchObject({ error: { code: 'stalled' }, attempt: 1, failures: 1, lost: 0 })
    const [start, aborted] = s.journal(quiet)
    expect(aborted?.what).toBe('aborted stalled')
    expect((aborted?.atMs ?? 0) - (start?.atMs ?? 0)).toBeGreaterThan(progressDeadlineMs - 200)

    // Two leases later the one that ignores its signal is shown as what it is, and its worker is as well as ever.
    await s.until('two leases have passed', () => Date.now() - (start?.atMs ?? 0) > 2 * LEASE_MS)
    const stalled = await s.job(deaf)
    expect(stalled).toMatchObject({ state: 'stalled', status: 'running', attempt: 1 })
    expect(Date.parse(stalled.leaseExpiresAt ?? '')).toBeGreaterThan(Date.now())
    expect((await s.client.workers.list())[0]).toMatchObject({ status: 'online', running: 3 })
    expect(worker.events('lease.renewal_failed')).toEqual([])
    for (const jobId of [progresses, unlimited])
      expect(await s.job(jobId)).toMatchObject({ state: 'running', attempt: 1 })
    gate.open()
    for (const jobId of [progresses, unlimited])
      expect(await s.jobIs(jobId, 'completed')).toMatchObject({ attempt: 1, failures: 0 })
  })

  test('A9: a worker whose row somebody holds is shown late, and goes on when it is let go', async (context) => {
    const s = await Scenario.open(context)
    const gate = s.gate('go')
    const jobId = await s.enqueue('wait', { gate: gate.file })
    await s.worker()
    await s.journalLine('start')
    const { connectOne } = await import('../../src/db/connect.ts')
    const holder = await connectOne({ databaseUrl: s.databaseUrl })
    await holder.query('begin')
    await holder.query(`select from ${s.db.schema}.worker for no key update`)
    await s.until('late', async () => (await s.client.workers.list())[0]?.status === 'late')
    await holder.end()
    await s.until('online', async () => (await s.client.workers.list())[0]?.status === 'online')
    gate.open()
    expect(await s.jobIs(jobId, 'completed')).toMatchObject({ attempt: 1, lost: 0 })
  })

  test.for([
    { shiftMs: 86_400_000, says: 'a day ahead, then a day behind' },
    { shiftMs: -86_400_000, says: 'a day behind, then a day ahead' },
  ])(
    'B6, order 15: a worker’s wall clock is $says, and nothing differs',
    async ({ shiftMs }, context) => {
      const s = await Scenario.open(context)
      const shift = pathToFileURL(path.join(import.meta.dirname, 'shifted-clock.mjs')).href
      const worker = await s.worker({
        env: { ...SHORT, CLOCK_SHIFT_MS: String(shiftMs), NODE_OPTIONS: `--import ${shift}` },
      })
      const jobId = await s.enqueue('sleep', { ms: 2 * LEASE_MS })
      const due = await s.enqueue('sleep', { ms: 1 }, { delayMs: 1_000 })
      await s.until('a renewal while it runs', async () => {
        const [listed] = await s.client.workers.list()
        return listed?.status === 'online' && listed.running > 0 && (listed.leaseLeftMs ?? 0) > 0
      })
      const job = await s.jobIs(jobId, 'completed', 40_000)
      await s.jobIs(due, 'completed')
      expect(job).toMatchObject({ attempt: 1, lost: 0, failures: 0 })
      expect(worker.events('lease.lost')).toEqual([])
      // Not one time in the database is the worker's.
      const strange = await s.rows(
        `select 'job' as found from %s.job_stored j
       where greatest(j.run_at, j.started_at, j.finished_at) > clock_timestamp()
          or least(j.run_at, j.started_at, j.finished_at) < clock_timestamp() - interval '10 min'
       union all
       select 'worker' from %s.worker w
       where w.seen_at not between clock_timestamp() - interval '10 min' and clock_timestamp()
          or w.until > clock_timestamp() + interval '10 min'
       union all
       select 'attempt' from %s.attempt a
       where a.started_at < clock_timestamp() - interval '10 min' or a.ended_at > clock_timestamp()`,
      )
      expect(strange).toEqual([])
    },
  )

  test('B7: a worker that was frozen, and whose handler does not settle after, says why it ends by force', async (context) => {
    const s = await Scenario.open(context)
    await s.enqueue('spin', { ms: 60_000 })
    const first = await s.worker({ env: SHORT })
    await s.journalLine('start')
    await s.worker({ machine: 'machine-b', env: SHORT })
    first.kill('SIGSTOP')
    await s.journalLine('start', (line) => line.attempt === 2)
    first.kill('SIGCONT')
    expect((await first.exit()).signal).toBe('SIGKILL')
    const [last] = first.events('worker.killed')
    expect(last?.['reason']).toMatch(/as it stood still for \d\S* s, and a handler has not settled/)
  })

  test('rule 4: a wall clock that jumps makes even an idle worker renew at once, and is shown as it is then', async (context) => {
    const s = await Scenario.open(context)
    const shift = pathToFileURL(path.join(import.meta.dirname, 'shifted-clock.mjs')).href
    const env = { CLOCK_SHIFT_MS: '3600000', NODE_OPTIONS: `--import ${shift}` }
    const worker = await s.worker({ env })
    // An idle worker renews every 45 s by itself.
    const clock = await s.until('its clock is shown behind', async () => {
      const [listed] = await s.client.workers.list()
      const clockAheadMs = listed?.clockAheadMs ?? 0
      return clockAheadMs < 0 && clockAheadMs
    })
    expect(Math.abs(clock + 3_600_000)).toBeLessThan(2_000)
    expect(worker.events('lease.lost')).toEqual([])
  })
})

test('B6: no function that decides who is alive takes a time', async (context) => {
  const s = await Scenario.open(context)
  const taking = await s.rows<{ name: string }>(
    `select p.proname as name from pg_proc p
     where p.pronamespace = $1::regnamespace and has_function_privilege('leasehold_worker', p.oid, 'execute')
       and p.proargtypes::oid[] && array['timestamptz', 'timestamp', 'date']::regtype[]::oid[]`,
    [s.db.schema],
  )
  expect(
    taking.map(({ name }) => name).filter((name) => !/^(iso|milliseconds_between)$/.test(name)),
  ).toEqual([])
})
