/**
 * `workers reap` on real processes: whom it aims at, whom it leaves alone, and that it never signals a process that is not the
 * registered one. What the kernel does with pids is in pids.test.ts.
 */
import { spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import type { RunStatus } from '../../src/domain/states.ts'
import { builtProgram, Program, Scenario, type WorkerStart } from '../support/process.ts'
import { bootId, pidNamespace, processStarted } from '../../src/worker/identity.ts'
import { type FoundProcess, signalRegistered } from '../../src/worker/reaper.ts'

builtProgram()

interface Reaped {
  readonly code: number | null
  readonly document: {
    readonly dryRun: boolean
    readonly found: number
    readonly ended: number
    readonly killed: number
    readonly remaining: number
    readonly skipped: number
    readonly items: readonly FoundProcess[]
  }
}

async function reap(s: Scenario, args: string[] = [], start: WorkerStart = {}): Promise<Reaped> {
  const program = s.run(['workers', 'reap', '--json', ...args], start)
  const { code } = await program.exit()
  return { code, document: JSON.parse(program.text) as Reaped['document'] }
}

/** Of this scenario's processes alone: others of the machine are listed as not registered. */
function about({ document }: Reaped, ...pids: number[]): FoundProcess[] {
  return document.items.filter(({ pid }) => pids.includes(pid))
}

async function worker(s: Scenario, args: string[] = []): Promise<{ program: Program; id: string }> {
  const program = await s.worker({ args })
  return { program, id: String((await program.event('worker.started'))['workerId']) }
}

/** Aims a worker at a run, as if it had registered so. `status` null: at one that is unknown. */
async function aim(s: Scenario, workerId: string, status: RunStatus | null): Promise<string> {
  const runId =
    status === null ? randomUUID() : (await s.client.runs.create({ name: 'nightly' })).id
  await s.rows(`update %s.worker_detail set run_id = $1 where id = $2`, [runId, workerId])
  if (status !== null && status !== 'active') await end(s, runId, status)
  return runId
}

async function end(s: Scenario, runId: string, status: RunStatus): Promise<void> {
  if (status === 'completed') await s.client.runs.complete(runId)
  else if (status === 'error') await s.client.runs.fail(runId)
  else await s.client.runs.archive(runId)
}

describe.concurrent('workers reap', () => {
  test('I1: sees at once when a run has ended, and ends its worker gracefully', async (context) => {
    const s = await Scenario.open(context)
    const gate = s.gate('go')
    const { program, id } = await worker(s)
    const jobId = await s.enqueue('wait', { gate: gate.file })
    await s.journalLine('start')
    const runId = await aim(s, id, 'active')
    const before = await reap(s, ['--force'])
    expect(before.code).toBe(0)
    expect(about(before, program.pid)).toMatchObject([
      { verdict: 'skip', reason: 'run_active', action: 'none' },
    ])
    await end(s, runId, 'completed')
    const dry = await reap(s)
    expect(dry.code).toBe(5)
    expect(dry.document).toMatchObject({ dryRun: true, found: 1 })
    expect(about(dry, program.pid)).toMatchObject([
      {
        workerId: id,
        runId,
        verdict: 'reap',
        reason: 'run_terminal',
        message: 'its run nightly is completed',
        action: 'none',
      },
    ])
    expect(program.events('worker.signal')).toEqual([])
    const reaping = reap(s, ['--force'])
    expect(await program.event('worker.signal')).toMatchObject({ signal: 'SIGTERM' })
    gate.open()
    const forced = await reaping
    expect(forced).toMatchObject({ code: 0, document: { ended: 1, killed: 0, remaining: 0 } })
    expect(about(forced, program.pid)).toMatchObject([{ action: 'ended' }])
    expect(await program.exit()).toMatchObject({ code: 0 })
    expect(await s.job(jobId)).toMatchObject({ status: 'completed', attempt: 1 })
  })

  test.for([
    { status: 'error', is: 'in error' },
    { status: 'archived', is: 'archived' },
    { status: null, is: 'unknown' },
  ] as const)('I1: a run that is $is is over too', async ({ status }, context) => {
    const s = await Scenario.open(context)
    const { program, id } = await worker(s)
    await aim(s, id, status)
    const forced = await reap(s, ['--force'])
    expect(about(forced, program.pid)).toMatchObject([
      { reason: status === null ? 'run_unknown' : 'run_terminal', action: 'ended' },
    ])
    expect(await program.exit()).toMatchObject({ code: 0 })
  })

  test('I1: a worker without a run is left alone, and so is one of another namespace', async (context) => {
    const s = await Scenario.open(context)
    const { program } = await worker(s)
    const other = await worker(s, ['--namespace', 'other'])
    const forced = await reap(s, ['--force'])
    expect(forced.code).toBe(0)
    expect(about(forced, program.pid, other.program.pid)).toMatchObject([
      { pid: program.pid, reason: 'no_run', action: 'none' },
      { pid: other.program.pid, reason: 'not_registered', action: 'none' },
    ])
    const said = s.run(['workers', 'reap'])
    await said.exit()
    expect(said.text).toContain('1 of them without a run')
    const elsewhere = await reap(s, [], { machine: 'machine-z' })
    expect(about(elsewhere, program.pid)).toMatchObject([{ reason: 'not_registered' }])
    expect([program.ended, other.program.ended]).toEqual([false, false])
  })

  test('I1: an evicted worker stops by itself; a frozen one is reaped, by SIGKILL when it must be', async (context) => {
    const s = await Scenario.open(context)
    const jobId = await s.enqueue('wait', { gate: s.gate('never').file })
    const { program, id } = await worker(s)
    await s.journalLine('start')
    const well = await worker(s)
    await s.client.workers.evict(well.id)
    expect(await well.program.exit()).toMatchObject({ code: 0 })
    expect(well.program.events('worker.started')).toHaveLength(1)

    program.kill('SIGSTOP')
    await s.client.workers.evict(id)
    expect(await s.job(jobId)).toMatchObject({ status: 'pending', interruptions: 1, lost: 0 })
    const forced = await reap(s, ['--force', '--grace', '200ms'])
    expect(forced).toMatchObject({ code: 0, document: { ended: 0, killed: 1, remaining: 0 } })
    expect(about(forced, program.pid)).toMatchObject([{ reason: 'evicted', action: 'killed' }])
    expect(await program.exit()).toMatchObject({ signal: 'SIGKILL' })
  })

  test('I1, I3: a child that is frozen when its supervisor dies is reaped, and what it held goes back', async (context) => {
    const s = await Scenario.open(context)
    const jobId = await s.enqueue('wait', { gate: s.gate('never').file })
    const supervisor = s.run(['worker', ...s.handlers(), '--processes', '1'])
    const { pid } = await s.journalLine('start')
    expect(about(await reap(s), pid)).toMatchObject([{ reason: 'no_run' }])
    process.kill(pid, 'SIGSTOP')
    supervisor.kill('SIGKILL')
    await supervisor.exit()
    const forced = await reap(s, ['--force', '--grace', '200ms'])
    expect(about(forced, pid)).toMatchObject([{ reason: 'parent_gone', action: 'killed' }])
    expect(await s.job(jobId)).toMatchObject({ status: 'pending', attempt: 1 })
    expect((await s.job(jobId)).attempts).toMatchObject([
      { endReason: { layer: 2, signal: 'SIGKILL' } },
    ])
  })
})

describe('I2: a process that is not the registered one', () => {
  test('is not signalled when its start time differs, its boot or pid namespace does, or one can’t be read', () => {
    const child = spawn('sleep', ['60'])
    const pid = child.pid ?? 0
    const own = {
      pid,
      bootId: bootId(),
      pidNamespace: pidNamespace(),
      processStarted: processStarted(pid),
    }
    try {
      for (const other of [
        { processStarted: '1' },
        { processStarted: null },
        { bootId: 'another' },
        { bootId: null },
        { pidNamespace: 'pid:[1]' },
        { pidNamespace: null },
      ])
        expect(signalRegistered({ ...own, ...other }, 'SIGKILL')).toBe('changed')
      expect(processStarted(pid)).toBe(own.processStarted)
      expect(signalRegistered(own, 'SIGKILL')).toBe('sent')
    } finally {
      child.kill('SIGKILL')
    }
  })

  test('is left alone although its row asks for an end, and said to have the pid of another', async (context) => {
    const s = await Scenario.open(context)
    const { program, id } = await worker(s)
    await aim(s, id, 'completed')
    await s.rows(`update %s.worker_detail set process_started = '1' where id = $1`, [id])
    const forced = await reap(s, ['--force'])
    expect(forced).toMatchObject({ code: 0, document: { found: 0 } })
    expect(about(forced, program.pid)).toMatchObject([
      { workerId: id, verdict: 'skip', reason: 'pid_reused', action: 'none' },
    ])
    expect(program.ended).toBe(false)
    expect(program.events('worker.signal')).toEqual([])
  })
})
