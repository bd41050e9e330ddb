/**
 * What it costs to say that running jobs are alive: rows written and statements sent a minute while nothing else happens,
 * of ours also the rows of the leases alone. Peers that
 * renew nothing write nothing; that is why they need minutes or hours to notice a dead worker.
 */
import { sleep } from '../../../src/clock.ts'
import { WORKER_DEFAULTS } from '../../../src/config.ts'
import { CountingProxy } from '../../counting-proxy.ts'
import { monotonicMs } from '../../../src/clock.ts'
import { type Arena, type Entry, inRound, OURS } from '../arena.ts'
import { type Case, type Comparison, interleave, type Reading } from '../comparison.ts'
import { difference, type Written, written } from '../traffic.ts'

/** An idle connection tells the server's statistics of its last claims up to 10 s later, some peers settle more slowly. */
const SETTLE_MS = 65_000
const WINDOW_MS = 60_000
const MINUTE_MS = 60_000
/** Where a renewal of ours writes; the other rows are those of the tick and of who sweeps. */
const LEASE_TABLE = 'leasehold.worker'
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
      const ours = entry.contestant.name === OURS
      const [all, lease] = [await written(round), await written(round, LEASE_TABLE)]
      const [fromMs, sent] = [monotonicMs(), proxy.statements.length]
      await sleep(quick ? 12_000 : WINDOW_MS)
      const minutes = (monotonicMs() - fromMs) / 60_000
      const statements = proxy.statements.slice(sent)
      const seen = difference(all, await written(round))
      const leases = difference(lease, await written(round, LEASE_TABLE))
      return [
        ...rowsOf(seen, minutes, 'all tables'),
        ...(ours ? rowsOf(leases, minutes, LEASE_TABLE, leaseNote(workers)) : []),
        {
          what: 'statements sent a minute',
          unit: 'statements',
          value: statements.length / minutes,
          details: statements.map(({ text }) => text),
        },
      ]
    } finally {
      await round.close()
      await proxy.close()
    }
  })
}

function leaseNote(workers: number): string {
  const { renewMs } = WORKER_DEFAULTS
  return `one row a worker every ${renewMs / 1_000} s is ${(workers * MINUTE_MS) / renewMs}`
}

function rowsOf(seen: Written, minutes: number, table: string, note?: string): Reading[] {
  const rows = seen.inserted + seen.updated + seen.deleted
  const said = note === undefined ? {} : { note }
  const count: Reading = {
    what: `rows written a minute, ${table}`,
    unit: 'rows',
    value: rows / minutes,
    details: seen,
    ...said,
  }
  if (seen.updated === 0) return [count]
  const share = seen.hot / seen.updated
  return [count, { what: `share of HOT updates, ${table}`, unit: 'ratio', value: share }]
}
