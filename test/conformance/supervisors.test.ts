/** supervise, keep_supervising, stop_supervising, list_supervisors, backlog_age. */
import { randomUUID } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import {
  backlogAge,
  keepSupervising,
  listSupervisors,
  type Place,
  stopSupervising,
  supervise,
  type SupervisorIdentity,
} from '../../src/sql/supervisors.ts'
import type { SupervisorDocument } from '../../src/client/documents.ts'
import {
  checkInvariantsAfterEach,
  openProtocol,
  type Protocol,
  SCHEMAS,
} from '../support/protocol.ts'

checkInvariantsAfterEach()

const LEASE_MS = 90_000
const BUSY = { queues: ['default'], types: ['work'] }

function someone(pid: number): SupervisorIdentity {
  return {
    incarnation: randomUUID(),
    hostname: 'host-a',
    pid,
    bootId: 'boot',
    pidNamespace: 'pid:[1]',
    processStarted: String(pid * 10),
    version: '1.0.0',
    command: 'node main.js worker handlers.ts',
    processesMin: 1,
    processesMax: 4,
    leaseMs: LEASE_MS,
  }
}

function placeIn(p: Protocol, other: Partial<Place> = {}): Place {
  return { namespace: p.namespace, machineId: 'machine-a', name: 'handlers', ...other }
}

const noExit = { restarts: 0, lastExit: null }

async function listed(p: Protocol): Promise<SupervisorDocument> {
  const [found, ...others] = await listSupervisors<SupervisorDocument>(p.db, p.namespace, 3_600_000)
  expect(others).toEqual([])
  if (found === undefined) throw new Error('no supervisor is listed')
  return found
}

describe.each(SCHEMAS)('supervisors (%s schema)', (schema) => {
  test('I3: a place has one holder, and the second is told who it is', async () => {
    const p = await openProtocol(schema)
    const place = placeIn(p)
    const first = someone(11)
    expect(await supervise(p.db, place, first, null)).toEqual({ outcome: 'held', restarts: 0 })
    expect(await supervise(p.db, place, first, null)).toMatchObject({ outcome: 'held' })
    const answer = await supervise(p.db, place, someone(12), null)
    expect(answer).toMatchObject({
      outcome: 'refused',
      holder: {
        incarnation: first.incarnation,
        pid: 11,
        bootId: 'boot',
        pidNamespace: 'pid:[1]',
        processStarted: '110',
      },
    })
  })

  test('I3: of ten that ask at once one gets the place', async () => {
    const p = await openProtocol(schema)
    const answers = await Promise.all(
      Array.from({ length: 10 }, (_, n) => supervise(p.db, placeIn(p), someone(n + 1), null)),
    )
    expect(answers.filter(({ outcome }) => outcome === 'held')).toHaveLength(1)
  })

  test('I3: other names, machines and namespaces are other places', async () => {
    const p = await openProtocol(schema)
    const places = [{}, { name: 'other' }, { machineId: 'machine-b' }, { namespace: 'other' }]
    for (const [n, other] of places.entries()) {
      expect(await supervise(p.db, placeIn(p, other), someone(n + 1), null)).toMatchObject({
        outcome: 'held',
      })
    }
  })

  test('I3: a holder that is seen to be gone is replaced at once, by one of those who saw it', async () => {
    const p = await openProtocol(schema)
    const dead = someone(11)
    await supervise(p.db, placeIn(p), dead, null)
    const second = someone(12)
    expect(await supervise(p.db, placeIn(p), second, dead.incarnation)).toMatchObject({
      outcome: 'held',
    })
    const third = await supervise(p.db, placeIn(p), someone(13), dead.incarnation)
    expect(third).toMatchObject({ outcome: 'refused', holder: { pid: 12 } })
  })

  test('I3: a lease that lapsed is anybody’s, and who had it hears that it is lost', async () => {
    const p = await openProtocol(schema)
    const first = someone(11)
    await supervise(p.db, placeIn(p), first, null)
    await p.db.advance(LEASE_MS + 1)
    expect(await listed(p)).toMatchObject({ status: 'offline', reason: 'its lease lapsed' })
    // Nobody took it meanwhile: it is still there.
    expect(await keepSupervising(p.db, placeIn(p), { ...first, ...noExit })).toBe('held')
    await p.db.advance(LEASE_MS + 1)
    const second = someone(12)
    expect(await supervise(p.db, placeIn(p), second, null)).toMatchObject({ outcome: 'held' })
    expect(await keepSupervising(p.db, placeIn(p), { ...first, ...noExit })).toBe('lost')
    await stopSupervising(p.db, placeIn(p), first.incarnation)
    expect(await listed(p)).toMatchObject({ pid: 12, status: 'online', stoppedAt: null })
  })

  test('a lease that was granted before the clock stepped back ends a lease from now', async () => {
    const p = await openProtocol(schema)
    await supervise(p.db, placeIn(p), someone(11), null)
    await p.db.advance(-3_600_000)
    const answer = await supervise(p.db, placeIn(p), someone(12), null)
    expect(answer.outcome === 'refused' && answer.holder.leftMs).toBeLessThanOrEqual(LEASE_MS)
    await p.db.advance(LEASE_MS + 1)
    expect(await supervise(p.db, placeIn(p), someone(13), null)).toMatchObject({ outcome: 'held' })
  })

  test('restarts and the last exit are kept for whoever comes next', async () => {
    const p = await openProtocol(schema)
    const first = someone(11)
    await supervise(p.db, placeIn(p), first, null)
    const lastExit = { agoMs: 5_000, pid: 77, workerId: 'w', exitCode: null, signal: 'SIGKILL' }
    const beat = { incarnation: first.incarnation, restarts: 3, lastExit }
    expect(await keepSupervising(p.db, placeIn(p), beat)).toBe('held')
    expect(await keepSupervising(p.db, placeIn(p), { ...beat, lastExit: null })).toBe('held')
    const { lastExit: kept, ...rest } = await listed(p)
    expect(rest).toMatchObject({ restarts: 3, processesMin: 1, processesMax: 4, workersOnline: 0 })
    expect(kept).toMatchObject({ pid: 77, workerId: 'w', exitCode: null, signal: 'SIGKILL' })
    expect(kept).not.toHaveProperty('agoMs')
    const agoMs = Date.parse(rest.lastSeenAt) - Date.parse(kept?.at ?? '')
    expect(agoMs).toBeGreaterThan(3_000)
    await stopSupervising(p.db, placeIn(p), first.incarnation)
    expect(await listed(p)).toMatchObject({ status: 'offline', reason: 'stopped' })
    expect(await supervise(p.db, placeIn(p), someone(12), null)).toEqual({
      outcome: 'held',
      restarts: 3,
    })
  })

  test('backlog_age: what could be claimed and is not, by queues and types', async () => {
    const p = await openProtocol(schema)
    expect(await backlogAge(p.db, p.namespace, BUSY)).toBeNull()
    await p.enqueue(1, { queue: 'other' })
    await p.enqueue(1, { delayMs: 60_000 })
    expect(await backlogAge(p.db, p.namespace, BUSY)).toBeNull()
    await p.enqueue(2, { priority: 5 })
    await p.db.advance(10_000)
    const ageMs = (await backlogAge(p.db, p.namespace, BUSY)) ?? 0
    expect(ageMs).toBeGreaterThanOrEqual(10_000)
    expect(ageMs).toBeLessThan(60_000)
    expect(await backlogAge(p.db, 'nobody', BUSY)).toBeNull()
    await p.db.advance(60_000)
    // Due by now, and without a place until a claim gives it one.
    expect((await p.claim(await p.register(), { want: 2 })).jobs).toHaveLength(2)
    expect(await backlogAge(p.db, p.namespace, BUSY)).toBeGreaterThanOrEqual(10_000)
    expect((await p.claim(await p.register(), { want: 2 })).jobs).toHaveLength(1)
    expect(await backlogAge(p.db, p.namespace, BUSY)).toBeNull()
  })

  test('backlog_age: jobs that wait for their concurrency key are no backlog', async () => {
    const p = await openProtocol(schema)
    await p.enqueue(2, { concurrencyKey: 'k' })
    const worker = await p.register()
    expect((await p.claim(worker, { want: 5 })).jobs).toHaveLength(1)
    await p.db.advance(10_000)
    expect(await backlogAge(p.db, p.namespace, BUSY)).toBeNull()
  })
})

test('backlog_age: a job that is committed below the mark of its lane is seen a minute later', async () => {
  const p = await openProtocol()
  const late = await p.session()
  const age = async () => {
    const [row] = await p.db.rows<{ ms: string | null }>(
      `select %s.backlog_age($1, '{default}', '{work}') as ms`,
      [p.namespace],
    )
    return row?.ms == null ? null : Number(row.ms)
  }
  const judge = () =>
    p.db.rows(
      `with path as materialized (select set_config('search_path', $2, true) as set)
       select %s.judge_alerts($1) from path where set is not null`,
      [p.namespace, p.db.schema],
    )
  await late.begin()
  await late.enqueue(1)
  const done = await p.running(1)
  await p.complete(done.held)
  await judge()
  await late.commit()
  expect(await age()).toBeNull()
  await p.enqueue(1)
  expect(await age()).toBeLessThan(60_000)
  await p.passTime(61_000)
  await judge()
  expect(await age()).toBeGreaterThanOrEqual(61_000)
  expect(await p.db.rows('select place::integer from %s.lane_mark')).toEqual([{ place: 0 }])
})
