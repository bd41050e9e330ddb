/**
 * What it costs to say that running jobs are alive: rows written and statements sent a minute while nothing else happens. Peers that
 * renew nothing write nothing; that is why they need minutes or hours to notice a dead worker.
 */
import { sleep } from '../../../src/clock.ts'
import { CountingProxy } from '../../counting-proxy.ts'
import { monotonicMs } from '../../../src/clock.ts'
import { type Arena, type Entry, inRound, OURS } from '../arena.ts'
import { type Case, type Comparison, interleave, type Reading } from '../comparison.ts'
import { difference, written } from '../traffic.ts'

/** An idle connection tells the server's statistics of its last claims up to 10 s later, some peers settle more slowly. */
const SETTLE_MS = 65_000
const WINDOW_MS = 60_000
const STARTED_MS_MAX = 120_000
const HELD = { forMs: 3_600_000 }

interface Held {
  readonly workers: number
  readonly each: number
}

export const renewals: Comparison = {
  name: 'renewals',
  what: 'renewals of running jobs',
  how: 'all jobs run and nothing else happens, for 60 s; concurrency is as many as run; once',
  quick: false,
  run: (arena) => {
    const few = { workers: 1, each: arena.options.quick ? 20 : 200 }
    const many = arena.options.quick ? { workers: 3, each: 20 } : { workers: 20, each: 1_000 }
    const contestants = arena.contestants.filter(({ name }) => name !== 'bullmq')
    const caseOf = (held: Held, contestant: (typeof contestants)[number]): Case => ({
      variant: `renewals, ${(held.workers * held.each).toLocaleString('en-US')} jobs on ${held.workers} worker${held.workers === 1 ? '' : 's'}`,
      contestant,
      mode: 'default',
      settings: `concurrency ${held.each}`,
      read: () => renewed(arena, { contestant, mode: 'default' }, held),
    })
    const once = { ...arena, options: { ...arena.options, repetitions: 1 } }
    return interleave(once, [
      ...contestants.map((contestant) => caseOf(few, contestant)),
      ...contestants.filter(({ name }) => name === OURS).map((ours) => caseOf(many, ours)),
    ])
  },
}

function renewed(arena: Arena, entry: Entry, { workers, each }: Held): Promise<Reading[]> {
  return inRound(arena, entry, async (round) => {
    const { quick } = arena.options
    const proxy = await CountingProxy.start(round.place.databaseUrl)
    try {
      const count = workers * each
      const store = await round.start()
      const wanted = { place: round.place, kind: 'many', count, batch: 100, data: HELD }
      await store.call('produce', wanted)
      await store.kill()
      await round.work(workers, { concurrency: each, databaseUrl: proxy.url })
      if (!(await round.handledBy(count, STARTED_MS_MAX)))
        throw new Error(`${round.handled} of ${count} jobs run.`)
      await sleep(quick ? 1_000 : SETTLE_MS)
      const before = await written(round)
      const [fromMs, sent] = [monotonicMs(), proxy.statements.length]
      await sleep(quick ? 12_000 : WINDOW_MS)
      const minutes = (monotonicMs() - fromMs) / 60_000
      const statements = proxy.statements.slice(sent)
      const seen = difference(before, await written(round))
      const rows = seen.inserted + seen.updated + seen.deleted
      return [
        { what: 'rows written a minute', unit: 'rows', value: rows / minutes, details: seen },
        {
          what: 'statements sent a minute',
          unit: 'statements',
          value: statements.length / minutes,
          details: statements.map(({ text }) => text),
        },
        ...(seen.updated === 0
          ? []
          : [
              {
                what: 'share of HOT updates',
                unit: 'ratio' as const,
                value: seen.hot / seen.updated,
              },
            ]),
      ]
    } finally {
      await round.close()
      await proxy.close()
    }
  })
}
