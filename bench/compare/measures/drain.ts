/**
 * How fast no-op jobs are drained: from the start of the first handler to the moment when the queue itself says that nothing is left,
 * so every job counted is durably done. Jobs are stored before, the tables analysed and checkpointed. A contestant that is not done
 * in time is counted by the handlers that it called until then.
 */
import { type Arena, type Entry, inRound, type Mode } from '../arena.ts'
import { CLAIM, claimCeiling } from '../ceilings.ts'
import { casesOf, type Comparison, interleave, modesOf, type Reading } from '../comparison.ts'
import { monotonicMs } from '../../../src/clock.ts'

const DRAIN_MS_MAX = 8_000
/** For those that have no call for many jobs. */
export const LOAD_MS_MAX = 60_000
const SETTLE_MS_MAX = 30_000

/** What there is to say of a rate that is not of jobs done. */
export function stoppedText(afterMs: number): string {
  return `stopped after ${afterMs / 1_000} s: handlers called, not jobs done`
}

export interface Drain {
  readonly jobs: number
  readonly processes: number
  readonly kind: 'one' | 'many'
}

export const drain: Comparison = {
  name: 'drain',
  what: 'drain of no-op jobs',
  how: 'jobs are stored before, and timed from the start of the first handler until the queue itself says that nothing is left; what is not done after 8 s is stopped, and its rate is of handlers called, not of jobs done',
  quick: true,
  run: (arena) => {
    const jobs = arena.options.quick ? 300 : 50_000
    const cases = (modes: readonly Mode[], name: string, choice: Drain) =>
      casesOf(arena, modes, (contestant, mode) => ({
        variant: `drain, ${name}`,
        ceiling: CLAIM,
        read: async () => [await drained(arena, { contestant, mode }, choice)],
      }))
    return interleave(
      arena,
      [
        ...cases(modesOf(arena), '1 process', { jobs, processes: 1, kind: 'many' }),
        ...cases(['fast'], '2 processes', { jobs, processes: 2, kind: 'many' }),
        ...cases(['fast'], '1 process, enqueued one by one', {
          jobs,
          processes: 1,
          kind: 'one',
        }),
      ],
      { [CLAIM]: () => claimCeiling(arena, jobs) },
    )
  },
}

export function drained(arena: Arena, entry: Entry, choice: Drain): Promise<Reading> {
  return inRound(arena, entry, async (round) => {
    const { place } = round
    const { kind, jobs, processes } = choice
    const store = await round.start()
    const wanted = { place, kind, count: jobs, limitMs: LOAD_MS_MAX }
    const { count, bulk } = await store.call('produce', wanted)
    await round.rest()
    const started = await round.work(processes)
    const firsts = started.map((each) =>
      each.events.first('a first job to start', ({ event }) => event === 'first'),
    )
    const first = await Promise.race(firsts)
    const fromMs = first.event === 'first' ? first.atMs : Number.NaN
    const unit = 'jobs/s'
    const notes = [
      ...(count < jobs ? [`${count} jobs, as many as it could store in time`] : []),
      ...(kind === 'many' && !bulk ? ['has no bulk call'] : []),
    ]
    if (!(await round.handledBy(count, DRAIN_MS_MAX))) {
      const value = round.handled / ((monotonicMs() - fromMs) / 1_000)
      return { unit, value, note: [...notes, stoppedText(DRAIN_MS_MAX)].join('; ') }
    }
    const { atMs } = await store.call('watch', { place, limitMs: SETTLE_MS_MAX })
    const value = count / ((atMs - fromMs) / 1_000)
    return notes.length === 0 ? { unit, value } : { unit, value, note: notes.join('; ') }
  })
}
