/**
 * What a worker costs the database when nothing happens: writes for the lease of 200 running jobs, and statements of an idle one.
 */
import { sleep } from '../../src/clock.ts'
import type { Figure } from '../figures.ts'
import { CountingProxy, type SentStatement } from '../counting-proxy.ts'
import { type Bench, inPlace, type Measure, roundText, type Site } from '../measure.ts'
import { monotonicMs } from '../../src/clock.ts'

const RUNNING = 200
const INTERVALS = 5
const SETTLE_INTERVALS = 6
const LOOK_EVERY_MS = 50
/** Many intervals: whoever needs longer does not renew. */
const RENEWALS_MS_MAX = 30_000
/** Connections, the first claim and the first beat of a fresh worker are over by then. */
const SETTLE_MS = 10_000
const WINDOW_MS = 65_000
const MINUTE_MS = 60_000
const STATEMENTS_MAX = 2

export const renew: Measure = {
  name: 'renew',
  what: `renewals of ${RUNNING} running jobs on one worker: writes an interval`,
  quick: false,
  run: (bench) =>
    inPlace(bench, 'renew', async (site) => {
      await site.fleet.start({
        args: ['--concurrency', String(RUNNING)],
        env: { LEASE_DURATION: '6' },
      })
      const jobs = await Promise.all(
        Array.from({ length: RUNNING }, () => site.client.enqueueRaw('bench.hold', {})),
      )
      await Promise.all(jobs.map((job) => site.fleet.started(job, 1)))
      // A connection that has gone idle tells the server's statistics of its last claims up to 10 s later.
      await renewals(site, SETTLE_INTERVALS)
      const before = await writes(site)
      const values: number[] = []
      for (let interval = 1; interval <= INTERVALS; interval += 1) {
        const from = await writes(site)
        await renewals(site, 1)
        values.push((await writes(site)).worker - from.worker)
        bench.progress(roundText(interval, INTERVALS, `${values.at(-1)} writes`))
      }
      const after = await writes(site)
      const perJob = after.job - before.job
      // They are aborted by the fleet's stop; a stop with 200 handlers would be another measure.
      await Promise.all(jobs.map((job) => site.client.cancel(job)))
      const { name, what } = renew
      return [
        {
          name,
          what,
          unit: 'writes',
          values,
          checks: [
            { says: '1 an interval', met: values.every((count) => count === 1) },
            { says: 'none to a job', met: perJob === 0 },
          ],
          details: { before, after },
        } satisfies Figure,
      ]
    }),
}

/** Waits until the worker has renewed so many times more. */
async function renewals(site: Site, count: number): Promise<void> {
  const sent = async (): Promise<number> => {
    const [{ sent: number } = { sent: 0 }] = await site.rows<{ sent: number }>(
      `select send_number::int as sent from %s.worker where ended_at is null`,
    )
    return number
  }
  const wanted = (await sent()) + count
  for (const untilMs = monotonicMs() + RENEWALS_MS_MAX; (await sent()) < wanted;) {
    if (monotonicMs() > untilMs) throw new Error(`The worker has not renewed ${count} times.`)
    await sleep(LOOK_EVERY_MS)
  }
}

/** Rows written so far, as the server's statistics have it; a backend adds its own when its transaction ends. */
async function writes(site: Site): Promise<{ worker: number; job: number }> {
  const found = await site.rows<{ name: string; writes: number }>(
    `select relname as name, (n_tup_ins + n_tup_upd + n_tup_del)::int as writes
     from pg_stat_user_tables where schemaname = $1 and relname in ('worker', 'job')`,
    [site.schema],
  )
  const to = (table: string): number => found.find(({ name }) => name === table)?.writes ?? 0
  return { worker: to('worker'), job: to('job') }
}

export const idle: Measure = {
  name: 'idle',
  what: 'idle worker: most statements in any 60 s',
  quick: false,
  run: async (bench) => {
    const proxy = await CountingProxy.start(bench.server.url)
    try {
      return [await inPlace(bench, 'idle', (site) => watchIdle(bench, site, proxy))]
    } finally {
      await proxy.close()
    }
  },
}

async function watchIdle(bench: Bench, site: Site, proxy: CountingProxy): Promise<Figure> {
  await site.fleet.start({ databaseUrl: proxy.url })
  await sleep(SETTLE_MS)
  const fromMs = monotonicMs()
  while (monotonicMs() < fromMs + WINDOW_MS) {
    bench.progress(`${Math.ceil((fromMs + WINDOW_MS - monotonicMs()) / 1_000)} s to go`)
    await sleep(Math.min(1_000, Math.max(1, fromMs + WINDOW_MS - monotonicMs())))
  }
  const seen = proxy.statements.filter(({ atMs }) => atMs >= fromMs && atMs < fromMs + WINDOW_MS)
  const most = mostInAMinute(seen)
  const { name, what } = idle
  return {
    name,
    what,
    unit: 'statements',
    values: [most],
    checks: [{ says: `≤ ${STATEMENTS_MAX}`, met: most <= STATEMENTS_MAX }],
    note: `${seen.length} in ${WINDOW_MS / 1_000} s`,
    details: seen.map(({ atMs, text }) => ({ atMs: atMs - fromMs, text })),
  }
}

function mostInAMinute(statements: readonly SentStatement[]): number {
  const counts = statements.map(
    ({ atMs }) =>
      statements.filter((other) => other.atMs >= atMs && other.atMs < atMs + MINUTE_MS).length,
  )
  return Math.max(0, ...counts)
}
