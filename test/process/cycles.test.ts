/**
 * I1: nothing is left behind, however a family of processes ends and whenever. `npm run cycles` does it 500 times, the suite a few.
 *
 * A cycle starts a supervisor of two with jobs under way, ends it in one of several ways at a moment that a seed chooses (before it is
 * ready, too), and then looks in /proc for any process that carries the cycle's mark in its environment.
 */
import { randomUUID } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { test } from 'vitest'
import { Random } from '../../sim/random.ts'
import { builtProgram, Scenario } from '../support/process.ts'

builtProgram()

const CYCLES = Number(process.env['LEASEHOLD_CYCLES'] ?? 8)
const SEED = Number(process.env['LEASEHOLD_CYCLES_SEED'] ?? 1)
const AT_ONCE = 2
/** About what a family takes to come up on a busy machine. */
const START_MS_MAX = 2_000
/** Where many others want the processors too. */
const SLOW_START_MS = 90_000

interface Family {
  readonly supervisor: number
  readonly children: readonly number[]
}

type Way = (family: Family) => void

const WAYS: Readonly<Record<string, Way>> = {
  'supervisor killed': ({ supervisor }) => send(supervisor, 'SIGKILL'),
  'child killed, then supervisor': ({ supervisor, children: [child] }) => {
    send(child, 'SIGKILL')
    send(supervisor, 'SIGKILL')
  },
  'all killed': ({ supervisor, children }) => {
    for (const pid of [supervisor, ...children]) send(pid, 'SIGKILL')
  },
  'told to stop': ({ supervisor }) => send(supervisor, 'SIGTERM'),
  'terminal closed': ({ supervisor }) => send(supervisor, 'SIGHUP'),
  'killed while it stops': ({ supervisor }) => {
    send(supervisor, 'SIGTERM')
    send(supervisor, 'SIGKILL')
  },
  'killed in a rolling restart': ({ supervisor }) => {
    send(supervisor, 'SIGUSR2')
    setTimeout(() => send(supervisor, 'SIGKILL'), 200)
  },
}

function send(pid: number | undefined, signal: NodeJS.Signals): void {
  try {
    if (pid !== undefined) process.kill(pid, signal)
  } catch {
    // It was faster.
  }
}

/** Processes with this mark in their environment. */
function marked(mark: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((name) => {
      try {
        return readFileSync(`/proc/${name}/environ`, 'utf8').includes(mark)
      } catch {
        return false // It ended meanwhile, or is nobody's of ours.
      }
    })
    .map(Number)
}

test.runIf(process.platform === 'linux')(
  `I1: ${CYCLES} families of processes that are started and ended leave none behind`,
  { timeout: 60_000 + CYCLES * 15_000 },
  async (context) => {
    const s = await Scenario.open(context)
    const random = new Random(SEED)
    const ways = Object.entries(WAYS)
    const never = s.gate('never').file
    let next = 0
    let complete = 0
    const slowest = new Map<string, number>()
    const one = async (lane: number): Promise<void> => {
      while (next < CYCLES) {
        const [way, end] = ways[next++ % ways.length] as [string, Way]
        await s.enqueue('wait', { gate: never }, { maxLost: 1_000 })
        const mark = randomUUID()
        const family = s.run(
          [
            'worker',
            ...s.handlers(),
            '--processes',
            '2',
            '--shutdown-grace',
            '100ms',
            '--name',
            `lane-${lane}`,
          ],
          { env: { LEASEHOLD_CYCLE: mark } },
        )
        // Every other one is there and works; the rest are caught anywhere on their way.
        if (random.chance(0.5)) {
          await family.event(
            'child.ready',
            () => family.events('child.ready').length === 2,
            SLOW_START_MS,
          )
          complete += 1
          await delay(random.next() * 200)
        } else {
          await delay(random.next() * START_MS_MAX)
        }
        end({ supervisor: family.pid, children: marked(mark).filter((pid) => pid !== family.pid) })
        const endedMs = performance.now()
        await s.until(`none is left of a family: ${way}`, () => marked(mark).length === 0)
        slowest.set(way, Math.max(slowest.get(way) ?? 0, performance.now() - endedMs))
      }
    }
    await Promise.all(Array.from({ length: AT_ONCE }, (_, lane) => one(lane)))
    const rows = [...slowest].map(([way, ms]) => `${way}: ${Math.round(ms)} ms`)
    process.stdout.write(
      `${CYCLES} cycles, ${complete} of them with both children at work; slowest end of each kind: ${rows.join(' · ')}\n`,
    )
    // What they held has gone back, or does as soon as anybody looks.
    await s.worker({ args: ['--queue', 'none'] })
    await s.until('nothing is held', async () => {
      const { running, lost, cancelling, stalled } = (await s.client.stats()).jobs
      return running + lost + cancelling + stalled === 0
    })
  },
)
