/**
 * I1: nothing is left behind, however a family of processes ends and whenever. `npm run cycles` does it 500 times, the suite a few.
 *
 * A cycle starts a supervisor of two with jobs under way, ends it in one of several ways at a moment that a seed chooses (before it is
 * ready, too), and then looks in /proc for any process that carries the cycle's mark in its environment.
 */
import { spawn } from 'node:child_process'
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
/** From the start of a family to its end, at most: half of the time it is there and works. */
const LIFE_MS_MAX = 2_000

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
    const slowest = new Map<string, number>()
    const one = async (lane: number): Promise<void> => {
      while (next < CYCLES) {
        const [way, end] = ways[next++ % ways.length] as [string, Way]
        await s.enqueue('wait', { gate: never }, { maxLost: 1_000 })
        const mark = `LEASEHOLD_CYCLE=${randomUUID()}`
        const family = spawn(
          process.execPath,
          [
            builtProgram(),
            'worker',
            ...s.handlers(),
            '--processes',
            '2',
            '--shutdown-grace',
            '100ms',
            '--name',
            `lane-${lane}`,
          ],
          {
            env: {
              ...process.env,
              LEASEHOLD_CYCLE: mark.split('=')[1],
              DATABASE_URL: s.databaseUrl,
              LEASEHOLD_SCHEMA: s.schemaName,
              LEASEHOLD_MACHINE_ID: 'machine-a',
              TEST_JOURNAL: s.journalFile,
            },
            stdio: 'ignore',
          },
        )
        await delay(random.next() * LIFE_MS_MAX)
        const supervisor = family.pid ?? 0
        end({ supervisor, children: marked(mark).filter((pid) => pid !== supervisor) })
        const endedMs = performance.now()
        await s.until(`none is left of a family: ${way}`, () => marked(mark).length === 0)
        slowest.set(way, Math.max(slowest.get(way) ?? 0, performance.now() - endedMs))
      }
    }
    await Promise.all(Array.from({ length: AT_ONCE }, (_, lane) => one(lane)))
    const rows = [...slowest].map(([way, ms]) => `${way}: ${Math.round(ms)} ms`)
    process.stdout.write(`${CYCLES} cycles, slowest end of each kind: ${rows.join(' · ')}\n`)
    // What they held has gone back, or does as soon as anybody looks.
    await s.worker({ args: ['--queue', 'none'] })
    await s.until('nothing is held', async () => {
      const { running, lost, cancelling, stalled } = (await s.client.stats()).jobs
      return running + lost + cancelling + stalled === 0
    })
  },
)
