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
const SILENT = `insert of one row, ${WRITERS} callers`
const NOTIFYING = `insert of one row with a notification, ${WRITERS} callers`
const JOB = { type: 'bench.noop', input: '{}', options: '{}' }

export const notify: Comparison = {
  name: 'notify',
  what: `enqueue by ${WRITERS} writers, with and without NOTIFY`,
  how: '64 connections, one job a statement, by the SQL function of ours; no worker runs',
  quick: false,
  run: (arena) => {
    const jobs = arena.options.quick ? 300 : 20_000
    const cases = arena.contestants
      .filter(({ name }) => name === OURS)
      .flatMap((contestant) => [
        caseOf(arena, contestant, { jobs, hint: true }),
        caseOf(arena, contestant, { jobs, hint: false }),
      ])
    return interleave(arena, cases, {
      [NOTIFYING]: () => insertCeiling(arena, jobs, { connections: WRITERS, notify: true }),
      [SILENT]: () => insertCeiling(arena, jobs, { connections: WRITERS }),
    })
  },
}

function caseOf(
  arena: Arena,
  contestant: Contestant,
  { jobs, hint }: { jobs: number; hint: boolean },
): Case {
  return {
    variant: `enqueue, ${WRITERS} writers, NOTIFY ${hint ? 'on' : 'off'}`,
    contestant,
    mode: 'default',
    ceiling: hint ? NOTIFYING : SILENT,
    settings: `p_hint ${hint}, by SQL, ${WRITERS} connections`,
    read: () =>
      inRound(arena, { contestant, mode: 'default' }, async (round) => {
        const { databaseUrl } = round.place
        const db = openDatabase({ databaseUrl, connectionsMax: WRITERS })
        try {
          let stored = 0
          const write = async (upTo: number): Promise<void> => {
            while (stored < upTo) {
              stored += 1
              await enqueue(db, 'default', [JOB], hint)
            }
          }
          const all = (upTo: number) =>
            Promise.all(Array.from({ length: WRITERS }, () => write(upTo)))
          // Opens the connections.
          await all(WRITERS)
          const fromMs = monotonicMs()
          await all(WRITERS + jobs)
          return [{ unit: 'jobs/s', value: jobs / ((monotonicMs() - fromMs) / 1_000) }]
        } finally {
          await db.close()
        }
      }),
  }
}
