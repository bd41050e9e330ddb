/** What one job costs the database from enqueue to its end: write-ahead log, dead row versions, statements sent. */
import { CountingProxy } from '../../counting-proxy.ts'
import { type Arena, type Entry, inRound } from '../arena.ts'
import { COST, costCeiling, COSTS } from '../ceilings.ts'
import { casesOf, type Comparison, interleave, type Reading } from '../comparison.ts'
import { alone, difference, written } from '../traffic.ts'
import { LOAD_MS_MAX } from './drain.ts'

const DRAIN_MS_MAX = 20_000

export const cost: Comparison = {
  name: 'cost',
  what: 'write-ahead log, dead rows and statements for each job',
  how: 'stored 1,000 a call and run by one process; write-ahead log and rows by the statistics of the server, statements counted on their way to it',
  quick: true,
  run: (arena) =>
    interleave(
      arena,
      casesOf(arena, ['fast'], (contestant, mode) => ({
        variant: 'cost of a job',
        ceiling: COST,
        read: () => costs(arena, { contestant, mode }),
      })).filter(({ contestant }) => contestant.name !== 'bullmq'),
      { [COST]: () => costCeiling(arena, jobsOf(arena)) },
    ),
}

function jobsOf({ options }: Arena): number {
  return options.quick ? 200 : 20_000
}

function costs(arena: Arena, entry: Entry): Promise<Reading[]> {
  const jobs = jobsOf(arena)
  return inRound(arena, entry, async (round) => {
    const { place } = round
    const proxy = await CountingProxy.start(place.databaseUrl)
    try {
      await round.rest()
      const start = await written(round)
      const store = await round.start()
      const wanted = { place, kind: 'many', count: jobs, limitMs: LOAD_MS_MAX }
      const { count } = await store.call('produce', wanted)
      const stored = await written(round)
      const [worker] = await round.work(1, { databaseUrl: proxy.url })
      const done = await round.handledBy(count, DRAIN_MS_MAX)
      const handled = round.handled
      if (done) await store.call('watch', { place, limitMs: DRAIN_MS_MAX })
      const statements = proxy.statements.length
      await Promise.all([worker?.kill(), store.kill()])
      await alone(round)
      const end = await written(round)
      const all = difference(start, end)
      const note = done ? {} : { note: `of ${handled} jobs, in ${DRAIN_MS_MAX / 1_000} s` }
      const each = (value: number): number => value / handled
      return [
        { ...COSTS.walToStore, value: difference(start, stored).walBytes / count },
        { ...COSTS.walToRun, value: each(difference(stored, end).walBytes), ...note },
        { ...COSTS.dead, value: each(all.updated + all.deleted), details: all, ...note },
        { ...COSTS.statements, value: each(statements), ...note },
      ]
    } finally {
      await round.close()
      await proxy.close()
    }
  })
}
