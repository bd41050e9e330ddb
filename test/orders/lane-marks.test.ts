/**
 * Marks let a claim start where the last one found its first job; this proves that they let it skip nothing.
 *
 * Method: enqueuers commit late, in any order, or not at all, with savepoints rolled back and some jobs delayed; workers of several lanes
 * complete, release and fail; some jobs belong to runs, which end all the while and whose lanes then go, or are aimed at workers with a
 * label; one transaction pins the horizon and another writes for seconds. Workers are evicted, and others are never heard of again: a
 * sweep finds their lease lapsed and takes back what they held, and then they write all the same, too late. Looks from the very
 * beginning, the backstop, happen only where a worker begins anew, which none does in the last seconds of the storm. At the end every
 * committed job must have been taken by claims that start at marks. The same without claims that reach further than the near marks
 * (and with marks that outlive their worker, as to begin anew is one) must skip jobs, or the test would see nothing.
 *
 * Sweeps go on all along, as in a fleet: the end of a worker passes over a job whose row another transaction holds at that moment
 * (a claim that came second holds it until it commits), and the next sweep hands it back.
 */
import { setTimeout as after } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { claim } from '../../src/sql/protocol.ts'
import { LaneMarks } from '../../src/worker/lane-marks.ts'
import type { Held, WorkerRow } from '../support/functions.ts'
import { checkInvariantsAfterEach, openProtocol } from '../support/protocol.ts'
import { until } from '../support/until.ts'

checkInvariantsAfterEach()

const BUSY_MS = 7_000
/** Nobody begins anew after this, and so looks at all there is. */
const DYING_MS = 4_000
/** Short, so that it lapses several times over in the storm. */
const LEASE_MS = 1_500
/** What claims have not found by now, with nothing new for so long, is skipped. */
const QUIET_MS = 2_000
/** And for wide ones, with so many of each worker's own since then. */
const QUIET_WIDE_CLAIMS = 5
const WORKERS = [1, 2, 3, 4]
const TYPES = ['x', 'y']
const QUEUES = ['a', 'b']
const some = (n: number): number => Math.floor(Math.random() * n)

interface Aftermath {
  readonly committed: number
  /** What was committed and never taken, and where it stands. */
  readonly skipped: string[]
  /** Outcomes of jobs that others had begun again. */
  readonly refused: number
}

async function storm(wide: boolean): Promise<Aftermath> {
  const p = await openProtocol('plain')
  const startedMs = performance.now()
  const busy = (): boolean => performance.now() - startedMs < BUSY_MS
  const dying = (): boolean => performance.now() - startedMs < DYING_MS
  const committed = new Set<string>()
  let lastNewsMs = performance.now()
  const wideSince = new Map<number, number>()
  const news = (): void => {
    lastNewsMs = performance.now()
    wideSince.clear()
  }
  const quiet = (): boolean =>
    performance.now() - lastNewsMs >= QUIET_MS &&
    (!wide || WORKERS.every((number) => (wideSince.get(number) ?? 0) >= QUIET_WIDE_CLAIMS))
  const enqueuing = { done: false }
  /** Runs that jobs may be put into, the oldest first. */
  const runs: string[] = []
  const pin = await p.session()
  await pin.query('begin isolation level repeatable read')
  await pin.query('select count(*) from %s.job')

  async function enqueuer(): Promise<void> {
    const session = await p.session()
    while (busy()) {
      const mine: string[] = []
      await session.begin()
      for (let call = some(3); call >= 0; call -= 1) {
        const queue = QUEUES[some(2)]!
        const type = TYPES[some(2)]!
        if (some(6) === 0) {
          await session.query('savepoint s')
          await session.enqueue(1 + some(3), { queue }, type)
          await session.query('rollback to savepoint s')
        }
        const delayMs = some(8) === 0 ? some(600) : 0
        const options = {
          queue,
          priority: some(3),
          delayMs,
          maxAttempts: 99,
          maxLost: 99,
          ...(some(3) === 0 ? { runId: runs[some(runs.length)] } : {}),
          ...(some(5) === 0 ? { target: 'label:some' } : {}),
        }
        mine.push(...(await session.enqueue(1 + some(4), options, type)))
      }
      // The point of it: others draw later places and commit first.
      await after(some(4) === 0 ? some(1_200) : some(20))
      if (some(6) === 0) {
        await session.rollback()
      } else {
        await session.commit()
        for (const id of mine) committed.add(id)
        news()
      }
    }
  }

  async function unrelatedWriter(): Promise<void> {
    const session = await p.session()
    while (busy()) {
      await session.begin()
      await session.query('select pg_current_xact_id()')
      await after(900)
      await session.commit()
      await after(300)
    }
  }

  /** Ends runs that nobody picks any more, and clears those that hold nothing, so that lanes come and go. */
  async function runner(): Promise<void> {
    while (going()) {
      if (busy()) runs.push((await p.createRun({ rest: 'keep' })).id)
      const over = runs.length > 4 ? runs.shift() : undefined
      await after(300)
      if (over !== undefined) await p.endRun(over, 'archived')
      await p.sweep()
    }
  }

  const done = new Set<string>()
  const twice: string[] = []
  const undead = new Set<WorkerRow>()
  let refused = 0
  const finished = (): boolean => [...committed].every((id) => done.has(id))
  const going = (): boolean => !enqueuing.done || undead.size > 0 || (!finished() && !quiet())

  async function complete(held: readonly Held[]): Promise<void> {
    const answers = await p.complete(held)
    for (const [at, { job }] of held.entries()) {
      if (answers[at] === 'lease_lost') refused += 1
      else if (done.has(job)) twice.push(job)
      else done.add(job)
      news()
    }
  }

  /** Nobody hears of it, until others have its jobs. */
  async function zombie(row: WorkerRow, held: readonly Held[]): Promise<void> {
    undead.add(row)
    try {
      await until('a sweep takes back what a silent worker held', async () => {
        const gone = await p.db.rows(
          `select from %s.worker where incarnation = $1 and end_layer = 4 and emptied_at is not null`,
          [row.incarnation],
        )
        return gone.length > 0
      })
      await after(some(200))
      await complete(held)
    } finally {
      undead.delete(row)
    }
  }
  const zombies: Promise<void>[] = []

  async function sweeper(): Promise<void> {
    while (going()) {
      await p.sweep()
      await after(100)
    }
  }

  async function worker(number: number): Promise<void> {
    let row: WorkerRow | null = null
    let marks = new LaneMarks()
    while (going()) {
      if (row === null) {
        row = await p.register({
          leaseMs: LEASE_MS,
          renewMs: LEASE_MS / 3,
          idleBeatMs: LEASE_MS / 3,
        })
        if (wide) marks = new LaneMarks()
      }
      // Without wide claims: a clock that stands still is never due for one.
      const clockMs = (): number => (wide ? performance.now() : 0)
      const sentMs = clockMs()
      const from = marks.next(sentMs)
      const answer = await claim(p.db, {
        incarnation: row.incarnation,
        claim: crypto.randomUUID(),
        want: 1 + some(8),
        queues: number % 3 === 0 ? ['a'] : QUEUES,
        types: number % 4 === 0 ? ['y'] : TYPES,
        targets: number % 2 === 0 ? [] : ['label:some'],
        marks: from,
      })
      if (answer.outcome !== 'claimed') {
        // Its lease lapsed meanwhile: a machine may leave this process alone for as long.
        row = null
        continue
      }
      if (from.reach !== 'near') wideSince.set(number, (wideSince.get(number) ?? 0) + 1)
      if (answer.marks !== null) marks.saw(from, answer.marks, { sentMs, nowMs: clockMs() })
      const fate = dying() ? some(16) : null
      const held = answer.jobs.map(({ id, token }) => ({ job: id, token }))
      if (held.length === 0) {
        await after(5 + some(10))
      } else if (fate === 0) {
        await p.evict([row])
        row = null
      } else if (fate === 1) {
        zombies.push(zombie(row, held))
        row = null
      } else if (busy() && some(10) === 0) {
        await p.release(held)
      } else if (busy() && some(9) === 0) {
        await p.fail(
          held,
          undefined,
          held.map(() => some(200)),
        )
      } else {
        await complete(held)
      }
    }
  }

  for (let n = 0; n < 3; n += 1) runs.push((await p.createRun({ rest: 'keep' })).id)
  await Promise.all([
    runner(),
    Promise.all(Array.from({ length: 8 }, enqueuer)).then(() => (enqueuing.done = true)),
    unrelatedWriter(),
    sweeper(),
    ...WORKERS.map(worker),
  ])
  await Promise.all(zombies)
  await pin.query('commit')
  expect([...done].filter((id) => !committed.has(id))).toEqual([])
  expect(twice, 'jobs that completed twice').toEqual([])
  const gone = await p.db.rows('select from %s.run where emptied_at is not null')
  if (wide) expect(gone.length, 'runs whose lanes went meanwhile').toBeGreaterThan(0)
  const skipped = await p.db.rows(
    `select d.job_id, d.queue, d.type, d.priority, d.target, j.lane, j.place, j.attempt, d.created_at
     from %s.job_detail d left join %s.job j on j.id = d.job_id
     where d.job_id = any ($1) order by j.lane, j.place`,
    [[...committed].filter((id) => !done.has(id))],
  )
  return { committed: committed.size, skipped: skipped.map((row) => JSON.stringify(row)), refused }
}

test('J1: claims that start at marks skip nothing, whoever commits late, rolls back, releases, fails, is evicted or dies unheard', async () => {
  const { committed, skipped, refused } = await storm(true)
  expect(
    skipped.slice(0, 20),
    `${skipped.length} of ${committed} jobs were never taken, the first of them`,
  ).toEqual([])
  expect(committed).toBeGreaterThan(100)
  expect(refused, 'late outcomes of silent workers').toBeGreaterThan(0)
})

test('the same without wide claims skips jobs, so it would be seen', async () => {
  const { skipped } = await storm(false)
  expect(skipped.length).toBeGreaterThan(0)
})
