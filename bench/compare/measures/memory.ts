/** Resident memory of one worker process: idle for some seconds, and the most that was seen while it drained a queue. */
import { sleep } from '../../../src/clock.ts'
import { type Arena, BARE_SQL, type Entry, inRound, type Round } from '../arena.ts'
import { casesOf, type Comparison, interleave, modesOf, type Reading } from '../comparison.ts'
import { LOAD_MS_MAX } from './drain.ts'

const IDLE_MS = 5_000
const LOOK_EVERY_MS = 100
const DRAIN_MS_MAX = 8_000
const BARE = 'a process of Node.js with one connection that listens'

export const memory: Comparison = {
  name: 'memory',
  what: 'resident memory of a worker process',
  how: 'resident memory of one worker process, as the system has it',
  quick: true,
  run: (arena) =>
    interleave(
      arena,
      casesOf(arena, modesOf(arena), (contestant, mode) => ({
        variant: 'memory',
        ceiling: BARE,
        read: () => resident(arena, { contestant, mode }),
      })),
      {
        [BARE]: () =>
          inRound(arena, { contestant: BARE_SQL, mode: 'default' }, async (round) => {
            const { idle } = await idleWorker(arena, round)
            return [idle]
          }),
      },
    ),
}

interface IdleWorker {
  readonly megabytes: () => Promise<number>
  readonly idle: Reading
}

async function idleWorker({ options }: Arena, round: Round): Promise<IdleWorker> {
  const [worker] = await round.work(1)
  if (worker === undefined) throw new Error('There is no worker.')
  const megabytes = async (): Promise<number> => (await worker.call('memory')).rssBytes / 1e6
  await sleep(options.quick ? 200 : IDLE_MS)
  return { megabytes, idle: { what: 'idle', unit: 'MB', value: await megabytes() } }
}

function resident(arena: Arena, entry: Entry): Promise<Reading[]> {
  const { quick } = arena.options
  return inRound(arena, entry, async (round) => {
    const { idle, megabytes } = await idleWorker(arena, round)
    const store = await round.start()
    const wanted = {
      place: round.place,
      kind: 'many',
      count: quick ? 300 : 50_000,
      limitMs: LOAD_MS_MAX,
    }
    let most = 0
    const over = new AbortController()
    const load = async (): Promise<void> => {
      const { count } = await store.call('produce', wanted)
      await round.handledBy(count, DRAIN_MS_MAX)
      over.abort()
    }
    const watch = async (): Promise<void> => {
      do {
        most = Math.max(most, await megabytes())
        await sleep(LOOK_EVERY_MS)
      } while (!over.signal.aborted)
    }
    await Promise.all([load(), watch()])
    return [idle, { what: 'most while draining', unit: 'MB', value: most }]
  })
}
