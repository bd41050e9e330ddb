/**
 * Random orders. Order 24: one walk over all functions, with the invariants looked at after every step. B2: many connections
 * settle, replay, recover and cancel the same jobs at once, and each job has exactly one terminal outcome.
 *
 * A failing run prints its seed; `LEASEHOLD_TEST_SEED` repeats the walk (B2 only in its choices: the server decides the order).
 */
import { expect, test } from 'vitest'
import type { Claimed, LeaseLostAnswer } from '../../src/sql/protocol.ts'
import type { Held, WorkerRow } from '../support/functions.ts'
import { brokenRules, checkInvariantsAfterEach, openProtocol } from '../support/protocol.ts'

checkInvariantsAfterEach()

const SEED = Number(process.env['LEASEHOLD_TEST_SEED'] ?? Math.floor(Math.random() * 2 ** 31))
const WALK_STEPS = 300
const INTERLEAVINGS = 10_000
/** Where a slow machine stops before all of them. */
const INTERLEAVINGS_BUDGET_MS = 15_000

/** mulberry32: small, and the same everywhere. */
function randomFrom(seed: number): { below(n: number): number; pick<T>(from: readonly T[]): T } {
  let state = seed >>> 0
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
  return {
    below: (n) => Math.floor(next() * n),
    pick: (from) => from[Math.floor(next() * from.length)]!,
  }
}

const OUTCOMES = [
  'completed',
  'failed',
  'failed_finally',
  'cancelled',
  'released',
  'interrupted',
] as const

test('order 24: after every step of a random walk over all functions every invariant holds', async () => {
  const p = await openProtocol('quoted')
  const random = randomFrom(SEED)
  const spaces = [p, p.in('other')]
  const workers: WorkerRow[] = []
  const ids: string[] = []
  /** Every token that was ever given, most of them stale. */
  const tokens: Held[] = []
  const some = <T>(from: readonly T[]): T[] =>
    from.length === 0 ? [] : Array.from({ length: 1 + random.below(3) }, () => random.pick(from))
  const keep = (answer: Claimed | LeaseLostAnswer): void => {
    if (answer.outcome === 'claimed')
      tokens.push(...answer.jobs.map(({ id, token }) => ({ job: id, token })))
  }
  // Recent tokens are likelier to be live.
  const held = (): Held[] => some(random.below(3) === 0 ? tokens : tokens.slice(-8))
  const space = (): (typeof spaces)[number] => random.pick(spaces)
  const worker = (): WorkerRow | undefined => random.pick(workers.slice(-5))

  const steps: Record<string, () => Promise<unknown>> = {
    async enqueue() {
      const options = {
        priority: random.below(3),
        maxAttempts: 1 + random.below(4),
        maxLost: 1 + random.below(3),
        onWorkerLost: random.pick(['retry', 'retry', 'retry', 'fail', 'hold']),
        delayMs: random.pick([0, 0, 0, 20_000]),
        ...(random.below(4) === 0 ? { key: `key-${random.below(9)}` } : {}),
      }
      ids.push(...(await space().enqueue(1 + random.below(4), options)))
    },
    async register() {
      const pid = 1 + random.below(4)
      workers.push(
        await space().register({
          pid,
          machineId: `machine-${random.below(2)}`,
          processStarted: `${workers.length}`,
        }),
      )
    },
    async claim() {
      const by = worker()
      if (by) keep(await p.claimAnswer(by, { want: 1 + random.below(4) }))
    },
    async renew() {
      const by = worker()
      if (by)
        await p.renewAnswer(by, { idle: random.below(3) === 0, draining: random.below(12) === 0 })
    },
    settle: () => {
      const batch = held()
      return p.settle(
        batch,
        batch.map(() => random.pick(OUTCOMES)),
        batch.map(() => random.pick([null, { n: 1 }])),
      )
    },
    checkpoint: () => {
      const batch = held()
      return p.checkpoint(
        batch,
        batch.map(() => random.below(9)),
      )
    },
    progress: () => {
      const batch = held()
      return p.progress(
        batch,
        batch.map(() => random.below(9)),
      )
    },
    log: () => {
      const batch = held()
      return p.log(
        batch,
        batch.map(() => 'line'),
      )
    },
    cancel: () => space().cancel(some(ids)),
    retry: () => space().retry(some(ids)),
    hold: () => space().hold(some(ids)),
    resume: () => space().resume(some(ids)),
    releaseJobs: () => space().releaseJobs(some(ids)),
    releaseStuck: () =>
      space().releaseStuck(random.below(60_000), { force: random.below(3) === 0 }),
    drain: () => space().drain(some(workers.slice(-5)), random.below(2) === 0),
    evict: () => space().evict(some(workers.slice(-3))),
    reportDeath: () =>
      space().reportDeath(
        { machineId: `machine-${random.below(2)}` },
        1 + random.below(2),
        some(workers),
      ),
    async endWorker() {
      const by = worker()
      if (by) await p.endWorker(by, random.pick(['interrupted', 'lost', 'released', 'uncharged']))
    },
    sweep: () => space().sweep({ limit: 1 + random.below(5) }),
    passTime: () => p.passTime(random.below(20_000)),
    outage: () => p.outage(random.below(40_000) - 5_000),
  }
  const names = Object.keys(steps)
  const weighted = [
    ...names,
    ...Array<string>(4).fill('claim'),
    ...Array<string>(3).fill('settle'),
    'enqueue',
    'register',
    'renew',
    'sweep',
  ]
  await steps['enqueue']!()
  for (let n = 0; n < 4; n += 1) await steps['register']!()
  const walked: string[] = []
  for (let step = 0; step < WALK_STEPS; step += 1) {
    const name = random.pick(weighted)
    walked.push(name)
    await steps[name]!()
    const broken = [...(await p.invariants()), ...(await brokenRules(p.db))]
    expect(broken, `seed ${SEED}, after ${walked.slice(-5).join(', ')}`).toEqual([])
  }
  // Liveness: once the faults stop, nothing is left that runs for nobody.
  for (const one of spaces) {
    await p.lapse()
    while ((await one.sweep()).recovered.length > 0);
  }
  expect(await p.db.rows(`select id from %s.job where token is not null`)).toEqual([])
})

test('B2: 10,000 random interleavings give exactly one terminal outcome per job', async () => {
  const p = await openProtocol()
  const until = performance.now() + INTERLEAVINGS_BUDGET_MS
  const terminal = new Map<string, string[]>()
  const all: Held[] = []
  let tried = 0
  const note = (job: string, answer: string): void => {
    if (['completed', 'adopted', 'failed', 'cancelled'].includes(answer)) {
      terminal.set(job, [...(terminal.get(job) ?? []), answer === 'adopted' ? 'completed' : answer])
    }
  }
  const goesOn = (): boolean => tried < INTERLEAVINGS && performance.now() < until

  await Promise.all(
    Array.from({ length: 10 }, async (_, n) => {
      const random = randomFrom(SEED + n)
      let worker = await p.register()
      let mine: Held[] = []
      while (goesOn()) {
        const dice = random.below(100)
        if (dice < 30) {
          if (random.below(4) === 0) await p.enqueue(20, { maxLost: 30_000, maxAttempts: 3 })
          const answer = await p.claimAnswer(worker, { want: 1 + random.below(20) })
          if (answer.outcome === 'lease_lost') {
            worker = await p.register()
          } else {
            mine = answer.jobs.map(({ id, token }) => ({ job: id, token }))
            all.push(...mine)
            tried += mine.length
          }
        } else if (dice < 80) {
          // Its own newest, and outcomes of anybody at any time: lost replies, replays, zombies.
          const batch = [
            ...mine.splice(0, random.below(8)),
            ...Array.from({ length: all.length === 0 ? 0 : random.below(8) }, () =>
              random.pick(random.below(2) === 0 ? all : all.slice(-100)),
            ),
          ]
          const answers = await p.settle(
            batch,
            batch.map(() =>
              random.pick([
                'completed',
                'completed',
                'completed',
                'failed',
                'released',
                'cancelled',
              ]),
            ),
            batch.map(() => random.below(3)),
          )
          for (const [at, { job }] of batch.entries()) note(job, answers[at]!)
          tried += batch.length
        } else if (dice < 88) {
          const { recovered } = await p.reportDeath({}, 1, [worker])
          tried += recovered.length
          if (random.below(2) === 0) worker = await p.register()
        } else if (dice < 93) {
          tried += (await p.sweep({ limit: 20 })).recovered.length
        } else if (dice < 97 && all.length > 0) {
          const jobs = [...new Set([random.pick(all).job, random.pick(all).job])]
          await p.cancel(jobs)
          tried += jobs.length
        } else if (all.length > 0) {
          if (random.below(2) === 0) await p.releaseJobs([random.pick(all.slice(-50)).job])
          else tried += (await p.evict([worker])).released.length
          await p.checkpoint(
            mine,
            mine.map(() => 1),
          )
          tried += 1 + mine.length
        }
      }
    }),
  )
  expect(tried, `seed ${SEED}`).toBeGreaterThan(1_000)

  // The faults stop: everything that is left is completed by one last worker.
  await p.lapse()
  while ((await p.sweep()).recovered.length > 0);
  const last = await p.register()
  await p.passTime(0)
  for (;;) {
    const answer = await p.claim(last, { want: 200 })
    if (answer.jobs.length === 0) break
    const batch = answer.jobs.map(({ id, token }) => ({ job: id, token }))
    const answers = await p.complete(batch)
    for (const [at, { job }] of batch.entries()) note(job, answers[at]!)
  }
  const jobs = await p.db.rows<{
    id: string
    status: string
    completed: number
    cancelled: number
  }>(
    `select j.id, j.status, count(a.*) filter (where a.ended_as = 'completed')::integer as completed,
            count(a.*) filter (where a.ended_as = 'cancelled')::integer as cancelled
     from %s.job_stored j left join %s.attempt a on a.job_id = j.id
     group by j.id, j.status`,
  )
  expect(jobs.length).toBeGreaterThan(0)
  for (const job of jobs) {
    const told = terminal.get(job.id) ?? []
    const where = `seed ${SEED}, job ${job.id}`
    expect(['completed', 'failed', 'cancelled'], where).toContain(job.status)
    // A job that was cancelled while it waited, by its recovery or by an operator's release told no worker so.
    if (job.status === 'cancelled') expect(['', 'cancelled'], where).toContain(told.join())
    else expect(told, where).toEqual([job.status])
    expect(job.cancelled, where).toBeLessThanOrEqual(job.status === 'cancelled' ? 1 : 0)
    expect(job.completed, where).toBe(job.status === 'completed' ? 1 : 0)
  }
})
