/** D5, F1, O4: how a worker process ends, in what time, what is left of it, and what the registry shows at that very moment. */
import { describe, expect, test } from 'vitest'
import { builtProgram, exists, type Program, Scenario } from '../support/process.ts'

builtProgram()

/** Of the worker on a machine, and of the machine, as one statement saw them. */
async function statuses(
  s: Scenario,
  machine: string,
): Promise<{ worker: string; machine: string } | undefined> {
  const [seen] = await s.rows<{ worker: string; machine: string }>(
    `select w.status as worker, m.status as machine
     from %s.worker_truth w join %s.machine_truth m on m.id = w.machine_id and m.namespace = w.namespace
     where m.id = $1
     order by w.status = 'offline'`,
    [machine],
  )
  return seen
}

describe.concurrent('the end of a worker process', () => {
  test('D5, F1: an idle one is shown offline within 500 ms of SIGTERM, and its machine with it, in the same instant', async (context) => {
    const s = await Scenario.open(context)
    const shownAfterMs: number[] = []
    // The fastest of some tells what it needs, the others what else this machine was doing.
    while (shownAfterMs.length < 5 && Math.min(...shownAfterMs) > 500) {
      const machine = `machine-${shownAfterMs.length}`
      const worker = await s.worker({ machine })
      const askedMs = performance.now()
      worker.kill('SIGTERM')
      for (;;) {
        const seen = await statuses(s, machine)
        expect(seen?.machine).toBe(seen?.worker === 'offline' ? 'offline' : 'online')
        if (seen?.worker === 'offline') break
      }
      shownAfterMs.push(performance.now() - askedMs)
      expect(await worker.exit()).toMatchObject({ code: 0 })
      expect(await worker.event('worker.stopped')).toMatchObject({
        report: { outcome: 'graceful', signal: 'SIGTERM', exitCode: 0 },
      })
    }
    expect(Math.min(...shownAfterMs)).toBeLessThan(500)
  })

  test('F1: a machine stays online until its last worker is gone, however that goes', async (context) => {
    const s = await Scenario.open(context)
    const workers = [await s.worker(), await s.worker()]
    workers[0]?.kill('SIGTERM')
    expect(await workers[0]?.exit()).toMatchObject({ code: 0 })
    expect((await s.client.machines.list())[0]).toMatchObject({
      status: 'online',
      workersOnline: 1,
    })
    // A neighbour on another machine sees to it that the killed one is found.
    await s.worker({ machine: 'machine-b' })
    await s.enqueue('wait', { gate: s.gate('never').file })
    workers[1]?.kill('SIGKILL')
    await s.until('offline, both in one look', async () => {
      const seen = await statuses(s, 'machine-a')
      expect(seen?.machine).toBe(seen?.worker === 'offline' ? 'offline' : 'online')
      return seen?.worker === 'offline'
    })
  })

  test('F1: a killed worker is offline for client and program alike, within the lease', async (context) => {
    const s = await Scenario.open(context)
    const worker = await s.worker()
    await s.worker({ machine: 'machine-b' })
    await s.enqueueSome(2, 'wait', { gate: s.gate('never').file })
    const { pid } = worker
    const killedMs = Date.now()
    worker.kill('SIGKILL')
    const ended = await s.until('offline for the client', async () =>
      (await s.client.workers.list()).find(
        (found) => found.pid === pid && found.status === 'offline',
      ),
    )
    expect(Date.now() - killedMs).toBeLessThan(30_000)
    const shown = s.run(['workers', 'show', ended.id, '--json'])
    expect(await shown.exit()).toMatchObject({ code: 0 })
    expect(shown.text).toContain('"offline"')
    expect(ended.shutdown.outcome).toBe('crashed')
  })

  test('F1: people who look at the workers without a pause put off no sweep', async (context) => {
    const s = await Scenario.open(context)
    const worker = await s.worker()
    await s.worker({ machine: 'machine-b' })
    // Each look that sees a lost connection asks for a sweep; these come far more often than one begins.
    worker.kill('SIGKILL')
    const look = async (): Promise<void> => {
      const limitMs = performance.now() + 20_000
      for (;;) {
        const seen = (await s.client.workers.list()).find(({ pid }) => pid === worker.pid)
        if (seen?.status === 'offline') return
        if (performance.now() > limitMs) throw new Error(`still shown as ${seen?.status}`)
      }
    }
    await Promise.all([look(), look(), look(), look()])
  })

  test('D5: a third signal ends the process at once', async (context) => {
    const s = await Scenario.open(context)
    await s.enqueue('spin', { ms: 0 })
    const jobId = await s.enqueue('deaf')
    const worker = await s.worker()
    await s.journalLine('line')
    // Together, so that the second has no time to end it in order.
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGQUIT'] as const) worker.kill(signal)
    const end = await worker.exit()
    expect([130, 131, 143]).toContain(end.code)
    await s.worker({ machine: 'machine-b' })
    await s.jobWhen('given back or taken back', jobId, (job) => job.attempt === 2, 60_000)
  })

  test('D5: a session that blocks the main thread is cut after the hard exit, and the jobs of its worker cost nothing', async (context) => {
    const s = await Scenario.open(context)
    const jobId = await s.enqueue('bad.session')
    const held = await s.enqueue('wait', { gate: s.gate('never').file })
    const worker = await s.worker({ args: ['--shutdown-grace', '0s'] })
    await s.jobIs(jobId, 'completed')
    await s.journalLine('start', (line) => line.jobId === held)
    const askedMs = Date.now()
    worker.kill('SIGTERM')
    expect(await worker.exit()).toMatchObject({ signal: 'SIGKILL' })
    // The hard exit is 5 s after a grace of none; the lifeline allows one more.
    expect(Date.now() - askedMs).toBeGreaterThan(5_000)
    expect(Date.now() - askedMs).toBeLessThan(15_000)
    const [ended] = await s.client.workers.list()
    expect(ended).toMatchObject({ status: 'offline', shutdown: { outcome: 'timed_out' } })
    expect(ended?.reason).toContain('its shutdown hung while sessions')
    expect(await s.job(held)).toMatchObject({ status: 'pending', lost: 0, failures: 0 })
  })

  test('D5: a session that never closes does not keep the process from its end', async (context) => {
    const s = await Scenario.open(context)
    const jobId = await s.enqueue('endless.session')
    const worker = await s.worker({ args: ['--shutdown-grace', '1s'] })
    await s.jobIs(jobId, 'completed')
    worker.kill('SIGTERM')
    expect(await worker.exit()).toMatchObject({ code: 0 })
    const stopped = await worker.event('worker.stopped')
    expect(stopped['report']).toMatchObject({
      outcome: 'timed_out',
      sessions: [{ name: 'endless', outcome: 'timed_out' }],
      error: null,
    })
    const journal = s.journal(jobId).map(({ what }) => what)
    expect(journal).toEqual(['start', 'told SIGTERM', 'closing'])
    const stats = await s.client.stats()
    expect(stats.shutdowns).toEqual({ graceful: 0, timedOut: 1, crashed: 0, successRate: 0 })
  })

  for (const [name, signal] of [
    ['Ctrl-C', 'SIGINT'],
    ['closing the terminal', 'SIGHUP'],
  ] as const) {
    test(`O4: ${name} ends a supervisor and its workers in order, and leaves no process`, async (context) => {
      const s = await Scenario.open(context)
      const jobId = await s.enqueue('wait', { gate: s.gate('never').file })
      const supervisor = s.run(supervised(s, '--shutdown-grace', '1s'))
      await s.journalLine('start')
      const pids = await childrenOf(s, supervisor)
      supervisor.kill(signal)
      expect(await supervisor.exit()).toMatchObject({ code: 0 })
      expect(pids.filter((pid) => exists(pid))).toEqual([])
      expect(await s.job(jobId)).toMatchObject({ status: 'pending', interruptions: 1, lost: 0 })
      const workers = await s.client.workers.list()
      expect(workers.map(({ status, shutdown }) => [status, shutdown.outcome])).toEqual([
        ['offline', 'graceful'],
        ['offline', 'graceful'],
      ])
    })
  }

  test('O4: when a package manager kills the supervisor, its workers give their jobs back and go', async (context) => {
    const s = await Scenario.open(context)
    const jobId = await s.enqueue('wait', { gate: s.gate('never').file })
    const supervisor = s.run(supervised(s, '--shutdown-grace', '0s'))
    await s.journalLine('start')
    const pids = await childrenOf(s, supervisor)
    const killedMs = Date.now()
    supervisor.kill('SIGKILL')
    await s.jobWhen('given back', jobId, (job) => job.status === 'pending')
    expect(Date.now() - killedMs).toBeLessThan(10_000)
    await s.until('no process is left', () => pids.every((pid) => !exists(pid)))
    expect(await s.job(jobId)).toMatchObject({ lost: 0, failures: 0 })
  })

  test('the processes of a supervisor that reach a bound are not replaced, and it ends with 0', async (context) => {
    const s = await Scenario.open(context)
    const jobIds = await s.enqueueSome(6, 'plain')
    const later = await s.enqueue('plain', {}, { delayMs: 3_600_000 })
    const supervisor = s.run(supervised(s, '--exit-when-idle'))
    expect(await supervisor.exit()).toMatchObject({ code: 0 })
    for (const jobId of jobIds) expect(await s.job(jobId)).toMatchObject({ status: 'completed' })
    expect(await s.job(later)).toMatchObject({ status: 'pending', attempt: 0 })
    const exits = supervisor.events('child.exited')
    expect(exits.map((line) => [line['exitCode'], line['restartInMs']])).toEqual([
      [0, null],
      [0, null],
    ])
    const { shutdowns } = await s.client.stats()
    expect(shutdowns).toEqual({ graceful: 2, timedOut: 0, crashed: 0, successRate: 1 })
  })

  test.for([
    { args: ['--max-jobs', '2'], bound: 'maxJobs', done: 2 },
    { args: ['--max-loops', '1', '--concurrency', '3'], bound: 'maxLoops', done: 3 },
    { env: { WORKER_MAX_LOOPS: '1' }, args: ['--concurrency', '1'], bound: 'maxLoops', done: 1 },
    { args: ['--exit-when-idle'], bound: 'exitWhenIdle', done: 4 },
    { args: ['--max-lifetime', '3s'], bound: 'maxLifetimeMs', done: 4 },
  ])('$args $env ends with 0 and says why', async ({ args, env, bound, done }, context) => {
    const s = await Scenario.open(context)
    await s.enqueueSome(4, 'plain')
    const worker = await s.worker({ args, ...(env && { env }), unready: true })
    expect(await worker.exit()).toMatchObject({ code: 0 })
    const { reason } = await worker.event('worker.bound_reached')
    expect(worker.events('worker.bound_reached')).toMatchObject([{ bound }])
    expect(await worker.event('worker.stopped')).toMatchObject({
      reason,
      report: { outcome: 'graceful', exitCode: 0 },
    })
    expect(await s.client.workers.list()).toMatchObject([{ status: 'offline', reason }])
    expect((await s.client.stats()).jobs.completed).toBe(done)
  })

  test.for([
    { args: ['--max-jobs', '0'], says: '--max-jobs is a whole number' },
    { args: ['--max-loops', 'many'], says: '--max-loops is a whole number' },
    {
      args: ['--max-lifetime', '0s'],
      says: '--max-lifetime must be a whole number of at least 1 ms, got 0',
    },
    { env: { WORKER_MAX_LOOPS: '-1' }, args: [], says: 'WORKER_MAX_LOOPS is a whole number' },
  ])('$args $env is refused at start', async ({ args, env, says }, context) => {
    const s = await Scenario.open(context)
    const worker = await s.worker({ args, ...(env && { env }), unready: true })
    expect(await worker.exit()).toMatchObject({ code: 2 })
    expect(worker.text).toContain(says)
  })

  function supervised(s: Scenario, ...args: string[]): string[] {
    return ['worker', ...s.handlers(), '--processes', '2', ...args]
  }

  async function childrenOf(s: Scenario, supervisor: Program): Promise<number[]> {
    await s.until('two children', () => supervisor.events('child.ready').length === 2)
    return supervisor.events('child.ready').map((line) => Number(line['pid']))
  }
})
