/**
 * Jobs that come and are drained without a pause, while something else in the database holds its horizon back: a transaction that was
 * opened before and stays open, as a dump or a forgotten session does. No row that died since can be taken away, so a queue slows
 * down by what it has to step over. The same with fresh statistics every few seconds, which show whether its plans survive a queue
 * that looks empty, and the same without the transaction.
 *
 * One process stores, keeping a backlog, and one works. Read once, however many repetitions: each takes minutes.
 */
import { sleep } from '../../../src/clock.ts'
import { quoteIdentifier } from '../../../src/db/connect.ts'
import { monotonicMs } from '../../../src/clock.ts'
import { type Arena, connect, type Entry, inRound, type Round } from '../arena.ts'
import { type Case, casesOf, type Comparison, interleave, type Reading } from '../comparison.ts'
import { keepInformed } from './latency.ts'

const BACKLOG = 5_000
const WINDOW_MS = 10_000
const ANALYZE_EVERY_MS = 3_000

interface Hardship {
  readonly pinned: boolean
  readonly analyzed: boolean
  readonly forMs: number
}

export const horizon: Comparison = {
  name: 'horizon',
  what: 'continuous enqueue and drain under a pinned horizon',
  how: 'one process keeps a backlog of 5,000, 500 a call, and one works; rates are of handlers called; once',
  quick: true,
  run: (arena) => {
    const { pinMs, freeMs } = arena.options
    const cases = (variant: string, hardship: Hardship): Case[] =>
      casesOf(arena, ['fast'], (contestant, mode) => ({
        variant: `${variant} ${hardship.forMs / 1_000} s`,
        read: () => flow(arena, { contestant, mode }, hardship),
      })).filter(({ contestant }) => contestant.name !== 'bullmq' || !hardship.analyzed)
    const once = { ...arena, options: { ...arena.options, repetitions: 1 } }
    return interleave(once, [
      ...(pinMs === 0
        ? []
        : [
            ...cases('pinned', { pinned: true, analyzed: false, forMs: pinMs }),
            ...cases('pinned, VACUUM ANALYZE every 3 s,', {
              pinned: true,
              analyzed: true,
              forMs: pinMs,
            }),
          ]),
      ...(freeMs === 0
        ? []
        : cases('not pinned', { pinned: false, analyzed: false, forMs: freeMs })),
    ])
  },
}

function flow(arena: Arena, entry: Entry, hardship: Hardship): Promise<Reading[]> {
  const windowMs = Math.min(WINDOW_MS, hardship.forMs / 2)
  return inRound(arena, entry, async (round) => {
    const [feeder] = await Promise.all([round.start(), round.work(1)])
    const begun: (() => unknown)[] = [keepInformed(round, feeder)]
    try {
      if (hardship.pinned) begun.push(await pinHorizon(round))
      await feeder.call('feed', { place: round.place, backlog: BACKLOG })
      if (!(await round.handledBy(1, WINDOW_MS))) throw new Error('No job was handled.')
      if (hardship.analyzed) begun.push(await keepAnalyzing(round))
      const rates: number[] = []
      for (let left = hardship.forMs; left > 0; left -= windowMs) {
        const [handled, fromMs] = [round.handled, monotonicMs()]
        await sleep(Math.min(windowMs, left))
        rates.push((round.handled - handled) / ((monotonicMs() - fromMs) / 1_000))
      }
      return readingsOf(rates, windowMs, await sizesOf(round))
    } finally {
      // Before the round kills the processes that these speak to.
      for (const end of begun.toReversed()) await end()
    }
  })
}

function readingsOf(rates: readonly number[], windowMs: number, sizes: Sizes): Reading[] {
  const [first, last] = [rates[0] ?? Number.NaN, rates.at(-1) ?? Number.NaN]
  const window = `${windowMs / 1_000} s`
  const toFirst = (value: number): { ratio: { value: number; to: string } } => ({
    ratio: { value: value / first, to: 'first' },
  })
  const slowest = Math.min(...rates)
  return [
    { what: `first ${window}`, unit: 'jobs/s', value: first },
    { what: `slowest ${window}`, unit: 'jobs/s', value: slowest, ...toFirst(slowest) },
    {
      what: `last ${window}`,
      unit: 'jobs/s',
      value: last,
      ...toFirst(last),
      note: `${sizes.megabytes} MB, ${sizes.dead.toLocaleString('en-US')} dead rows at the end`,
      details: { rates, sizes },
    },
  ]
}

/** A transaction that has looked once and stays open. */
async function pinHorizon(round: Round): Promise<() => Promise<void>> {
  const client = await connect(round.place.databaseUrl)
  await client.query('begin isolation level repeatable read')
  await client.query('select count(*) from pg_class')
  return () => client.end()
}

/**
 * The contestant's queue: each table of which a row was changed or taken away. What is only added to is history, which no claim reads.
 */
async function queueTablesOf(round: Round): Promise<string[]> {
  const rows = await round.rows<{ schema: string; name: string }>(
    'select schemaname as schema, relname as name from pg_stat_user_tables where n_tup_upd + n_tup_del > 0',
  )
  return rows.map(({ schema, name }) => `${quoteIdentifier(schema)}.${quoteIdentifier(name)}`)
}

/** Until the end that it gives, which says so if an analysis has failed. */
async function keepAnalyzing(round: Round): Promise<() => Promise<void>> {
  const client = await connect(round.place.databaseUrl)
  const ended = new AbortController()
  const loop = async (): Promise<void> => {
    while (!ended.signal.aborted) {
      for (const table of await queueTablesOf(round)) await client.query(`vacuum analyze ${table}`)
      await sleep(ANALYZE_EVERY_MS, ended.signal)
    }
  }
  const done = loop()
  // Its end is waited for below; until then nobody looks.
  done.catch(() => undefined)
  return async () => {
    ended.abort()
    try {
      await done
    } finally {
      await client.end()
    }
  }
}

interface Sizes {
  readonly megabytes: number
  readonly dead: number
}

async function sizesOf(round: Round): Promise<Sizes> {
  const [sizes] = await round.rows<{ megabytes: number; dead: number }>(
    `select (coalesce(sum(pg_total_relation_size(relid)), 0) / 1e6)::int as megabytes,
            coalesce(sum(n_dead_tup), 0)::int as dead
     from pg_stat_user_tables`,
  )
  return sizes ?? { megabytes: 0, dead: 0 }
}
