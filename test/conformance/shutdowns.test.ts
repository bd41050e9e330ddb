/** How workers were shut down, read from how their rows were ended: one figure for each machine and version. */
import { describe, expect, test } from 'vitest'
import { heldOf } from '../support/functions.ts'
import { checkInvariantsAfterEach, openProtocol, SCHEMAS } from '../support/protocol.ts'

checkInvariantsAfterEach()

const told = { code: 'shutdown', message: 'SIGTERM' }

describe.each(SCHEMAS)('shutdowns (%s schema)', (schema) => {
  test('each way to end counts as what it was, and a process that went on as nothing', async () => {
    const p = await openProtocol(schema)
    const ends: [outcome: string | null, end: () => Promise<{ incarnation: string }>][] = [
      ['graceful', async () => ended('interrupted', told)],
      [
        'graceful',
        async () => ended('interrupted', { ...told, shutdown: { outcome: 'graceful' } }),
      ],
      [
        'timed_out',
        async () => ended('interrupted', { ...told, shutdown: { outcome: 'timed_out' } }),
      ],
      ['crashed', async () => ended('lost', { code: 'uncaught_error', message: 'no' })],
      ['crashed', async () => ended('released', { code: 'uncaught_error', message: 'no' })],
      // It fenced itself, and goes on as a fresh incarnation.
      [null, async () => ended('uncharged', { code: 'self_fenced', message: 'late' })],
      ['crashed', async () => reported(false)],
      // Killed by whoever had told it to stop: out of patience.
      ['timed_out', async () => reported(true)],
      [
        'crashed',
        async () => {
          const worker = await p.register()
          await p.lapse()
          await p.sweep()
          return worker
        },
      ],
      [
        null,
        async () => {
          const worker = await p.register()
          await p.evict([worker])
          return worker
        },
      ],
      // Found dead by a witness that was wrong.
      [
        null,
        async () => {
          const worker = await reported(false)
          await p.renewAnswer(worker)
          return worker
        },
      ],
      [null, () => p.register()],
    ]
    async function ended(
      charge: 'interrupted' | 'lost' | 'released' | 'uncharged',
      reason: { code: string; message: string } & Record<string, unknown>,
    ): Promise<{ incarnation: string; id: string; pid: number }> {
      const worker = await p.register()
      await p.endWorker(worker, charge, reason)
      return worker
    }
    async function reported(draining: boolean) {
      const worker = await p.register()
      if (draining) await p.renew(worker, { draining: true })
      await p.reportDeath({}, 2, [worker])
      return worker
    }
    const counts: Record<string, number> = {}
    for (const [outcome, end] of ends) {
      const worker = await end()
      const found = (await p.workers()).find((one) => one.incarnation === worker.incarnation)
      expect(found?.shutdown.outcome, JSON.stringify(found)).toBe(outcome)
      if (outcome !== null) counts[outcome] = (counts[outcome] ?? 0) + 1
      // A witness that was contradicted is silent about its machine from then on.
      await p.db.rows('update %s.machine set witness_contradicted_at = null')
    }
    expect(counts).toEqual({ graceful: 2, timed_out: 2, crashed: 4 })
    const [row, ...others] = await p.shutdowns()
    expect(others).toEqual([])
    expect(row).toMatchObject({ graceful: 2, timedOut: 2, crashed: 4, successRate: 0.25 })
    expect(await p.stats()).toMatchObject({
      shutdowns: { graceful: 2, timedOut: 2, crashed: 4, successRate: 0.25 },
    })
  })

  test('they are told apart by machine and version, and by when; without any there is no rate', async () => {
    const p = await openProtocol(schema)
    expect(await p.shutdowns()).toEqual([])
    expect(await p.stats()).toMatchObject({
      shutdowns: { graceful: 0, timedOut: 0, crashed: 0, successRate: null },
    })
    for (const [machineId, version, charge] of [
      ['a', '1.0.0', 'interrupted'],
      ['a', '1.1.0', 'lost'],
      ['b', '1.1.0', 'interrupted'],
    ] as const)
      await p.endWorker(await p.register({ machineId, version }), charge, told)
    const rows = await p.shutdowns()
    expect(rows.map((row) => [row.machineId, row.version, row.successRate])).toEqual([
      ['a', '1.0.0', 1],
      ['a', '1.1.0', 0],
      ['b', '1.1.0', 1],
    ])
    expect(await p.in('another').shutdowns()).toEqual([])
    await p.db.advance(3_600_000)
    expect(await p.shutdowns(60_000)).toEqual([])
  })

  test('the report stays with the worker, and is not copied to the jobs that it gives back', async () => {
    const p = await openProtocol(schema)
    const { ids, held, worker } = await p.running(1)
    expect(held).toHaveLength(1)
    const shutdown = { outcome: 'timed_out', signal: 'SIGTERM', released: 1 }
    await p.endWorker(worker, 'interrupted', { ...told, shutdown })
    expect((await p.worker(worker)).shutdown).toMatchObject(shutdown)
    const job = await p.job(ids[0] ?? '')
    expect(job.attempts?.[0]?.endReason).toMatchObject({ code: 'shutdown' })
    expect(JSON.stringify(job)).not.toContain('timed_out')
    expect(heldOf(await p.claim(await p.register()))).toHaveLength(1)
  })
})
