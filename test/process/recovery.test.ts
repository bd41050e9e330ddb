/** A worker dies by SIGKILL: who notices, how soon, and that exactly one successor runs what it held. */
import { describe, expect, test } from 'vitest'
import type { AttemptDocument } from '../../src/client/documents.ts'
import { builtProgram, type Program, Scenario } from '../support/process.ts'
import { openProtocol, silenceBefore } from '../support/protocol.ts'

builtProgram()

const SHORT = { LEASE_DURATION: '6' }

/** From the start of an attempt to its end. */
function lifeOf({ startedAt, endedAt }: AttemptDocument): number {
  return Date.parse(endedAt!) - Date.parse(startedAt!)
}

describe.concurrent('a killed worker', () => {
  test('A1: default configuration, another machine: recovered by its lost connection', async (context) => {
    const s = await Scenario.open(context)
    const gate = s.gate('go')
    const jobId = await s.enqueue('wait', { gate: gate.file })
    const first = await s.worker({ machine: 'machine-a' })
    await first.event('job.picked_up')
    const second = await s.worker({ machine: 'machine-b' })
    first.kill('SIGKILL')
    const killedMs = Date.now()
    await second.event('job.picked_up')
    // The entry asks for L + S + 2 s; the connection tells within 3 s. Between the two is room for a slow machine.
    expect(Date.now() - killedMs).toBeLessThan(15_000)
    gate.open()
    const job = await s.jobIs(jobId, 'completed')
    expect(job).toMatchObject({ attempt: 2, lost: 0, failures: 0 })
    expect(job.attempts?.[0]).toMatchObject({
      endedAs: 'lost',
      endReason: { code: 'worker_lost', layer: 3 },
    })
    // It was away for the grace, and was heard of last when it claimed, or after that.
    const silentMs = silenceBefore(job.attempts![0]!)
    expect(silentMs).toBeGreaterThanOrEqual(2_000)
    expect(silentMs).toBeLessThan(lifeOf(job.attempts![0]!) + 500)
  })

  test('A1: same machine: recovered by the witness', async (context) => {
    const s = await Scenario.open(context)
    const gate = s.gate('go')
    const jobId = await s.enqueue('wait', { gate: gate.file })
    const first = await s.worker()
    await first.event('job.picked_up')
    const second = await s.worker()
    await s.until('the second has looked at the first for a second', async () => {
      const [row] = await s.rows<{ long: boolean }>(
        `select max(registered_at) < clock_timestamp() - interval '1 second' as long from %s.worker_detail`,
      )
      return row?.long
    })
    first.kill('SIGKILL')
    await second.event('job.picked_up')
    gate.open()
    const job = await s.jobIs(jobId, 'completed')
    expect(job.attempts).toHaveLength(2)
    expect(job.attempts?.[0]).toMatchObject({ endedAs: 'lost', endReason: { layer: 2 } })
    // Its process was seen after its claim, and not when it was found gone.
    const silentMs = silenceBefore(job.attempts![0]!)
    expect(silentMs).toBeGreaterThan(0)
    expect(silentMs).toBeLessThan(lifeOf(job.attempts![0]!) - 500)
    expect(job.attempts?.[0]?.endReason?.noticedBy).toContain(`-${second.pid}-`)
  })

  test('A7: when the holder of a concurrency key is killed, the next job with that key starts elsewhere', async (context) => {
    const s = await Scenario.open(context)
    const gate = s.gate('go')
    const first = await s.worker({ machine: 'machine-a', env: SHORT })
    const options = { concurrencyKey: 'one at a time', onWorkerLost: 'fail' } as const
    const holder = await s.enqueue('wait', { gate: gate.file }, options)
    await first.event('job.picked_up')
    const next = await s.enqueue('wait', { gate: gate.file }, options)
    const second = await s.worker({ machine: 'machine-b', env: SHORT })
    expect(await s.job(next)).toMatchObject({ state: 'pending' })
    first.kill('SIGKILL')
    const killedMs = Date.now()
    await second.event('job.picked_up')
    expect(Date.now() - killedMs).toBeLessThan(15_000)
    gate.open()
    await s.jobIs(next, 'completed')
    expect(await s.job(holder)).toMatchObject({
      state: 'failed',
      endReason: { code: 'worker_lost' },
    })
  })

  test('A2: killing whoever sweeps changes nothing', async (context) => {
    const s = await Scenario.open(context)
    const gate = s.gate('go')
    const workers: Program[] = []
    for (const machine of ['a', 'b', 'c']) workers.push(await s.worker({ machine }))
    const jobIds: string[] = []
    for (let round = 1; round <= 2; round += 1) {
      const { leader, held } = await s.until('a leader that holds a job', async () => {
        // A job that is lost in both rounds is no poison, and not its last chance either, which it would have to take alone.
        jobIds.push(await s.enqueue('wait', { gate: gate.file }, { maxLost: 10 }))
        await s.journalLine('start', (line) => line.jobId === jobIds.at(-1))
        const rows = await s.rows<{ pid: number; id: string }>(
          `select d.pid, j.id from %s.sweeper w
           join %s.worker_detail d on d.incarnation = w.leader
           join %s.job j on j.worker = w.leader and j.token is not null`,
        )
        const found = workers.find((worker) => !worker.ended && worker.pid === rows[0]?.pid)
        return found && { leader: found, held: rows.map(({ id }) => id) }
      })
      leader.kill('SIGKILL')
      const killedMs = Date.now()
      for (const jobId of held)
        await s.journalLine('start', (line) => line.jobId === jobId && line.pid !== leader.pid)
      // L + S is 31 s; the layers above the lease are far faster, and so is the deputy.
      expect(Date.now() - killedMs).toBeLessThan(15_000)
      await leader.exit()
    }
    gate.open()
    for (const jobId of jobIds)
      expect(await s.jobIs(jobId, 'completed')).toMatchObject({ failures: 0 })
  })

  test('A3: a predecessor that died before anybody else lived is found at registration', async (context) => {
    const s = await Scenario.open(context)
    const gate = s.gate('go')
    const jobId = await s.enqueue('wait', { gate: gate.file })
    const first = await s.worker()
    await first.event('job.picked_up')
    first.kill('SIGKILL')
    await first.exit()
    const second = await s.worker()
    const readyMs = Date.now()
    await second.event('job.picked_up')
    expect(Date.now() - readyMs).toBeLessThan(10_000)
    gate.open()
    const job = await s.jobIs(jobId, 'completed')
    expect(job.attempts?.[0]).toMatchObject({ endedAs: 'lost', endReason: { layer: 2 } })
    const seen = await s.rows<{ ended: boolean }>(
      `select w.ended_at is not null and w.seen_at < w.ended_at as ended
       from %s.worker w join %s.worker_detail d using (incarnation) where d.pid = $1`,
      [first.pid],
    )
    expect(seen).toEqual([{ ended: true }])
  })

  test.for([
    { code: '57014', means: 'a statement that was cut' },
    { code: '53300', means: 'no connection left' },
    { code: 'P0001', means: 'an error of somebody’s trigger' },
  ])(
    'A4: the outcome arrives although completing failed for more than a lease: $means',
    async ({ code }, context) => {
      const s = await Scenario.open(context)
      const heal = await breakCompletion(s, code, null)
      const start = { args: ['--concurrency', '1'], env: SHORT }
      const workers = [await s.worker(start), await s.worker({ ...start, machine: 'machine-b' })]
      const jobIds = await s.enqueueSome(4, 'sleep', { ms: 1 })
      // Slots are free although no outcome is delivered.
      for (const jobId of jobIds) await s.journalLine('end', (line) => line.jobId === jobId)
      await s.until('a lease has passed', async () => {
        const [row] = await s.rows<{ old: boolean }>(
          `select min(started_at) < clock_timestamp() - interval '8 s' as old from %s.job_stored`,
        )
        return row?.old
      })
      for (const jobId of jobIds)
        expect(await s.job(jobId)).toMatchObject({ state: 'running', attempt: 1 })
      await heal()
      for (const jobId of jobIds)
        expect(await s.jobIs(jobId, 'completed')).toMatchObject({
          attempt: 1,
          failures: 0,
          lost: 0,
        })
      expect(workers.map((worker) => worker.events('worker.started').length)).toEqual([1, 1])
    },
  )

  test.for(['57014', 'P0001', '55P03', 'XX000', '42883'])(
    'A4: one error %s while completing costs nothing that was done',
    async (code, context) => {
      const s = await Scenario.open(context)
      await breakCompletion(s, code, 1)
      await s.worker()
      const jobId = await s.enqueue('sleep', { ms: 1 })
      expect(await s.jobIs(jobId, 'completed')).toMatchObject({ attempt: 1, failures: 0 })
    },
  )

  /** Makes every completion fail with this code, the first `times` or all of them. Returns what heals it. */
  async function breakCompletion(
    s: Scenario,
    code: string,
    times: number | null,
  ): Promise<() => Promise<unknown>> {
    await s.rows('create table %s.test_fault (code text, times integer)')
    await s.rows('insert into %s.test_fault values ($1, $2)', [code, times])
    // A sequence, as it alone remembers what a statement did that failed.
    await s.rows('create sequence %s.test_faults')
    await s.rows(`
      create function %s.test_fail() returns trigger language plpgsql as $$
      declare
        v_fault %s.test_fault;
      begin
        select * into v_fault from %s.test_fault;
        if found and nextval('%s.test_faults') <= coalesce(v_fault.times, 1000000) then
          raise exception using errcode = v_fault.code, message = 'a fault of this test';
        end if;
        return new;
      end $$`)
    await s.rows(`
      create trigger test_fail before insert on %s.attempt
      for each row when (new.ended_as = 'completed') execute function %s.test_fail()`)
    return () => s.rows('delete from %s.test_fault')
  }

  test('B9: a job that may not simply run again fails, or is held until a person resumes it', async (context) => {
    const s = await Scenario.open(context)
    const gate = s.gate('go')
    const fails = await s.client.enqueueRaw(
      'wait.or_fail',
      { gate: gate.file },
      { onWorkerLost: 'fail' },
    )
    const holds = await s.client.enqueueRaw(
      'wait.or_hold',
      { gate: gate.file },
      { onWorkerLost: 'hold' },
    )
    const first = await s.worker()
    await s.journalLine('start', (line) => line.jobId === fails)
    await s.journalLine('start', (line) => line.jobId === holds)
    const second = await s.worker()
    first.kill('SIGKILL')
    expect(await s.jobIs(fails, 'failed')).toMatchObject({
      attempt: 1,
      endReason: { code: 'worker_lost' },
    })
    expect(await s.jobIs(holds, 'held')).toMatchObject({
      attempt: 1,
      endReason: { code: 'worker_lost' },
    })
    gate.open()
    const resume = s.run(['jobs', 'resume', holds])
    expect(await resume.exit()).toMatchObject({ code: 0 })
    expect(await s.jobIs(holds, 'completed')).toMatchObject({ attempt: 2, result: { attempt: 2 } })
    expect(second.events('job.picked_up')).toHaveLength(1)
  })

  test('H1: after a crash the next attempt goes on from the last checkpoint', async (context) => {
    const s = await Scenario.open(context)
    const gate = s.gate('go')
    const jobId = await s.enqueue('steps', { steps: 10, waitAt: 9, gate: gate.file })
    const first = await s.worker()
    await s.jobWhen('at step 8', jobId, (job) => JSON.stringify(job.checkpoint) === '{"done":8}')
    const second = await s.worker()
    first.kill('SIGKILL')
    await second.event('job.picked_up')
    gate.open()
    const job = await s.jobIs(jobId, 'completed')
    expect(job).toMatchObject({ attempt: 2, result: { steps: 10 } })
    expect(job.attempts?.[0]).toMatchObject({ lastCheckpoint: { done: 8 } })
    const told = s.journal(jobId).map((line) => line.what)
    expect(
      told.filter((what) => what.startsWith('step')).map((what) => Number(what.slice(5))),
    ).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
    const resume = told.filter((what) => what.startsWith('resume'))
    expect(JSON.parse(resume[1]?.slice(7) ?? '')).toMatchObject({
      checkpoint: { done: 8 },
      attempt: 1,
      previousEnd: { endedAs: 'lost', code: 'worker_lost' },
    })
  })
})

describe.concurrent('A6: killed between taking a job and its end', () => {
  for (const at of ['start', 'end'] as const) {
    test(`A6: at the ${at} of its handler`, async (context) => {
      const s = await Scenario.open(context)
      const jobId = await s.enqueue('crash', { at })
      const first = await s.worker()
      const second = await s.worker()
      const job = await s.jobIs(jobId, 'completed')
      expect(job.attempts).toMatchObject([{ endedAs: 'lost' }, { endedAs: 'completed' }])
      expect([first.ended, second.ended].filter(Boolean)).toHaveLength(1)
    })
  }

  /** Resolves to the backend of a worker's statement that waits for a lock which this test holds. */
  async function waiting(s: Scenario, name: string): Promise<number> {
    return s.until(`${name} waits for a lock`, async () => {
      const [row] = await s.rows<{ pid: number }>(
        `select pid from pg_stat_activity
         where wait_event_type = 'Lock' and query like $1 and application_name = 'leasehold worker'`,
        [`%"${s.schemaName}".${name}(%`],
      )
      return row?.pid
    })
  }

  for (const commits of [false, true]) {
    const when = commits ? 'and its claim commits after its death' : 'and its claim never commits'
    test(`A6: before its claim commits, ${when}`, async (context) => {
      const s = await Scenario.open(context)
      const first = await s.worker()
      const jobId = await s.enqueue('plain', {}, { delayMs: 1_500 })
      await using holder = await s.holdTable('event')
      const backend = await waiting(s, 'claim')
      first.kill('SIGKILL')
      await first.exit()
      if (!commits) await s.rows('select pg_terminate_backend($1)', [backend])
      await holder.release()
      await s.worker()
      const job = await s.jobIs(jobId, 'completed')
      expect(job.attempts).toHaveLength(commits ? 2 : 1)
      expect(s.journal(jobId)).toHaveLength(1)
    })

    test(`A6: before its completion commits, ${commits ? 'and it commits after its death' : 'and it never does'}`, async (context) => {
      const s = await Scenario.open(context)
      const gate = s.gate('go')
      const jobId = await s.enqueue('wait', { gate: gate.file })
      const first = await s.worker()
      await s.journalLine('start')
      await using holder = await s.holdTable('event')
      gate.open()
      const backend = await waiting(s, 'settle')
      first.kill('SIGKILL')
      await first.exit()
      if (!commits) await s.rows('select pg_terminate_backend($1)', [backend])
      await holder.release()
      await s.worker()
      const job = await s.jobIs(jobId, 'completed')
      expect(job.attempts).toHaveLength(commits ? 1 : 2)
      expect(s.journal(jobId).filter((line) => line.what === 'start')).toHaveLength(commits ? 1 : 2)
    })
  }
})

test('B8: twenty sweeps at the same instant recover five hundred orphans once', async () => {
  const p = await openProtocol()
  const { worker } = await p.running(500)
  await p.lapse()
  const sessions = await Promise.all(Array.from({ length: 20 }, () => p.session()))
  const swept = await Promise.all(
    sessions.map((session) => session.query('select %s.sweep($1) as answer', [worker.namespace])),
  )
  expect(swept).toHaveLength(20)
  const ends = await p.db.rows(
    `select ended_as, count(*)::integer, count(distinct job_id)::integer as jobs from %s.attempt group by 1`,
  )
  expect(ends).toEqual([{ ended_as: 'lost', count: 500, jobs: 500 }])
  const events = await p.db.rows(
    `select count(*)::integer from %s.event where kind = 'job.recovered' and worker = $1`,
    [worker.incarnation],
  )
  expect(events).toEqual([{ count: 500 }])
  expect(await p.db.rows(`select distinct status, lost from %s.job_stored`)).toEqual([
    { status: 'pending', lost: 1 },
  ])
})
