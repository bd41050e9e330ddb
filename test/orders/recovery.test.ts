/**
 * Order 17 to 19: recovery against everything else that ends or touches an attempt, in both orders. One session is stopped
 * between its statement and its commit; the other runs into it. What counts is what is there after both have committed.
 */
import { describe, expect, test } from 'vitest'
import { type Functions, heldOf, type Held, type WorkerRow } from '../support/functions.ts'
import {
  checkInvariantsAfterEach,
  openProtocol,
  type Protocol,
  type Session,
} from '../support/protocol.ts'

checkInvariantsAfterEach()

/** A schema and the two sessions that meet in it. */
interface Stage {
  readonly p: Protocol
  readonly a: Session
  readonly b: Session
}

interface Scene extends Stage {
  readonly queue: string
  readonly worker: WorkerRow
  readonly held: Held[]
  readonly id: string
}

async function stage(): Promise<Stage> {
  const p = await openProtocol()
  return { p, a: await p.session(), b: await p.session() }
}

/** One worker that runs one job, of a queue of its own. */
async function scene(on?: Stage, queue = 'default'): Promise<Scene> {
  const { p, a, b } = on ?? (await stage())
  const { worker, held, ids } = await p.running(1, { queue })
  return { p, a, b, queue, worker, held, id: ids[0]! }
}

/** Every way in which somebody else takes a job from a worker. */
const recoveries: Record<string, (by: Functions, worker: WorkerRow) => Promise<unknown>> = {
  sweep: (by) => by.sweep(),
  release_stuck: (by) => by.releaseStuck(0, { force: true }),
  report_death: (by, worker) => by.reportDeath({}, 1, [worker]),
  evict: (by, worker) => by.evict([worker]),
  end_worker: (by, worker) => by.endWorker(worker, 'lost'),
}

interface Action {
  act(by: Functions, scene: Scene): Promise<unknown>
  /** Its answer when it comes first, when it comes second; and the status of the job after each. */
  first: [answer: unknown, status: string]
  second: [answer: unknown, status: string]
}

const actions: Record<string, Action> = {
  complete: {
    act: (by, { held }) => by.complete(held, ['done']),
    first: [['completed'], 'completed'],
    second: [['adopted'], 'completed'],
  },
  fail: {
    act: (by, { held }) => by.fail(held, [{ message: 'no' }]),
    first: [['retrying'], 'pending'],
    second: [['lease_lost'], 'pending'],
  },
  release: {
    act: (by, { held }) => by.release(held),
    first: [['released'], 'pending'],
    second: [['lease_lost'], 'pending'],
  },
  checkpoint: {
    act: (by, { held }) => by.checkpoint(held, [1]),
    first: [['stored'], 'pending'],
    second: [['lease_lost'], 'pending'],
  },
  cancel: {
    act: (by, { id }) => by.cancel([id]),
    first: [['cancelling'], 'cancelled'],
    second: [['cancelled'], 'cancelled'],
  },
}

const EACH = Object.keys(actions).join(', ')

describe('order 17', () => {
  for (const [recovery, recover] of Object.entries(recoveries)) {
    test(`order 17: each of ${EACH} first, then ${recovery}: it counts, and the job has one attempt`, async () => {
      const on = await stage()
      for (const [name, action] of Object.entries(actions)) {
        const all = await scene(on, name)
        const { p, worker, id, a, b } = all
        await p.lapse()
        await a.begin()
        expect(await action.act(a, all), name).toEqual(action.first[0])
        // Recovery passes over the job that is held, and waits for nothing.
        await recover(b, worker)
        expect((await p.job(id)).status, name).toBe('running')
        await a.commit()
        await p.sweep()
        await p.sweep()
        const job = await p.job(id)
        expect([job.status, job.attempts.length], name).toEqual([action.first[1], 1])
      }
    })

    test(`order 17: ${recovery} first, then each of ${EACH}: it waits and is told what became of the job`, async () => {
      const on = await stage()
      for (const [name, action] of Object.entries(actions)) {
        const all = await scene(on, name)
        const { p, worker, id, a, b } = all
        await p.lapse()
        await a.begin()
        await recover(a, worker)
        const told = action.act(b, all)
        await p.waitsForLock(b)
        await a.commit()
        expect(await told, name).toEqual(action.second[0])
        await p.sweep()
        const job = await p.job(id)
        expect([job.status, job.attempts.length], name).toEqual([action.second[1], 1])
        expect(job.checkpoint, name).toBeNull()
      }
    })

    test(`order 17: ${recovery} that is rolled back leaves the job to its worker`, async () => {
      const { p, worker, held, a, b } = await scene()
      await p.lapse()
      await a.begin()
      await recover(a, worker)
      const told = b.complete(held, ['done'])
      await p.waitsForLock(b)
      await a.rollback()
      expect(await told).toEqual(['completed'])
      expect((await p.renew(worker)).outcome).toBe('renewed')
    })

    test(`order 17: ${recovery} first, then a renewal: it waits and has lost its lease`, async () => {
      const { p, worker, id, a, b } = await scene()
      await p.lapse()
      await a.begin()
      await recover(a, worker)
      const told = b.renewAnswer(worker)
      await p.waitsForLock(b)
      await a.commit()
      expect(await told).toMatchObject({ outcome: 'lease_lost' })
      expect((await p.job(id)).status).toBe('pending')
    })

    test(`order 17: ${recovery} first, then a claim: it waits and gets nothing under the ended row`, async () => {
      const { p, worker, id, a, b } = await scene()
      await p.lapse()
      await p.enqueue(1)
      await a.begin()
      await recover(a, worker)
      const told = b.claimAnswer(worker)
      await p.waitsForLock(b)
      await a.commit()
      expect(await told).toMatchObject({ outcome: 'lease_lost' })
      expect((await p.job(id)).status).toBe('pending')
      expect(await p.db.rows(`select 1 from %s.job where token is not null`)).toEqual([])
    })
  }

  test('order 17: a renewal first, then a sweep: nothing is ended', async () => {
    const { p, worker, held, a, b } = await scene()
    await p.lapse()
    await a.begin()
    expect((await a.renew(worker)).outcome).toBe('renewed')
    expect(await b.sweep()).toMatchObject({ ended: [], recovered: [] })
    await a.commit()
    expect(await p.sweep()).toMatchObject({ ended: [], recovered: [] })
    expect(await p.complete(held)).toEqual(['completed'])
  })

  test.each(['report_death', 'evict', 'end_worker'])(
    'order 17: a claim first, then %s: what was claimed while it waited comes back too',
    async (recovery) => {
      const { p, worker, id, a, b } = await scene()
      const [next] = await p.enqueue(1)
      await a.begin()
      expect((await a.claim(worker)).jobs.map((job) => job.id)).toEqual([next])
      const recovered = recoveries[recovery]!(b, worker)
      await p.waitsForLock(b)
      await a.commit()
      await recovered
      expect((await p.jobs([id, next!])).map((job) => job.status)).toEqual(['pending', 'pending'])
    },
  )

  test('order 17: every write about a job waits for a session that holds its row', async () => {
    const on = await stage()
    for (const [name, action] of Object.entries(actions)) {
      const all = await scene(on, name)
      const { p, id, a, b } = all
      await a.begin()
      await a.query('select 1 from %s.job where id = $1 for update', [id])
      const told = action.act(b, all)
      await p.waitsForLock(b)
      await a.rollback()
      expect(await told, name).toEqual(action.first[0])
    }
  })

  test('order 17: no write about a job waits for a session that holds the worker row', async () => {
    const on = await stage()
    for (const [name, action] of Object.entries(actions)) {
      const all = await scene(on, name)
      const { worker, a, b } = all
      await a.begin()
      await a.query('select 1 from %s.worker where incarnation = $1 for update', [
        worker.incarnation,
      ])
      expect(await action.act(b, all), name).toEqual(action.first[0])
      await a.rollback()
    }
  })

  test('order 17: a late outcome waits for a session that holds the attempt row; recovery does not', async () => {
    const { p, worker, held, id, a, b } = await scene()
    await p.evict([worker])
    const second = await p.register()
    const answer = await p.claim(second)
    await a.begin()
    await a.query('select 1 from %s.attempt where job_id = $1 for update', [id])
    const late = b.complete(held, ['late'])
    await p.waitsForLock(b)
    // The late outcome holds the job; the sweep passes over it.
    expect((await p.evict([second])).released).toEqual([])
    await a.rollback()
    expect(await late).toEqual(['lease_lost'])
    expect((await p.sweep()).recovered).toEqual([{ job: id, status: 'pending' }])
    expect((await p.job(id)).attempts).toMatchObject([
      { endedAs: 'interrupted', lateResult: { value: 'late' } },
      { endedAs: 'interrupted' },
    ])
    expect(await p.complete(heldOf(answer), ['second'])).toEqual(['adopted'])
  })
})

describe('order 18', () => {
  test('order 18: two sweepers between judging and ending make one charge', async () => {
    const { p, id, a, b } = await scene()
    await p.lapse()
    await a.begin()
    expect((await a.sweep()).recovered).toHaveLength(1)
    const second = b.sweep()
    await p.waitsForLock(b)
    await a.commit()
    expect(await second).toMatchObject({ ended: [], recovered: [] })
    expect(await p.job(id)).toMatchObject({ lost: 1, attempts: [{}] })
  })

  test.each(['release_stuck', 'report_death', 'evict', 'end_worker'])(
    'order 18: a sweep and %s of the same worker make one charge',
    async (other) => {
      const { p, worker, id, a, b } = await scene()
      await p.lapse()
      await a.begin()
      await a.sweep()
      const second = recoveries[other]!(b, worker)
      await p.waitsForLock(b)
      await a.commit()
      await second
      expect(await p.job(id)).toMatchObject({
        lost: 1,
        interruptions: 0,
        attempts: [{ endReason: { layer: 4 } }],
      })
      const ended = (await p.allEvents()).filter((event) => event.kind === 'worker.offline')
      expect(ended).toHaveLength(1)
    },
  )

  test('B8: twenty sweeps at once over 500 orphans make 500 recoveries and charge each job once', async () => {
    const p = await openProtocol()
    await p.enqueue(500)
    for (let n = 0; n < 10; n += 1) await p.claim(await p.register(), { want: 50 })
    await p.lapse()
    const answers = await Promise.all(Array.from({ length: 20 }, () => p.sweep()))
    while ((await p.sweep()).recovered.length > 0);
    expect(answers.flatMap((answer) => answer.recovered)).toHaveLength(500)
    expect(answers.flatMap((answer) => answer.ended)).toHaveLength(10)
    const [counts] = await p.db.rows(
      `select count(*)::integer as jobs, min(lost) as least, max(lost) as most,
              (select count(*)::integer from %s.event where kind = 'job.recovered') as events,
              (select count(*)::integer from %s.attempt) as attempts
       from %s.job where standing = 'pending' and token is null`,
    )
    expect(counts).toEqual({ jobs: 500, least: 1, most: 1, events: 500, attempts: 500 })
    let claimed = 0
    for (let n = 0; n < 10; n += 1)
      claimed += (await p.claim(await p.register(), { want: 50 })).jobs.length
    expect(claimed).toBe(500)
  })
})

/** What a restart of everything finds: new connections, a new worker, a sweep, the old outcome said again. */
async function afterRestart({ p, held, id, queue }: Scene, status: string): Promise<void> {
  const fresh = await p.session()
  await p.lapse()
  await fresh.sweep()
  await fresh.complete(held, ['done'])
  const next = await fresh.claim(await fresh.register(), { queues: [queue] })
  expect(next.jobs, queue).toEqual([])
  const job = await fresh.job(id)
  expect([job.status, job.attempts.length], queue).toEqual([status, 1])
}

describe('order 19', () => {
  const others: Record<string, Action> = {
    complete: {
      act: (by, { held }) => by.complete(held, ['done']),
      first: [['completed'], 'completed'],
      second: [['cancelled'], 'cancelled'],
    },
    release: {
      act: (by, { held }) => by.release(held),
      first: [['released'], 'cancelled'],
      second: [['cancelled'], 'cancelled'],
    },
    fail: {
      act: (by, { held }) => by.fail(held, [{ message: 'no' }]),
      first: [['retrying'], 'cancelled'],
      second: [['cancelled'], 'cancelled'],
    },
    retry: {
      act: (by, { id }) => by.retry([id]),
      first: [['running'], 'cancelled'],
      second: [['running'], 'cancelled'],
    },
    release_jobs: {
      act: (by, { id }) => by.releaseJobs([id]),
      first: [['released'], 'cancelled'],
      second: [['released'], 'cancelled'],
    },
  }

  const each = Object.keys(others).join(', ')

  test(`order 19: cancel first, then each of ${each}, then a restart`, async () => {
    const on = await stage()
    for (const [name, other] of Object.entries(others)) {
      const all = await scene(on, name)
      const { p, a, b, id } = all
      await a.begin()
      expect(await a.cancel([id]), name).toEqual(['cancelling'])
      const told = other.act(b, all)
      await p.waitsForLock(b)
      await a.commit()
      expect(await told, name).toEqual(other.second[0])
      await afterRestart(all, other.second[1])
    }
  })

  test(`order 19: each of ${each} first, then cancel, then a restart`, async () => {
    const on = await stage()
    for (const [name, other] of Object.entries(others)) {
      const all = await scene(on, name)
      const { p, a, b, id } = all
      await a.begin()
      expect(await other.act(a, all), name).toEqual(other.first[0])
      const told = b.cancel([id])
      await p.waitsForLock(b)
      await a.commit()
      expect(['completed', 'cancelled', 'cancelling'], name).toContain((await told)[0])
      await afterRestart(all, other.first[1])
    }
  })

  test.each(Object.keys(recoveries))(
    'order 19: cancel and %s, both orders, then a restart: the job is cancelled and nobody starts it again',
    async (recovery) => {
      const on = await stage()
      for (const cancelFirst of [true, false]) {
        const all = await scene(on, cancelFirst ? 'cancel first' : 'recovery first')
        const { p, a, b, id, worker, queue } = all
        const recover = recoveries[recovery]!
        await p.lapse()
        await a.begin()
        if (cancelFirst) {
          expect(await a.cancel([id])).toEqual(['cancelling'])
          // Recovery passes over the job that is held, so the restart finds it with a worker that has ended.
          await recover(b, worker)
          await a.commit()
          expect((await p.job(id)).status, queue).toBe('running')
        } else {
          await recover(a, worker)
          const told = b.cancel([id])
          await p.waitsForLock(b)
          await a.commit()
          expect(await told).toEqual(['cancelled'])
        }
        await afterRestart(all, 'cancelled')
      }
    },
  )

  test('order 19: a replay after the cancel of a job that came back is kept as a note, first or second', async () => {
    for (const cancelFirst of [true, false]) {
      const all = await scene()
      const { p, worker, held, id, a, b } = all
      await p.evict([worker])
      await a.begin()
      await (cancelFirst ? a.cancel([id]) : a.complete(held, ['late']))
      const second = cancelFirst ? b.complete(held, ['late']) : b.cancel([id])
      await p.waitsForLock(b)
      await a.commit()
      expect(await second).toEqual(cancelFirst ? ['lease_lost'] : ['completed'])
      await afterRestart(all, cancelFirst ? 'cancelled' : 'completed')
    }
  })

  test('order 19: a retry of a cancelled job is the only thing that starts it again', async () => {
    const { p, held, id, a, b } = await scene()
    await p.cancel([id])
    await p.acknowledgeCancel(held)
    await a.begin()
    expect(await a.retry([id])).toEqual(['retried'])
    // A cancel that does not see the retry yet comes before it, and finds the job cancelled as it was.
    expect(await b.cancel([id])).toEqual(['cancelled'])
    await a.commit()
    expect(await p.cancel([id])).toEqual(['cancelled'])
    expect(await p.retry([id])).toEqual(['retried'])
    const answer = await p.claim(await p.register())
    expect(answer.jobs).toMatchObject([{ attempt: 2 }])
    expect(await p.complete(heldOf(answer))).toEqual(['completed'])
  })
})
