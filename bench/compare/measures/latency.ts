/**
 * From the call of enqueue to the start of the handler, in another process, one job after the other, 5 to 30 ms apart: on an idle
 * queue, and on one that gets half of what the same worker was just seen to sustain.
 */
import { sleep } from '../../../src/clock.ts'
import { type Arena, BARE_SQL, type Entry, inRound, type Round } from '../arena.ts'
import { casesOf, type Comparison, interleave, modesOf, type Reading } from '../comparison.ts'
import { quantile } from '../../figures.ts'
import { monotonicMs } from '../../../src/clock.ts'
import type { PeerProcess } from '../process.ts'

const GAP_MS = [5, 30]
/** A queue that is polled every 2 s gets no more than a dozen in this time. */
const PROBES_MS_MAX = 25_000
const WARM_UP_MAX = 20
const BACKLOG = 5_000
/** An insert that notifies, and an update by whoever hears it: what two durable statements and their ways take. */
const HAND_OVER = 'one row inserted with a notification, and updated by who hears it, idle'

export const latency: Comparison = {
  name: 'latency',
  what: 'enqueue → handler start, across processes',
  how: 'one job after the other, 5 to 30 ms apart, from the call of enqueue to the handler in another process; half-loaded: beside half of what this worker was just seen to sustain',
  quick: true,
  run: (arena) =>
    interleave(
      arena,
      [
        ...casesOf(arena, modesOf(arena), (contestant, mode) => ({
          variant: 'latency, idle queue',
          ceiling: HAND_OVER,
          read: () => latencies(arena, { contestant, mode }, { loaded: false }),
        })),
        ...casesOf(arena, ['fast'], (contestant, mode) => ({
          variant: 'latency, half-loaded queue',
          ceiling: HAND_OVER,
          read: () => latencies(arena, { contestant, mode }, { loaded: true }),
        })),
      ],
      {
        [HAND_OVER]: () =>
          latencies(arena, { contestant: BARE_SQL, mode: 'fast' }, { loaded: false }),
      },
    ),
}

function latencies(
  arena: Arena,
  entry: Entry,
  { loaded }: { loaded: boolean },
): Promise<Reading[]> {
  const count = arena.options.quick ? 20 : 300
  return inRound(arena, entry, async (round) => {
    const [prober] = await Promise.all([round.start(), round.work(1)])
    const rate = loaded ? (await sustained(round, arena.options.quick ? 500 : 4_000)) / 2 : null
    const values: number[] = []
    round.on((event) => {
      if (event.event !== 'started') return
      values.push(event.latencyMs)
      prober.tell('acknowledge')
    })
    const feeder = rate === null ? null : await round.start()
    await feeder?.call('feed', { place: round.place, rate })
    await prober.call(
      'probe',
      { place: round.place, count, gapMs: GAP_MS, limitMs: PROBES_MS_MAX },
      2 * PROBES_MS_MAX,
    )
    const seen = values.slice(Math.min(WARM_UP_MAX, Math.floor(values.length / 10)))
    const note = [
      `n = ${seen.length}`,
      ...(rate === null ? [] : [`beside ${Math.round(rate).toLocaleString('en-US')} jobs/s`]),
    ].join(', ')
    return [0.5, 0.95, 0.99].map((share) => ({
      what: `p${share * 100}`,
      unit: 'ms' as const,
      value: quantile(seen, share),
      note,
      ...(share === 0.5 ? { details: seen } : {}),
    }))
  })
}

/** Jobs a second while a backlog is kept up, the second half of this time; the queue is empty again afterwards. */
async function sustained(round: Round, forMs: number): Promise<number> {
  const feeder = await round.start()
  const off = keepInformed(round, feeder)
  await feeder.call('feed', { place: round.place, backlog: BACKLOG })
  await sleep(forMs / 2)
  const [from, fromMs] = [round.handled, monotonicMs()]
  await sleep(forMs / 2)
  const rate = (round.handled - from) / ((monotonicMs() - fromMs) / 1_000)
  await feeder.call('stop')
  off()
  await feeder.call('watch', { place: round.place, limitMs: 60_000 })
  return rate
}

/** Tells a feeder how far the workers are, so that it can keep its backlog. */
export function keepInformed(round: Round, feeder: PeerProcess): () => void {
  return round.on(({ event }) => {
    if (event === 'handled') feeder.tell('handled', { count: round.handled })
  })
}
