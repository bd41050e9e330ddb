/**
 * What waits for what. A statement that waited for a lock acts with an old time and must not undo what came after it was sent;
 * and a session that holds one job or worker must not hold up everybody else.
 */
import { randomUUID } from 'node:crypto'
import { expect, test } from 'vitest'
import { LEASE_MS, type WorkerRow } from '../support/functions.ts'
import {
  checkInvariantsAfterEach,
  openProtocol,
  type Protocol,
  type Session,
} from '../support/protocol.ts'
import { until } from '../support/until.ts'

checkInvariantsAfterEach()

/**
 * Sends a statement that the server receives now and executes only after `meanwhile`: both are in one message, so that
 * statement_timestamp() is from before the wait.
 */
async function delayed(
  p: Protocol,
  statement: string,
  meanwhile: () => Promise<unknown>,
): Promise<void> {
  const key = Math.floor(Math.random() * 2 ** 31)
  const [holder, sender]: Session[] = [await p.session(), await p.session()]
  await holder!.query('select pg_advisory_lock($1)', [key])
  const sent = sender!.query(`select pg_advisory_xact_lock(${key}); ${statement}`)
  await p.waitsForLock(sender!)
  await meanwhile()
  await holder!.query('select pg_advisory_unlock($1)', [key])
  await sent
}

const untilOf = async (p: Protocol, worker: WorkerRow): Promise<number> =>
  (
    await p.db.rows<{ until: number }>(
      'select extract(epoch from until)::double precision as until from %s.worker where incarnation = $1',
      [worker.incarnation],
    )
  )[0]!.until

test('order 2: a renewal that waited does not shorten what a later one granted', async () => {
  const p = await openProtocol()
  const { worker } = await p.running(1)
  let granted = 0
  await delayed(p, `select %s.renew('${worker.incarnation}', 1)`, async () => {
    worker.sent = 1
    await p.renew(worker)
    granted = await untilOf(p, worker)
  })
  expect(await untilOf(p, worker)).toBeGreaterThanOrEqual(granted)
})

test('order 2: a claim that waited does not shorten what a later renewal granted', async () => {
  const p = await openProtocol()
  await p.enqueue(1)
  const worker = await p.register({ idleBeatMs: 1_000 })
  let granted = 0
  await delayed(
    p,
    `select %s.claim('${worker.incarnation}', '${randomUUID()}', 1, '{default}', '{work}')`,
    async () => {
      await p.renew(worker)
      granted = await untilOf(p, worker)
    },
  )
  expect(await p.db.rows('select status from %s.job_stored')).toEqual([{ status: 'running' }])
  expect(await untilOf(p, worker)).toBeGreaterThanOrEqual(granted)
})

test('order 2: the answer of a renewal that waited says how little is left', async () => {
  const p = await openProtocol()
  const { worker } = await p.running(1)
  const [a, b] = [await p.session(), await p.session()]
  await a.begin()
  await a.query('select 1 from %s.worker where incarnation = $1 for update', [worker.incarnation])
  const renewal = b.renew(worker)
  await p.waitsForLock(b)
  // Real time: what is tested is the difference between the clock of a statement that waits and the clock of the wall.
  const waitedMs = await until('it has waited for some milliseconds', async () => {
    const [row] = await p.db.rows<{ ms: number }>(
      `select extract(epoch from clock_timestamp() - query_start)::double precision * 1000 as ms
       from pg_stat_activity where pid = $1`,
      [b.pid],
    )
    return row !== undefined && row.ms > 20 && row.ms
  })
  await a.commit()
  expect((await renewal).leftMs).toBeLessThanOrEqual(LEASE_MS - Math.floor(waitedMs))
})

test('order 17: a session that holds a job does not hold up the recovery of others, nor any renewal', async () => {
  const p = await openProtocol()
  const dead = await p.running(3)
  const alive = await p.running(1, { queue: 'b' })
  const [holder, sweeper, renewer] = [await p.session(), await p.session(), await p.session()]
  await p.lapse([alive.worker])
  await holder.begin()
  expect(await holder.cancel([dead.ids[1]!])).toEqual(['cancelling'])
  const swept = await sweeper.sweep()
  expect(swept.recovered.map((one) => one.job)).toEqual([dead.ids[0], dead.ids[2]])
  await p.passTime(4_000)
  expect((await renewer.renew(alive.worker)).outcome).toBe('renewed')
  await holder.commit()
  expect((await p.sweep()).recovered).toEqual([
    { job: dead.ids[1], status: 'cancelled', code: 'cancelled' },
  ])
})

test('order 17: two ends of one claim count one after the other, and nothing is left of it', async () => {
  const p = await openProtocol()
  const { worker, held } = await p.running(2)
  const [a, b] = [await p.session(), await p.session()]
  await a.begin()
  expect(await a.complete(held.slice(0, 1))).toEqual(['completed'])
  const second = b.complete(held.slice(1))
  await p.waitsForLock(b)
  expect((await p.renew(worker)).held).toHaveLength(2)
  await a.commit()
  expect(await second).toEqual(['completed'])
  expect(await p.renew(worker)).toMatchObject({ held: [], running: false })
  expect(await p.db.rows('select 1 from %s.claimed')).toEqual([])
})

test('order 17: a batch with a late outcome waits for that job before it holds any other', async () => {
  const p = await openProtocol()
  const before = await p.running(1)
  await p.release(before.held)
  await p.claim(await p.register())
  const current = await p.running(1)
  const [holder, worker] = [await p.session(), await p.session()]
  await holder.begin()
  expect(await holder.cancel(before.ids)).toEqual(['cancelling'])
  const answers = worker.complete([...current.held, ...before.held])
  await p.waitsForLock(worker)
  expect(await holder.cancel(current.ids)).toEqual(['cancelling'])
  await holder.commit()
  expect(await answers).toEqual(['cancelled', 'lease_lost'])
})

test('order 17: the end of a worker waits for nobody who holds one of its jobs', async () => {
  const p = await openProtocol()
  const { worker, ids, held } = await p.running(2)
  const holder = await p.session()
  await holder.begin()
  await holder.complete(held.slice(0, 1), [1])
  expect(await p.endWorker(worker, 'interrupted')).toMatchObject({
    outcome: 'ended',
    released: [ids[1]],
  })
  await holder.rollback()
  expect((await p.sweep()).recovered).toEqual([{ job: ids[0], status: 'pending' }])
  expect(await p.job(ids[0]!)).toMatchObject({ interruptions: 1, lost: 0 })
})

test('order 17: a session that holds a worker row does not hold up the recovery of others', async () => {
  const p = await openProtocol()
  const one = await p.running(1)
  const two = await p.running(1, { queue: 'b' })
  await p.lapse()
  const [holder, sweeper] = [await p.session(), await p.session()]
  await holder.begin()
  await holder.query('select 1 from %s.worker where incarnation = $1 for update', [
    one.worker.incarnation,
  ])
  expect((await sweeper.sweep()).recovered).toEqual([{ job: two.ids[0], status: 'pending' }])
  await holder.commit()
  expect((await p.sweep()).recovered).toEqual([{ job: one.ids[0], status: 'pending' }])
})

test('order 16: after a clock step a held worker row does not hold up the sweep', async () => {
  const p = await openProtocol()
  const { worker } = await p.running(1)
  await p.outage(-3_600_000)
  const [holder, sweeper] = [await p.session(), await p.session()]
  await holder.begin()
  await holder.query('select 1 from %s.worker where incarnation = $1 for update', [
    worker.incarnation,
  ])
  expect((await sweeper.sweep()).role).toBe('leader')
  await holder.commit()
  await p.sweep()
  expect((await p.renew(worker)).leftMs).toBeLessThanOrEqual(LEASE_MS)
})

test('order 16: the clock steps back an hour, and what is given back is due at once', async () => {
  const p = await openProtocol()
  const { worker, ids, held } = await p.running(3)
  await p.outage(-3_600_000)
  await p.release(held.slice(0, 1))
  await p.releaseJobs(ids.slice(1, 2))
  await p.endWorker(worker, 'interrupted')
  expect((await p.jobs(ids)).map((job) => job.state)).toEqual(['pending', 'pending', 'pending'])
  expect((await p.claim(await p.register())).jobs).toHaveLength(3)
})

test('order 6: a sweep that hangs with the tick in hand holds up no renewal, claim or registration', async () => {
  const p = await openProtocol()
  const { worker } = await p.running(1)
  await p.enqueue(1)
  const [sweeper, other] = [await p.session(), await p.session()]
  await sweeper.begin()
  await sweeper.sweep()
  await p.db.advance(4_000)
  expect((await other.renew(worker)).outcome).toBe('renewed')
  expect((await other.claim(worker)).jobs).toHaveLength(1)
  await other.register()
  await sweeper.commit()
})

test('order 4: a renewal that finds the tick held does not hide the end of an outage from the sweep', async () => {
  const p = await openProtocol()
  await p.db.rows(`update %s.tick set writable_since = '-infinity'`)
  const { worker } = await p.running(1)
  const { worker: silent } = await p.running(1, { queue: 'b' })
  await p.outage(5 * LEASE_MS)
  const [first, second] = [await p.session(), await p.session()]
  await first.begin()
  await first.renew(worker)
  const swept = second.sweep()
  await p.waitsForLock(second)
  await first.commit()
  expect((await swept).ended).toEqual([])
  expect((await p.renew(silent)).outcome).toBe('renewed')
})

test('lock order: a registration and a renewal of the worker that it replaces do not deadlock', async () => {
  const p = await openProtocol()
  const [a, b] = [await p.session(), await p.session()]
  const old = await p.register({ pid: 42, processStarted: 'monday', direct: true })
  await a.begin()
  await a.query('select 1 from %s.worker where incarnation = $1 for update', [old.incarnation])
  const registered = b.register({ pid: 42, processStarted: 'tuesday' })
  await p.waitsForLock(b)
  // From another connection than it registered on: this writes to its machine's row.
  expect((await a.renew(old, { direct: true })).outcome).toBe('renewed')
  await a.commit()
  await registered
  expect(await p.worker(old)).toMatchObject({ status: 'offline' })
})

/** A recovery that makes its job poison: in this namespace, in another, and by the worker itself. */
async function recoveriesOf(p: Protocol) {
  const own = await p.running(1, { queue: 'a', maxLost: 1 })
  const ends = await p.running(1, { queue: 'b', maxLost: 1 })
  const other = p.in('other')
  const [foreign] = await other.enqueue(1, { maxLost: 1 })
  await other.claim(await other.register())
  await p.lapse([ends.worker])
  return { own: own.ids[0]!, foreign: foreign!, ends }
}

const openAlerts = async (p: Protocol): Promise<Record<string, unknown>[]> =>
  p.db.rows(
    `select subject, data -> 'jobIds' as jobs, announced_at is not null as announced from %s.alert
     where namespace = 'app' and rule = 'poison' and resolved_at is null order by raised_at, subject`,
  )

test('order 17: an alert that is acknowledged in an open transaction holds up no recovery', async () => {
  const p = await openProtocol()
  const before = await p.running(1, { maxLost: 1 })
  await p.lapse()
  await p.sweep()
  const { own, foreign, ends } = await recoveriesOf(p)
  const alerts = await p.db.rows<{ id: string }>('select id from %s.alert')
  expect(alerts).toHaveLength(2)
  const [holder, sweeper, another] = [await p.session(), await p.session(), await p.session()]
  await holder.begin()
  await holder.run(
    'acknowledge_alerts',
    p.namespace,
    alerts.map(({ id }) => id),
    'me',
  )
  const failed = (job: string) => ({ job, status: 'failed', code: 'poison' })
  expect((await sweeper.sweep()).recovered).toEqual([failed(own)])
  expect((await p.in('other').sweep()).recovered).toEqual([failed(foreign)])
  expect(await another.endWorker(ends.worker, 'lost')).toMatchObject({ released: ends.ids })
  await holder.commit()
  await p.passTime(5_001)
  await p.sweep()
  // What could not be added to the type's alert is told of by others.
  expect(await openAlerts(p)).toEqual([
    { subject: 'work', jobs: before.ids, announced: true },
    { subject: `work ${own}`, jobs: [own], announced: true },
    { subject: `work ${ends.ids[0]!}`, jobs: ends.ids, announced: true },
  ])
})

test('order 17: alerts that two recoveries raise at once do not wait for each other', async () => {
  const p = await openProtocol()
  const { own, ends } = await recoveriesOf(p)
  const [holder, sweeper] = [await p.session(), await p.session()]
  await holder.begin()
  await holder.endWorker(ends.worker, 'lost')
  expect((await sweeper.sweep()).recovered).toMatchObject([{ job: own }])
  await holder.commit()
  expect((await openAlerts(p)).map(({ subject }) => subject)).toEqual(['work', `work ${own}`])
})

test('order 17: a webhook that is removed in an open transaction holds up no recovery, and the others are told', async () => {
  const p = await openProtocol()
  const add = async (url: string) =>
    (await p.run<{ id: string }>('add_webhook', p.namespace, url)).id
  const [removed, stays] = [await add('https://a.example/'), await add('https://b.example/')]
  const { own } = await recoveriesOf(p)
  const [holder, sweeper] = [await p.session(), await p.session()]
  await holder.begin()
  expect(await holder.run('remove_webhook', p.namespace, removed)).toBe(true)
  expect((await sweeper.sweep()).recovered).toMatchObject([{ job: own }])
  expect(await p.db.rows('select distinct webhook_id as id from %s.webhook_delivery')).toEqual([
    { id: stays },
  ])
  await holder.rollback()
})

/** What a sweep does to a worker whose connection is gone. */
async function endByLayer3(p: Protocol, worker: WorkerRow): Promise<void> {
  const session = await p.session()
  await session.query('set search_path to %s')
  await session.query(
    `select end_workers('app', array[$1::uuid], 'lost', 3::smallint, '{"code": "worker_lost"}')`,
    [worker.incarnation],
  )
  await p.sweep()
}

test('order 17: hearing a worker again waits for nobody who holds its job, and what was passed over is refunded when it is heard next', async () => {
  const p = await openProtocol()
  const { worker, ids } = await p.running(2)
  await endByLayer3(p, worker)
  const [holder, renewer] = [await p.session(), await p.session()]
  await holder.begin()
  await holder.hold(ids.slice(0, 1))
  expect((await renewer.renewAnswer(worker)).outcome).toBe('lease_lost')
  await holder.commit()
  const lost = async () => (await p.jobs(ids)).map((job) => job.lost)
  expect(await lost()).toEqual([1, 0])
  await p.endWorker(worker, 'uncharged', { code: 'self_fenced', message: 'it fenced itself' })
  await p.endWorker(worker, 'uncharged', { code: 'self_fenced', message: 'it fenced itself' })
  expect(await lost()).toEqual([0, 0])
})

test('order 17: outcomes and checkpoints wait half a second for who holds a job, and their neighbours no longer', async () => {
  const p = await openProtocol()
  const { ids, held } = await p.running(4)
  const holder = await p.session()
  await holder.begin()
  await holder.cancel([ids[1]!])
  expect(await p.complete(held.slice(0, 3))).toEqual(['completed', 'busy', 'completed'])
  expect(await p.fail(held.slice(1), ['x', 'y', 'z'], [0, 0, 0])).toEqual([
    'busy',
    'lease_lost',
    'retrying',
  ])
  expect(await p.complete(held.slice(1, 2))).toEqual(['busy'])
  await expect(p.checkpoint(held.slice(1, 2), [1])).rejects.toMatchObject({ code: '55P03' })
  await holder.commit()
  expect(await p.complete(held.slice(1, 2))).toEqual(['cancelled'])
})
