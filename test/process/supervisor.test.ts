/**
 * Supervisors with real processes and signals: one in a place at a time, children that do not outlive it, restarts that are counted,
 * rolling restarts, and as many processes as the backlog wants.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import type { SupervisorDocument } from '../../src/client/documents.ts'
import { testDatabaseUrl } from '../support/database.ts'
import { builtProgram, exists, type Program, Scenario } from '../support/process.ts'
import { Proxy } from './proxy.ts'

builtProgram()

/** A supervisor that ends with its test, and so do its children, whatever has become of it. */
function supervise(s: Scenario, processes: string, args: string[] = [], start = {}): Program {
  const supervisor = s.run(['worker', ...s.handlers(), '--processes', processes, ...args], start)
  endWithTest(s, supervisor)
  return supervisor
}

function endWithTest(s: Scenario, supervisor: Program): void {
  s.context.onTestFinished(async () => {
    if (!supervisor.ended) supervisor.kill('SIGTERM')
    await supervisor.exit(60_000)
    await expectNoneLeft(
      s,
      supervisor.events('child.started').map((line) => Number(line['pid'])),
    )
  })
}

async function ready(supervisor: Program, count: number): Promise<number[]> {
  await supervisor.event('child.ready', () => supervisor.events('child.ready').length >= count)
  return supervisor.events('child.ready').map((line) => Number(line['pid']))
}

async function expectNoneLeft(s: Scenario, pids: readonly number[]): Promise<void> {
  await s.until('no process is left', () => !pids.some(exists))
}

describe.concurrent('the place of a supervisor', () => {
  test('I3: of two that start at once one runs, and the other says who and exits with 5', async (context) => {
    const s = await Scenario.open(context)
    const both = [supervise(s, '1'), supervise(s, '1')]
    const other = await s.until('one has given up', () => both.find(({ ended }) => ended))
    const first = both.find((one) => one !== other)
    expect(await other.exit()).toMatchObject({ code: 5 })
    expect(other.text).toContain(`pid ${first?.pid} on`)
    expect(other.events('child.started')).toEqual([])
    await ready(first as Program, 1)
    // Another name, and another namespace, are other places.
    const named = supervise(s, '1', ['--name', 'second'])
    const spaced = supervise(s, '1', ['--namespace', 'other'])
    await Promise.all([ready(named, 1), ready(spaced, 1)])
    for (const one of [first as Program, named, spaced]) {
      one.kill('SIGTERM')
      expect(await one.exit()).toMatchObject({ code: 0 })
    }
  })

  test('I3: one whose process is gone is replaced at once, although its lease still holds', async (context) => {
    const s = await Scenario.open(context)
    const first = supervise(s, '1')
    const pids = await ready(first, 1)
    first.kill('SIGKILL')
    await first.exit()
    const second = supervise(s, '1')
    await second.event('supervisor.started')
    expect(second.events('supervisor.waiting')).toEqual([])
    await ready(second, 1)
    await expectNoneLeft(s, pids)
  })

  test('I3: one that can’t be seen from here has until its lease lapses to show itself', async (context) => {
    const s = await Scenario.open(context)
    const first = supervise(s, '1')
    await ready(first, 1)
    first.kill('SIGKILL')
    await s.rows(`update %s.supervisor set pid_namespace = 'pid:[1]'`)
    const second = supervise(s, '1')
    const waiting = await second.event('supervisor.waiting')
    expect(waiting['holder']).toContain(`pid ${first.pid} on`)
    expect(second.events('child.started')).toEqual([])
    await s.rows(`update %s.supervisor set until = clock_timestamp()`)
    await second.event('supervisor.started')
    await ready(second, 1)
  })

  test('I3: one that was frozen and overtaken ends its children and itself, and starts none any more', async (context) => {
    const s = await Scenario.open(context)
    const jobId = await s.enqueue('wait', { gate: s.gate('never').file })
    const first = supervise(s, '2', ['--shutdown-grace', '0s'])
    const pids = await ready(first, 2)
    const { pid: busy } = await s.journalLine('start')
    first.kill('SIGSTOP')
    const idle = pids.find((pid) => pid !== busy) ?? 0
    process.kill(idle, 'SIGKILL')
    // As if it had been frozen for longer than its lease.
    await s.rows(`update %s.supervisor set until = clock_timestamp()`)
    const second = supervise(s, '1', ['--shutdown-grace', '0s'])
    await ready(second, 1)
    first.kill('SIGCONT')
    expect(await first.exit()).toMatchObject({ code: 5 })
    expect(first.events('supervisor.overtaken')).toHaveLength(1)
    expect(first.events('child.started')).toHaveLength(2)
    await expectNoneLeft(s, pids)
    const [, again] = await s.until('its job goes on', () => {
      const starts = s.journal(jobId).filter(({ what }) => what === 'start')
      return starts.length === 2 && starts
    })
    expect(second.events('child.ready').map((line) => line['pid'])).toEqual([again?.pid])
    expect(await s.job(jobId)).toMatchObject({ attempt: 2, interruptions: 1, lost: 0, failures: 0 })
  })

  test('I3: restarts and the last exit can be read, by name and machine', async (context) => {
    const s = await Scenario.open(context)
    const first = supervise(s, '2', ['--name', 'night'])
    const [pid = 0] = await ready(first, 2)
    process.kill(pid, 'SIGKILL')
    const killedMs = Date.now()
    await s.until('offline', async () => {
      const worker = (await s.client.workers.list()).find((one) => one.pid === pid)
      return worker?.status === 'offline'
    })
    // As a rule it takes some ten milliseconds.
    expect(Date.now() - killedMs).toBeLessThan(1_000)
    await ready(first, 3)
    const show = async (): Promise<SupervisorDocument | undefined> => {
      const [found] = await s.client.supervisors.list()
      return found
    }
    const online = await s.until('both are there', async () => {
      const found = await show()
      return found?.workersOnline === 2 && found
    })
    expect(online).toMatchObject({
      name: 'night',
      machineId: 'machine-a',
      status: 'online',
      pid: first.pid,
      restarts: 1,
      lastExit: { pid, exitCode: null, signal: 'SIGKILL' },
    })
    // One that somebody stops is followed, and is no restart to wonder at.
    const up = await s.client.workers.list()
    const { pid: clean = 0 } = up.find((one) => one.status === 'online') ?? {}
    process.kill(clean, 'SIGTERM')
    expect(await first.event('child.exited', (line) => line['pid'] === clean)).toMatchObject({
      clean: true,
      exitCode: 0,
      restartInMs: expect.any(Number),
    })
    await ready(first, 4)
    first.kill('SIGTERM')
    await first.exit()
    const listed = s.run(['supervisors', 'list', '--json'])
    expect(await listed.exit()).toMatchObject({ code: 0 })
    expect(JSON.parse(listed.text)).toMatchObject({
      items: [{ name: 'night', status: 'offline', reason: 'stopped', restarts: 1 }],
    })
  })
})

test('layer 1: a child that stops and can’t tell the database is told of by its supervisor', async (context) => {
  const s = await Scenario.open(context)
  const supervisor = supervise(s, '1', ['--shutdown-grace', '100ms'])
  const [pid = 0] = await ready(supervisor, 1)
  await s.rows('alter function %s.end_worker(uuid, text, jsonb) rename to end_worker_away')
  process.kill(pid, 'SIGTERM')
  expect(await supervisor.event('child.exited', (line) => line['pid'] === pid)).toMatchObject({
    clean: true,
  })
  const ended = await s.until('it is offline', async () => {
    const workers = await s.client.workers.list({ endedWithinMs: 60_000 })
    return workers.find((worker) => worker.pid === pid && worker.endReason !== null)
  })
  expect(ended.endReason).toMatchObject({
    layer: 1,
    exitCode: 0,
    message: 'it stopped, and could not tell the database',
  })
})

describe.concurrent('children of a supervisor that is gone', () => {
  test('I3: one whose main thread hears of nothing is ended at the hard exit, and nothing is charged', async (context) => {
    const s = await Scenario.open(context)
    const jobId = await s.enqueue('spin', { ms: 90_000 })
    const supervisor = supervise(s, '1', ['--shutdown-grace', '0s'])
    const { pid } = await s.journalLine('start')
    supervisor.kill('SIGKILL')
    const killedMs = Date.now()
    await s.until('it is gone', () => !exists(pid))
    expect(Date.now() - killedMs).toBeGreaterThan(3_000)
    const witness = await s.worker({ args: ['--queue', 'none'] })
    expect(await s.jobIs(jobId, 'pending')).toMatchObject({ interruptions: 1, lost: 0 })
    expect(witness.events('job.picked_up')).toEqual([])
    // Its lease goes on, and here it is seen that its process does not.
    const listed = s.run(['supervisors', 'list', '--json'])
    expect(await listed.exit()).toMatchObject({ code: 0 })
    expect(JSON.parse(listed.text)).toMatchObject({
      items: [{ status: 'offline', reason: 'its process is gone' }],
    })
  })

  const script = hasScript()

  test.skipIf(!script)(
    'O4: a terminal that is closed gives everything back, and leaves no process',
    async (context) => {
      const s = await Scenario.open(context)
      const { pids, terminal } = await inTerminal(s, ['--shutdown-grace', '500ms'])
      terminal.kill('SIGKILL')
      await expectNoneLeft(s, pids)
    },
  )

  test.skipIf(!script)('O4: Ctrl-C twice at a terminal, the same', async (context) => {
    const s = await Scenario.open(context)
    const { pids, terminal } = await inTerminal(s, [])
    terminal.stdin?.write('\u0003')
    await s.until('it drains', async () =>
      (await s.client.workers.list()).some(({ status }) => status === 'draining'),
    )
    terminal.stdin?.write('\u0003')
    await expectNoneLeft(s, pids)
    terminal.kill('SIGKILL')
  })

  test.runIf(process.platform === 'linux')(
    'O4: npm that is killed takes what it had started along',
    async (context) => {
      const s = await Scenario.open(context)
      const jobId = await s.enqueue('wait', { gate: s.gate('never').file })
      const command = [builtProgram(), 'worker', ...s.handlers(), '--processes', '2']
      const scripts = { worker: [process.execPath, ...command, '--shutdown-grace 0s'].join(' ') }
      writeFileSync(path.join(s.directory, 'package.json'), JSON.stringify({ scripts }))
      const npm = spawn('npm', ['run', 'worker'], {
        cwd: s.directory,
        env: environment(s),
        stdio: 'ignore',
      })
      const pids = await startedBy(s, jobId)
      npm.kill('SIGKILL')
      const killedMs = Date.now()
      await expectNoneLeft(s, pids)
      expect(Date.now() - killedMs).toBeLessThan(5_000)
      expect(await s.job(jobId)).toMatchObject({ status: 'pending', lost: 0, interruptions: 1 })
    },
  )

  /** A supervisor of two on a pseudo-terminal, with a job under way, and every process of it. */
  async function inTerminal(
    s: Scenario,
    args: string[],
  ): Promise<{ pids: number[]; terminal: ChildProcess }> {
    const jobId = await s.enqueue('wait', { gate: s.gate('never').file })
    const words = [process.execPath, builtProgram(), 'worker', ...s.handlers(), '--processes', '2']
    const terminal = spawn('script', ['-qfc', [...words, ...args].join(' '), '/dev/null'], {
      env: environment(s),
      stdio: ['pipe', 'ignore', 'ignore'],
    })
    return { pids: await startedBy(s, jobId), terminal }
  }

  function environment(s: Scenario): NodeJS.ProcessEnv {
    return {
      ...process.env,
      DATABASE_URL: s.databaseUrl,
      LEASEHOLD_SCHEMA: s.schemaName,
      LEASEHOLD_MACHINE_ID: 'machine-a',
      TEST_JOURNAL: s.journalFile,
    }
  }

  /** Pids of the supervisor and its two children, once they run a job. */
  async function startedBy(s: Scenario, jobId: string): Promise<number[]> {
    await s.journalLine('start', (line) => line.jobId === jobId)
    const supervisor = await s.until('two children', async () => {
      const [found] = await s.client.supervisors.list()
      return found?.workersOnline === 2 && found
    })
    const workers = await s.client.workers.list()
    return [supervisor.pid, ...workers.map(({ pid }) => pid)]
  }

  function hasScript(): boolean {
    const { stdout } = spawnSync('script', ['--version'], { encoding: 'utf8' })
    return typeof stdout === 'string' && stdout.includes('util-linux')
  }
})

describe.concurrent('a rolling restart', () => {
  test('D7: under load no job is lost, and there are never fewer ready processes than before', async (context) => {
    const s = await Scenario.open(context)
    const supervisor = supervise(s, '2', ['--concurrency', '2', '--shutdown-grace', '2s'])
    const old = await ready(supervisor, 2)
    const gate = s.gate('go')
    // One for each slot of the old ones and more: a handler that outlives the grace moves on, uncharged.
    const long = await s.enqueue('wait', { gate: gate.file })
    await s.journalLine('start', (line) => line.jobId === long)
    const short = await s.enqueueSome(60, 'sleep', { ms: 100 })
    supervisor.kill('SIGUSR2')
    const done = await supervisor.event('roll.done')
    expect(done).toMatchObject({ replaced: 2 })
    gate.open()
    for (const jobId of [...short, long])
      expect(await s.jobIs(jobId, 'completed', 60_000)).toMatchObject({ lost: 0, failures: 0 })
    // The other old process may have been free for it, and then it moved on once more.
    const moved = await s.job(long)
    expect(moved.interruptions).toBeGreaterThanOrEqual(1)
    expect(moved.interruptions).toBeLessThanOrEqual(2)
    expect(moved.attempt).toBe(moved.interruptions + 1)
    expect(fewestReady(supervisor)).toBe(2)
    expect(mostAtOnce(supervisor)).toBe(3)
    expect(old.filter(exists)).toEqual([])
    const [listed] = await s.client.supervisors.list()
    expect(listed).toMatchObject({ workersOnline: 2, restarts: 0 })
  })

  test('asked for again meanwhile, it stays one, and ends when all are newer than the last request', async (context) => {
    const s = await Scenario.open(context)
    const supervisor = supervise(s, '2')
    await ready(supervisor, 2)
    supervisor.kill('SIGUSR2')
    await ready(supervisor, 3)
    supervisor.kill('SIGUSR2')
    await supervisor.event('roll.done')
    expect(supervisor.events('roll.started')).toHaveLength(1)
    expect(supervisor.events('roll.done')).toHaveLength(1)
    expect(fewestReady(supervisor)).toBe(2)
    expect(mostAtOnce(supervisor)).toBe(3)
    supervisor.kill('SIGTERM')
    expect(await supervisor.exit()).toMatchObject({ code: 0 })
  })

  test('a new process that does not come up leaves the old ones where they are', async (context) => {
    const s = await Scenario.open(context)
    const broken = s.gate('broken')
    const modules = path.join(s.directory, 'modules.mjs')
    const [handlers] = s.handlers()
    writeFileSync(
      modules,
      `import { existsSync } from 'node:fs'
       export * from ${JSON.stringify(handlers)}
       if (existsSync(${JSON.stringify(broken.file)})) throw new Error('a bad release')`,
    )
    const supervisor = s.run(['worker', modules, '--processes', '2'])
    endWithTest(s, supervisor)
    const old = await ready(supervisor, 2)
    broken.open()
    supervisor.kill('SIGUSR2')
    expect(await supervisor.event('roll.failed')).toMatchObject({
      replaced: 0,
      reason: 'the new process ended before it was ready',
    })
    expect(old.filter(exists)).toEqual(old)
    const jobId = await s.enqueue('plain')
    await s.jobIs(jobId, 'completed')
    expect(supervisor.events('child.started')).toHaveLength(3)
  })

  /** Over its log: how few processes were ready and not told to go, since the first were. */
  function fewestReady(supervisor: Program): number {
    const ups = new Set<unknown>()
    let fewest = Infinity
    for (const { event, pid } of supervisor.lines.filter((line) => line['slot'] !== undefined)) {
      if (event === 'child.ready') ups.add(pid)
      else if (event === 'child.retired' || event === 'child.exited') ups.delete(pid)
      if (event !== 'child.ready' && event !== 'child.started') fewest = Math.min(fewest, ups.size)
    }
    return fewest
  }

  function mostAtOnce(supervisor: Program): number {
    let count = 0
    let most = 0
    for (const { event } of supervisor.lines) {
      if (event === 'child.started') count += 1
      else if (event === 'child.exited') count -= 1
      most = Math.max(most, count)
    }
    return most
  }
})

describe.concurrent('as many processes as the backlog wants', () => {
  test('one more where a job waits although all are full; idle ones go, and an idle fleet asks for nothing', async (context) => {
    const s = await Scenario.open(context)
    await using proxy = await Proxy.open(testDatabaseUrl())
    const supervisor = supervise(s, '1..2', ['--concurrency', '1'], { databaseUrl: proxy.url })
    await ready(supervisor, 1)
    const gate = s.gate('go')
    const jobIds = await s.enqueueSome(2, 'wait', { gate: gate.file })
    const scaled = await supervisor.event('processes.scaled')
    expect(scaled).toMatchObject({ from: 1, to: 2 })
    expect(scaled['waitedMs']).toBeGreaterThan(2_000)
    for (const jobId of jobIds) await s.journalLine('start', (line) => line.jobId === jobId)
    gate.open()
    for (const jobId of jobIds) await s.jobIs(jobId, 'completed')
    const idleFrom = proxy.statements.length
    expect(
      await supervisor.event('processes.scaled', (line) => line['to'] === 1, 90_000),
    ).toMatchObject({ from: 2, waitedMs: null })
    await supervisor.event('child.exited', (line) => line['clean'] === true)
    expect(supervisor.events('child.exited')).toMatchObject([{ restartInMs: null }])
    const asked = proxy.statements.slice(idleFrom).map(({ text }) => text)
    expect(asked.filter((text) => text.includes('backlog_age'))).toEqual([])
    const beats = asked.filter((text) => text.includes('keep_supervising'))
    expect(beats.length).toBeLessThanOrEqual(3)
    supervisor.kill('SIGTERM')
    expect(await supervisor.exit()).toMatchObject({ code: 0 })
  })
})
