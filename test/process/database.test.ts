/** The database goes away, wholly or in parts, while workers live: nobody is taken for dead, and nothing is done twice. */
import { setTimeout as delay } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { ownServer } from '../support/own-server.ts'
import { limitOf, rounds } from '../support/long.ts'
import { builtProgram, Scenario } from '../support/process.ts'
import { until } from '../support/until.ts'

builtProgram()

const SHORT = { LEASE_DURATION: '6' }
const LIMIT = { timeout: 150_000 }

describe.concurrent('the database', LIMIT, () => {
  test('A8: is restarted during a sweep over 250 orphans, and each is recovered once', async (context) => {
    const server = await ownServer(context)
    const s = await Scenario.open(context, { databaseUrl: server.url })
    const register = `select %s.register('default', $1::jsonb)`
    for (let number = 1; number <= 5; number += 1) {
      const incarnation = crypto.randomUUID()
      await s.rows(register, [
        JSON.stringify({
          incarnation,
          machineId: `gone-${number}`,
          hostname: 'gone',
          pid: 1_000 + number,
          concurrency: 50,
          queues: ['default'],
          types: ['plain'],
          version: 'test',
          command: 'test',
          leaseMs: 6_000,
          renewMs: 2_000,
          idleBeatMs: 2_000,
          direct: false,
        }),
      ])
      await s.enqueueSome(50, 'plain')
      await s.rows(`select %s.claim($1, gen_random_uuid(), 50, '{default}', '{plain}')`, [
        incarnation,
      ])
    }
    const worker = await s.worker({ env: SHORT })
    // The sweep that finds them is stopped before it commits.
    await s.holdTable('attempt')
    await s.until('a sweep that waits', async () => {
      const [row] = await s.rows(
        `select from pg_stat_activity
         where wait_event_type = 'Lock' and application_name = 'leasehold sweep' and query like $1`,
        ['%.sweep(%'],
      )
      return row
    })
    await server.stop()
    await server.start()
    await s.until(
      'every job is completed',
      async () => {
        const [row] = await s.rows<{ open: number }>(
          `select count(*)::integer as open from %s.job_stored where status <> 'completed'`,
        )
        return row?.open === 0
      },
      60_000,
    )
    const ends = await s.rows(
      `select ended_as, count(*)::integer, count(distinct job_id)::integer as jobs from %s.attempt group by 1 order by 1`,
    )
    expect(ends).toEqual([
      { ended_as: 'completed', count: 250, jobs: 250 },
      { ended_as: 'lost', count: 250, jobs: 250 },
    ])
    expect(worker.ended).toBe(false)
    expect(worker.events('worker.started')).toHaveLength(1)
  })

  test('G3: is restarted under running jobs, and none is run again', async (context) => {
    const server = await ownServer(context)
    const s = await Scenario.open(context, { databaseUrl: server.url })
    const workers = [
      await s.worker({ machine: 'a', env: SHORT }),
      await s.worker({ machine: 'b', env: SHORT }),
    ]
    const gate = s.gate('go')
    const jobIds = await s.enqueueSome(20, 'wait', { gate: gate.file })
    await s.until('all have started', () => s.journal().length === 20)
    for (let restart = 1; restart <= 2; restart += 1) {
      await server.stop()
      await server.start()
      // Each has renewed since, and no sweep has taken anything.
      await s.until('both are heard again', async () => {
        const rows = await s.rows(
          `select from %s.worker where ended_at is null and seen_at > pg_postmaster_start_time() + interval '4 s'`,
        )
        return rows.length === 2
      })
    }
    gate.open()
    for (const jobId of jobIds)
      expect(await s.jobIs(jobId, 'completed')).toMatchObject({ attempt: 1, lost: 0 })
    expect(workers.map((worker) => worker.ended)).toEqual([false, false])
  })

  test('B5: is away for more than two leases; who may go on does, and nobody else starts it', async (context) => {
    const server = await ownServer(context)
    const s = await Scenario.open(context, { databaseUrl: server.url })
    const gate = s.gate('go')
    const [first] = [
      await s.worker({ machine: 'a', env: SHORT, args: ['--concurrency', '2'] }),
      await s.worker({ machine: 'b', env: SHORT, args: ['--concurrency', '2'] }),
    ]
    const jobIds = await s.enqueueSome(4, 'wait', { gate: gate.file })
    await s.until('all have started', () => s.journal().length === 4)
    const awayMs = Date.now()
    await server.stop()
    await until('two leases have passed', () => Date.now() - awayMs > 13_000)
    // What ends meanwhile is delivered later.
    gate.open()
    await s.until(
      'all have ended',
      () => s.journal().filter(({ what }) => what === 'end').length === 4,
    )
    await server.start()
    for (const jobId of jobIds) {
      const job = await s.jobIs(jobId, 'completed', 60_000)
      expect(job).toMatchObject({ attempt: 1 })
    }
    expect(s.journal().filter(({ what }) => what === 'start')).toHaveLength(4)
    expect(first?.ended).toBe(false)
  })

  test('rule 6: is away past the fence; a type that must not go on is aborted, another beside it completes', async (context) => {
    const server = await ownServer(context)
    const s = await Scenario.open(context, { databaseUrl: server.url })
    const worker = await s.worker({ env: SHORT })
    const gate = s.gate('go')
    const goesOn = await s.enqueue('wait', { gate: gate.file })
    const aborts = await s.enqueue('wait.unless_down', { gate: gate.file })
    await s.until('both have started', () => s.journal().length === 2)
    await server.stop()
    await s.journalLine('aborted lease_lost', ({ jobId }) => jobId === aborts)
    gate.open()
    await s.journalLine('end', ({ jobId }) => jobId === goesOn)
    await server.start()
    expect(await s.jobIs(goesOn, 'completed', 60_000)).toMatchObject({ attempt: 1, lost: 0 })
    expect(s.journal(goesOn).map(({ what }) => what)).toEqual(['start', 'end'])
    // The other is given back, not charged, and done anew.
    expect(await s.jobIs(aborts, 'completed', 60_000)).toMatchObject({ attempt: 2, lost: 0 })
    expect(s.journal(aborts).map(({ what }) => what)).toEqual([
      'start',
      'aborted lease_lost',
      'start',
      'end',
    ])
    expect(worker.ended).toBe(false)
  })

  test(
    'E3: ends every connection twice a second; workers stay up and every job is done once',
    limitOf(120_000, 900_000),
    async (context) => {
      const s = await Scenario.open(context, { ownDatabase: true, watch: false })
      const workers = [
        await s.worker({ machine: 'a', args: ['--concurrency', '3'] }),
        await s.worker({ machine: 'b', args: ['--concurrency', '3'] }),
      ]
      const times = rounds(30, 600)
      const jobIds = await s.enqueueSome(2 * times, 'sleep', { ms: 1_500 })
      let ended = 0
      for (let round = 0; round < times; round += 1) {
        const rows = await s.rows(
          `select pg_terminate_backend(pid) from pg_stat_activity
           where datname = current_database() and application_name like 'leasehold %'
             and backend_start < clock_timestamp() - interval '1 ms'`,
        )
        ended += rows.length
        // Nothing is waited for: the rate is what the workers have to bear.
        await delay(500)
      }
      expect(ended).toBeGreaterThan(2 * times)
      for (const jobId of jobIds)
        expect(await s.jobIs(jobId, 'completed', 60_000)).toMatchObject({ failures: 0 })
      const again = await s.rows(`select id, attempt from %s.job_stored where attempt > 1`)
      expect(again).toEqual([])
      expect(s.journal().filter(({ what }) => what === 'start')).toHaveLength(2 * times)
      for (const worker of workers) {
        expect(worker.ended).toBe(false)
        expect(worker.events('worker.uncaught')).toEqual([])
      }
      expect(await s.rows('select * from %s.invariants()')).toEqual([])
    },
  )
})
