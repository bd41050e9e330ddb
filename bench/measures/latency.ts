/**
 * The two latencies of everyday use, across processes: from the call of `cancel` to the abort that a handler sees, and from the call
 * of `enqueue` to the start of the handler. One job at a time; the first few are thrown away, as the peers' benchmark does.
 */
import { bound, type Figure, formatValue } from '../figures.ts'
import { type Bench, inPlace, type Measure, pause, roundText, type Site } from '../measure.ts'
import { monotonicMs } from '../../src/clock.ts'

const WARM_UP = 20
const SHORT_LEASE = { LEASE_DURATION: '6', HEARTBEAT_INTERVAL: '2' }
const RENEW_MS = 2_000

export const cancel: Measure = {
  name: 'cancel',
  what: 'cancel → the handler’s signal, across processes, LISTEN on',
  quick: true,
  run: async (bench) => {
    const { name, what } = cancel
    const heard = await inPlace(bench, 'cancel', async (site) => {
      await site.fleet.start()
      return cancels(bench, site, { count: bench.quick ? 20 : 200, phaseMs: 20 })
    })
    const polled = await inPlace(bench, 'cancel', async (site) => {
      await site.fleet.start({ args: ['--no-listen'], env: SHORT_LEASE })
      return cancels(bench, site, { count: bench.quick ? 1 : 5, phaseMs: RENEW_MS })
    })
    return [
      { name, what, unit: 'ms', values: heard, checks: [bound(heard, 'p99', 100, 'ms')] },
      {
        name,
        what: 'the same, LISTEN off, a renewal every 2 s',
        unit: 'ms',
        values: polled,
        checks: [bound(polled, 'worst', RENEW_MS, 'ms')],
      },
    ] satisfies Figure[]
  },
}

async function cancels(
  bench: Bench,
  { client, fleet }: Site,
  { count, phaseMs }: { count: number; phaseMs: number },
): Promise<number[]> {
  const values: number[] = []
  for (let round = 1; round <= count; round += 1) {
    const job = await client.enqueueRaw('bench.hold', {})
    await fleet.started(job, 1)
    await pause(0, phaseMs)
    const calledMs = monotonicMs()
    const [told] = await Promise.all([
      fleet.reports.first('a handler to be told of its cancel', (report) => {
        return report.event === 'told' && report.job === job
      }),
      client.cancel(job),
    ])
    if (told.reason !== 'cancelled')
      throw new Error(`A cancelled job was told "${told.reason}" instead.`)
    values.push(told.atMs - calledMs)
    bench.progress(roundText(round, count, formatValue(values.at(-1) ?? 0, 'ms')))
  }
  return values
}

export const start: Measure = {
  name: 'start',
  what: 'enqueue → start on an idle queue, LISTEN on',
  quick: true,
  run: (bench) =>
    inPlace(bench, 'start', async ({ client, fleet }) => {
      await fleet.start()
      const count = bench.quick ? 50 : 500
      const values: number[] = []
      for (let round = 1 - WARM_UP; round <= count; round += 1) {
        await pause(5, 30)
        const calledMs = monotonicMs()
        const job = await client.enqueueRaw('bench.instant', null)
        const started = await fleet.started(job, 1)
        if (round > 0) values.push(started.atMs - calledMs)
        bench.progress(roundText(Math.max(0, round), count, formatValue(values.at(-1) ?? 0, 'ms')))
      }
      const { name, what } = start
      const checks = [bound(values, 'p50', 2, 'ms'), bound(values, 'p99', 10, 'ms')]
      return [{ name, what, unit: 'ms', values, checks } satisfies Figure]
    }),
}
