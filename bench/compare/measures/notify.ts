/**
 * What it costs many writers that every commit notifies: PostgreSQL lets only one of them commit at a time. Ours by its SQL function,
 * with its hint and without; beside it bare inserts of both kinds.
 */
import { openDatabase } from '../../../src/db/connect.ts'
import { enqueue } from '../../../src/sql/protocol.ts'
import { monotonicMs } from '../../../src/clock.ts'
import { type Arena, type Contestant, inRound, OURS } from '../arena.ts'
import { insertCeiling } from '../ceilings.ts'
import { type Case, type Comparison, interleave } from '../comparison.ts'

const WRITERS = 64
/** Beside whatever else uses the connections of the server. */
const WRITERS_QUICK = 8
const JOB = { type: 'bench.noop', input: '{}', options: '{}' }

export const notify: Comparison = {
  name: 'notify',
  what: `enqueue by ${WRITERS} writers, with and without NOTIFY`,
  how: 'a connection for each writer, one job a statement, by the SQL function of ours; no worker runs',
  quick: true,
  run: (arena) => {
    const { quick } = arena.options
    const [writers, jobs] = quick ? [WRITERS_QUICK, 300] : [WRITERS, 20_000]
    const cases = arena.contestants
      .filter(({ name }) => name === OURS)
      .flatMap((contestant) => [
        caseOf(arena, contestant, { jobs, writers, hint: true }),
        caseOf(arena, contestant, { jobs, writers, hint: false }),
      ])
    return interleave(arena, cases, {
      [ceilingOf(writers, true)]: () =>
        insertCeiling(arena, jobs, { connections: writers, notify: true }),
      [ceilingOf(writers, false)]: () => insertCeiling(arena, jobs, { connections: writers }),
    })
  },
}

function ceilingOf(writers: number, notifies: boolean): string {
  return `insert of one row${notifies ? ' with a notification' : ''}, ${writers} callers`
}

function caseOf(
  arena: Arena,
  contestant: Contestant,
  { jobs, writers, hint }: { jobs: number; writers: number; hint: boolean },
): Case {
  return {
    variant: `enqueue, ${writers} writers, NOTIFY ${hint ? 'on' : 'off'}`,
    contestant,
    mode: 'default',
    ceiling: ceilingOf(writers, hint),
    settings: `p_hint ${hint}, by SQL, ${writers} connections`,
    read: () =>
      inRound(arena, { contestant, mode: 'default' }, async (round) => {
        const { databaseUrl } = round.place
        const db = openDatabase({ databaseUrl, connectionsMax: writers })
        try {
          let stored = 0
          const write = async (upTo: number): Promise<void> => {
            while (stored < upTo) {
              stored += 1
              await enqueue(db, 'default', [JOB], hint)
            }
          }
          const all = (upTo: number) =>
            Promise.all(Array.from({ length: writers }, () => write(upTo)))
          // Opens the connections.
          await all(writers)
          const fromMs = monotonicMs()
          await all(writers + jobs)
          return [{ unit: 'jobs/s', value: jobs / ((monotonicMs() - fromMs) / 1_000) }]
        } finally {
          await db.close()
        }
      }),
  }
}
