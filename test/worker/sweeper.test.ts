/** What sweeps from within a worker, apart from one: it tells the database how much time has gone by, and when it looks. */
import { expect, onTestFinished, test } from 'vitest'
import { defineJob } from '../../src/client/define-job.ts'
import { Sweeper, type SweepReports } from '../../src/sweep/sweeper.ts'
import { checkInvariantsAfterEach, openProtocol, type Protocol } from '../support/protocol.ts'
import { anything } from '../support/jobs.ts'
import { builtApi } from '../support/process.ts'
import { until } from '../support/until.ts'

checkInvariantsAfterEach()

const { createWorker } = await builtApi()

function openSweeper(p: Protocol, reports: Partial<SweepReports>): Sweeper {
  const { databaseUrl, schemaName: schema } = p.db
  const sweeper = new Sweeper(
    { connect: { databaseUrl, schema }, namespace: p.namespace },
    { recovered: () => undefined, alert: () => undefined, failed: () => undefined, ...reports },
  )
  onTestFinished(() => sweeper.close())
  return sweeper
}

/** Resolves when a pass has been made since this was asked: each takes and leaves a part. */
async function anotherPass(p: Protocol): Promise<() => Promise<void>> {
  const version = async (): Promise<string> =>
    JSON.stringify(await p.db.rows('select xmin::text from %s.sweeper'))
  const before = await version()
  // What waits for the next look at an open alert waits for half a minute.
  return async () =>
    void (await until('a pass', async () => (await version()) !== before, { limitMs: 15_000 }))
}

test('what begins during a pass that finds nothing running is not forgotten', async () => {
  const p = await openProtocol()
  const leader = await p.register()
  await p.reportDeath({}, 1, [await p.register()])
  await p.passTime(6_000)
  let another: Promise<() => Promise<void>> | undefined
  const sweeper: Sweeper = openSweeper(p, {
    alert: () => {
      another = anotherPass(p)
      sweeper.watch()
    },
  })
  sweeper.join(leader.incarnation)
  sweeper.watch()
  const passed = await until('an alert', () => another)
  await passed()
})

test('what begins while only an alert is open is looked after at once', async () => {
  const p = await openProtocol()
  const leader = await p.register()
  await p.reportDeath({}, 1, [await p.register()])
  await p.passTime(6_000)
  let raised = false
  const sweeper = openSweeper(p, { alert: () => (raised = true) })
  sweeper.join(leader.incarnation)
  sweeper.watch()
  await until('an alert', () => raised)
  const passed = await anotherPass(p)
  sweeper.watch()
  await passed()
})

test('rule 8: the pass that finds the database’s clock ahead of its own judges nobody by it', async () => {
  const p = await openProtocol()
  await p.db.advance(0)
  const leader = await p.register()
  const { worker } = await p.running(1)
  const said: unknown[] = []
  const sweeper = openSweeper(p, {
    recovered: (recovered) => said.push(recovered),
    alert: (alert) => said.push(alert),
    failed: (...failed) => said.push(failed),
  })
  /** Passes of the leader: what each writes down begins with its own time. */
  const pass = async (): Promise<void> => {
    const at = async (): Promise<unknown> =>
      (await p.db.rows('select leader, leader_at from %s.sweeper'))[0]
    const before = JSON.stringify(await at())
    await until('a pass', async () => said.length > 0 || JSON.stringify(await at()) !== before)
  }
  sweeper.join(leader.incarnation)
  sweeper.watch()
  for (let n = 0; n < 3; n += 1) await pass()
  // It could renew in time, if the clock did not step beyond its lease; by less than what would count as an outage.
  await p.db.rows(`update %s.tick set writable_since = '-infinity'`)
  await p.db.rows(`update %s.worker set until = %s.clock() + '2 s' where incarnation = $1`, [
    worker.incarnation,
  ])
  await p.db.advance(3_000)
  for (let n = 0; n < 3; n += 1) await pass()
  expect(said).toEqual([])
  expect((await p.renew(worker)).held).toHaveLength(1)
})

test('A2: a worker that comes while the claim of another one is under way looks after it once that has committed', async () => {
  const p = await openProtocol()
  const other = await p.register({ machineId: 'machine-2' })
  await p.enqueue(1)
  await p.sweep({ worker: other })
  const session = await p.session()
  await session.begin()
  await session.query('select from %s.sweeper for update')
  expect((await session.claim(other)).jobs).toHaveLength(1)
  const { databaseUrl, schemaName: schema } = p.db
  const jobs = [defineJob({ type: 'work', input: anything, run: () => null })]
  await using worker = createWorker({ databaseUrl, schema, namespace: p.namespace, jobs })
  // Nobody tells it of anything: the job was stored before, and its claim sees nothing that runs.
  await worker.start()
  const asks = `select from pg_locks l join pg_stat_activity a using (pid)
    where not l.granted and a.application_name = 'leasehold sweep' and $1 = any (pg_blocking_pids(a.pid))`
  await until('it asks for a part', async () => (await p.db.rows(asks, [session.pid])).length > 0)
  await session.commit()
  const leads = `select from %s.sweeper where leader = $1 and leader_at > '-infinity'`
  await until('it sweeps', async () => (await p.db.rows(leads, [worker.incarnation])).length > 0)
})
