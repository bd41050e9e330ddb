/** K3, A9: what the health endpoints of a worker process say, and that they say it to the end, whatever the main thread does. */
import { createServer } from 'node:net'
import { describe, expect, test } from 'vitest'
import { HOOK_PHASES, SHUTDOWN_PHASES } from '../../src/worker/shutdown-report.ts'
import { testDatabaseUrl } from '../support/database.ts'
import { builtProgram, type Program, Scenario } from '../support/process.ts'
import { Proxy } from './proxy.ts'

builtProgram()

const HEALTH = ['--health-port', '0'] as const

interface Answer {
  readonly status: number
  readonly text: string
  readonly reasons: readonly string[]
}

async function baseOf(worker: Program): Promise<string> {
  const { host, port } = await worker.event('health.listening')
  return `http://${String(host)}:${String(port)}`
}

/** Null when nobody answers any more. */
async function ask(base: string, path: string): Promise<Answer | null> {
  try {
    const response = await fetch(`${base}${path}`, { signal: AbortSignal.timeout(5_000) })
    const text = await response.text()
    const { reasons = [] } = (text.startsWith('{') ? JSON.parse(text) : {}) as {
      reasons?: string[]
    }
    return { status: response.status, text, reasons }
  } catch {
    return null
  }
}

async function metric(base: string, name: string): Promise<number | undefined> {
  const line = (await ask(base, '/metrics'))?.text
    .split('\n')
    .find((text) => text.startsWith(`leasehold_worker_${name} `))
  return line === undefined ? undefined : Number(line.split(' ').at(-1))
}

describe.concurrent('health', () => {
  test('K3: idle or busy, a worker is live and ready, and its numbers are those of its jobs', async (context) => {
    const s = await Scenario.open(context)
    const worker = await s.worker({ args: [...HEALTH, '--concurrency', '3'] })
    const base = await baseOf(worker)
    expect(base).toContain('http://127.0.0.1:')
    await s.until('ready', async () => (await ask(base, '/readyz'))?.status === 200)
    expect(await ask(base, '/livez')).toMatchObject({ status: 200, reasons: [] })
    for (const jobId of await s.enqueueSome(4, 'plain')) await s.jobIs(jobId, 'completed')
    const gate = s.gate('go')
    await s.enqueue('wait', { gate: gate.file })
    await s.until('one runs', async () => (await metric(base, 'running')) === 1)
    await s.until(
      'all are counted',
      async () => (await metric(base, 'settled_total{outcome="completed"}')) === 4,
    )
    expect(await metric(base, 'capacity')).toBe(3)
    expect(await metric(base, 'claimed_total')).toBe(5)
    expect(await metric(base, 'claims_total')).toBeGreaterThan(1)
    expect(await metric(base, 'spool_depth')).toBe(0)
    expect(await metric(base, 'live')).toBe(1)
    expect(await metric(base, 'renewal_age_seconds')).toBeLessThan(31)
    expect(await ask(base, '/livez')).toMatchObject({ status: 200 })
    expect(await ask(base, '/nothing')).toMatchObject({ status: 404 })
    const post = await fetch(`${base}/livez`, { method: 'POST' })
    expect([post.status, post.headers.get('allow')]).toEqual([405, 'GET, HEAD'])
    gate.open()
  })

  test('the metrics are well-formed, and each is described once', async (context) => {
    const s = await Scenario.open(context)
    const base = await baseOf(await s.worker({ args: HEALTH }))
    const response = await fetch(`${base}/metrics`)
    expect(response.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8')
    const lines = (await response.text()).trimEnd().split('\n')
    const described = lines.flatMap(
      (line) => /^# TYPE (\S+) (?:gauge|counter)$/.exec(line)?.[1] ?? [],
    )
    expect(new Set(described).size).toBe(described.length)
    for (const line of lines.filter((text) => !text.startsWith('#'))) {
      const [, name = ''] =
        /^([a-z_]+)(?:\{(?:[a-z_]+="(?:[^"\\]|\\.)*",?)+\})? (?:-?[\d.e+-]+|NaN)$/.exec(line) ?? []
      expect(described, line).toContain(name)
    }
    const phases = lines.flatMap(
      (line) => /^leasehold_worker_shutdown_phase\{phase="(.*?)"\} 0$/.exec(line)?.[1] ?? [],
    )
    expect(phases).toEqual([...SHUTDOWN_PHASES])
    expect(SHUTDOWN_PHASES).toEqual(expect.arrayContaining([...HOOK_PHASES]))
  })

  test('K3: a handler that blocks the main thread is life: the endpoints answer, and say how long it has been silent', async (context) => {
    const s = await Scenario.open(context)
    const worker = await s.worker({ args: HEALTH })
    const base = await baseOf(worker)
    const jobId = await s.enqueue('spin', { ms: 6_000 })
    await s.journalLine('start')
    await s.until('it lags', async () => ((await metric(base, 'loop_lag_seconds')) ?? 0) > 1)
    expect(await ask(base, '/livez')).toMatchObject({ status: 200 })
    expect(await ask(base, '/readyz')).toMatchObject({ status: 200 })
    await s.jobIs(jobId, 'completed')
    expect(worker.events('lease.lost')).toEqual([])
  })

  test('K3: while it drains it is live and not ready, and both endpoints answer until its process is gone', async (context) => {
    const s = await Scenario.open(context)
    const worker = await s.worker({ args: [...HEALTH, '--shutdown-grace', '2s'] })
    const base = await baseOf(worker)
    await s.enqueue('deaf')
    await s.journalLine('line')
    worker.kill('SIGTERM')
    await s.until('not ready', async () => (await ask(base, '/readyz'))?.status === 503)
    const phases = new Set<string>()
    let last: Answer | null = null
    for (;;) {
      const answers = [await ask(base, '/livez'), await ask(base, '/readyz')]
      const [live, ready] = answers
      if (live === null || ready === null || live === undefined || ready === undefined) break
      expect(live).toMatchObject({ status: 200 })
      expect(ready).toMatchObject({ status: 503, reasons: ['draining'] })
      last = ready
      phases.add((JSON.parse(ready.text) as { shutdownPhase: string }).shutdownPhase)
    }
    expect(last).not.toBeNull()
    expect(phases).toContain('draining')
    expect(await worker.exit()).toMatchObject({ code: 0 })
    // Nobody had stopped answering long before it was gone.
    expect(worker.event('worker.stopped')).toBeDefined()
  })

  test('K3: without its database a worker is live and not ready, and ready again after it', async (context) => {
    const s = await Scenario.open(context)
    await using proxy = await Proxy.open(testDatabaseUrl())
    const worker = await s.worker({
      databaseUrl: proxy.url,
      args: HEALTH,
      env: { LEASE_DURATION: '6' },
    })
    const base = await baseOf(worker)
    await s.enqueue('wait', { gate: s.gate('never').file })
    await s.journalLine('start')
    proxy.drop()
    const down = await s.until('not ready', async () => {
      const answer = await ask(base, '/readyz')
      return answer?.status === 503 ? answer : null
    })
    expect(down.reasons.join()).toMatch(/database|registered/)
    expect(await ask(base, '/livez')).toMatchObject({ status: 200 })
    await proxy.heal()
    await s.until('ready', async () => (await ask(base, '/readyz'))?.status === 200, 60_000)
    expect(worker.ended).toBe(false)
  })

  test('A9: claims that are not answered are a 503 within three renewals, then the process ends with 1', async (context) => {
    const s = await Scenario.open(context)
    await using proxy = await Proxy.open(testDatabaseUrl())
    const renewMs = 4_000
    const worker = await s.worker({
      databaseUrl: proxy.url,
      args: HEALTH,
      env: { LEASE_DURATION: String((3 * renewMs) / 1_000) },
    })
    const base = await baseOf(worker)
    const held = await s.enqueue('wait', { gate: s.gate('never').file })
    await s.journalLine('start')
    expect(await ask(base, '/livez')).toMatchObject({ status: 200 })
    proxy.drop('leasehold worker')
    const wedgedMs = Date.now()
    const dead = await s.until('503', async () => {
      const answer = await ask(base, '/livez')
      return answer?.status === 503 ? answer : null
    })
    expect(Date.now() - wedgedMs).toBeLessThan(3 * renewMs)
    expect(dead.reasons).toEqual([expect.stringMatching(/^its claims have not been answered for/)])
    expect(await worker.exit()).toMatchObject({ code: 1 })
    const [ended] = await s.client.workers.list()
    expect(ended?.shutdown).toMatchObject({ outcome: 'crashed', exitCode: 1 })
    expect(await s.job(held)).toMatchObject({ status: 'pending', lost: 1 })
  })

  test('a port that is taken is a clear error, before anything is registered', async (context) => {
    const s = await Scenario.open(context)
    const server = createServer()
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const { port } = server.address() as { port: number }
    const worker = await s.worker({ unready: true, args: ['--health-port', String(port)] })
    expect(await worker.exit()).toMatchObject({ code: 1 })
    expect(worker.text).toContain(`health can't be served on 127.0.0.1:${port}: another process`)
    expect(worker.text).toContain('ERR_HEALTH_PORT')
    expect(await s.client.workers.list()).toEqual([])
    await new Promise((resolve) => server.close(resolve))
  })

  test('the processes of a supervisor take ports in a row, each for itself, from any address that is asked for', async (context) => {
    const s = await Scenario.open(context)
    const port = 20_000 + (process.pid % 20_000)
    const supervisor = s.run([
      'worker',
      ...s.handlers(),
      '--processes',
      '2',
      '--health-host',
      '0.0.0.0',
      '--health-port',
      String(port),
    ])
    await s.until('both are ready', () => supervisor.events('child.ready').length === 2)
    const workerIds = new Set<string>()
    for (const at of [port, port + 1]) {
      const answer = await ask(`http://127.0.0.1:${at}`, '/livez')
      expect(answer?.status).toBe(200)
      workerIds.add((JSON.parse(answer?.text ?? '{}') as { workerId: string }).workerId)
    }
    const ready = supervisor.events('child.ready').map((line) => line['workerId'])
    expect(workerIds).toEqual(new Set(ready))
    supervisor.kill('SIGTERM')
    expect(await supervisor.exit()).toMatchObject({ code: 0 })
  })

  test.for([
    { args: ['--health-port', '65536'], says: '--health-port is a whole number from 0 to 65535' },
    { args: ['--health-port', '65535', '--processes', '2'], says: 'the last one there is' },
    { args: ['--health-host', '0.0.0.0'], says: 'there is no --health-port' },
  ])('$args is refused at start', async ({ args, says }, context) => {
    const s = await Scenario.open(context)
    const worker = await s.worker({ unready: true, args })
    expect(await worker.exit()).toMatchObject({ code: 2 })
    expect(worker.text).toContain(says)
  })
})
