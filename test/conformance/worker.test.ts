/** register, renew, end_worker, report_death: the life of a worker row, and layers 0 to 2. */
import { randomUUID } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { IDLE_BEAT_MS, LEASE_MS } from '../support/functions.ts'
import {
  checkInvariantsAfterEach,
  openProtocol,
  SCHEMAS,
  silenceBefore,
} from '../support/protocol.ts'

checkInvariantsAfterEach()

describe.each(SCHEMAS)('worker rows (%s schema)', (schema) => {
  test('register: a new incarnation is online and lists its neighbours', async () => {
    const p = await openProtocol(schema)
    const first = await p.register()
    await p.register({ machineId: 'machine-2' })
    await p.in('elsewhere').register()
    const answer = await p.run<{
      id: string
      channel: string
      running: boolean
      peers: { incarnation: string }[]
    }>('register', p.namespace, {
      incarnation: randomUUID(),
      machineId: 'machine-1',
      hostname: 'host',
      pid: 7,
      bootId: 'boot-1',
      pidNamespace: 'pids-1',
      processStarted: 's',
      leaseMs: LEASE_MS,
      renewMs: 10_000,
      idleBeatMs: IDLE_BEAT_MS,
      version: '1',
      concurrency: 1,
      queues: [],
      types: [],
    })
    expect(answer.id).toMatch(/^host-7-/)
    expect(answer.running).toBe(false)
    expect(answer.peers.map((peer) => peer.incarnation)).toEqual([first.incarnation])
    expect(await p.worker(first)).toMatchObject({ status: 'online', running: 0 })
    const [row] = await p.db.rows('select %s.channel($1) as channel', [p.namespace])
    expect(row).toEqual({ channel: answer.channel })
  })

  test('register: it is an insert; the same incarnation again changes nothing of its row, and revives none', async () => {
    const p = await openProtocol(schema)
    const identity = { pid: 4127, processStarted: 'monday' }
    const { worker, ids } = await p.running(1, {}, await p.register(identity))
    const again = { ...identity, incarnation: worker.incarnation }
    const row = () =>
      p.db.rows('select w, d from %s.worker w join %s.worker_detail d using (incarnation)')
    const before = await row()
    await p.passTime(1_000)
    expect((await p.register(again)).id).toBe(worker.id)
    expect(await row()).toEqual(before)
    const started = (await p.allEvents()).filter(({ kind }) => kind === 'worker.started')
    expect(started).toHaveLength(1)
    expect((await p.renew(worker)).held.map(({ job }) => job)).toEqual(ids)
    await p.endWorker(worker, 'interrupted')
    await p.register(again)
    expect(await p.renewAnswer(worker)).toMatchObject({ outcome: 'lease_lost' })
  })

  test('end_worker: said again, as the answer was lost, it is no sign of life', async () => {
    const p = await openProtocol(schema)
    const { worker, ids } = await p.running(1)
    expect(await p.endWorker(worker, 'interrupted')).toEqual({ outcome: 'ended', released: ids })
    const { endReason } = await p.worker(worker)
    expect(await p.endWorker(worker, 'interrupted')).toEqual({ outcome: 'ended', released: [] })
    expect(await p.worker(worker)).toMatchObject({ endReason })
    expect(endReason).not.toHaveProperty('heardAgainAt')
  })

  test('register: a renewal interval over a third of the lease is refused', async () => {
    const p = await openProtocol(schema)
    await expect(p.register({ leaseMs: 30_000, renewMs: 10_001 })).rejects.toMatchObject({
      code: 'ERR_USAGE',
    })
    expect(await p.workers()).toEqual([])
  })

  test('A3: a restart with the same host and pid takes the orphans of the old incarnation back', async () => {
    const p = await openProtocol(schema)
    const old = await p.register({ pid: 42, processStarted: 'monday' })
    const { ids } = await p.running(2, {}, old)
    const fresh = await p.register({ pid: 42, processStarted: 'tuesday' })
    expect((await p.jobs(ids)).map((job) => [job.state, job.lost])).toEqual([
      ['pending', 1],
      ['pending', 1],
    ])
    expect(await p.worker(old)).toMatchObject({
      status: 'offline',
      endReason: { layer: 2, noticedBy: fresh.id },
    })
    expect((await p.claim(fresh)).jobs).toHaveLength(2)
    expect(await p.renewAnswer(old)).toMatchObject({ outcome: 'lease_lost' })
    expect((await p.renew(fresh)).held).toHaveLength(2)
  })

  test('A3: the same pid proves nothing on another machine, boot or pid namespace, or without a start time', async () => {
    const p = await openProtocol(schema)
    const old = await p.register({ pid: 42, processStarted: 'monday' })
    await p.register({ pid: 42, processStarted: 'x', machineId: 'machine-2' })
    await p.register({ pid: 42, processStarted: 'x', bootId: 'boot-2' })
    await p.register({ pid: 42, processStarted: 'x', pidNamespace: 'pids-2' })
    await p.register({ pid: 42, processStarted: 'x', pidNamespace: null })
    await p.register({ pid: 42, processStarted: null })
    await p.register({ pid: 42, processStarted: 'monday' })
    await p.in('elsewhere').register({ pid: 42, processStarted: 'x' })
    expect(await p.worker(old)).toMatchObject({ status: 'online' })
  })

  test('renew: the lease starts anew and what is held is told', async () => {
    const p = await openProtocol(schema)
    const { worker, held, ids } = await p.running(3)
    await p.cancel([ids[1]!])
    await p.passTime(9_000)
    const answer = await p.renew(worker)
    expect(answer).toMatchObject({ outcome: 'renewed', drain: false, running: true })
    expect(answer.leftMs).toBeGreaterThan(LEASE_MS - 1_000)
    const byJob = new Map(answer.held.map((one) => [one.job, one]))
    expect(byJob.size).toBe(3)
    for (const { job, token } of held) {
      expect(byJob.get(job)).toEqual({ job, token, cancel: job === ids[1] })
    }
    await p.complete(held.slice(0, 1))
    expect((await p.renew(worker)).held).toHaveLength(2)
  })

  test('renew: a lease is never shortened', async () => {
    const p = await openProtocol(schema)
    const worker = await p.register()
    await p.renew(worker, { idle: true })
    expect((await p.renew(worker, { idle: true })).leftMs).toBeGreaterThan(3 * IDLE_BEAT_MS - 1_000)
  })

  test('renew: an unknown incarnation and an ended one have lost their lease', async () => {
    const p = await openProtocol(schema)
    const { worker, held, ids } = await p.running(1)
    expect(await p.renewAnswer({ ...worker, incarnation: randomUUID() })).toMatchObject({
      outcome: 'lease_lost',
      reason: { code: 'unknown_here' },
    })
    await p.lapse()
    await p.sweep()
    for (let again = 0; again < 2; again += 1) {
      expect(await p.renewAnswer(worker)).toMatchObject({
        outcome: 'lease_lost',
        reason: { code: 'worker_lost', layer: 4 },
      })
      expect(await p.claimAnswer(worker)).toMatchObject({ outcome: 'lease_lost' })
    }
    expect(await p.worker(worker)).toMatchObject({ status: 'offline' })
    expect((await p.job(ids[0]!)).status).toBe('pending')
    expect(held).toHaveLength(1)
  })

  test('rule 9: a cloned machine renews with a number that is two behind and has lost its lease', async () => {
    const p = await openProtocol(schema)
    const { worker, ids } = await p.running(1)
    expect(await p.renew(worker, { sendNumber: 5 })).toMatchObject({ outcome: 'renewed' })
    expect(await p.renew(worker, { sendNumber: 4 })).toMatchObject({ outcome: 'renewed' })
    expect(await p.renewAnswer(worker, { sendNumber: 3 })).toMatchObject({
      outcome: 'lease_lost',
      reason: { code: 'cloned' },
    })
    // Only who is behind is told so: the one that has renewed since goes on.
    expect(await p.renew(worker, { sendNumber: 6 })).toMatchObject({ outcome: 'renewed' })
    expect(await p.job(ids[0]!)).toMatchObject({ state: 'running' })
  })

  test('rule 9: of two clones that renew in step, with the same numbers, one has lost its lease', async () => {
    const p = await openProtocol(schema)
    const { worker, ids } = await p.running(1)
    expect(await p.renew(worker, { sendNumber: 1 })).toMatchObject({ outcome: 'renewed' })
    expect(await p.renewAnswer(worker, { sendNumber: 1 })).toMatchObject({
      outcome: 'lease_lost',
      reason: { code: 'cloned' },
    })
    expect(await p.renew(worker, { sendNumber: 2 })).toMatchObject({ outcome: 'renewed' })
    expect(await p.job(ids[0]!)).toMatchObject({ state: 'running' })
  })

  test('F2: a worker that has become idle is not judged by the lease of the job that it had', async () => {
    const p = await openProtocol(schema)
    const { worker, held } = await p.running(1)
    expect(await p.complete(held, [1])).toEqual(['completed'])
    expect((await p.claim(worker)).jobs).toEqual([])
    await p.passTime(LEASE_MS + 5_000)
    expect(await p.sweep()).toMatchObject({ ended: [] })
    expect((await p.workers()).map((row) => row.status)).toEqual(['online'])
    await p.passTime(3 * IDLE_BEAT_MS)
    expect(await p.sweep()).toMatchObject({ ended: [worker.incarnation] })
  })

  test('rule 1: a worker of another epoch has lost its lease, and its tokens still fence', async () => {
    const p = await openProtocol(schema)
    const { worker, held, ids } = await p.running(2)
    await p.db.rows('update %s.database_identity set id = gen_random_uuid()')
    expect(await p.renewAnswer(worker)).toMatchObject({
      outcome: 'lease_lost',
      reason: { code: 'unknown_here' },
    })
    expect(await p.claimAnswer(worker)).toMatchObject({ outcome: 'lease_lost' })
    expect(await p.complete(held.slice(0, 1))).toEqual(['completed'])
    expect((await p.endWorker(worker, 'uncharged')).outcome).toBe('ended')
    expect(await p.job(ids[1]!)).toMatchObject({ state: 'pending', lost: 0 })
    expect((await p.claim(await p.register())).jobs).toHaveLength(1)
  })

  test('D1: the end of a worker gives back what it holds, at once and not charged', async () => {
    const p = await openProtocol(schema)
    const { worker, ids } = await p.running(2)
    const answer = await p.endWorker(worker, 'interrupted')
    expect(answer.outcome).toBe('ended')
    expect((answer as { released: string[] }).released.toSorted()).toEqual(ids)
    expect(await p.jobs(ids)).toMatchObject(
      ids.map(() => ({
        state: 'pending',
        failures: 0,
        lost: 0,
        interruptions: 1,
        attempts: [{ endedAs: 'interrupted' }],
      })),
    )
    expect((await p.claim(await p.register())).jobs).toHaveLength(2)
    // Said again, as the answer was lost.
    expect(await p.endWorker(worker, 'interrupted')).toEqual({ outcome: 'ended', released: [] })
  })

  test('end_worker: each charge is what it says', async () => {
    const p = await openProtocol(schema)
    const charges = ['interrupted', 'lost', 'released', 'uncharged'] as const
    const counts = []
    for (const charge of charges) {
      const { worker, ids } = await p.running(1, { queue: charge })
      await p.endWorker(worker, charge)
      const job = await p.job(ids[0]!)
      counts.push([job.state, job.lost, job.interruptions, job.failures, job.attempts[0]!.endedAs])
    }
    expect(counts).toEqual([
      ['pending', 0, 1, 0, 'interrupted'],
      ['pending', 1, 0, 0, 'lost'],
      ['pending', 0, 0, 0, 'released'],
      ['pending', 0, 0, 0, 'lost'],
    ])
    await expect(
      p.run('end_worker', (await p.register()).incarnation, 'forgiven', {}),
    ).rejects.toThrow()
    expect(
      await p.endWorker({ ...(await p.register()), incarnation: randomUUID() }, 'lost'),
    ).toMatchObject({
      outcome: 'lease_lost',
    })
  })

  test('report_death: layer 1 needs only the machine, and takes the jobs back', async () => {
    const p = await openProtocol(schema)
    const { worker, ids } = await p.running(1)
    expect(await p.reportDeath({ machineId: 'machine-2' }, 1, [worker])).toEqual({
      ended: [],
      recovered: [],
    })
    expect(
      await p.reportDeath({ id: 'supervisor-1', bootId: null, pidNamespace: null }, 1, [worker], {
        exitCode: null,
        signal: 'SIGKILL',
      }),
    ).toEqual({ ended: [worker.incarnation], recovered: [{ job: ids[0], status: 'pending' }] })
    expect((await p.job(ids[0]!)).attempts[0]!.endReason).toMatchObject({
      code: 'worker_lost',
      layer: 1,
      noticedBy: 'supervisor-1',
      signal: 'SIGKILL',
    })
    expect(await p.reportDeath({}, 1, [worker])).toEqual({ ended: [], recovered: [] })
  })

  test('report_death: layer 2 needs the same machine, boot and pid namespace', async () => {
    const p = await openProtocol(schema)
    const { worker } = await p.running(1)
    for (const where of [
      { machineId: 'machine-2' },
      { bootId: 'boot-2' },
      { bootId: null },
      { pidNamespace: 'pids-2' },
      { pidNamespace: null },
    ]) {
      expect((await p.reportDeath(where, 2, [worker])).ended).toEqual([])
    }
    expect((await p.in('elsewhere').reportDeath({}, 2, [worker])).ended).toEqual([])
    const hidden = await p.register({ pidNamespace: null })
    expect((await p.reportDeath({ pidNamespace: null }, 2, [hidden])).ended).toEqual([])
    expect((await p.reportDeath({}, 2, [worker])).ended).toEqual([worker.incarnation])
    await expect(p.reportDeath({}, 3, [worker])).rejects.toMatchObject({ code: 'ERR_USAGE' })
    expect(await p.reportDeath({}, 2, [])).toEqual({ ended: [], recovered: [] })
  })

  test.each([1, 2])(
    'rule 12: layer %i is as late as its evidence is old, between the last renewal and the report',
    async (layer) => {
      const p = await openProtocol(schema)
      const endedBy = async (evidence: Record<string, unknown>): Promise<number> => {
        // What went back before waits at the front of its queue.
        const { worker, ids } = await p.running(1, { queue: randomUUID() })
        await p.passTime(4_000)
        await p.reportDeath({}, layer, [worker], evidence)
        return silenceBefore((await p.job(ids[0]!)).attempts[0]!)
      }
      expect(await endedBy({ detectedAfterMs: 130 })).toBe(130)
      for (const evidence of [{}, { detectedAfterMs: null }, { detectedAfterMs: 60_000 }]) {
        const detectedAfterMs = await endedBy(evidence)
        expect(detectedAfterMs).toBeGreaterThanOrEqual(4_000)
        expect(detectedAfterMs).toBeLessThan(10_000)
      }
      expect(await endedBy({ detectedAfterMs: -5_000 })).toBe(0)
    },
  )

  test('rule 9: a renewal that contradicts a death report switches layer 2 off for that machine', async () => {
    const p = await openProtocol(schema)
    const wronged = await p.running(1)
    await p.reportDeath({}, 2, [wronged.worker])
    expect(await p.renewAnswer(wronged.worker)).toMatchObject({ outcome: 'lease_lost' })
    expect((await p.allEvents()).map((event) => event.kind)).toContain('worker.false_alarm')
    const other = await p.register({ pid: 77, processStarted: 'monday' })
    expect((await p.reportDeath({}, 2, [other])).ended).toEqual([])
    // Not by way of a registration either: the evidence is the same.
    await p.register({ pid: 77, processStarted: 'tuesday' })
    expect(await p.worker(other)).toMatchObject({ status: 'online' })
    // Layer 1 saw the exit with its own eyes; and another machine is not concerned.
    expect((await p.reportDeath({}, 1, [other])).ended).toEqual([other.incarnation])
    const there = await p.register({ machineId: 'machine-2' })
    expect((await p.reportDeath({ machineId: 'machine-2' }, 2, [there])).ended).toEqual([
      there.incarnation,
    ])
  })

  test('rule 9: a claim that contradicts a death report counts like a renewal', async () => {
    const p = await openProtocol(schema)
    const wronged = await p.running(1)
    await p.reportDeath({}, 2, [wronged.worker])
    expect(await p.claimAnswer(wronged.worker)).toMatchObject({ outcome: 'lease_lost' })
    const other = await p.register()
    expect((await p.reportDeath({}, 2, [other])).ended).toEqual([])
  })

  test('rule 10: a draining worker that the platform kills is interrupted, not charged', async () => {
    const p = await openProtocol(schema)
    const { worker, ids } = await p.running(1)
    await p.renew(worker, { draining: true })
    await p.lapse()
    expect((await p.sweep()).recovered).toHaveLength(1)
    expect(await p.job(ids[0]!)).toMatchObject({
      state: 'pending',
      lost: 0,
      interruptions: 1,
      attempts: [{ endedAs: 'interrupted', endReason: { layer: 4 } }],
    })
    const drained = await p.running(1, { queue: 'b' })
    await p.drain([drained.worker])
    await p.reportDeath({}, 1, [drained.worker], { signal: 'SIGKILL' })
    expect(await p.job(drained.ids[0]!)).toMatchObject({
      state: 'pending',
      lost: 0,
      interruptions: 1,
    })
  })

  test('B9: a draining worker that is killed has still lost a job that may not run again', async () => {
    const p = await openProtocol(schema)
    const { worker, ids } = await p.running(1, { onWorkerLost: 'hold' })
    await p.renew(worker, { draining: true })
    await p.lapse()
    await p.sweep()
    expect(await p.job(ids[0]!)).toMatchObject({
      status: 'held',
      lost: 0,
      endReason: { code: 'worker_lost' },
    })
  })
})
