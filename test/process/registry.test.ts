/** What the registry shows of real workers, and how soon it shows that one is gone. Times have slack for a busy machine with two cores. */
import { describe, expect, test } from 'vitest'
import type { MachineDocument, WorkerDocument } from '../../src/client/documents.ts'
import { type Program, Scenario } from '../support/process.ts'
import { LIMIT_MS } from '../support/until.ts'

interface Seen {
  readonly atMs: number
  readonly workers: readonly WorkerDocument[]
  readonly machines: readonly MachineDocument[]
}

/** Workers and machines in one statement, as one view says both: at no instant do they disagree. */
async function look(scenario: Scenario): Promise<Seen> {
  const [row] = await scenario.rows<{ workers: WorkerDocument[]; machines: MachineDocument[] }>(
    `select %s.list_workers('default') as workers, %s.list_machines('default') as machines`,
  )
  if (row === undefined) throw new Error('no row')
  for (const { id, status } of row.machines) {
    const up = row.workers.some((worker) => worker.machineId === id && worker.status !== 'offline')
    expect({ id, status }).toEqual({ id, status: up ? 'online' : 'offline' })
  }
  return { atMs: performance.now(), ...row }
}

/** Kills the worker and looks until it is offline. Every status on the way, and how long it took. */
async function killed(
  scenario: Scenario,
  program: Program,
): Promise<{ statuses: string[]; tookMs: number; worker: WorkerDocument; seen: Seen }> {
  const { workerId } = await program.event('worker.started')
  const killedMs = performance.now()
  program.kill('SIGKILL')
  const statuses: string[] = []
  const found = await scenario.until('it is offline', async () => {
    const seen = await look(scenario)
    const worker = seen.workers.find(({ id }) => id === workerId)
    if (worker !== undefined && statuses.at(-1) !== worker.status) statuses.push(worker.status)
    return worker?.status === 'offline' ? { worker, seen } : null
  })
  return { statuses, tookMs: found.seen.atMs - killedMs, ...found }
}

describe.concurrent('the registry', () => {
  test('F1: on the same machine a killed worker is offline within a second, idle or not', async (context) => {
    const scenario = await Scenario.open(context)
    await scenario.worker()
    const idle = await scenario.worker()
    const { tookMs, worker } = await killed(scenario, idle)
    expect(tookMs).toBeLessThan(2_000)
    expect(worker).toMatchObject({
      reason: 'its process no longer exists',
      endReason: { code: 'worker_lost', layer: 2 },
    })
    expect(worker.lastSeenAgoMs).not.toBeNull()
  })

  test('F1: on another machine it is late at once and offline within three seconds, and its machine with it, though nothing runs', async (context) => {
    const scenario = await Scenario.open(context)
    await scenario.worker()
    const idle = await scenario.worker({ machine: 'machine-b' })
    const { tookMs, statuses, worker, seen } = await killed(scenario, idle)
    expect(tookMs).toBeLessThan(5_000)
    expect(statuses.filter((status) => status !== 'online')).toEqual(['late', 'offline'])
    expect(worker).toMatchObject({ endReason: { layer: 3 } })
    expect(seen.machines.find(({ id }) => id === 'machine-b')).toMatchObject({ status: 'offline' })
    expect(seen.machines.find(({ id }) => id === 'machine-a')).toMatchObject({ status: 'online' })
  })

  test('F1: alone, with nobody who could notice, it is late at once and offline with its lease', async (context) => {
    const scenario = await Scenario.open(context)
    const alone = await scenario.worker({ env: { LEASE_DURATION: '6' } })
    const { tookMs, statuses } = await killed(scenario, alone)
    expect(tookMs).toBeLessThan(6_000 + 2_000 + 2_000)
    expect(statuses.filter((status) => status !== 'online')).toEqual(['late', 'offline'])
  })

  test('F1: alone and busy, its job is lost in the instant in which it is offline', async (context) => {
    const scenario = await Scenario.open(context)
    const alone = await scenario.worker({ env: { LEASE_DURATION: '6' } })
    const jobId = await scenario.enqueue('sleep', { ms: 600_000 })
    await scenario.journalLine('start')
    const { tookMs } = await killed(scenario, alone)
    expect(tookMs).toBeLessThan(6_000 + 2_000 + 2_000)
    expect((await scenario.job(jobId)).state).toBe('lost')
  })

  test('F2: a worker whose main thread is busy all along is never anything but online', async (context) => {
    const scenario = await Scenario.open(context)
    await scenario.worker({ env: { LEASE_DURATION: '6' } })
    const jobId = await scenario.enqueue('spin', { ms: 8_000 })
    await scenario.journalLine('start')
    const statuses = new Set<string>()
    await scenario.until('it is done', async () => {
      for (const { status } of (await look(scenario)).workers) statuses.add(status)
      return (await scenario.job(jobId)).status === 'completed'
    })
    expect([...statuses]).toEqual(['online'])
    const [worker] = (await look(scenario)).workers
    expect(worker?.memoryBytes).toBeGreaterThan(10_000_000)
    // One machine, one clock; the way to the database and a main thread that is busy take their time.
    expect(Math.abs(worker?.clockAheadMs ?? Infinity)).toBeLessThan(1_000)
  })

  test('a command line is shown without its secrets, and what kind of worker it is', async (context) => {
    const scenario = await Scenario.open(context)
    const url = new URL(scenario.databaseUrl)
    const worker = await scenario.worker({
      args: ['--database', scenario.databaseUrl],
      env: { DATABASE_URL: '' },
    })
    const { workerId } = await worker.event('worker.started')
    const document = await scenario.client.workers.get(String(workerId))
    expect(document.type).toBe('worker')
    expect(document.command).toMatch(/ worker .*handlers-.*\.mjs --database …$/)
    expect(url.password).not.toBe('')
    expect(JSON.stringify(document)).not.toContain(url.password)
    const rows = await scenario.rows(`select d::text from %s.worker_detail d`)
    expect(JSON.stringify(rows)).not.toContain(url.password)
  })

  test('K1: a drained machine stays drained for the workers that its supervisor starts anew', async (context) => {
    const scenario = await Scenario.open(context)
    const supervisor = await scenario.worker({ args: ['--processes', '1'] })
    const gate = scenario.gate('gate')
    const running = await scenario.enqueue('wait', { gate: gate.file })
    await scenario.journalLine('start')
    const drained = scenario.run(['workers', 'drain', '--machine', 'machine-a', '--wait'])
    await scenario.until('it is drained', async () => {
      const [machine] = await scenario.client.machines.list()
      return machine?.drainRequestedAt !== null
    })
    expect(drained.ended).toBe(false)
    gate.open()
    expect(await drained.exit()).toMatchObject({ code: 0 })
    expect((await scenario.job(running)).status).toBe('completed')
    const [first] = await scenario.client.workers.list()
    expect(first).toMatchObject({ type: 'supervised', status: 'draining' })
    process.kill(first?.pid ?? 0, 'SIGKILL')
    const waiting = await scenario.enqueue('sleep', { ms: 1 })
    const next = await scenario.until('a new one', async () => {
      const workers = await scenario.client.workers.list()
      return workers.find(({ id, stoppedAt }) => id !== first?.id && stoppedAt === null)
    })
    expect(next).toMatchObject({
      status: 'draining',
      reason: 'its machine was drained by an operator',
    })
    expect((await scenario.job(waiting)).state).toBe('pending')
    const resumed = scenario.run(['workers', 'resume', '--machine', 'machine-a'])
    expect(await resumed.exit()).toMatchObject({ code: 0 })
    await scenario.jobIs(waiting, 'completed', LIMIT_MS)
    const { versions } = await scenario.client.machines.get('machine-a')
    expect(versions).toMatchObject([{ starts: 2, restarts: 1, crashes: 1, lostJobs: 0 }])
    supervisor.kill('SIGTERM')
    await supervisor.exit()
  })
})
