/**
 * How long a job of a worker that is killed waits: from just before `kill -9` to the start of its successor's handler.
 *
 * Of two workers, the one that holds the job is killed, so in some rounds it is also the one that sweeps. Rounds begin at a random
 * moment, because layers 2 to 4 look at intervals.
 */
import { formatValue, bound, type Figure } from '../figures.ts'
import type { BenchWorker, WorkerChoice } from '../fleet.ts'
import { type Bench, inPlace, type Measure, pause, roundText, type Site } from '../measure.ts'
import { startPooler } from '../pooler.ts'
import { monotonicMs } from '../../src/clock.ts'

interface Handover {
  readonly latencyMs: number
  /** Which layer noticed, by what the job's history says. */
  readonly layer: number | string | null
  readonly sweptByVictim: boolean
}

const SHORT_LEASE_MS = 6_000
const SHORT_LEASE = { LEASE_DURATION: String(SHORT_LEASE_MS / 1_000) }
const DEFAULT_LEASE_MS = 30_000

export const killSupervised: Measure = {
  name: 'kill',
  what: 'kill -9 → starts elsewhere, same machine, supervisor and neighbour (layers 1, 2)',
  quick: false,
  run: (bench) =>
    inPlace(bench, 'kill', async (site) => {
      const rounds: Handover[] = []
      for (let round = 1; round <= 20; round += 1) {
        // A supervisor backs off from a child that dies again and again, so each round has a fresh one.
        const supervisor = await site.fleet.start({ args: ['--processes', '2'] })
        rounds.push(await handover(site, (pid) => process.kill(pid, 'SIGKILL')))
        bench.progress(roundText(round, 20, shown(rounds.at(-1))))
        supervisor.kill('SIGTERM')
        await supervisor.exited
      }
      return [sameMachine(killSupervised, rounds)]
    }),
}

export const killNeighbour: Measure = {
  name: 'kill-neighbour',
  what: 'kill -9 → starts elsewhere, same machine, no supervisor (layer 2 alone)',
  quick: false,
  run: (bench) =>
    inPlace(bench, 'kill_neighbour', async (site) => {
      const rounds = await killInTurn(bench, site, [{}, {}], { count: 20 })
      return [sameMachine(killNeighbour, rounds)]
    }),
}

export const killMachine: Measure = {
  name: 'kill-machine',
  what: 'kill -9 → starts on another machine (layer 3)',
  quick: false,
  run: (bench) =>
    inPlace(bench, 'kill_machine', async (site) => {
      const rounds = await killInTurn(bench, site, machines({}), { count: 10 })
      const values = latencies(rounds)
      const checks = [bound(values, 'worst', 3_000, 'ms')]
      return [figure(killMachine, rounds, checks)]
    }),
}

export const killPooler: Measure = {
  name: 'kill-pooler',
  what: 'kill -9 → another machine, LISTEN off, transaction-mode pooler (layer 4)',
  quick: false,
  run: async (bench) => {
    const pooler = await startPooler(bench.server.url)
    if (pooler === null) {
      const { name, what } = killPooler
      return [
        { name, what, unit: 'ms', values: [], checks: [], skipped: 'pgbouncer is not installed' },
      ]
    }
    const common = { databaseUrl: pooler.url, args: ['--no-listen'] }
    try {
      const short = await inPlace(bench, 'kill_pooler', (site) =>
        killInTurn(bench, site, machines({ ...common, env: SHORT_LEASE }), { count: 4 }),
      )
      const long = await inPlace(bench, 'kill_pooler', (site) =>
        killInTurn(bench, site, machines(common), { count: 1 }),
      )
      const limit = (leaseMs: number, rounds: readonly Handover[]) =>
        bound(latencies(rounds), 'worst', leaseMs + 2_000, 'ms')
      return [
        {
          ...figure(killPooler, short, [limit(SHORT_LEASE_MS, short)]),
          what: `${killPooler.what}, lease 6 s`,
          note: pooler.version,
        },
        {
          ...figure(killPooler, long, [limit(DEFAULT_LEASE_MS, long)]),
          what: 'the same with the default lease of 30 s',
        },
      ]
    } finally {
      await pooler.stop()
    }
  },
}

/** Two workers that take themselves for two machines. */
function machines(choice: WorkerChoice): [WorkerChoice, WorkerChoice] {
  const on = (machine: string): WorkerChoice => ({
    ...choice,
    env: { ...choice.env, LEASEHOLD_MACHINE_ID: machine },
  })
  return [on('bench-a'), on('bench-b')]
}

/** Kills whichever of the two workers holds the job, and starts another in its place, so many times. */
async function killInTurn(
  bench: Bench,
  site: Site,
  choices: readonly [WorkerChoice, WorkerChoice],
  { count }: { count: number },
): Promise<Handover[]> {
  await Promise.all(choices.map((choice) => site.fleet.start(choice)))
  const rounds: Handover[] = []
  for (let round = 1; round <= count; round += 1) {
    let victim: BenchWorker | undefined
    rounds.push(
      await handover(site, (pid) => {
        victim = site.fleet.byPid(pid)
        victim.kill('SIGKILL')
      }),
    )
    bench.progress(roundText(round, count, shown(rounds.at(-1))))
    if (victim !== undefined && round < count) await site.fleet.start(victim.choice)
  }
  return rounds
}

/** One job, from the death of its first worker to its second start. */
async function handover(site: Site, kill: (pid: number) => void): Promise<Handover> {
  const { client, fleet } = site
  const job = await client.enqueueRaw('bench.hold', {})
  const first = await fleet.started(job, 1)
  const sweptByVictim = await sweeps(site, first.pid)
  await pause(0, 500)
  const killedMs = monotonicMs()
  kill(first.pid)
  const second = await fleet.started(job, 2)
  await client.wait(job)
  const { attempts } = await client.get(job)
  return {
    latencyMs: second.atMs - killedMs,
    layer: attempts?.find(({ attempt }) => attempt === 1)?.endReason?.layer ?? null,
    sweptByVictim,
  }
}

async function sweeps(site: Site, pid: number): Promise<boolean> {
  const found = await site.rows(
    `select 1 from %s.sweeper s join %s.worker_detail d on d.incarnation = s.leader where d.pid = $1`,
    [pid],
  )
  return found.length > 0
}

function sameMachine(measure: Measure, rounds: readonly Handover[]): Figure {
  const values = latencies(rounds)
  return figure(measure, rounds, [
    bound(values, 'median', 300, 'ms'),
    bound(values, 'worst', 1_000, 'ms'),
  ])
}

function figure(
  { name, what }: Measure,
  rounds: readonly Handover[],
  checks: Figure['checks'],
): Figure {
  const layers = new Map<string, number>()
  for (const { layer } of rounds) {
    const key = String(layer)
    layers.set(key, (layers.get(key) ?? 0) + 1)
  }
  const noticed = [...layers].map(([layer, count]) => `layer ${layer} ${count} times`)
  return {
    name,
    what,
    unit: 'ms',
    values: latencies(rounds),
    checks,
    note: `noticed by ${noticed.join(', ')}`,
    details: rounds,
  }
}

function latencies(rounds: readonly Handover[]): number[] {
  return rounds.map(({ latencyMs }) => latencyMs)
}

function shown(round: Handover | undefined): string {
  return round === undefined ? '' : formatValue(round.latencyMs, 'ms')
}
