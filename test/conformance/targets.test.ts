/** Aimed jobs: who may take one, what becomes of it while its target is away, its deadline, and what it keeps when it comes back. */
import { describe, expect, test } from 'vitest'
import { heldOf, type WorkerRow } from '../support/functions.ts'
import {
  checkInvariantsAfterEach,
  openProtocol,
  type Protocol,
  SCHEMAS,
} from '../support/protocol.ts'

checkInvariantsAfterEach()

const targetsOf = (worker: WorkerRow, ...labels: string[]): string[] => [
  `machine:${worker.machineId}`,
  `worker:${worker.id}`,
  ...labels.map((label) => `label:${label}`),
]

async function claimed(p: Protocol, worker: WorkerRow, ...labels: string[]): Promise<string[]> {
  const answer = await p.claim(worker, { targets: targetsOf(worker, ...labels) })
  return answer.jobs.map((job) => job.id)
}

describe.each(SCHEMAS)('aimed jobs (%s schema)', (schema) => {
  test('O3: only a worker that is the target takes one: by machine, by worker, by label', async () => {
    const p = await openProtocol(schema)
    const mine = await p.register({ machineId: 'm-1', labels: ['gpu'] })
    const other = await p.register({ machineId: 'm-2' })
    const [machine] = await p.enqueue(1, { target: 'machine:m-1' })
    const [worker] = await p.enqueue(1, { target: `worker:${mine.id}` })
    const [label] = await p.enqueue(1, { target: 'label:gpu' })
    const [anybody] = await p.enqueue(1)
    expect(await claimed(p, other)).toEqual([anybody])
    expect((await p.claim(other)).jobs, 'a claim that says nothing of itself').toEqual([])
    const taken = await claimed(p, mine, 'gpu')
    expect(new Set(taken)).toEqual(new Set([machine, worker, label]))
    expect(taken).toHaveLength(3)
    expect(await p.job(label!)).toMatchObject({ target: 'label:gpu' })
  })

  test('priority goes before the target, and place within it', async () => {
    const p = await openProtocol(schema)
    const worker = await p.register()
    const [first] = await p.enqueue(1)
    const [aimed] = await p.enqueue(1, { target: 'machine:machine-1' })
    const [urgent] = await p.enqueue(1, { target: 'machine:machine-1', priority: 1 })
    expect(await claimed(p, worker)).toEqual([urgent, first, aimed])
  })

  test('O3: the target is the stable machine: a worker that starts there later takes it', async () => {
    const p = await openProtocol(schema)
    const gone = await p.register({ machineId: 'm-1' })
    const [job] = await p.enqueue(1, { target: 'machine:m-1' })
    await p.endWorker(gone, 'interrupted')
    await p.sweep()
    expect(await p.job(job!)).toMatchObject({ status: 'pending', aim: { online: false } })
    expect(await claimed(p, await p.register({ machineId: 'm-1' }))).toEqual([job])
  })

  test('what is no target is refused', async () => {
    const p = await openProtocol(schema)
    await expect(p.enqueue(1, { target: 'gpu' })).rejects.toMatchObject({ code: 'ERR_USAGE' })
    await expect(p.enqueue(1, { target: 'label:' })).rejects.toMatchObject({ code: 'ERR_USAGE' })
  })

  describe('ifOffline', () => {
    const offline = async (p: Protocol, options: Record<string, unknown>): Promise<string> => {
      const [job] = await p.enqueue(1, { target: 'machine:m-9', ...options })
      return job!
    }

    test('O3: wait, the default, waits for as long as it takes', async () => {
      const p = await openProtocol(schema)
      const job = await offline(p, {})
      await p.passTime(86_400_000)
      await p.sweep()
      expect(await p.job(job)).toMatchObject({ status: 'pending' })
      expect((await p.sweep()).running, 'and nobody has to look').toBe(false)
    })

    test('O3: wait with a deadline fails once it has passed, even if the target never returns', async () => {
      const p = await openProtocol(schema)
      const job = await offline(p, { waitMs: 60_000 })
      await p.passTime(59_000)
      expect((await p.sweep()).running).toBe(true)
      expect((await p.job(job)).status).toBe('pending')
      await p.passTime(2_000)
      await p.sweep()
      expect(await p.job(job)).toMatchObject({
        status: 'failed',
        endReason: { code: 'target_offline', message: 'its target machine:m-9 is offline' },
      })
      expect((await p.sweep()).running).toBe(false)
    })

    test('O3: fail fails as soon as the target is offline, and not before', async () => {
      const p = await openProtocol(schema)
      const there = await p.register({ machineId: 'm-9', labels: [] })
      const job = await offline(p, { ifOffline: 'fail' })
      await p.sweep()
      expect((await p.job(job)).status).toBe('pending')
      await p.endWorker(there, 'interrupted')
      await p.sweep()
      expect(await p.job(job)).toMatchObject({
        status: 'failed',
        endReason: { code: 'target_offline' },
      })
      const kinds = (await p.job(job)).events.map((event) => event.kind)
      expect(kinds).toEqual(['job.created', 'job.failed'])
    })

    test('O3: any gives the job to everybody once its target is offline', async () => {
      const p = await openProtocol(schema)
      const other = await p.register()
      const job = await offline(p, { ifOffline: 'any' })
      expect(await claimed(p, other)).toEqual([])
      await p.sweep()
      expect(await p.job(job)).toMatchObject({ status: 'pending', target: null })
      expect(await claimed(p, other)).toEqual([job])
      expect((await p.job(job)).events.map((event) => event.kind)).toContain('job.untargeted')
    })

    test('a deadline is for a target that is online but busy, too', async () => {
      const p = await openProtocol(schema)
      const busy = await p.register({ machineId: 'm-9' })
      const other = await p.register()
      const failed = await offline(p, { ifOffline: 'fail', waitMs: 5_000 })
      const anybody = await offline(p, { ifOffline: 'any', waitMs: 5_000 })
      await p.passTime(6_000)
      await p.renew(busy)
      await p.sweep()
      expect(await p.job(failed)).toMatchObject({
        status: 'failed',
        endReason: { code: 'target_deadline' },
      })
      expect(await claimed(p, other)).toEqual([anybody])
    })

    test('O3: what has begun and comes back is still aimed, and its deadline is over', async () => {
      const p = await openProtocol(schema)
      const worker = await p.register({ machineId: 'm-9' })
      const other = await p.register()
      const job = await offline(p, { waitMs: 5_000 })
      expect(await claimed(p, worker)).toEqual([job])
      await p.evict([worker])
      await p.passTime(6_000)
      await p.sweep()
      expect(await p.job(job)).toMatchObject({ status: 'pending', target: 'machine:m-9' })
      expect(await claimed(p, other)).toEqual([])
      expect(await claimed(p, await p.register({ machineId: 'm-9' }))).toEqual([job])
    })

    test('nobody sweeps for what is further away than a minute, or for a target that is online', async () => {
      const p = await openProtocol(schema)
      const running = async (): Promise<boolean> => (await p.sweep()).running
      await offline(p, { waitMs: 3_600_000 })
      await offline(p, { ifOffline: 'fail', delayMs: 3_600_000 })
      expect(await running()).toBe(false)
      const there = await p.register({ machineId: 'm-9' })
      await offline(p, { ifOffline: 'any' })
      expect(await running()).toBe(false)
      await p.endWorker(there, 'interrupted')
      // An idle worker is told so by its next beat, should it not have heard the hint.
      expect((await p.claim(await p.register())).running).toBe(true)
      await p.sweep()
      expect(await running()).toBe(false)
      await p.passTime(3_550_000)
      expect(await running()).toBe(true)
    })

    test('a job that is delayed is not offline before it is due; one that ended is forgotten', async () => {
      const p = await openProtocol(schema)
      const job = await offline(p, { ifOffline: 'fail', delayMs: 60_000 })
      await p.sweep()
      expect((await p.job(job)).status).toBe('pending')
      const other = await offline(p, { ifOffline: 'fail', delayMs: 60_000 })
      await p.cancel([other])
      await p.passTime(61_000)
      await p.sweep()
      expect((await p.job(job)).status).toBe('failed')
      expect(await p.db.rows('select from %s.aim')).toEqual([])
    })

    test('a retry is aimed again, with a deadline of its own', async () => {
      const p = await openProtocol(schema)
      const job = await offline(p, { waitMs: 5_000 })
      await p.passTime(6_000)
      await p.sweep()
      expect((await p.job(job)).status).toBe('failed')
      expect(await p.retry([job])).toEqual(['retried'])
      await p.sweep()
      expect((await p.job(job)).status).toBe('pending')
      await p.passTime(6_000)
      await p.sweep()
      expect((await p.job(job)).status).toBe('failed')
    })

    test('a retry waits for its target from then on, whatever was left of the first wait, and whether or not it had begun', async () => {
      const p = await openProtocol(schema)
      const waits = await offline(p, { waitMs: 60_000 })
      await p.cancel([waits])
      const begun = await offline(p, { waitMs: 5_000 })
      const worker = await p.register({ machineId: 'm-9' })
      expect(await claimed(p, worker)).toEqual([begun])
      await p.evict([worker])
      await p.cancel([begun])
      await p.passTime(58_000)
      expect(await p.retry([waits, begun])).toEqual(['retried', 'retried'])
      const status = async () => (await p.jobs([waits, begun])).map((job) => job.status)
      await p.passTime(4_000)
      await p.sweep()
      expect(await status()).toEqual(['pending', 'pending'])
      await p.passTime(2_000)
      await p.sweep()
      expect(await status()).toEqual(['pending', 'failed'])
      await p.passTime(55_000)
      await p.sweep()
      expect(await status()).toEqual(['failed', 'failed'])
    })

    test('many targets, many jobs: each by its own target, in bounded batches', async () => {
      const p = await openProtocol(schema)
      const there = await p.register({ machineId: 'm-1' })
      for (const machine of ['m-1', 'm-2', 'm-3'])
        await p.enqueue(400, { target: `machine:${machine}`, ifOffline: 'fail' })
      expect((await p.sweep()).more).toBe(true)
      await p.sweep()
      const [left] = await p.db.rows<{ n: number }>('select count(*)::integer as n from %s.job')
      expect(left?.n).toBe(400)
      expect(await claimed(p, there)).toHaveLength(10)
    })
  })

  test('O3: why says at once that the target is offline, and what follows', async () => {
    const p = await openProtocol(schema)
    const [job] = await p.enqueue(1, {
      target: 'label:gpu',
      ifOffline: 'fail',
      waitMs: 60_000,
      delayMs: 0,
    })
    expect(await p.job(job!)).toMatchObject({
      aim: {
        online: false,
        lastSeenAt: null,
        ifOffline: 'fail',
        deadline: expect.any(String) as string,
      },
      workersForType: { online: 0 },
    })
    await p.register({ labels: ['gpu'] })
    expect(await p.job(job!)).toMatchObject({
      aim: { online: true },
      workersForType: { online: 1 },
    })
  })

  test('in a run: an aimed worker takes what is aimed at it, too', async () => {
    const p = await openProtocol(schema)
    const { id } = await p.createRun({ target: 1 })
    const worker = await p.register({ runId: id, labels: ['gpu'] })
    const [job] = await p.enqueue(1, { runId: id, target: 'label:gpu' })
    await p.enqueue(1, { target: 'label:gpu' })
    const answer = await p.claim(worker, { runId: id, targets: targetsOf(worker, 'gpu') })
    expect(answer.jobs.map((one) => one.id)).toEqual([job])
    await p.complete(heldOf(answer))
  })
})
