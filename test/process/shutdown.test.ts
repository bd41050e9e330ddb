/** How processes end: told to, by an error of a handler, or killed under a supervisor; and what that costs their jobs. */
import { describe, expect, test } from 'vitest'
import { testDatabaseUrl } from '../support/database.ts'
import { builtProgram, exists, Program, Scenario } from '../support/process.ts'
import { silenceBefore } from '../support/protocol.ts'
import { Proxy } from './proxy.ts'

builtProgram()

const SHORT = { LEASE_DURATION: '6' }

/** Of two workers the one that stopped says so itself, and nobody else found it gone. */
async function expectGracefulEnd(s: Scenario, pid: number, otherPid: number): Promise<void> {
  const workers = await s.client.workers.list({ endedWithinMs: 60_000 })
  expect(workers.find((worker) => worker.pid === pid)).toMatchObject({
    status: 'offline',
    endReason: { layer: 0, code: 'shutdown' },
    shutdown: { outcome: 'graceful', signal: 'SIGTERM' },
  })
  expect(new Set(workers.map((worker) => worker.pid))).toEqual(new Set([pid, otherPid]))
  expect(await s.client.alerts.list()).toEqual([])
}

describe.concurrent('a worker that is told to stop', () => {
  test('D1, order 11: gives a deaf handler’s job away only when its process is gone', async (context) => {
    const s = await Scenario.open(context)
    const jobId = await s.enqueue('deaf')
    const first = await s.worker({ args: ['--shutdown-grace', '1s'] })
    await s.journalLine('line')
    const second = await s.worker({ machine: 'machine-b' })
    const askedMs = Date.now()
    first.kill('SIGTERM')
    await second.event('job.picked_up')
    expect(Date.now() - askedMs).toBeLessThan(10_000)
    await expectNoLineBeside(s, first, second)
    expect(await first.exit()).toMatchObject({ code: 0 })
    expect(await s.job(jobId)).toMatchObject({ attempt: 2, failures: 0, lost: 0, interruptions: 1 })
  })

  test('D1, order 11: a second signal gives everything back at once', async (context) => {
    const s = await Scenario.open(context)
    const jobId = await s.enqueue('deaf')
    const first = await s.worker()
    await s.journalLine('line')
    const second = await s.worker({ machine: 'machine-b' })
    const askedMs = Date.now()
    first.kill('SIGTERM')
    await first.event('worker.draining')
    first.kill('SIGTERM')
    const end = await first.exit()
    expect(end.atMs - askedMs).toBeLessThan(5_000)
    expect(end.code).toBe(143)
    await second.event('job.picked_up')
    await expectNoLineBeside(s, first, second)
    expect(await s.job(jobId)).toMatchObject({ attempt: 2, failures: 0, lost: 0, interruptions: 1 })
  })

  test.for(['SIGTERM', 'SIGINT', 'SIGQUIT', 'SIGHUP'] as const)(
    'D1: the first %s is a graceful stop: the job is interrupted, nothing is charged, exit code 0',
    async (signal, context) => {
      const s = await Scenario.open(context)
      const jobId = await s.enqueue('wait', { gate: s.gate('never').file })
      const worker = await s.worker({ args: ['--shutdown-grace', '200ms'] })
      await s.journalLine('start')
      worker.kill(signal)
      expect(await worker.exit()).toMatchObject({ code: 0, signal: null })
      expect(s.journal(jobId).map(({ what }) => what)).toEqual(['start', 'aborted shutdown'])
      const job = await s.job(jobId)
      expect(job).toMatchObject({ status: 'pending', interruptions: 1, failures: 0, lost: 0 })
      expect(job.attempts).toMatchObject([{ endedAs: 'interrupted' }])
    },
  )

  test('D1: a stop just after the reserved connection was cut is as graceful as any other', async (context) => {
    const s = await Scenario.open(context)
    const worker = await s.worker()
    const other = await s.worker()
    await s.rows(
      `select pg_terminate_backend(w.backend_pid) from %s.worker w
       join %s.worker_detail d using (incarnation) where d.pid = $1`,
      [worker.pid],
    )
    worker.kill('SIGTERM')
    expect(await worker.exit()).toMatchObject({ code: 0 })
    await expectGracefulEnd(s, worker.pid, other.pid)
  })

  test('D1: a stop while a registration is not answered ends what that has made', async (context) => {
    const s = await Scenario.open(context)
    await using proxy = await Proxy.open(testDatabaseUrl())
    const answered = proxy.holdAnswer('leasehold lifeline', 'register(')
    const start = { args: ['--shutdown-grace', '3s'], unready: true }
    const worker = await s.worker({ ...start, databaseUrl: proxy.url })
    await answered
    worker.kill('SIGTERM')
    expect(await worker.exit()).toMatchObject({ code: 0 })
    const other = await s.worker()
    await expectGracefulEnd(s, worker.pid, other.pid)
  })

  test('a registration whose answer was lost is tried again as the same worker', async (context) => {
    const s = await Scenario.open(context)
    await using proxy = await Proxy.open(testDatabaseUrl())
    const answered = proxy.holdAnswer('leasehold lifeline', 'register(')
    const worker = await s.worker({ databaseUrl: proxy.url, unready: true })
    await answered
    await proxy.heal()
    await worker.event('worker.started')
    await s.jobIs(await s.enqueue('plain'), 'completed')
    expect(await s.client.workers.list({ endedWithinMs: 60_000 })).toMatchObject([
      { pid: worker.pid, status: 'online' },
    ])
  })

  test('O4: Ctrl-C twice leaves nothing stuck', async (context) => {
    const s = await Scenario.open(context)
    const jobId = await s.enqueue('wait', { gate: s.gate('never').file })
    const worker = await s.worker()
    await s.journalLine('start')
    worker.kill('SIGINT')
    await worker.event('worker.draining')
    worker.kill('SIGINT')
    expect(await worker.exit()).toMatchObject({ code: 130 })
    expect(await s.job(jobId)).toMatchObject({
      status: 'pending',
      interruptions: 1,
      lost: 0,
      failures: 0,
    })
  })

  async function expectNoLineBeside(s: Scenario, first: Program, second: Program): Promise<void> {
    await s.until('twenty lines of the successor', () => linesOf(s, second).length > 20)
    const [begun] = linesOf(s, second)
    expect(linesOf(s, first).filter((at) => at > (begun ?? 0))).toEqual([])
  }

  /** Positions in the journal: the order in which lines were written, whatever any clock says. */
  function linesOf(s: Scenario, program: Program): number[] {
    return s.journal().flatMap((line, index) => (line.pid === program.pid ? [index] : []))
  }

  test('D2: twenty restarts cost a job nothing but interruptions', async (context) => {
    const s = await Scenario.open(context)
    const gate = s.gate('go')
    const jobId = await s.enqueue('wait', { gate: gate.file })
    let next = await s.worker({ args: ['--shutdown-grace', '0s'] })
    for (let restart = 1; restart <= 20; restart += 1) {
      const before = next
      await before.event('job.picked_up')
      next = await s.worker({ args: ['--shutdown-grace', '0s'], unready: restart < 20 })
      if (restart < 20) await next.event('worker.started')
      before.kill('SIGTERM')
      expect(await before.exit()).toMatchObject({ code: 0 })
    }
    await next.event('job.picked_up')
    expect(await s.job(jobId)).toMatchObject({
      state: 'running',
      attempt: 21,
      failures: 0,
      lost: 0,
      interruptions: 20,
    })
    gate.open()
    await s.jobIs(jobId, 'completed')
  })

  test('D4: drains for longer than two leases, shown as draining, and loses nothing', async (context) => {
    const s = await Scenario.open(context)
    const worker = await s.worker({ args: ['--shutdown-grace', '60s'], env: SHORT })
    await s.worker({ machine: 'machine-b', env: SHORT, args: ['--queue', 'other'] })
    const jobId = await s.enqueue('sleep', { ms: 15_000 })
    await s.journalLine('start')
    worker.kill('SIGTERM')
    const later = await s.until('draining', async () => {
      const listed = await s.client.workers.list()
      return listed.find(({ pid, status }) => pid === worker.pid && status === 'draining')
    })
    const statuses = new Set<string>()
    const child = await s.enqueue('plain')
    const job = await s.until('its end', async () => {
      const now = await s.client.workers.get(later.id)
      const found = await s.job(jobId)
      if (found.status === 'running') statuses.add(now.status)
      return found.status === 'completed' ? found : null
    })
    expect([...statuses]).toEqual(['draining'])
    expect(job).toMatchObject({ attempt: 1, lost: 0, interruptions: 0 })
    expect(await worker.exit()).toMatchObject({ code: 0 })
    expect(worker.events('lease.lost')).toEqual([])
    expect(await s.job(child)).toMatchObject({ status: 'pending', attempt: 0 })
  })

  test('D8: an operator drains a worker and undoes it', async (context) => {
    const s = await Scenario.open(context)
    const worker = await s.worker({ env: SHORT })
    const id = String((await worker.event('worker.started'))['workerId'])
    expect(await s.run(['workers', 'drain', id]).exit()).toMatchObject({ code: 0 })
    const jobId = await s.enqueue('plain')
    await s.until('draining', async () => (await s.client.workers.get(id)).status === 'draining')
    expect(await s.job(jobId)).toMatchObject({ status: 'pending', attempt: 0 })
    expect(await s.run(['workers', 'resume', id]).exit()).toMatchObject({ code: 0 })
    await s.jobIs(jobId, 'completed', 60_000)
  })

  test('D5: a handler stores a child while its worker drains', async (context) => {
    const s = await Scenario.open(context)
    const gate = s.gate('go')
    const jobId = await s.enqueue('parent', { gate: gate.file })
    const worker = await s.worker()
    await s.journalLine('start')
    worker.kill('SIGTERM')
    await worker.event('worker.draining')
    gate.open()
    expect(await worker.exit()).toMatchObject({ code: 0 })
    const job = await s.jobIs(jobId, 'completed')
    expect(await s.job((job.result as { child: string }).child)).toMatchObject({
      status: 'pending',
    })
  })
})

describe.concurrent('a handler that takes its process down', () => {
  for (const as of ['error', 'rejection'] as const) {
    test(`E3: an uncaught ${as} fails its own job, and its neighbours go back uncharged`, async (context) => {
      const s = await Scenario.open(context)
      const neighbours = await s.enqueueSome(3, 'wait', { gate: s.gate('never').file })
      const worker = await s.worker()
      for (const jobId of neighbours) await s.journalLine('start', (line) => line.jobId === jobId)
      const guilty = await s.enqueue('stray', { as }, { maxAttempts: 10 })
      expect(await worker.exit()).toMatchObject({ code: 1 })
      expect(await s.job(guilty)).toMatchObject({ failures: 1, lost: 0, interruptions: 0 })
      for (const jobId of neighbours) {
        expect(await s.job(jobId)).toMatchObject({
          status: 'pending',
          failures: 0,
          lost: 0,
          interruptions: 0,
        })
      }
    })
  }

  test('E3: an uncaught error of nobody’s is a lost worker for every job that it ran', async (context) => {
    const s = await Scenario.open(context)
    const worker = await s.worker()
    const jobIds = await s.enqueueSome(2, 'wait', { gate: s.gate('never').file })
    for (const jobId of jobIds) await s.journalLine('start', (line) => line.jobId === jobId)
    jobIds.push(await s.enqueue('stray', { as: 'nobody' }))
    expect(await worker.exit()).toMatchObject({ code: 1 })
    for (const jobId of jobIds)
      expect(await s.job(jobId)).toMatchObject({
        status: 'pending',
        failures: 0,
        lost: 1,
        interruptions: 0,
      })
  })

  test('E3, order 7: ten errors outside any promise use up a budget of ten, exactly', async (context) => {
    const s = await Scenario.open(context)
    const jobId = await s.client.enqueueRaw('stray', { as: 'error' }, { maxAttempts: 10 })
    let failures = 0
    while ((await s.job(jobId)).status !== 'failed') {
      const worker = await s.worker({ unready: true })
      expect(await worker.exit()).toMatchObject({ code: 1 })
      failures += 1
      expect(await s.job(jobId)).toMatchObject({ failures, attempt: failures, lost: 0 })
    }
    expect(failures).toBe(10)
    expect(await s.job(jobId)).toMatchObject({ error: { message: 'thrown in a timer' } })
  })

  test('D3, order 13: one poison job among nine innocents ends alone, after exactly three losses', async (context) => {
    const s = await Scenario.open(context)
    const innocents = await s.enqueueSome(9, 'sleep', { ms: 300 })
    const guilty = await s.enqueue('poison')
    const supervisor = s.run(['worker', ...s.handlers(), '--processes', '1'])
    const job = await s.jobIs(guilty, 'failed', 60_000)
    expect(job).toMatchObject({ lost: 3, failures: 0, attempt: 3, endReason: { code: 'poison' } })
    expect(await supervisor.event('job.poisoned')).toMatchObject({ jobId: guilty, level: 50 })
    for (const jobId of innocents)
      expect(await s.jobIs(jobId, 'completed', 60_000)).toMatchObject({ failures: 0 })
    supervisor.kill('SIGTERM')
    expect(await supervisor.exit()).toMatchObject({ code: 0 })
  })
})

describe.concurrent('a supervisor', () => {
  test('layer 1: a child that is killed is replaced after a pause, and its job goes on', async (context) => {
    const s = await Scenario.open(context)
    const gate = s.gate('go')
    const jobId = await s.enqueue('wait', { gate: gate.file })
    const supervisor = s.run(['worker', ...s.handlers(), '--processes', '1'])
    const { pid } = await s.journalLine('start')
    process.kill(pid, 'SIGKILL')
    const exited = await supervisor.event('child.exited')
    expect(exited).toMatchObject({ pid, signal: 'SIGKILL', clean: false, restartInMs: 500 })
    const second = await s.journalLine('start', (line) => line.attempt === 2)
    const lost = (await s.job(jobId)).attempts![0]!
    expect(lost).toMatchObject({ endedAs: 'lost', endReason: { layer: 1, signal: 'SIGKILL' } })
    // It was alive until it exited.
    expect(silenceBefore(lost)).toBeLessThan(
      Date.parse(lost.endedAt!) - Date.parse(lost.startedAt!),
    )
    process.kill(second.pid, 'SIGKILL')
    expect(
      await supervisor.event('child.exited', (line) => line['pid'] === second.pid),
    ).toMatchObject({ restartInMs: 1_000 })
    await s.journalLine('start', (line) => line.attempt === 3)
    gate.open()
    await s.jobIs(jobId, 'completed')
    supervisor.kill('SIGTERM')
    expect(await supervisor.exit()).toMatchObject({ code: 0 })
    expect(await s.client.workers.list({ endedWithinMs: 0 })).toEqual([])
  })

  test('I3: the children of a killed supervisor end by themselves', async (context) => {
    const s = await Scenario.open(context)
    const jobId = await s.enqueue('wait', { gate: s.gate('never').file })
    const supervisor = s.run([
      'worker',
      ...s.handlers(),
      '--processes',
      '2',
      '--shutdown-grace',
      '0s',
    ])
    await s.journalLine('start')
    await s.until('two children', () => supervisor.events('child.ready').length === 2)
    const pids = supervisor.events('child.ready').map((line) => Number(line['pid']))
    supervisor.kill('SIGKILL')
    await s.until('no child is left', () => pids.every((pid) => !exists(pid)))
    expect(await s.job(jobId)).toMatchObject({ status: 'pending', lost: 0, failures: 0 })
  })
})

describe.concurrent('settings', () => {
  test.for([
    { env: { HEARTBEAT_INTERVAL: '11' }, says: 'at most a third of the lease' },
    { env: { LEASE_DURATION: '3' }, says: 'must be at least 6 s' },
    { env: { LEASE_DURATION: 'soon' }, says: 'is a number of seconds' },
    { args: ['--concurrency', '0'], says: '--concurrency' },
  ])('K4: $env $args is refused at start', async ({ env, args, says }, context) => {
    const s = await Scenario.open(context)
    const worker = await s.worker({ unready: true, ...(env && { env }), ...(args && { args }) })
    expect(await worker.exit()).toMatchObject({ code: 2 })
    expect(worker.text).toContain(says)
    expect(await s.client.workers.list()).toEqual([])
  })
})
