/** sweep: layers 3 and 4, budgets, amnesty, clock steps, election; what becomes of the jobs of lost workers. */
import { describe, expect, test } from 'vitest'
import type { WorkerIdentity } from '../../src/sql/protocol.ts'
import { heldOf, LEASE_MS, type WorkerRow } from '../support/functions.ts'
import {
  checkInvariantsAfterEach,
  listen,
  openProtocol,
  type Protocol,
  recoverAll,
  SCHEMAS,
  silenceBefore,
} from '../support/protocol.ts'

checkInvariantsAfterEach()

const SELF_FENCED = { code: 'self_fenced', message: 'its lease had lapsed' }

const GRACE_MS = 2_000

/** A worker with a reserved connection of its own, which `cut` ends; resolves when the server has forgotten it. */
async function direct(
  p: Protocol,
  options: Partial<WorkerIdentity> = {},
): Promise<{ worker: WorkerRow; cut: () => Promise<void>; renewAgain: () => Promise<string> }> {
  let session = await p.session()
  const worker = await session.register({ ...options, direct: true })
  return {
    worker,
    async cut() {
      await session.end()
      await p.gone(session.pid)
    },
    async renewAgain() {
      session = await p.session()
      return (await session.renew(worker, { direct: true })).outcome
    },
  }
}

describe.each(SCHEMAS)('sweep (%s schema)', (schema) => {
  test('sweep: with nothing lost it changes nothing', async () => {
    const p = await openProtocol(schema)
    const { worker } = await p.running(2)
    expect(await p.sweep()).toMatchObject({
      role: 'leader',
      running: true,
      ended: [],
      recovered: [],
      more: false,
    })
    expect(await p.in('empty').sweep()).toMatchObject({
      role: 'leader',
      running: false,
      ended: [],
      recovered: [],
    })
    expect((await p.renew(worker)).held).toHaveLength(2)
  })

  test('A1: a lapsed lease ends its worker and the jobs go back to the front, at once claimable', async () => {
    const p = await openProtocol(schema)
    const { worker, ids } = await p.running(2)
    await p.enqueue(1)
    await p.passTime(LEASE_MS - 500)
    expect((await p.sweep()).ended).toEqual([])
    expect((await p.jobs(ids)).map((job) => job.state)).toEqual(['running', 'running'])
    await p.passTime(1_000)
    expect((await p.jobs(ids)).map((job) => job.state)).toEqual(['lost', 'lost'])
    const swept = await p.sweep({ worker: await p.register() })
    expect(swept).toMatchObject({ ended: [worker.incarnation], machines: ['machine-1'] })
    expect(swept.recovered).toEqual(ids.map((job) => ({ job, status: 'pending' })))
    const job = await p.job(ids[0]!)
    expect(job).toMatchObject({ state: 'pending', lost: 1, failures: 0 })
    expect(job.attempts[0]).toMatchObject({
      endedAs: 'lost',
      endReason: { code: 'worker_lost', layer: 4, lastSeenAt: expect.any(String) },
    })
    expect(silenceBefore(job.attempts[0]!)).toBeGreaterThan(LEASE_MS)
    const next = await p.claim(await p.register())
    expect(next.jobs.map((one) => one.id).slice(0, 2)).toEqual(ids)
    expect((await p.sweep()).recovered).toEqual([])
  })

  test('B1: a job that runs for a hundred leases with healthy renewals is never recovered', async () => {
    const p = await openProtocol(schema)
    const { worker, held } = await p.running(1)
    for (let beat = 0; beat < 110; beat += 1) {
      await p.passTime(LEASE_MS - 1_000)
      expect((await p.renew(worker)).outcome).toBe('renewed')
      if (beat % 10 === 0) expect((await p.sweep()).ended).toEqual([])
    }
    expect(await p.complete(held)).toEqual(['completed'])
  })

  test('sweep: it is bounded, says that there is more, and the next one goes on', async () => {
    const p = await openProtocol(schema)
    await p.running(7)
    await p.lapse()
    const counts = []
    for (let pass = 0; pass < 3; pass += 1) {
      const swept = await p.sweep({ limit: 3 })
      counts.push([swept.recovered.length, swept.more, swept.ended.length])
    }
    expect(counts).toEqual([
      [3, true, 1],
      [3, true, 0],
      [1, false, 0],
    ])
  })

  test('O2: a sweep leaves the workers and jobs of another namespace alone', async () => {
    const p = await openProtocol(schema)
    const { ids } = await p.running(1)
    await p.lapse()
    expect(await p.in('other').sweep()).toMatchObject({ ended: [], recovered: [] })
    expect((await p.job(ids[0]!)).state).toBe('lost')
    expect((await p.sweep()).recovered).toHaveLength(1)
  })

  test('sweep: a running job whose worker has no row at all is taken back', async () => {
    const p = await openProtocol(schema)
    const { worker, ids } = await p.running(1)
    await p.db.rows('delete from %s.worker where incarnation = $1', [worker.incarnation])
    await p.db.rows('delete from %s.worker_detail where incarnation = $1', [worker.incarnation])
    expect((await p.job(ids[0]!)).state).toBe('lost')
    expect((await p.sweep()).recovered).toEqual([{ job: ids[0], status: 'pending' }])
    expect(await p.job(ids[0]!)).toMatchObject({
      lost: 1,
      attempts: [{ endReason: { code: 'worker_lost' } }],
    })
  })

  test('D3: poison comes exactly at the third loss in a row', async () => {
    const p = await openProtocol(schema)
    const [id] = await p.enqueue(1)
    const states = []
    for (let n = 0; n < 3; n += 1) {
      const worker = await p.register()
      expect((await p.claim(worker)).jobs).toHaveLength(1)
      await recoverAll(p)
      const job = await p.job(id!)
      states.push([job.status, job.lost])
    }
    expect(states).toEqual([
      ['pending', 1],
      ['pending', 2],
      ['failed', 3],
    ])
    expect(await p.job(id!)).toMatchObject({
      endReason: { code: 'poison', message: '3 workers in a row were lost while running it' },
      failures: 0,
    })
    expect((await p.allEvents()).map((event) => event.kind)).toContain('job.poisoned')
    // A person's retry clears the poison.
    expect(await p.retry([id!])).toEqual(['retried'])
    expect(await p.job(id!)).toMatchObject({ state: 'pending', lost: 0, endReason: null })
    expect((await p.claim(await p.register())).jobs).toMatchObject([{ attempt: 4 }])
  })

  test('D3: a job that may lose no worker is poison with the first, and says so of one', async () => {
    const p = await openProtocol(schema)
    const { ids } = await p.running(1, { maxLost: 1 })
    await recoverAll(p)
    expect(await p.job(ids[0]!)).toMatchObject({
      status: 'failed',
      endReason: { code: 'poison', message: 'its worker was lost while running it' },
    })
  })

  test('order 13: of one poison job beside nine innocents one is poisoned and nine complete', async () => {
    const p = await openProtocol(schema)
    const ids = await p.enqueue(10)
    const poison = ids[4]!
    for (let incarnation = 0; incarnation < 20; incarnation += 1) {
      const worker = await p.register()
      for (;;) {
        const answer = await p.claim(worker)
        if (answer.jobs.length === 0) break
        if (answer.jobs.some((job) => job.id === poison)) {
          // The process dies with everything it holds.
          await p.reportDeath({}, 1, [worker], { signal: 'SIGSEGV' })
          break
        }
        await p.complete(heldOf(answer))
      }
      const left = await p.db.rows(
        `select 1 from %s.job_stored where status not in ('completed', 'failed')`,
      )
      if (left.length === 0) break
    }
    const jobs = await p.jobs(ids)
    expect(jobs.filter((job) => job.status === 'completed')).toHaveLength(9)
    expect(jobs[4]).toMatchObject({ status: 'failed', lost: 3, endReason: { code: 'poison' } })
  })

  test('B9: onWorkerLost fail and hold end or hold the job at the first loss', async () => {
    const p = await openProtocol(schema)
    const [fail] = await p.enqueue(1, { onWorkerLost: 'fail' })
    const [hold] = await p.enqueue(1, { onWorkerLost: 'hold' })
    const worker = await p.register()
    const answer = await p.claim(worker)
    expect(answer.jobs).toHaveLength(2)
    await recoverAll(p)
    expect(await p.job(fail!)).toMatchObject({
      status: 'failed',
      endReason: { code: 'worker_lost' },
    })
    expect(await p.job(hold!)).toMatchObject({
      status: 'held',
      state: 'held',
      endReason: { code: 'worker_lost' },
    })
    expect((await p.claim(await p.register())).jobs).toEqual([])
    expect(await p.resume([fail!, hold!])).toEqual(['failed', 'resumed'])
    expect((await p.claim(await p.register())).jobs.map((job) => job.id)).toEqual([hold])
  })

  test('C3: a job that was cancelled while its worker is gone ends cancelled at the sweep', async () => {
    const p = await openProtocol(schema)
    const { ids, held } = await p.running(3)
    await p.lapse()
    expect(await p.cancel(ids)).toEqual(Array(3).fill('cancelling'))
    expect((await p.sweep()).recovered.map((one) => one.status)).toEqual(Array(3).fill('cancelled'))
    expect((await p.claim(await p.register())).jobs).toEqual([])
    expect(await p.complete(held, [1, 2, 3])).toEqual(Array(3).fill('lease_lost'))
    expect(await p.job(ids[0]!)).toMatchObject({
      status: 'cancelled',
      lost: 1,
      attempts: [{ lateResult: { value: 1 } }],
    })
  })

  test('A2: one leads, one watches, the rest are not needed, and a dead leader is replaced within three sweeps', async () => {
    const p = await openProtocol(schema)
    const [a, b, c] = [await p.register(), await p.register(), await p.register()]
    await p.enqueue(1)
    await p.claim(c)
    const roles = async (...workers: WorkerRow[]): Promise<string[]> => {
      const said = []
      for (const worker of workers) said.push((await p.sweep({ worker })).role)
      return said
    }
    expect(await roles(a, b, c)).toEqual(['leader', 'deputy', 'none'])
    await p.passTime(1_000)
    expect(await roles(c, b, a)).toEqual(['none', 'deputy', 'leader'])
    // The leader dies; the deputy asks every second, others too.
    await p.passTime(1_000)
    expect(await roles(c, b)).toEqual(['none', 'deputy'])
    await p.passTime(1_100)
    expect(await roles(c, b, c)).toEqual(['none', 'leader', 'deputy'])
    // Another namespace has its own.
    const other = await p.in('other').register()
    expect((await p.in('other').sweep({ worker: other })).role).toBe('leader')
  })

  test('A2: a leader without a deputy tells the others once a second, while there are any', async () => {
    const p = await openProtocol(schema)
    const { worker, held } = await p.running(1)
    const heard = await listen(p)
    const told = async (): Promise<number> => {
      await p.passTime(1_000)
      await heard.heardAll()
      heard.payloads.length = 0
      await p.sweep({ worker })
      await heard.heardAll()
      return heard.payloads.filter((payload) => payload === 'watch').length
    }
    // It begins to lead, and then is alone.
    expect(await told()).toBe(1)
    expect(await told()).toBe(0)
    const deputy = await p.register()
    expect(await told()).toBe(1)
    expect(await told()).toBe(1)
    expect((await p.sweep({ worker: deputy })).role).toBe('deputy')
    expect(await told()).toBe(0)
    await p.passTime(2_000)
    expect(await told()).toBe(1)
    await p.endWorker(deputy, 'interrupted')
    expect(await told()).toBe(0)
    // Nor does one that finds nothing running: whoever heard it would look and find nothing, and say so again, for ever.
    await p.complete(held, [null])
    await p.renew(worker, { idle: true })
    await p.passTime(2_000)
    expect((await p.sweep({ worker })).running).toBe(false)
    await p.register()
    expect(await told()).toBe(0)
  })

  test('rule 7: after an outage nobody is judged before writes were possible for a whole lease', async () => {
    const p = await openProtocol(schema)
    const { worker, ids } = await p.running(1)
    const alive = await p.running(1, { queue: 'b' })
    await p.db.rows(`update %s.tick set writable_since = '-infinity'`)
    await p.outage(5 * LEASE_MS)
    const shown = await p.job(ids[0]!)
    expect(shown.state).toBe('lost')
    expect((await p.sweep()).ended).toEqual([])
    const promised = await p.job(ids[0]!)
    expect(promised.state).toBe('lost')
    const wait = Date.parse(promised.recoveryNotBefore!) - Date.parse(promised.leaseExpiresAt!)
    expect(wait).toBeGreaterThan(4 * LEASE_MS)
    for (let second = 0; second < 29; second += 1) {
      await p.passTime(1_000)
      expect((await p.sweep()).ended).toEqual([])
    }
    expect((await p.renew(alive.worker)).outcome).toBe('renewed')
    await p.passTime(1_500)
    expect((await p.sweep()).ended).toEqual([worker.incarnation])
    expect((await p.renew(alive.worker)).held).toHaveLength(1)
  })

  test('rule 7: whoever writes first after the gap starts the amnesty, also a renewal or a claim', async () => {
    const p = await openProtocol(schema)
    const since = async (): Promise<unknown> =>
      (
        await p.db.rows(
          "select writable_since > %s.clock() - interval '1 second' as fresh from %s.tick",
        )
      )[0]!['fresh']
    const { worker } = await p.running(1)
    const idle = await p.register()
    for (const write of [
      () => p.renew(worker),
      () => p.claim(idle),
      () => p.register(),
      () => p.sweep(),
      () => p.releaseStuck(0),
    ]) {
      await p.db.rows(`update %s.tick set writable_since = '-infinity'`)
      await p.outage(6_000)
      expect(await since()).toBe(false)
      await write()
      expect(await since()).toBe(true)
    }
    // A pause that is shorter than the gap is none.
    await p.db.rows(`update %s.tick set writable_since = '-infinity'`)
    await p.outage(4_500)
    await p.sweep()
    expect(await since()).toBe(false)
    // A clock that steps by less than the gap looks like such a pause, unless somebody reckons.
    const { databaseMs } = await p.sweep()
    await p.outage(2_000)
    await p.sweep({ reckonedMs: databaseMs + 2_000 })
    expect(await since()).toBe(false)
    await p.outage(2_000)
    await p.sweep({ reckonedMs: databaseMs + 2_000 })
    expect(await since()).toBe(true)
  })

  test.each([
    ['a sweep', true],
    ['the sweep of a leader', false],
  ])('rule 8: %s that sees the clock step judges nobody by it', async (_, byHand) => {
    const p = await openProtocol(schema)
    await p.db.rows(`update %s.tick set writable_since = '-infinity'`)
    const sweeper = byHand ? {} : { worker: await p.register() }
    const short = { leaseMs: 6_000, renewMs: 2_000, idleBeatMs: 2_000 }
    const [healthy, dead] = [await p.register(short), await p.register(short)]
    for (const worker of [healthy, dead]) {
      await p.running(1, {}, worker)
      expect((await p.renew(worker)).outcome).toBe('renewed')
    }
    await p.passTime(1_800)
    const { databaseMs } = await p.sweep(sweeper)
    // Both leases have lapsed by the clock that has stepped, and too little has gone by for an outage.
    await p.outage(4_300)
    for (const worker of [healthy, dead]) expect((await p.worker(worker)).status).toBe('offline')
    expect(await p.sweep({ ...sweeper, reckonedMs: databaseMs })).toMatchObject({ ended: [] })
    expect((await p.renew(healthy)).held).toHaveLength(1)
    // A whole lease later whoever is dead is judged.
    await p.passTime(3_000)
    expect((await p.renew(healthy)).outcome).toBe('renewed')
    expect((await p.sweep(sweeper)).ended).toEqual([])
    await p.passTime(3_500)
    expect((await p.sweep(sweeper)).ended).toEqual([dead.incarnation])
  })

  test('release_stuck: it obeys the amnesty unless it is forced', async () => {
    const p = await openProtocol(schema)
    const { ids } = await p.running(1)
    await p.outage(10 * LEASE_MS)
    expect(await p.releaseStuck(60_000)).toEqual([])
    expect(await p.releaseStuck(60_000, { dryRun: true })).toEqual([])
    expect(await p.releaseStuck(60_000, { force: true })).toEqual([
      { job: ids[0], status: 'pending' },
    ])
  })

  test('order 16: a clock that jumps forward by an hour takes no lease from the living', async () => {
    const p = await openProtocol(schema)
    await p.db.rows(`update %s.tick set writable_since = '-infinity'`)
    const { worker } = await p.running(1)
    const dead = await p.running(1, { queue: 'b' })
    await p.outage(3_600_000)
    expect((await p.sweep()).ended).toEqual([])
    await p.passTime(9_000)
    expect((await p.renew(worker)).outcome).toBe('renewed')
    for (let second = 0; second < 21; second += 1) {
      await p.passTime(1_000)
      const swept = await p.sweep()
      expect(swept.ended).toEqual(second < 20 ? [] : [dead.worker.incarnation])
    }
    expect((await p.renew(worker)).outcome).toBe('renewed')
  })

  test('order 16: a clock that jumps back by an hour leaves no lease that lasts an hour', async () => {
    const p = await openProtocol(schema)
    await p.db.rows(`update %s.tick set writable_since = '-infinity'`)
    const { worker } = await p.running(1)
    const dead = await p.running(1, { queue: 'b' })
    await p.outage(-3_600_000)
    expect((await p.job(dead.ids[0]!)).leaseLeftMs).toBeLessThanOrEqual(LEASE_MS)
    expect((await p.sweep()).ended).toEqual([])
    // 26 s, and what goes by meanwhile: on a busy machine that is seconds, too.
    for (let step = 0; step < 29; step += 1) {
      await p.passTime(900)
      if (step % 9 === 0) expect((await p.renew(worker)).leftMs).toBeLessThanOrEqual(LEASE_MS)
      expect((await p.sweep()).ended).toEqual([])
    }
    await p.passTime(5_400)
    expect((await p.sweep()).ended).toEqual([dead.worker.incarnation])
    expect((await p.renew(worker)).held).toHaveLength(1)
    // Leadership taken in the future does not last an hour either.
    const [one, two] = [await p.register(), await p.register()]
    await p.sweep({ worker: one })
    await p.outage(-3_600_000)
    expect((await p.sweep({ worker: two })).role).toBe('leader')
  })

  test('layer 3: a worker whose connection is gone for the grace is ended, and not before', async () => {
    const p = await openProtocol(schema)
    await p.db.rows(`update %s.tick set writable_since = '-infinity'`)
    const { worker, cut } = await direct(p)
    await p.passTime(5_000)
    const { ids } = await p.running(1, {}, worker)
    expect(await p.sweep()).toMatchObject({ ended: [], nextMs: null })
    await cut()
    const noticed = await p.sweep()
    expect(noticed.ended).toEqual([])
    expect(noticed.nextMs).toBeGreaterThan(1_000)
    await p.passTime(GRACE_MS - 300)
    expect((await p.sweep()).ended).toEqual([])
    await p.passTime(400)
    expect((await p.sweep()).ended).toEqual([worker.incarnation])
    const job = await p.job(ids[0]!)
    expect(job).toMatchObject({ lost: 1, attempts: [{ endReason: { layer: 3 } }] })
    // Since its claim, and not since it registered.
    expect(silenceBefore(job.attempts[0]!)).toBeGreaterThanOrEqual(GRACE_MS)
    expect(silenceBefore(job.attempts[0]!)).toBeLessThan(GRACE_MS + 5_000)
  })

  test('order 12: a connection that comes back within the grace loses nothing, and quiets the layer for a lease', async () => {
    const p = await openProtocol(schema)
    await p.db.rows(`update %s.tick set writable_since = '-infinity'`)
    const { worker, cut, renewAgain } = await direct(p)
    await p.running(1, {}, worker)
    await cut()
    await p.sweep()
    await p.passTime(GRACE_MS - 300)
    expect(await renewAgain()).toBe('renewed')
    await p.passTime(600)
    expect((await p.sweep()).ended).toEqual([])
    // Gone again, for good: this layer keeps quiet about the machine for one lease.
    await cut()
    await p.sweep()
    await p.passTime(GRACE_MS + 300)
    expect((await p.sweep()).ended).toEqual([])
    await p.passTime(LEASE_MS)
    expect((await p.sweep()).ended).toEqual([worker.incarnation])
  })

  test('order 12: three false alarms are refunded and are no poison', async () => {
    const p = await openProtocol(schema)
    await p.db.rows(`update %s.tick set writable_since = '-infinity'`)
    const [id] = await p.enqueue(1)
    for (let n = 0; n < 3; n += 1) {
      const { worker, cut } = await direct(p)
      const answer = await p.claim(worker)
      expect(answer.jobs).toHaveLength(1)
      await cut()
      await p.sweep()
      await p.passTime(GRACE_MS + 300)
      expect((await p.sweep()).ended).toEqual([worker.incarnation])
      expect((await p.job(id!)).lost).toBe(1)
      // It was alive all along; it hears that it has lost its lease, and says a second time that it lives.
      expect(await p.renewAnswer(worker)).toMatchObject({ outcome: 'lease_lost' })
      expect(await p.renewAnswer(worker)).toMatchObject({ outcome: 'lease_lost' })
      expect(await p.job(id!)).toMatchObject({ state: 'pending', lost: 0 })
      expect((await p.job(id!)).attempts[n]!.endReason).toMatchObject({ falseAlarm: true })
      // The layer is quiet about this machine for a lease: let it pass.
      await p.passTime(LEASE_MS + 1_000)
    }
  })

  test('rule 9: the end of a wrongly ended worker refunds its jobs too', async () => {
    const p = await openProtocol(schema)
    await p.db.rows(`update %s.tick set writable_since = '-infinity'`)
    const { worker, cut } = await direct(p)
    const { ids } = await p.running(1, {}, worker)
    await cut()
    await p.sweep()
    await p.passTime(GRACE_MS + 300)
    await p.sweep()
    expect((await p.job(ids[0]!)).lost).toBe(1)
    expect(await p.endWorker(worker, 'uncharged', SELF_FENCED)).toMatchObject({
      outcome: 'lease_lost',
    })
    expect((await p.job(ids[0]!)).lost).toBe(0)
  })

  test('rule 10: three partitions longer than a lease, of workers that fenced themselves, are refunded and are no poison', async () => {
    const p = await openProtocol(schema)
    const [id] = await p.enqueue(1)
    for (let n = 0; n < 3; n += 1) {
      const worker = await p.register()
      expect((await p.claim(worker)).jobs).toHaveLength(1)
      await p.lapse()
      expect((await p.sweep()).recovered).toEqual([{ job: id, status: 'pending' }])
      // It slept: that alone proves nothing.
      if (n === 1) await p.renewAnswer(worker)
      expect((await p.job(id!)).lost).toBe(1)
      await p.endWorker(worker, 'uncharged', { code: 'self_fenced', message: 'it fenced itself' })
      await p.endWorker(worker, 'uncharged', { code: 'self_fenced', message: 'it fenced itself' })
      const job = await p.job(id!)
      expect(job).toMatchObject({ state: 'pending', lost: 0 })
      expect(job.attempts.at(-1)!.endReason).toMatchObject({ layer: 4, falseAlarm: true })
    }
    expect((await p.allEvents()).filter(({ kind }) => kind === 'worker.false_alarm')).toMatchObject(
      Array.from({ length: 3 }, () => ({ jobIds: [id], data: { layer: 4 } })),
    )
  })

  test('rule 10: only what a loss has charged is refunded, whatever was lost or begun anew since', async () => {
    const p = await openProtocol(schema)
    const [id] = await p.enqueue(1, { maxLost: 5 })
    const lose = async (progress = false): Promise<WorkerRow> => {
      const worker = await p.register()
      const answer = await p.claim(worker)
      if (progress) await p.checkpoint(heldOf(answer), [1])
      await p.lapse()
      await p.sweep()
      return worker
    }
    const heard = async (worker: WorkerRow): Promise<number> => {
      await p.endWorker(worker, 'uncharged', { code: 'self_fenced', message: 'it fenced itself' })
      return (await p.job(id!)).lost
    }
    const [first, second, third] = [await lose(), await lose(), await lose()]
    expect((await p.job(id!)).lost).toBe(3)
    expect([await heard(second), await heard(first)]).toEqual([2, 1])
    const fourth = await lose(true)
    expect((await p.job(id!)).lost).toBe(1)
    expect([await heard(third), await heard(fourth)]).toEqual([1, 0])
    const fifth = await lose()
    await p.hold([id!])
    await p.resume([id!])
    const sixth = await lose()
    expect((await p.job(id!)).lost).toBe(1)
    expect([await heard(fifth), await heard(sixth)]).toEqual([1, 0])
  })

  test('rule 9: layer 3 is silent when two machines lose connections within the grace, and stays so', async () => {
    const p = await openProtocol(schema)
    await p.db.rows(`update %s.tick set writable_since = '-infinity'`)
    const one = await direct(p)
    const two = await direct(p, { machineId: 'machine-2' })
    await p.running(1, {}, one.worker)
    await p.running(1, { queue: 'b' }, two.worker)
    await one.cut()
    await p.sweep()
    await p.passTime(1_000)
    await two.cut()
    for (let second = 0; second < 20; second += 1) {
      expect((await p.sweep()).ended).toEqual([])
      await p.passTime(1_000)
    }
    // Layer 4 is not silent.
    await p.passTime(LEASE_MS)
    expect((await p.sweep()).ended.toSorted()).toEqual(
      [one.worker.incarnation, two.worker.incarnation].toSorted(),
    )
  })

  test('rule 9: layer 3 is silent about a machine while another one has just had its connection back', async () => {
    const p = await openProtocol(schema)
    await p.db.rows(`update %s.tick set writable_since = '-infinity'`)
    const one = await direct(p)
    const two = await direct(p, { machineId: 'machine-2' })
    await p.running(1, {}, one.worker)
    await one.cut()
    await two.cut()
    await p.sweep()
    expect(await two.renewAgain()).toBe('renewed')
    await p.passTime(GRACE_MS + 300)
    expect((await p.sweep()).ended).toEqual([])
  })

  test('rule 7: layer 3 is silent about connections that went away with the server', async () => {
    const p = await openProtocol(schema)
    const one = await direct(p)
    const two = await direct(p)
    await p.running(1, {}, one.worker)
    // An outage: all connections are gone, one worker is back first and sweeps.
    await one.cut()
    await two.cut()
    await p.outage(10_000)
    expect(await two.renewAgain()).toBe('renewed')
    for (let second = 0; second < 5; second += 1) {
      expect((await p.sweep({ worker: two.worker })).ended).toEqual([])
      await p.passTime(1_000)
    }
    // A restart that is over within the gap leaves no amnesty, but the server knows when it was started.
    await p.db.rows(`update %s.tick set writable_since = '-infinity'`)
    await p.db.rows(`update %s.machine set connection_false_alarm_at = null`)
    await p.db.rows(
      `update %s.worker set seen_at = pg_postmaster_start_time() - interval '1 second' where incarnation = $1`,
      [one.worker.incarnation],
    )
    expect((await p.sweep()).ended).toEqual([])
  })

  test('rule 9: layer 3 is silent about a machine on which another worker had to connect again', async () => {
    const p = await openProtocol(schema)
    await p.db.rows(`update %s.tick set writable_since = '-infinity'`)
    const one = await direct(p)
    const two = await direct(p)
    await p.running(1, {}, one.worker)
    // The server's backends crash together; it is not started anew, and nobody swept while two was away.
    await one.cut()
    await two.cut()
    expect(await two.renewAgain()).toBe('renewed')
    await p.sweep()
    await p.passTime(GRACE_MS + 300)
    expect((await p.sweep()).ended).toEqual([])
  })

  test('rule 9: layer 3 is silent behind a pooler', async () => {
    const p = await openProtocol(schema)
    await p.db.rows(`update %s.tick set writable_since = '-infinity'`)
    const session = await p.session()
    const worker = await session.register({ direct: false })
    await p.running(1, {}, worker)
    await session.end()
    for (let second = 0; second < 10; second += 1) {
      expect(await p.sweep()).toMatchObject({ ended: [], nextMs: null })
      await p.passTime(1_000)
    }
  })

  test.each([
    ['the last loss', { maxLost: 1 }, false],
    ['the last loss, after progress', { maxLost: 1 }, true],
    ['a job that fails with its worker', { onWorkerLost: 'fail' }, false],
    ['a job that is held without its worker', { onWorkerLost: 'hold' }, false],
  ])('rule 10: layer 3 does not judge %s', async (_, options, progressed) => {
    const p = await openProtocol(schema)
    await p.db.rows(`update %s.tick set writable_since = '-infinity'`)
    const { worker, cut } = await direct(p)
    const { held, ids } = await p.running(1, options, worker)
    if (progressed) await p.progress(held, [50])
    await cut()
    for (let second = 0; second < 10; second += 1) {
      expect((await p.sweep()).ended).toEqual([])
      await p.passTime(1_000)
    }
    expect((await p.job(ids[0]!)).state).toBe('running')
  })
})
