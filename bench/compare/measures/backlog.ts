/**
 * Whether claiming gets slower with what else is stored: pending jobs that are not the next ones, and jobs that have ended. Every
 * contestant drains the same number of jobs beside it; of ours a claim of 10 is also timed alone, by its SQL function.
 */
import { openDatabase } from '../../../src/db/connect.ts'
import { monotonicMs } from '../../../src/clock.ts'
import { type Arena, type Entry, inRound, OURS, type Round } from '../arena.ts'
import { CLAIM, claimCeiling, claimReadings, oneClaimCeiling } from '../ceilings.ts'
import { type Case, casesOf, type Comparison, interleave, type Reading } from '../comparison.ts'
import { DirectWorker } from '../direct-worker.ts'
import { stoppedText } from './drain.ts'

const DRAIN_MS_MAX = 10_000
const LOAD_MS_MAX = 90_000
const LOAD_BIG_MS_MAX = 1_200_000
const CLAIMS = 200
const CLAIM_SIZE = 10
const ONE_CLAIM = `claim of ${CLAIM_SIZE} narrow rows beside nothing`

function sizes({ options }: Arena): { backlogs: number[]; histories: number[]; drained: number } {
  if (options.quick) return { backlogs: [100, 400], histories: [200], drained: 100 }
  return {
    backlogs: [1_000, 10_000, 100_000, 1_000_000, ...(options.big ? [10_000_000] : [])],
    histories: [100_000, ...(options.big ? [1_000_000, 10_000_000] : [])],
    drained: 20_000,
  }
}

export const backlog: Comparison = {
  name: 'backlog',
  what: 'drain and claim beside pending and finished jobs',
  how: 'one process drains as much beside each; what is not done after 10 s is stopped, and its rate is of handlers called; claims are of 10 jobs by the SQL function of ours, without marks, on one connection',
  quick: false,
  run: (arena) => {
    const { backlogs, histories, drained } = sizes(arena)
    const ours = arena.contestants.filter(({ name }) => name === OURS)
    const claims = (variant: string, prepare: (round: Round) => Promise<string[]>): Case[] =>
      ours.map((contestant) => ({
        variant,
        contestant,
        mode: 'fast',
        ceiling: ONE_CLAIM,
        settings: `claim of ${CLAIM_SIZE}, by SQL`,
        read: () =>
          inRound(arena, { contestant, mode: 'fast' }, (round) => claimed(round, prepare)),
      }))
    const drains = (variant: string, prepare: (round: Round) => Promise<string[]>): Case[] =>
      casesOf(arena, ['fast'], (contestant, mode) => ({
        variant,
        ceiling: CLAIM,
        read: async () => [
          await drainedBeside({ arena, entry: { contestant, mode }, prepare, drained }),
        ],
      }))
    const cases = [
      ...backlogs.flatMap((count) => [
        ...drains(`drain beside ${shown(count)} pending`, (round) => store(arena, round, count)),
        ...claims(`claim beside ${shown(count)} pending`, (round) => store(arena, round, count)),
      ]),
      ...histories.flatMap((count) => [
        ...drains(`drain beside ${shown(count)} finished`, (round) => finish(arena, round, count)),
        ...claims(`claim beside ${shown(count)} finished`, (round) => finish(arena, round, count)),
      ]),
    ]
    return interleave(arena, cases, {
      [CLAIM]: () => claimCeiling(arena, drained),
      [ONE_CLAIM]: () => oneClaimCeiling(arena, { claims: CLAIMS, size: CLAIM_SIZE }),
    })
  },
}

function shown(count: number): string {
  return count.toLocaleString('en-US')
}

/** Stores jobs; what there is to say if it were fewer. */
async function store(arena: Arena, round: Round, count: number): Promise<string[]> {
  const limitMs = arena.options.big ? LOAD_BIG_MS_MAX : LOAD_MS_MAX
  const process = await round.start()
  const wanted = { place: round.place, kind: 'many', count, limitMs }
  const { count: stored } = await process.call('produce', wanted, 2 * limitMs)
  await process.kill()
  return stored < count ? [`beside ${shown(stored)}, as many as it could store in time`] : []
}

/** Stores jobs and drains them; what there is to say if it were fewer. */
async function finish(arena: Arena, round: Round, count: number): Promise<string[]> {
  const limitMs = arena.options.big ? LOAD_BIG_MS_MAX : LOAD_MS_MAX
  const notes = await store(arena, round, count)
  const [worker] = await round.work(1)
  const all = await round.handledBy(count, limitMs)
  const handled = round.handled
  if (all) await worker?.call('watch', { place: round.place, limitMs: 30_000 })
  await worker?.kill()
  return all ? notes : [`beside ${shown(handled)}, as many as it could finish in time`]
}

async function drainedBeside(given: {
  arena: Arena
  entry: Entry
  prepare: (round: Round) => Promise<string[]>
  drained: number
}): Promise<Reading> {
  const { arena, entry, prepare, drained } = given
  return inRound(arena, entry, async (round) => {
    const notes = await prepare(round)
    notes.push(...(await store(arena, round, drained)))
    await round.rest()
    const before = round.handled
    const [worker] = await round.work(1)
    const first = await worker?.events.first('a first job', ({ event }) => event === 'first')
    const fromMs = first?.event === 'first' ? first.atMs : Number.NaN
    const enough = await round.handledBy(before + drained, DRAIN_MS_MAX)
    const value = (round.handled - before) / ((monotonicMs() - fromMs) / 1_000)
    if (!enough) notes.push(stoppedText(DRAIN_MS_MAX))
    return { unit: 'jobs/s', value, ...(notes.length === 0 ? {} : { note: notes.join('; ') }) }
  })
}

async function claimed(
  round: Round,
  prepare: (round: Round) => Promise<string[]>,
): Promise<Reading[]> {
  const notes = await prepare(round)
  const process = await round.start()
  const count = CLAIMS * CLAIM_SIZE
  await process.call('produce', { place: round.place, kind: 'many', count })
  await round.rest()
  const db = openDatabase({ databaseUrl: round.place.databaseUrl, connectionsMax: 1 })
  try {
    const worker = await DirectWorker.register(db, 0)
    const tookMs: number[] = []
    for (let number = 0; number < CLAIMS; number += 1) {
      const calledMs = monotonicMs()
      const got = await worker.claim(CLAIM_SIZE)
      tookMs.push(monotonicMs() - calledMs)
      if (got !== CLAIM_SIZE) throw new Error(`A claim of ${CLAIM_SIZE} got ${got}.`)
    }
    const note = notes.length === 0 ? {} : { note: notes.join('; ') }
    return claimReadings(tookMs).map((reading) => ({ ...reading, ...note }))
  } finally {
    await db.close()
  }
}
