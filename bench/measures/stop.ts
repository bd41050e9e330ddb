/**
 * How long a job waits whose worker is told to stop: from the end of the grace, or from the second signal, to the start of its
 * successor's handler. What the stop cost the job is read from its row afterwards.
 */
import { bound, type Check, type Figure, formatValue } from '../figures.ts'
import { inPlace, type Measure, roundText, type Site } from '../measure.ts'
import { monotonicMs } from '../../src/clock.ts'

const GRACE_MS = 1_000

type Cost = Readonly<Record<'failures' | 'lost' | 'interruptions', number>>

interface Stop extends Cost {
  readonly latencyMs: number
  readonly exitCode: number | null
}

export const sigterm: Measure = {
  name: 'sigterm',
  what: 'SIGTERM, deaf handler → starts elsewhere, counted from the end of the grace (1 s)',
  quick: true,
  run: (bench) =>
    inPlace(bench, 'sigterm', async (site) => {
      const count = bench.quick ? 2 : 10
      const choice = { args: ['--shutdown-grace', `${GRACE_MS / 1_000}s`] }
      await Promise.all([site.fleet.start(choice), site.fleet.start(choice)])
      const stops: Stop[] = []
      for (let round = 1; round <= count; round += 1) {
        stops.push(await terminate(site))
        bench.progress(roundText(round, count, formatValue(stops.at(-1)?.latencyMs ?? 0, 'ms')))
        if (round < count) await site.fleet.start(choice)
      }
      return [stopFigure(sigterm, stops, 300, [])]
    }),
}

async function terminate(site: Site): Promise<Stop> {
  const { client, fleet } = site
  const job = await client.enqueueRaw('bench.hold', { deaf: true })
  const first = await fleet.started(job, 1)
  const victim = fleet.byPid(first.pid)
  const signalledMs = monotonicMs()
  victim.kill('SIGTERM')
  const second = await fleet.started(job, 2)
  const { code } = await victim.exited
  await client.wait(job)
  const cost = await costOf(site, job)
  return { latencyMs: second.atMs - signalledMs - GRACE_MS, exitCode: code, ...cost }
}

export const sigint: Measure = {
  name: 'sigint',
  what: 'second SIGINT → both jobs start elsewhere (one handler deaf)',
  quick: true,
  run: (bench) =>
    inPlace(bench, 'sigint', async (site) => {
      const count = bench.quick ? 2 : 10
      let victim = await site.fleet.start()
      const stops: Stop[] = []
      for (let round = 1; round <= count; round += 1) {
        const jobs = await Promise.all(
          [{ deaf: true }, { deaf: false }].map((input) =>
            site.client.enqueueRaw('bench.hold', input),
          ),
        )
        await Promise.all(jobs.map((job) => site.fleet.started(job, 1)))
        const other = await site.fleet.start()
        victim.kill('SIGINT')
        await victim.log.first('a first SIGINT to be taken', ({ event }) => {
          return event === 'worker.draining'
        })
        const signalledMs = monotonicMs()
        victim.kill('SIGINT')
        const seconds = await Promise.all(jobs.map((job) => site.fleet.started(job, 2)))
        const { code } = await victim.exited
        for (const [index, job] of jobs.entries()) {
          await site.client.wait(job)
          const latencyMs = (seconds[index]?.atMs ?? Number.NaN) - signalledMs
          stops.push({ latencyMs, exitCode: code, ...(await costOf(site, job)) })
        }
        bench.progress(roundText(round, count, formatValue(stops.at(-1)?.latencyMs ?? 0, 'ms')))
        victim = other
      }
      const exits = stops.every(({ exitCode }) => exitCode === 130)
      return [stopFigure(sigint, stops, 500, [{ says: 'exit code 130', met: exits }])]
    }),
}

function stopFigure(
  { name, what }: Measure,
  stops: readonly Stop[],
  limitMs: number,
  more: readonly Check[],
): Figure {
  const values = stops.map(({ latencyMs }) => latencyMs)
  const charged = stops.every(
    ({ failures, lost, interruptions }) => failures === 0 && lost === 0 && interruptions === 1,
  )
  return {
    name,
    what,
    unit: 'ms',
    values,
    checks: [
      bound(values, 'worst', limitMs, 'ms'),
      { says: 'failures 0, lost 0, interruptions 1', met: charged },
      ...more,
    ],
    details: stops,
  }
}

async function costOf(site: Site, job: string): Promise<Cost> {
  const [cost] = await site.rows<Cost>(
    `select failures, lost, interruptions from %s.job_stored where id = $1`,
    [job],
  )
  if (cost === undefined) throw new Error(`Job ${job} is gone.`)
  return cost
}
