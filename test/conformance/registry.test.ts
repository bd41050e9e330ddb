/** The registry: what is shown of workers and machines, draining a machine, and how its workers fared. */
import { randomUUID } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import type { MachineDetailDocument, WorkerDocument } from '../../src/client/documents.ts'
import { LEASE_MS, type WorkerRow } from '../support/functions.ts'
import {
  checkInvariantsAfterEach,
  listen,
  openProtocol,
  type Protocol,
  SCHEMAS,
} from '../support/protocol.ts'

checkInvariantsAfterEach()

async function machine(p: Protocol, id = 'machine-1'): Promise<MachineDetailDocument> {
  const [found] = await p.run<MachineDetailDocument[]>('find_machines', p.namespace, id)
  if (found === undefined) throw new Error(`no machine ${id}`)
  return found
}

async function shown(p: Protocol, { incarnation }: WorkerRow): Promise<WorkerDocument> {
  const [found] = await p.run<WorkerDocument[]>('find_workers', p.namespace, incarnation)
  if (found === undefined) throw new Error(`no worker ${incarnation}`)
  return found
}

const drainMachine = (p: Protocol, id: string, drain: boolean): Promise<string> =>
  p.run('drain_machine', p.namespace, id, drain)

describe.each(SCHEMAS)('registry (%s schema)', (schema) => {
  test('what a worker says of itself is shown, and its renewal brings it up to date in the same write', async () => {
    const p = await openProtocol(schema)
    const incarnation = randomUUID()
    const { id } = await p.run<{ id: string }>('register', p.namespace, {
      incarnation,
      machineId: 'render-a',
      hostname: 'render',
      pid: 4131,
      bootId: 'boot',
      pidNamespace: 'pids',
      processStarted: '99',
      processAgeMs: 60_000,
      parentPid: 1,
      kind: 'supervised',
      version: '1.2.3',
      command: 'worker handlers.ts',
      concurrency: 4,
      queues: ['video'],
      types: ['render'],
      labels: ['gpu'],
      memoryBytes: 100,
      clockAheadMs: -7,
      listens: true,
      leaseMs: LEASE_MS,
      renewMs: 10_000,
      idleBeatMs: 30_000,
      direct: false,
    })
    const find = async (): Promise<WorkerDocument> =>
      (await p.run<WorkerDocument[]>('find_workers', p.namespace, id))[0] as WorkerDocument
    const at = await find()
    expect(at).toMatchObject({
      id,
      incarnation,
      machineId: 'render-a',
      hostname: 'render',
      pid: 4131,
      bootId: 'boot',
      parentPid: 1,
      type: 'supervised',
      version: '1.2.3',
      command: 'worker handlers.ts',
      concurrency: 4,
      queues: ['video'],
      types: ['render'],
      labels: ['gpu'],
      memoryBytes: 100,
      clockAheadMs: -7,
      spoolAgeMs: 0,
      endReason: null,
      status: 'online',
    })
    expect(Date.parse(at.startedAt) - Date.parse(at.processStartedAt ?? '')).toBe(60_000)
    await p.run('renew', incarnation, 1, null, false, 12, 3, false, null, 5_000, 2_000_000_000, 40)
    expect(await find()).toMatchObject({
      eventLoopLagMs: 12,
      spoolDepth: 3,
      spoolAgeMs: 5_000,
      memoryBytes: 2_000_000_000,
      clockAheadMs: 40,
    })
    // A worker that does not say keeps what it said last.
    await p.run('renew', incarnation, 2)
    expect(await find()).toMatchObject({ memoryBytes: 2_000_000_000, clockAheadMs: 40 })
  })

  test('J1: a renewal moves no index, whatever it brings', async () => {
    const p = await openProtocol(schema)
    const worker = await p.register()
    const session = await p.session()
    await session.begin()
    for (let n = 1; n <= 5; n += 1)
      await session.run('renew', worker.incarnation, n, null, false, n, n, false, null, n, n, n)
    const [counts] = await session.query<{ all: number; hot: number }>(
      `select pg_stat_get_xact_tuples_updated(c)::integer as all, pg_stat_get_xact_tuples_hot_updated(c)::integer as hot
       from (select '%s.worker'::regclass::oid as c) as x`,
    )
    await session.commit()
    expect(counts).toEqual({ all: 5, hot: 5 })
  })

  test('F1: a worker without its connection is late at once, and offline when it was silent for a lease, however long its idle lease is', async () => {
    const p = await openProtocol(schema)
    const own = await p.session()
    const worker = await own.register({ direct: true })
    expect((await shown(p, worker)).status).toBe('online')
    await own.end()
    await p.gone(own.pid)
    expect(await shown(p, worker)).toMatchObject({
      status: 'late',
      reason: 'its connection to the database is gone',
    })
    expect((await machine(p)).status).toBe('online')
    await p.passTime(LEASE_MS + 1)
    // Its idle lease of three beats has not lapsed.
    expect(await shown(p, worker)).toMatchObject({
      status: 'offline',
      reason: 'its connection to the database is gone, and it was silent for a lease',
    })
    // In the same instant, as one view says both.
    expect((await machine(p)).status).toBe('offline')
    expect((await p.renew(worker, { idle: true })).outcome).toBe('renewed')
    expect((await shown(p, worker)).status).toBe('online')
  })

  test('F1: whoever looks at a worker that is not connected wakes a sweep, though nothing runs', async () => {
    const p = await openProtocol(schema)
    const own = await p.session()
    await own.register({ direct: true })
    const other = await p.register({ machineId: 'machine-2' })
    const heard = await listen(p)
    await p.workers()
    expect(heard.payloads).toEqual([])
    await own.end()
    await p.gone(own.pid)
    await p.workers()
    await heard.first
    expect(heard.payloads).toEqual(['watch'])
    const first = await p.sweep({ worker: other })
    // It goes on until it is known whether the connection comes back.
    expect(first).toMatchObject({ role: 'leader', running: true, ended: [] })
    await p.passTime(2_001)
    await p.renew(other)
    expect((await p.sweep({ worker: other })).ended).toHaveLength(1)
  })

  test('F5: an ended worker says why, who noticed and how late', async () => {
    const p = await openProtocol(schema)
    const worker = await p.register()
    await p.reportDeath({}, 1, [worker], { signal: 'SIGKILL', message: 'its process was killed' })
    const document = await shown(p, worker)
    expect(document).toMatchObject({
      status: 'offline',
      reason: 'its process was killed',
      endReason: { code: 'worker_lost', layer: 1, noticedBy: 'witness', signal: 'SIGKILL' },
    })
    expect(document.endReason?.detectedAfterMs).toBeGreaterThanOrEqual(0)
    expect(document.stoppedAt).not.toBeNull()
  })

  test('K1: a drained machine takes nothing, nor do workers that start there later, until it is resumed', async () => {
    const p = await openProtocol(schema)
    const here = await p.register()
    const elsewhere = await p.register({ machineId: 'machine-2' })
    await p.enqueue(4)
    expect(await drainMachine(p, 'machine-1', true)).toBe('draining')
    const later = await p.register()
    for (const worker of [here, later]) {
      expect((await p.claim(worker)).jobs).toEqual([])
      expect(await shown(p, worker)).toMatchObject({
        status: 'draining',
        reason: 'its machine was drained by an operator',
      })
    }
    expect((await machine(p)).drainRequestedAt).not.toBeNull()
    expect((await p.claim(elsewhere, { want: 1 })).jobs).toHaveLength(1)
    // One worker of it may be let go alone; the machine stays drained.
    expect(await p.drain([later], false)).toEqual(['online'])
    expect((await p.claim(later, { want: 1 })).jobs).toHaveLength(1)
    expect((await p.claim(here)).jobs).toEqual([])
    expect(await drainMachine(p, 'machine-1', false)).toBe('online')
    expect((await p.claim(here, { want: 1 })).jobs).toHaveLength(1)
    expect((await machine(p)).drainRequestedAt).toBeNull()
    expect((await p.claim(await p.register(), { want: 1 })).jobs).toHaveLength(1)
  })

  test('K1: a worker that registers while its machine is being drained is drained too', async () => {
    const p = await openProtocol(schema)
    await p.register()
    const starting = await p.session()
    await starting.begin()
    const worker = await starting.register()
    const operator = await p.session()
    const drained = operator.run('drain_machine', p.namespace, 'machine-1', true)
    await p.waitsForLock(operator)
    await starting.commit()
    expect(await drained).toBe('draining')
    expect((await shown(p, worker)).status).toBe('draining')
  })

  test('K1: a machine without workers keeps the mark, and an unknown one is not found', async () => {
    const p = await openProtocol(schema)
    await p.endWorker(await p.register(), 'interrupted')
    expect(await drainMachine(p, 'machine-1', true)).toBe('offline')
    expect((await shown(p, await p.register())).status).toBe('draining')
    expect(await drainMachine(p, 'nowhere', true)).toBe('not_found')
  })

  test('crashes: restarts, lost jobs and the mean time between crashes, by version', async () => {
    const p = await openProtocol(schema)
    await p.db.rows(`update %s.tick set writable_since = '-infinity'`)
    const versioned = async (version: string): Promise<WorkerRow> => {
      const worker = await p.register()
      await p.db.rows('update %s.worker_detail set version = $1 where incarnation = $2', [
        version,
        worker.incarnation,
      ])
      return worker
    }
    // Two crash after a minute each, the third lives; the older version stopped as it was told.
    const old = await versioned('1.0.0')
    await p.passTime(10_000)
    await p.endWorker(old, 'interrupted')
    for (const queue of ['a', 'b']) {
      const worker = await versioned('1.1.0')
      await p.running(2, { queue }, worker)
      await p.passTime(20_000)
      await p.renew(worker)
      await p.passTime(10_000)
      await p.reportDeath({}, 1, [worker], { message: 'its process was killed by SIGSEGV' })
    }
    const blamed = await versioned('1.1.0')
    await p.passTime(30_000)
    await p.endWorker(blamed, 'released', { code: 'uncaught_error', message: 'uncaught error: x' })
    const fine = await versioned('1.1.0')
    await p.passTime(10_000)
    await p.renew(fine)
    const { versions } = await machine(p)
    expect(versions).toMatchObject([
      {
        version: '1.1.0',
        starts: 4,
        restarts: 3,
        crashes: 3,
        lostJobs: 4,
        lastCrashReason: 'uncaught error: x',
      },
      { version: '1.0.0', starts: 1, restarts: 0, crashes: 0, lostJobs: 0 },
    ])
    expect(versions[1]?.meanTimeBetweenCrashesMs).toBeNull()
    // A hundred seconds up, three crashes; the calls themselves take some time.
    expect(versions[0]?.meanTimeBetweenCrashesMs).toBeGreaterThanOrEqual(33_000)
    expect(versions[0]?.meanTimeBetweenCrashesMs).toBeLessThan(36_000)
  })

  test('crashes: one that was heard again, and one that was killed while it shut down, did not crash', async () => {
    const p = await openProtocol(schema)
    const slept = await p.register()
    await p.reportDeath({}, 1, [slept])
    expect((await p.renewAnswer(slept)).outcome).toBe('lease_lost')
    const killed = await p.register()
    await p.renew(killed, { draining: true })
    await p.reportDeath({}, 1, [killed])
    expect((await machine(p)).versions).toMatchObject([{ starts: 2, crashes: 0, restarts: 0 }])
  })
})
