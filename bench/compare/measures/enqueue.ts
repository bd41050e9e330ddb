/** How fast jobs are stored by one process: one a call from 16 callers at once, and 1,000 a call, one call after the other. */
import { inRound } from '../arena.ts'
import { INSERT, insertCeiling, UNNEST, unnestCeiling } from '../ceilings.ts'
import { casesOf, type Comparison, interleave } from '../comparison.ts'
import { LOAD_MS_MAX } from './drain.ts'

const CALLERS = 16

export const enqueue: Comparison = {
  name: 'enqueue',
  what: 'enqueue by one process',
  how: 'one process and no worker: one job a call from 16 callers, on a pool of 16 connections (bullmq: one connection to Redis); 1,000 a call, one call after the other',
  quick: true,
  run: (arena) => {
    const counts = arena.options.quick ? { one: 200, many: 2_000 } : { one: 20_000, many: 100_000 }
    const cases = (kind: 'one' | 'many', name: string, ceiling: string) =>
      casesOf(arena, ['default'], (contestant, mode) => ({
        variant: `enqueue, ${name}`,
        ceiling,
        settings:
          contestant.name === 'bullmq' ? 'one connection' : `a pool of ${CALLERS} connections`,
        read: () =>
          inRound(arena, { contestant, mode }, async (round) => {
            const store = await round.start()
            const { timed, tookMs, bulk } = await store.call('produce', {
              place: round.place,
              kind,
              count: counts[kind],
              callers: CALLERS,
              limitMs: LOAD_MS_MAX,
            })
            const value = timed / (tookMs / 1_000)
            if (kind === 'many' && !bulk)
              return [{ unit: 'jobs/s', value, note: 'has no bulk call: one a call' }]
            return [{ unit: 'jobs/s', value }]
          }),
      }))
    return interleave(
      arena,
      [
        ...cases('one', `one a call, ${CALLERS} callers`, INSERT),
        ...cases('many', '1,000 a call', UNNEST),
      ],
      {
        [INSERT]: () => insertCeiling(arena, counts.one, { connections: CALLERS }),
        [UNNEST]: () => unnestCeiling(arena, counts.many),
      },
    )
  },
}
