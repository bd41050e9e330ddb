/** Cancel, from another process than the one that runs the job: in time, never lost, final. */
import { describe, expect, test } from 'vitest'
import { limitOf, rounds } from '../support/long.ts'
import { builtProgram, Scenario } from '../support/process.ts'

builtProgram()

/** Renewals every 2 s. */
const SHORT = { LEASE_DURATION: '6' }
const RENEW_MS = 2_000

describe.concurrent('cancel', () => {
  test('C1: with LISTEN the handler is told within a second', async (context) => {
    const s = await Scenario.open(context)
    const jobId = await s.enqueue('wait', { gate: s.gate('never').file })
    // The default lease: a renewal is 10 s away, so only the hint can be so fast.
    await s.worker({ machine: 'another-host' })
    await s.journalLine('start')
    const askedMs = Date.now()
    expect(await s.client.cancel(jobId)).toBe('cancelling')
    const told = await s.journalLine('aborted cancelled')
    expect(told.atMs - askedMs).toBeLessThan(1_000)
    expect(await s.jobIs(jobId, 'cancelled')).toMatchObject({ attempt: 1, failures: 0 })
  })

  test('C1: without LISTEN the handler is told within a renewal', async (context) => {
    const s = await Scenario.open(context)
    const jobId = await s.enqueue('wait', { gate: s.gate('never').file })
    const worker = await s.worker({ args: ['--no-listen'], env: SHORT })
    expect(await worker.event('worker.started')).toMatchObject({ listening: false })
    await s.journalLine('start')
    const askedMs = Date.now()
    const cancelled = s.run(['jobs', 'cancel', jobId])
    expect(await cancelled.exit()).toMatchObject({ code: 0 })
    const told = await s.journalLine('aborted cancelled')
    expect(told.atMs - askedMs).toBeLessThan(RENEW_MS + 2_000)
    await s.jobIs(jobId, 'cancelled')
  })

  test(
    'C2: no cancel is lost when the listening backend ends in the same moment',
    limitOf(120_000, 3_600_000),
    async (context) => {
      const s = await Scenario.open(context)
      await s.worker({ env: SHORT })
      const backends = await backendsOf(s)
      for (let round = 0; round < rounds(12, 1_000); round += 1) {
        const jobId = await s.enqueue('wait', { gate: s.gate('never').file })
        await s.journalLine('start', (line) => line.jobId === jobId)
        // Three rounds the one that listens, three rounds the one that renews, three rounds both.
        const which = [
          backends.listening,
          backends.renewing,
          `${backends.listening} union ${backends.renewing}`,
        ]
        const whose = which[Math.floor(round / 3) % 3] ?? ''
        await s.until('it is there', async () => (await s.rows(whose)).length > 0)
        const askedMs = Date.now()
        const kill = async (): Promise<void> => {
          const killed = await s.rows(`select pg_terminate_backend(pid) from (${whose}) b`)
          expect(killed).not.toEqual([])
        }
        // Before it, with it, after it.
        if (round % 3 === 0) await kill()
        await Promise.all([s.client.cancel(jobId), round % 3 === 1 ? kill() : null])
        if (round % 3 === 2) await kill()
        const told = await s.journalLine('aborted cancelled', (line) => line.jobId === jobId)
        expect(told.atMs - askedMs).toBeLessThan(RENEW_MS + 2_000)
        expect(await s.jobIs(jobId, 'cancelled')).toMatchObject({ attempt: 1 })
      }
    },
  )

  test('C6: on a worker that drains, cancel reaches the handler as its own reason', async (context) => {
    const s = await Scenario.open(context)
    const cancelled = await s.enqueue('wait', { gate: s.gate('never').file })
    const interrupted = await s.enqueue('wait', { gate: s.gate('never').file })
    const worker = await s.worker({ args: ['--shutdown-grace', '20s'] })
    for (const jobId of [cancelled, interrupted])
      await s.journalLine('start', (line) => line.jobId === jobId)
    worker.kill('SIGTERM')
    await worker.event('worker.draining')
    expect(await s.client.cancel(cancelled)).toBe('cancelling')
    await s.journalLine('aborted cancelled', (line) => line.jobId === cancelled)
    await s.jobIs(cancelled, 'cancelled')
    worker.kill('SIGTERM')
    await s.journalLine('aborted shutdown', (line) => line.jobId === interrupted)
    expect(await s.jobIs(interrupted, 'pending')).toMatchObject({ interruptions: 1, failures: 0 })
  })

  test('C3: a job whose worker is dead is cancelled, and nobody starts it again', async (context) => {
    const s = await Scenario.open(context)
    const jobId = await s.enqueue('wait', { gate: s.gate('never').file })
    const first = await s.worker({ env: SHORT })
    await s.journalLine('start')
    const second = await s.worker({ machine: 'machine-b', env: SHORT })
    first.kill('SIGKILL')
    expect(await s.client.cancel(jobId)).toBe('cancelling')
    const job = await s.jobIs(jobId, 'cancelled')
    expect(job.attempts).toHaveLength(1)
    expect(second.events('job.picked_up')).toEqual([])
    const waiting = await s.enqueue('wait', {}, { delayMs: 3_600_000 })
    expect(await s.client.cancel(waiting)).toBe('cancelled')
  })

  test('C4: a cancelled job stays cancelled, whatever its handler returns and whoever is lost', async (context) => {
    const s = await Scenario.open(context)
    const gate = s.gate('go')
    const returns = await s.enqueue('stubborn', { gate: gate.file })
    const dies = await s.enqueue('stubborn', { gate: s.gate('never').file })
    const first = await s.worker({ env: SHORT })
    for (const jobId of [returns, dies]) {
      await s.journalLine('start', (line) => line.jobId === jobId)
      await s.client.cancel(jobId)
      await s.journalLine('aborted cancelled', (line) => line.jobId === jobId)
      expect(await s.job(jobId)).toMatchObject({ state: 'cancelling' })
    }
    gate.open()
    const job = await s.jobIs(returns, 'cancelled')
    expect(job.attempts).toMatchObject([
      { endedAs: 'cancelled', lateResult: { outcome: 'completed', value: { late: true } } },
    ])
    const second = await s.worker({ env: SHORT })
    first.kill('SIGKILL')
    expect((await s.jobIs(dies, 'cancelled')).attempts).toHaveLength(1)
    await expect(s.client.cancel(returns)).resolves.toBe('cancelled')
    expect(await s.job(returns)).toMatchObject({ status: 'cancelled', attempt: 1 })
    expect(second.events('job.picked_up')).toEqual([])
  })

  test('rule 12: a deaf handler ends its process after its grace, where its definition says so', async (context) => {
    const s = await Scenario.open(context)
    const gate = s.gate('go')
    const first = await s.worker()
    const deaf = await s.enqueue('deaf.exit')
    const other = await s.enqueue('wait', { gate: gate.file })
    await s.journalLine('line')
    await s.journalLine('start')
    const second = await s.worker({ machine: 'machine-b' })
    const askedMs = Date.now()
    expect(await s.client.cancel(deaf)).toBe('cancelling')
    const said = await first.event('job.unresponsive')
    expect(said).toMatchObject({ jobId: deaf, type: 'deaf.exit', reason: 'cancelled' })
    expect(said['forMs']).toBeGreaterThanOrEqual(500)
    expect(Date.now() - askedMs).toBeLessThan(8_000)
    expect(await first.exit()).toMatchObject({ code: 1 })
    expect(await s.jobIs(deaf, 'cancelled')).toMatchObject({ attempt: 1 })
    await s.journalLine('start', (line) => line.jobId === other && line.pid === second.pid)
    gate.open()
    const job = await s.jobIs(other, 'completed')
    expect(job).toMatchObject({ attempt: 2, lost: 0, failures: 0, interruptions: 0 })
    expect(job.attempts?.[0]).toMatchObject({ endedAs: 'released' })
    // Nobody starts what was cancelled, and its handler is gone.
    expect(s.journal(deaf).map(({ pid }) => pid)).not.toContain(second.pid)
  })
})

/** Queries for the server's processes that serve the one worker: where it is told that a cancel was asked, and where it renews. */
async function backendsOf(s: Scenario): Promise<{ listening: string; renewing: string }> {
  const [told] = await s.rows<{ channel: string }>(`select %s.channel('default') as channel`)
  return {
    // Its last statement is that it listens, or one of the claims after it.
    listening: `select pid from pg_stat_activity where application_name = 'leasehold worker'
      and (query = 'listen "${told?.channel}"' or query like 'select ${s.db.schema}.claim(%')`,
    renewing: 'select backend_pid as pid from %s.worker where ended_at is null',
  }
}
