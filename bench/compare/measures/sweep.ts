/**
 * A sweep that finds nothing to do, over very many running jobs of very many workers: what every fleet pays all the time. Ours
 * alone, since no peer has a call for it.
 */
import { createClient } from '../../../src/client/client.ts'
import { openDatabase } from '../../../src/db/connect.ts'
import { quantile } from '../../figures.ts'
import { monotonicMs } from '../../../src/clock.ts'
import { inRound, OURS } from '../arena.ts'
import { casesOf, type Comparison, interleave } from '../comparison.ts'
import { DirectWorker } from '../direct-worker.ts'

const SWEEPS = 30
const CONNECTIONS = 4

export const sweep: Comparison = {
  name: 'sweep',
  what: 'a sweep with nothing lost',
  how: 'client.sweep() on one connection, 30 times; workers and their jobs are made by the SQL functions of ours, no worker process runs',
  quick: true,
  run: (arena) => {
    const [jobs, fleets] = arena.options.quick ? [500, [5]] : [100_000, [1_000, 10_000]]
    const cases = fleets.flatMap((workers) =>
      casesOf(arena, ['default'], (contestant, mode) => ({
        variant: `sweep of ${jobs.toLocaleString('en-US')} running jobs on ${workers.toLocaleString('en-US')} workers`,
        settings: 'one connection',
        read: () =>
          inRound(arena, { contestant, mode }, async (round) => {
            const { databaseUrl } = round.place
            const store = await round.start()
            await store.call('produce', { place: round.place, kind: 'many', count: jobs })
            const db = openDatabase({ databaseUrl, connectionsMax: CONNECTIONS })
            const client = createClient({ databaseUrl, connectionsMax: 1 })
            try {
              await claimAll(db, workers, jobs / workers)
              await round.rest()
              const tookMs: number[] = []
              for (let number = 0; number < SWEEPS; number += 1) {
                const calledMs = monotonicMs()
                const { ended, recovered } = await client.sweep()
                tookMs.push(monotonicMs() - calledMs)
                if (ended.length + recovered.length > 0) throw new Error('A sweep took a live job.')
              }
              return [
                { what: 'p50', unit: 'ms', value: quantile(tookMs, 0.5), details: tookMs },
                { what: 'worst', unit: 'ms', value: Math.max(...tookMs) },
              ]
            } finally {
              await client.close()
              await db.close()
            }
          }),
      })),
    )
    return interleave(
      arena,
      cases.filter(({ contestant }) => contestant.name === OURS),
    )
  },
}

async function claimAll(
  db: ReturnType<typeof openDatabase>,
  workers: number,
  each: number,
): Promise<void> {
  let next = 0
  const claimSome = async (): Promise<void> => {
    while (next < workers) {
      next += 1
      const worker = await DirectWorker.register(db, next)
      let got = 0
      while (got < each) {
        const more = await worker.claim(each - got)
        if (more === 0) throw new Error('There were fewer jobs than the workers want.')
        got += more
      }
    }
  }
  await Promise.all(Array.from({ length: CONNECTIONS }, claimSome))
}
