/** Workers as processes that are aimed at runs: what they take, when they leave, and that nothing keeps them. */
import { describe, expect, test } from 'vitest'
import type { RunDocument } from '../../src/client/documents.ts'
import { builtProgram, type Program, Scenario } from '../support/process.ts'

builtProgram()

const SHORT = { LEASE_DURATION: '6' }
/** Told by a hint it is gone within a second, by a poll within three; the rest is for a busy machine. */
const WITHIN_MS = { hint: 1_000 + 1_500, poll: 3_000 + 1_500 }

const exitAfter = async (worker: Program, sinceMs: number): Promise<number> => {
  const { code, atMs } = await worker.exit()
  expect(code, worker.told()).toBe(0)
  return atMs - sinceMs
}

async function endNow(s: Scenario, run: RunDocument, rest?: 'keep' | 'cancel'): Promise<number> {
  const atMs = Date.now()
  await s.client.runs.complete(run.id, rest === undefined ? {} : { rest })
  return atMs
}

describe.concurrent('a worker that is aimed at a run', () => {
  test('I1: leaves with the run, told by a hint; one that is not aimed stays', async (context) => {
    const s = await Scenario.open(context)
    const run = await s.client.runs.create({ name: 'batch' })
    const aimed = await s.worker({ args: ['--run', 'batch'] })
    const other = await s.worker({ machine: 'machine-b' })
    const sinceMs = await endNow(s, run)
    expect(await exitAfter(aimed, sinceMs)).toBeLessThan(WITHIN_MS.hint)
    expect(await aimed.event('run.ended')).toMatchObject({ runId: run.id, status: 'completed' })
    expect(other.ended).toBe(false)
    expect((await s.client.workers.list()).find((worker) => worker.runId === run.id)).toMatchObject(
      {
        status: 'offline',
        reason: 'its run ended as completed',
      },
    )
  })

  test('I1: leaves without LISTEN, by its poll', async (context) => {
    const s = await Scenario.open(context)
    const run = await s.client.runs.create({ name: 'batch' })
    const aimed = await s.worker({ args: ['--no-listen'], env: { RUN_FILTER_ID: run.id } })
    const sinceMs = await endNow(s, run)
    expect(await exitAfter(aimed, sinceMs)).toBeLessThan(WITHIN_MS.poll)
  })

  test('I1: full and without LISTEN it hears of it, too, and gives back what it runs', async (context) => {
    const s = await Scenario.open(context)
    const run = await s.client.runs.create({ name: 'batch' })
    const jobId = await s.enqueue('wait', { gate: s.gate('never').file }, { run: run.id })
    const args = ['--run', run.id, '--no-listen', '--concurrency', '1', '--on-run-end', 'release']
    const aimed = await s.worker({ args })
    await s.journalLine('start')
    const sinceMs = await endNow(s, run, 'keep')
    expect(await exitAfter(aimed, sinceMs)).toBeLessThan(WITHIN_MS.poll)
    expect(await s.job(jobId)).toMatchObject({ status: 'pending', interruptions: 1, failures: 0 })
  })

  test('I1: lets what it runs finish, and takes nothing more', async (context) => {
    const s = await Scenario.open(context)
    const run = await s.client.runs.create({ name: 'batch' })
    const gate = s.gate('gate')
    const jobId = await s.enqueue('wait', { gate: gate.file }, { run: run.id })
    const aimed = await s.worker({ args: ['--run', run.id] })
    await s.journalLine('start')
    const another = await s.enqueue('wait', { gate: gate.file }, { run: run.id, delayMs: 1 })
    await s.jobIs(another, 'running')
    await endNow(s, run, 'keep')
    await aimed.event('run.ended')
    await s.until('it is shown as draining', async () =>
      (await s.client.workers.list()).some((worker) => worker.status === 'draining'),
    )
    expect(aimed.ended).toBe(false)
    gate.open()
    expect(await aimed.exit()).toMatchObject({ code: 0 })
    for (const id of [jobId, another])
      expect(await s.job(id)).toMatchObject({ status: 'completed' })
  })

  test('lets what it runs finish also when its connection is cut meanwhile', async (context) => {
    const s = await Scenario.open(context)
    const run = await s.client.runs.create({ name: 'batch' })
    const gate = s.gate('gate')
    const jobId = await s.enqueue('wait', { gate: gate.file }, { run: run.id })
    const aimed = await s.worker({ args: ['--run', run.id] })
    await s.journalLine('start')
    await endNow(s, run, 'keep')
    await aimed.event('run.ended')
    const reserved = async (): Promise<number[]> => {
      const rows = await s.rows<{ pid: number }>(
        `select pid from pg_stat_activity where application_name = 'leasehold lifeline' and query like $1`,
        [`%${s.schemaName}%`],
      )
      return rows.map(({ pid }) => pid)
    }
    const before = await reserved()
    await s.rows('select pg_terminate_backend(pid) from unnest($1::integer[]) as pid', [before])
    await aimed.event('worker.degraded')
    await s.until('it has another connection', async () =>
      (await reserved()).some((pid) => !before.includes(pid)),
    )
    gate.open()
    expect(await aimed.exit()).toMatchObject({ code: 0 })
    expect(await s.job(jobId)).toMatchObject({ status: 'completed', attempt: 1, lost: 0 })
  })

  test('I1: what the end of the run cancels is aborted, and then it leaves', async (context) => {
    const s = await Scenario.open(context)
    const run = await s.client.runs.create({ name: 'batch' })
    const jobId = await s.enqueue('wait', { gate: s.gate('never').file }, { run: run.id })
    const aimed = await s.worker({ args: ['--run', run.id] })
    await s.journalLine('start')
    await endNow(s, run)
    expect(await aimed.exit()).toMatchObject({ code: 0 })
    await s.journalLine('aborted cancelled')
    expect(await s.job(jobId)).toMatchObject({ status: 'cancelled' })
  })

  test('is told of an unknown run with 4, of one that has ended with 0, and takes nothing', async (context) => {
    const s = await Scenario.open(context)
    const run = await s.client.runs.create({ name: 'over' })
    await s.enqueue('plain', {}, { run: run.id })
    await endNow(s, run, 'keep')
    const ended = await s.worker({ args: ['--run', 'over'], unready: true })
    expect(await ended.exit()).toMatchObject({ code: 0 })
    expect(ended.text).toContain(`run over (${run.id}) ended as completed. Nothing to do.`)
    const unknown = await s.worker({ args: ['--run', 'none-such'], unready: true })
    expect(await unknown.exit()).toMatchObject({ code: 4 })
    expect(unknown.text).toContain('no run none-such')
    const supervised = await s.worker({
      args: ['--run', 'over', '--processes', '2'],
      unready: true,
    })
    expect(await supervised.exit()).toMatchObject({ code: 0 })
    expect(await s.client.workers.list()).toEqual([])
  })

  test('I1: under a supervisor all leave, and so does the supervisor', async (context) => {
    const s = await Scenario.open(context)
    const run = await s.client.runs.create({ name: 'batch', target: 6 })
    const supervisor = await s.worker({
      args: ['--run', run.id, '--processes', '3', '--concurrency', '1'],
    })
    await s.until('three are ready', () => supervisor.events('child.ready').length === 3)
    for (let n = 0; n < 6; n += 1) await s.enqueue('sleep', { ms: 100 }, { run: run.id })
    expect(await supervisor.exit()).toMatchObject({ code: 0 })
    expect(await s.client.runs.get(run.id)).toMatchObject({
      status: 'completed',
      counts: { completed: 6 },
    })
    const workers = await s.client.workers.list()
    expect(workers.map((worker) => worker.status)).toEqual(Array(3).fill('offline'))
    expect(supervisor.events('child.exited').map((line) => line['restartInMs'])).toEqual(
      Array(3).fill(null),
    )
  })

  test('under a supervisor one that crashed comes back while the run goes on', async (context) => {
    const s = await Scenario.open(context)
    const run = await s.client.runs.create({ name: 'batch', target: 1 })
    const supervisor = await s.worker({ args: ['--run', run.id, '--processes', '1'] })
    const first = await supervisor.event('child.ready')
    process.kill(first['pid'] as number, 'SIGKILL')
    await supervisor.event('child.ready', (line) => line['pid'] !== first['pid'])
    await s.enqueue('plain', {}, { run: run.id })
    expect(await supervisor.exit()).toMatchObject({ code: 0 })
  })

  test('takes the jobs of its run alone; the last of two that end it at once ends it', async (context) => {
    const s = await Scenario.open(context)
    const run = await s.client.runs.create({ name: 'batch', target: 2 })
    const gate = s.gate('gate')
    const args = ['--run', run.id, '--concurrency', '1']
    const workers = [await s.worker({ args }), await s.worker({ args, machine: 'machine-b' })]
    const foreign = await s.enqueue('plain')
    for (let n = 0; n < 2; n += 1) await s.enqueue('wait', { gate: gate.file }, { run: run.id })
    await s.until(
      'both run',
      () => s.journal().filter((line) => line.what === 'start').length === 2,
    )
    gate.open()
    for (const worker of workers) expect(await worker.exit()).toMatchObject({ code: 0 })
    expect(await s.client.runs.get(run.id)).toMatchObject({ status: 'completed' })
    expect(await s.job(foreign)).toMatchObject({ status: 'pending', attempt: 0 })
  })

  test('a budget that two workers reach at once ends the run; both stop spending and leave', async (context) => {
    const s = await Scenario.open(context)
    const run = await s.client.runs.create({ name: 'batch', budget: { tokens: 100 } })
    const args = ['--run', run.id, '--concurrency', '1']
    const workers = [await s.worker({ args }), await s.worker({ args, machine: 'machine-b' })]
    for (let n = 0; n < 2; n += 1) await s.enqueue('spend', { tokens: 7 }, { run: run.id })
    for (const worker of workers) expect(await worker.exit()).toMatchObject({ code: 0 })
    const ended = await s.client.runs.get(run.id)
    expect(ended).toMatchObject({ status: 'error', endReason: { code: 'budget_spent' } })
    // Every report that was answered is in the sum, and none is twice; the last may not have been answered.
    const spent = s.journal().filter((line) => line.what === 'spent').length * 7
    expect(ended.cost.tokens).toBeGreaterThanOrEqual(Math.max(100, spent))
    expect(ended.cost.tokens).toBeLessThanOrEqual(spent + 2 * 7)
  })

  test('killed with the last job of its run: another finishes it, and leaves', async (context) => {
    const s = await Scenario.open(context)
    const run = await s.client.runs.create({ name: 'batch', target: 1 })
    const gate = s.gate('gate')
    const jobId = await s.enqueue('wait', { gate: gate.file }, { run: run.id })
    const first = await s.worker({ args: ['--run', run.id], env: SHORT })
    await s.journalLine('start')
    const second = await s.worker({ args: ['--run', run.id], env: SHORT, machine: 'machine-b' })
    first.kill('SIGKILL')
    await s.jobWhen('taken again', jobId, (job) => job.attempt === 2)
    gate.open()
    expect(await second.exit()).toMatchObject({ code: 0 })
    expect(await s.client.runs.get(run.id)).toMatchObject({ status: 'completed' })
  })

  test('frozen until its lease has lapsed and its run ended: it does not come back, it leaves', async (context) => {
    const s = await Scenario.open(context)
    const run = await s.client.runs.create({ name: 'batch' })
    const jobId = await s.enqueue('wait', { gate: s.gate('never').file }, { run: run.id })
    const frozen = await s.worker({ args: ['--run', run.id], env: SHORT })
    await s.journalLine('start')
    await s.worker({ machine: 'machine-b', env: SHORT, args: ['--queue', 'other'] })
    frozen.kill('SIGSTOP')
    await s.jobIs(jobId, 'pending')
    await endNow(s, run)
    frozen.kill('SIGCONT')
    expect(await frozen.exit()).toMatchObject({ code: 0 })
  })

  test('a run that says nothing of its size ends when its jobs have and none came for the grace', async (context) => {
    const s = await Scenario.open(context)
    const run = await s.client.runs.create({ name: 'batch', fillGraceMs: 2_000 })
    const aimed = await s.worker({ args: ['--run', run.id] })
    const jobId = await s.enqueue('plain', {}, { run: run.id })
    await s.jobIs(jobId, 'completed')
    const again = await s.enqueue('plain', {}, { run: run.id })
    expect(await aimed.exit()).toMatchObject({ code: 0 })
    expect(await s.job(again)).toMatchObject({ status: 'completed' })
    expect(await s.client.runs.get(run.id)).toMatchObject({ counts: { completed: 2 } })
  })
})

describe.concurrent('runs in the program', () => {
  const json = async (s: Scenario, args: string[], code = 0): Promise<Record<string, unknown>> => {
    const ran = s.run([...args, '--json'])
    expect(await ran.exit(), ran.text).toMatchObject({ code })
    return JSON.parse(ran.text) as Record<string, unknown>
  }

  test('create, enqueue into, show, list, update, wait, and the exit code of how it ended', async (context) => {
    const s = await Scenario.open(context)
    const made = await json(s, ['runs', 'create', 'eval', '{"a": 1}', '--max-failed', '2'])
    expect(made).toMatchObject({ name: 'eval', status: 'active', criteria: { a: 1 } })
    const id = String(made['id'])
    await json(s, ['enqueue', 'plain', '{}', '--run', 'eval', '--force'])
    expect(await json(s, ['jobs', 'list', '--run', id.slice(-6)])).toMatchObject({
      items: [{ runId: id, state: 'pending' }],
    })
    const waiting = s.run(['runs', 'wait', 'eval', '--timeout', '200ms'])
    expect(await waiting.exit()).toMatchObject({ code: 1 })
    expect(waiting.text).toContain('It goes on.')
    expect(await json(s, ['runs', 'update', 'eval', '--stage', 'last', '--filled'])).toMatchObject({
      stage: 'last',
      filled: true,
    })
    await s.worker({ args: ['--run', 'eval'], unready: true })
    expect(await json(s, ['runs', 'wait', 'eval'])).toMatchObject({
      status: 'completed',
      progress: { done: 1, failed: 0, target: 1 },
    })
    expect(await json(s, ['runs', 'list', '--status', 'completed'])).toMatchObject({
      items: [{ id }],
      nextCursor: null,
    })
    expect(await json(s, ['runs', 'show', 'eval'])).toMatchObject({
      endReason: { code: 'all_ended' },
    })
  })

  test('an end by hand is safe to repeat, and refused where it ended otherwise; what is unknown is 4', async (context) => {
    const s = await Scenario.open(context)
    const { id } = await s.client.runs.create({ name: 'crawl' })
    await s.enqueue('plain', {}, { run: id })
    const args = ['runs', 'fail', 'crawl', '--rest', 'keep', '--reason', 'too slow']
    expect(await json(s, args)).toMatchObject({
      status: 'error',
      endReason: { code: 'by_hand', message: 'too slow' },
      counts: { waiting: 1 },
    })
    await json(s, ['runs', 'fail', 'crawl'])
    expect(await json(s, ['runs', 'complete', 'crawl'], 5)).toMatchObject({
      error: { code: 'ERR_RUN_TERMINAL' },
    })
    expect(await json(s, ['enqueue', 'plain', '--run', id, '--force'], 5)).toMatchObject({
      error: { code: 'ERR_RUN_TERMINAL' },
    })
    expect(await json(s, ['runs', 'wait', 'crawl'], 1)).toMatchObject({ status: 'error' })
    for (const verb of ['show', 'wait', 'archive', 'complete'])
      expect(await json(s, ['runs', verb, 'none-such'], 4)).toMatchObject({
        error: { code: 'ERR_NOT_FOUND' },
      })
    await s.client.runs.create({ name: 'crawl' })
    expect(await json(s, ['runs', 'show', 'crawl'], 2)).toMatchObject({
      error: { code: 'ERR_ID_AMBIGUOUS' },
    })
  })
})

describe.concurrent('jobs that are aimed', () => {
  test('O3: waits for its machine, says so at once, and is taken when a worker starts there', async (context) => {
    const s = await Scenario.open(context)
    await s.worker({ machine: 'machine-b', args: ['--target', 'cpu'] })
    const jobId = await s.enqueue('plain', {}, { target: { machine: 'machine-a' } })
    expect((await s.job(jobId)).why).toBe(
      'Waits for machine machine-a, which is offline, and has never been seen.',
    )
    await s.jobIs(await s.enqueue('plain', {}, { target: { label: 'cpu' } }), 'completed')
    expect(await s.job(jobId)).toMatchObject({ status: 'pending', attempt: 0 })
    await s.worker({ machine: 'machine-a' })
    expect(await s.jobIs(jobId, 'completed')).toMatchObject({ machineId: 'machine-a' })
  })

  test('O3: its worker is killed: any other takes it where that may be, and it fails where not', async (context) => {
    const s = await Scenario.open(context)
    const target = await s.worker({
      machine: 'machine-a',
      env: SHORT,
      args: ['--concurrency', '1'],
    })
    await s.worker({ machine: 'machine-b', env: SHORT })
    const gate = s.gate('gate')
    const at = { machine: 'machine-a' }
    const first = await s.enqueue('wait', { gate: gate.file }, { target: at })
    await s.jobIs(first, 'running')
    const any = await s.enqueue('plain', {}, { target: { ...at, ifOffline: 'any' } })
    const fail = await s.enqueue('plain', {}, { target: { ...at, ifOffline: 'fail' } })
    expect((await s.job(any)).why).toBe('Waits for a free slot on machine machine-a.')
    target.kill('SIGKILL')
    expect(await s.jobIs(any, 'completed')).toMatchObject({ machineId: 'machine-b', target: null })
    expect((await s.jobIs(fail, 'failed')).why).toBe(
      'Failed before it began: its target machine:machine-a is offline.',
    )
    // What had begun there is still aimed.
    expect(await s.jobIs(first, 'pending')).toMatchObject({
      target: 'machine:machine-a',
      attempt: 1,
    })
  })

  test('O3: a deadline fires without LISTEN and with nothing running', async (context) => {
    const s = await Scenario.open(context)
    await s.worker({ args: ['--no-listen'] })
    const jobId = await s.enqueue('plain', {}, { target: { machine: 'none', waitMs: 500 } })
    await s.jobIs(jobId, 'failed')
  })
})
