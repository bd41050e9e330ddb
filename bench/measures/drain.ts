/**
 * How fast one worker process drains a queue of no-op jobs, history kept, beside what PostgreSQL could do at most on this machine at
 * this moment: the machine's speed changes within an hour, so only the ratio of the two is worth comparing.
 *
 * The rate counts from the start of the first handler to the moment when the database has answered that no job is pending or
 * running, so every job counted is durably done. The jobs are stored before the worker starts, and the tables analysed and
 * checkpointed.
 */
import type { Client } from '../../src/client/client.ts'
import { sleep } from '../../src/clock.ts'
import { bound, type Figure, formatValue } from '../figures.ts'
import { noop } from '../handlers.ts'
import { type Bench, inPlace, type Measure, roundText, type Site } from '../measure.ts'
import { rawCeiling } from '../raw-ceiling.ts'
import { monotonicMs } from '../../src/clock.ts'

const STORED_AT_ONCE = 1_000
const LOOK_EVERY_MS = 20
const DRAIN_MS_MAX = 300_000
const RATE_MIN = 15_000

export const drain: Measure = {
  name: 'drain',
  what: 'drain of no-op jobs, one worker process, default settings, history kept',
  quick: true,
  run: async (bench) => {
    const jobs = bench.quick ? 5_000 : 50_000
    const repetitions = bench.quick ? 1 : 3
    const rates: number[] = []
    const logged: number[] = []
    const ceilings: number[] = []
    for (let round = 1; round <= repetitions; round += 1) {
      // Beside each other, so that all see the same machine.
      ceilings.push(await inPlace(bench, 'raw', (site) => rawCeiling(site, jobs)))
      rates.push(await drained(bench, jobs, { quiet: true }))
      logged.push(await drained(bench, jobs, { quiet: false }))
      bench.progress(roundText(round, repetitions, formatValue(rates.at(-1) ?? 0, 'jobs/s')))
    }
    const ratios = rates.map((rate, index) => rate / (ceilings[index] ?? Number.NaN))
    const { name, what } = drain
    const unjudged = (more: Pick<Figure, 'what' | 'unit' | 'values'>): Figure => ({
      name,
      checks: [],
      ...more,
    })
    return [
      {
        name,
        what,
        unit: 'jobs/s',
        values: rates,
        checks: bench.quick ? [] : [bound(rates, 'worst', RATE_MIN, 'jobs/s')],
        note: `${jobs.toLocaleString('en-US')} jobs stored before; log level warn`,
      },
      unjudged({
        what: 'the same with a log line for each pick-up and end (level info)',
        unit: 'jobs/s',
        values: logged,
      }),
      unjudged({
        what: 'raw ceiling: claim and delete of a narrow row, batches of 100',
        unit: 'jobs/s',
        values: ceilings,
      }),
      unjudged({ what: 'drain ÷ raw ceiling', unit: 'ratio', values: ratios }),
    ]
  },
}

function drained(bench: Bench, jobs: number, { quiet }: { quiet: boolean }): Promise<number> {
  return inPlace(bench, 'drain', async (site) => {
    await store(site.client, jobs)
    await site.rows(`analyze %s.job, %s.job_detail`)
    await site.rows('checkpoint')
    const worker = await site.fleet.start({ quiet })
    const first = await worker.orEnded(
      site.fleet.reports.first('the first job to start', ({ event }) => event === 'started'),
    )
    const endedMs = await emptied(site)
    const [{ done } = { done: 0 }] = await site.rows<{ done: number }>(
      `select count(*)::int as done from %s.job_stored where status = 'completed'`,
    )
    if (done !== jobs) throw new Error(`${done} of ${jobs} jobs were completed.`)
    return jobs / ((endedMs - first.atMs) / 1_000)
  })
}

async function store(client: Client, jobs: number): Promise<void> {
  for (let stored = 0; stored < jobs; stored += STORED_AT_ONCE) {
    const count = Math.min(STORED_AT_ONCE, jobs - stored)
    await client.enqueueMany(
      noop,
      Array.from({ length: count }, () => null),
    )
  }
}

/** When the database said that nothing is left. A job that has ended has no live row. */
async function emptied(site: Site): Promise<number> {
  for (const untilMs = monotonicMs() + DRAIN_MS_MAX; monotonicMs() < untilMs;) {
    const [{ left } = { left: true }] = await site.rows<{ left: boolean }>(
      `select exists (select from %s.job) as left`,
    )
    const answeredMs = monotonicMs()
    if (!left) return answeredMs
    await sleep(LOOK_EVERY_MS)
  }
  throw new Error(`The queue is not empty after ${DRAIN_MS_MAX / 1_000} s.`)
}
