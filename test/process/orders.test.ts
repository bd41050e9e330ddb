/** Orders 1, 2, 10 and 12 with whole processes: answers that come late, and connections that go in different ways. */
import { randomBytes } from 'node:crypto'
import { describe, expect, type TestContext, test } from 'vitest'
import { openDatabase } from '../../src/db/connect.ts'
import { testDatabaseUrl } from '../support/database.ts'
import { builtProgram, type Program, Scenario } from '../support/process.ts'
import { Proxy } from './proxy.ts'

builtProgram()

const LEASE_MS = 6_000
const SHORT = { LEASE_DURATION: String(LEASE_MS / 1_000) }
/** Renewals so far apart that a claim without an answer is asked again before the next of them. */
const PATIENT = { LEASE_DURATION: '12' }
const PATIENT_RENEW_MS = 4_000
/** What the server waits before it believes a lost connection. */
const GRACE_MS = 2_000

/** A worker whose role the test can deny new connections, as a server does that has no slots left. */
async function limitedWorker(
  context: TestContext,
  s: Scenario,
): Promise<{
  worker: Program
  slots: (count: number) => Promise<unknown>
  cut: () => Promise<void>
}> {
  const role = `lh_limited_${randomBytes(4).toString('hex')}`
  const admin = openDatabase({ databaseUrl: testDatabaseUrl(), connectionsMax: 1 })
  await admin.query(`create role ${role} login password 'secret' in role leasehold_worker`, [])
  const url = new URL(s.databaseUrl)
  url.username = role
  url.password = 'secret'
  const worker = await s.worker({ databaseUrl: url.href, env: SHORT })
  context.onTestFinished(async () => {
    worker.kill('SIGKILL')
    await worker.exit()
    await admin.query(`drop role ${role}`, [])
    await admin.close()
  })
  return {
    worker,
    slots: (count) => admin.query(`alter role ${role} connection limit ${count}`, []),
    cut: async () => {
      const ended = await s.rows(
        `select pg_terminate_backend(w.backend_pid) from %s.worker w join %s.worker_detail d using (incarnation)
         where w.ended_at is null and d.pid = $1`,
        [worker.pid],
      )
      expect(ended).toHaveLength(1)
    },
  }
}

/** A second worker on another machine, with a job that only it takes. Resolves to the job, which runs. */
async function besides(s: Scenario, gate: string): Promise<string> {
  await s.worker({ machine: 'machine-b', env: SHORT, args: ['--queue', 'default,other'] })
  const jobId = await s.enqueue('wait', { gate }, { queue: 'other' })
  await s.journalLine('start', (line) => line.jobId === jobId)
  return jobId
}

/** Resolves when layer 3 believes lost connections of this machine: it does not for a lease after a false alarm. */
function layerIsAwake(s: Scenario, machine: string): Promise<unknown> {
  return s.until('an end of the quiet after a false alarm', async () => {
    const [row] = await s.rows<{ awake: boolean }>(
      `select coalesce(m.connection_false_alarm_at < clock_timestamp() - interval '6 s', true) as awake
       from %s.machine m where m.id = $1`,
      [machine],
    )
    return row?.awake
  })
}

describe.concurrent('order', () => {
  test('order 1: a claim whose answer is lost is asked again, and its job is the same attempt', async (context) => {
    const s = await Scenario.open(context)
    await using proxy = await Proxy.open(testDatabaseUrl())
    const jobId = await s.enqueue('plain')
    // Its first claim, and whatever else would be answered there: the worker lives, and the database holds the job for it.
    const claimed = proxy.holdAnswer('leasehold worker', '.claim(')
    const worker = await s.worker({ databaseUrl: proxy.url, env: PATIENT })
    await claimed
    const claimedMs = Date.now()
    const job = await s.jobIs(jobId, 'completed')
    expect(Date.now() - claimedMs).toBeLessThan(2 * PATIENT_RENEW_MS + 2_000)
    expect(job).toMatchObject({ attempt: 1, lost: 0, failures: 0, interruptions: 0 })
    expect(job.attempts).toHaveLength(1)
    expect(worker.events('lease.lost')).toEqual([])
  })

  test('order 1: a claim whose answer is lost while the worker begins to drain is given back, not charged', async (context) => {
    const s = await Scenario.open(context)
    await using proxy = await Proxy.open(testDatabaseUrl())
    const gate = s.gate('go')
    const running = await s.enqueue('wait', { gate: gate.file })
    const worker = await s.worker({
      databaseUrl: proxy.url,
      env: PATIENT,
      args: ['--shutdown-grace', '60s'],
    })
    await s.journalLine('start')
    const answered = proxy.holdAnswer('leasehold worker', '.claim(')
    const lost = await s.enqueue('wait', { gate: gate.file })
    await answered
    const claimedMs = Date.now()
    await s.jobIs(lost, 'running')
    // From now on it claims nothing, so it does not ask again.
    worker.kill('SIGTERM')
    const job = await s.jobIs(lost, 'pending')
    expect(Date.now() - claimedMs).toBeLessThan(2 * PATIENT_RENEW_MS + 2_000)
    expect(job).toMatchObject({ attempt: 1, lost: 0, failures: 0, interruptions: 0 })
    expect(job.attempts).toMatchObject([{ endedAs: 'released', endReason: { code: 'claim_lost' } }])
    expect(s.journal(lost)).toEqual([])
    expect((await s.job(running)).status).toBe('running')
    gate.open()
    expect(await s.jobIs(running, 'completed')).toMatchObject({ attempt: 1 })
    expect(await worker.exit()).toMatchObject({ code: 0 })
  })

  test('order 2: a renewal’s answer that is older than a claim’s leaves the fresh attempt alone', async (context) => {
    const s = await Scenario.open(context)
    await using proxy = await Proxy.open(testDatabaseUrl())
    const gate = s.gate('go')
    const before = await s.enqueue('wait', { gate: gate.file })
    // A hint would come on the connection whose answers are held.
    const worker = await s.worker({
      databaseUrl: proxy.url,
      args: ['--no-listen'],
      env: { LEASE_DURATION: '12' },
    })
    await s.journalLine('start')
    const renewals = (): number =>
      proxy.statements.filter(({ text }) => text.includes('.renew(')).length

    const letThrough = await proxy.holdAnswer('leasehold lifeline', '.renew(')
    const fresh = await s.enqueue('wait', { gate: gate.file })
    await s.journalLine('start', (line) => line.jobId === fresh)
    const sent = renewals()
    letThrough()
    // The lifeline sends the next one only when this has been answered, and reports in order.
    await s.until('the next renewal but one', () => renewals() >= sent + 2)
    expect(worker.events('lease.renewal_failed')).toEqual([])
    expect(s.journal().map(({ what }) => what)).toEqual(['start', 'start'])
    gate.open()
    for (const jobId of [before, fresh])
      expect(await s.jobIs(jobId, 'completed')).toMatchObject({ attempt: 1 })
    expect(worker.events('jobs.released')).toEqual([])
  })

  test('order 1: a claim whose reply was lost goes back also when its worker may not ask again, as it drains', async (context) => {
    const s = await Scenario.open(context)
    await using proxy = await Proxy.open(testDatabaseUrl())
    const worker = await s.worker({
      databaseUrl: proxy.url,
      args: ['--concurrency', '2', '--shutdown-grace', '60s'],
      env: { LEASE_DURATION: '9', HEARTBEAT_INTERVAL: '3' },
    })
    const gate = s.gate('go')
    const first = await s.enqueue('wait', { gate: gate.file })
    await s.journalLine('start')
    const held = proxy.holdAnswer('leasehold worker', 'claim(')
    const second = await s.enqueue('plain')
    await held
    worker.kill('SIGTERM')
    await worker.event('worker.draining')
    await s.worker({ machine: 'machine-b' })
    expect(await s.jobIs(second, 'completed')).toMatchObject({
      attempt: 2,
      lost: 0,
      interruptions: 0,
      attempts: [{ endedAs: 'released', endReason: { code: 'claim_lost' } }, {}],
    })
    expect(await s.job(first)).toMatchObject({ status: 'running', attempt: 1 })
    gate.open()
    expect(await worker.exit()).toMatchObject({ code: 0 })
    expect(await s.job(first)).toMatchObject({ status: 'completed', attempt: 1 })
  })

  test('order 10: one of two workers is refused: its job goes elsewhere, and what it still returns is a note', async (context) => {
    const s = await Scenario.open(context)
    await using proxy = await Proxy.open(testDatabaseUrl())
    const gate = s.gate('go')
    const jobId = await s.enqueue('wait', { gate: gate.file })
    const refused = await s.worker({ databaseUrl: proxy.url, env: SHORT })
    await s.journalLine('start')
    const other = await besides(s, gate.file)
    const refusedMs = Date.now()
    await proxy.refuse()
    await s.journalLine('start', (line) => line.attempt === 2)
    // Refusals look like a database that is down, and to one host that is believed: the first handler may go on.
    await s.until('two leases have passed', () => Date.now() - refusedMs > 2 * LEASE_MS)
    expect(s.journal(jobId).map(({ what }) => what)).toEqual(['start', 'start'])
    expect(await s.job(jobId)).toMatchObject({ status: 'running', attempt: 2 })
    gate.open()
    expect(await s.jobIs(jobId, 'completed')).toMatchObject({ attempt: 2, result: { attempt: 2 } })
    expect(await s.jobIs(other, 'completed')).toMatchObject({ attempt: 1 })
    await proxy.heal()
    const job = await s.jobWhen(
      'known to have two results',
      jobId,
      ({ attempts }) => attempts?.[0]?.lateResult != null,
    )
    expect(job).toMatchObject({ status: 'completed', attempt: 2, result: { attempt: 2 } })
    expect(job.attempts).toMatchObject([
      { endedAs: 'lost', endReason: { layer: 3 }, lateResult: { outcome: 'completed' } },
      { endedAs: 'completed' },
    ])
    await s.until('a second incarnation', () => refused.events('worker.started').length === 2)
    expect(refused.ended).toBe(false)
  })

  test('order 10: one of two workers is dropped: it stops its handler before the other begins', async (context) => {
    const s = await Scenario.open(context)
    await using proxy = await Proxy.open(testDatabaseUrl())
    const gate = s.gate('go')
    const jobId = await s.enqueue('wait', { gate: gate.file })
    const dropped = await s.worker({ databaseUrl: proxy.url, env: SHORT })
    await s.journalLine('start')
    const other = await besides(s, gate.file)
    proxy.drop()
    await s.journalLine('start', (line) => line.jobId === jobId && line.attempt === 2)
    const lines = s.journal(jobId).map(({ attempt, what }) => `${attempt} ${what}`)
    expect(lines).toEqual(['1 start', '1 aborted lease_lost', '2 start'])
    await proxy.heal()
    gate.open()
    expect(await s.jobIs(other, 'completed')).toMatchObject({ attempt: 1 })
    const job = await s.jobIs(jobId, 'completed')
    expect(job).toMatchObject({ attempt: 2, failures: 0 })
    expect(job.attempts?.[0]).toMatchObject({ endedAs: 'lost', endReason: { layer: 4 } })
    expect(dropped.ended).toBe(false)
  })

  test('order 12: a reserved connection that finds no slot for as long as the grace costs the job nothing', async (context) => {
    const s = await Scenario.open(context)
    const gate = s.gate('go')
    const { worker, slots, cut } = await limitedWorker(context, s)
    await s.worker({ machine: 'machine-b', env: SHORT, args: ['--queue', 'other'] })
    const jobId = await s.enqueue('wait', { gate: gate.file })
    await s.journalLine('start')
    await slots(0)
    await cut()
    const cutMs = Date.now()
    await worker.event('lease.renewal_failed', (line) =>
      String(line['error']).includes('too many connections'),
    )
    await s.until('the time is over', () => Date.now() - cutMs >= GRACE_MS)
    await slots(-1)
    // Whether a sweep was faster than the worker's next try is chance; in neither case anything is charged. Just less and just more
    // than the grace are told apart in conformance/sweep.test.ts, where the test has the clock in hand.
    await s.until('it is heard', async () => {
      const [row] = await s.rows(
        `select from %s.worker w join %s.worker_detail d using (incarnation)
           where d.pid = $1 and w.ended_at is null and w.backend_pid is not null
             and exists (select from pg_stat_activity a where a.pid = w.backend_pid)`,
        [worker.pid],
      )
      return row
    })
    gate.open()
    const job = await s.jobIs(jobId, 'completed')
    expect(job).toMatchObject({ lost: 0, failures: 0 })
    expect(worker.ended).toBe(false)
  })

  test('order 12: a reserved connection that finds no slot until its jobs are taken, three times, is no poison', async (context) => {
    const s = await Scenario.open(context)
    const gate = s.gate('go')
    const { worker, slots, cut } = await limitedWorker(context, s)
    await s.worker({ machine: 'machine-b', env: SHORT, args: ['--queue', 'other'] })
    const jobId = await s.enqueue('wait', { gate: gate.file })
    for (let round = 1; round <= 3; round += 1) {
      await s.journalLine('start', (line) => line.attempt === round)
      await layerIsAwake(s, 'machine-a')
      await slots(0)
      await cut()
      await s.jobWhen('taken', jobId, (job) => job.attempts?.length === round && job.lost === 1)
      await slots(-1)
      await s.jobWhen('refunded', jobId, (job) => job.lost === 0)
    }
    gate.open()
    const job = await s.jobIs(jobId, 'completed')
    expect(job).toMatchObject({ attempt: 4, lost: 0, failures: 0 })
    const alarm = { endedAs: 'lost', endReason: { layer: 3, falseAlarm: true } }
    expect(job.attempts).toMatchObject([alarm, alarm, alarm, { endedAs: 'completed' }])
    expect(worker.ended).toBe(false)
    expect(worker.events('worker.started')).toHaveLength(4)
  })
})
