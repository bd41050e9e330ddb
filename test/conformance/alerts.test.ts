/** Alerts: each rule is raised once, announced once, resolved when it is over and raised again when it returns; thresholds; acknowledging. */
import { randomUUID } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import type {
  AlertDocument,
  AlertRuleDocument,
  MachineDocument,
} from '../../src/client/documents.ts'
import { LEASE_MS, type WorkerRow } from '../support/functions.ts'
import {
  checkInvariantsAfterEach,
  openProtocol,
  type Protocol,
  SCHEMAS,
} from '../support/protocol.ts'

checkInvariantsAfterEach()

const MINUTE_MS = 60_000

/** What a sweep announces: kind, rule and subject. Alerts were judged long enough ago. */
async function judged(p: Protocol): Promise<string[]> {
  await p.passTime(5_001)
  const { alerts } = await p.sweep()
  return alerts.map(({ kind, alert }) => `${kind.slice(6)} ${alert.rule} ${alert.subject}`)
}

const open = (p: Protocol, all = false): Promise<AlertDocument[]> =>
  p.run('list_alerts', p.namespace, all)

const set = (p: Protocol, rule: string, settings: object): Promise<AlertRuleDocument> =>
  p.run('set_alert_rule', p.namespace, rule, settings)

async function crash(p: Protocol, worker?: WorkerRow): Promise<WorkerRow> {
  const crashed = worker ?? (await p.register())
  await p.reportDeath({}, 1, [crashed], { message: 'its process was killed by SIGSEGV' })
  return crashed
}

describe.each(SCHEMAS)('alerts (%s schema)', (schema) => {
  test('K2: a lost worker is told of once for its machine, and over when none was lost for a while', async () => {
    const p = await openProtocol(schema)
    const worker = await crash(p)
    expect(await judged(p)).toEqual(['raised worker_lost machine-1'])
    expect(await judged(p)).toEqual([])
    const another = await crash(p)
    // It is still the same condition: brought up to date, and not told of again.
    expect(await judged(p)).toEqual([])
    const [alert] = await open(p)
    expect(alert).toMatchObject({
      rule: 'worker_lost',
      subject: 'machine-1',
      status: 'open',
      data: { machineId: 'machine-1', count: 2, workerIds: [another.id, worker.id] },
      resolvedAt: null,
    })
    expect(alert?.message).toBe(
      `2 workers of machine machine-1 were lost within 10 min, the last one ${another.id}: its process was killed by SIGSEGV`,
    )
    await p.passTime(10 * MINUTE_MS)
    expect(await judged(p)).toEqual(['resolved worker_lost machine-1'])
    expect(await open(p)).toEqual([])
    expect(await open(p, true)).toMatchObject([{ id: alert?.id, status: 'resolved' }])
    await crash(p)
    expect(await judged(p)).toEqual(['raised worker_lost machine-1'])
    expect((await open(p))[0]?.id).not.toBe(alert?.id)
  })

  test('an orderly end, and a false alarm, are nothing to tell of', async () => {
    const p = await openProtocol(schema)
    await p.endWorker(await p.register(), 'interrupted')
    const slept = await crash(p)
    await p.renewAnswer(slept)
    expect(await judged(p)).toEqual([])
  })

  test('a crash loop is of one version on one machine', async () => {
    const p = await openProtocol(schema)
    await set(p, 'worker_lost', { enabled: false })
    for (let n = 0; n < 2; n += 1) await crash(p)
    const elsewhere = await p.register({ machineId: 'machine-2' })
    await p.reportDeath({ machineId: 'machine-2' }, 1, [elsewhere])
    expect(await judged(p)).toEqual([])
    await p.endWorker(await p.register(), 'lost', { code: 'uncaught_error', message: 'no' })
    expect(await judged(p)).toEqual(['raised crash_loop machine-1 0.0.0'])
    expect((await open(p))[0]).toMatchObject({
      data: { machineId: 'machine-1', version: '0.0.0', count: 3 },
    })
  })

  test('K2: poison is told of by its type, and over when every job of it was retried', async () => {
    const p = await openProtocol(schema)
    await set(p, 'worker_lost', { enabled: false })
    await set(p, 'crash_loop', { enabled: false })
    const poison = async (): Promise<string> => {
      const { worker, ids } = await p.running(1, { maxLost: 1 })
      await crash(p, worker)
      return ids[0]!
    }
    const first = await poison()
    expect(await judged(p)).toEqual(['raised poison work'])
    const second = await poison()
    expect(await judged(p)).toEqual([])
    expect((await open(p))[0]?.data).toEqual({ type: 'work', count: 2, jobIds: [first, second] })
    await p.retry([first])
    expect(await judged(p)).toEqual([])
    await p.retry([second])
    expect(await judged(p)).toEqual(['resolved poison work'])
    await p.cancel([first, second])
  })

  test('F7, K2: jobs whose type nobody takes are told of, also those that are due later and those that failed', async () => {
    const p = await openProtocol(schema)
    const worker = await p.register()
    await p.enqueue(1, {}, 'orphan')
    await p.enqueue(1, { delayMs: 2 * MINUTE_MS }, 'later')
    await p.enqueue(1, { queue: 'other' }, 'work')
    await p.enqueue(1, {}, 'work')
    expect(await judged(p)).toEqual([])
    await p.passTime(MINUTE_MS)
    await p.renew(worker)
    expect((await judged(p)).toSorted()).toEqual([
      'raised no_worker_for_type default/orphan',
      'raised no_worker_for_type other/work',
    ])
    await p.passTime(2 * MINUTE_MS)
    await p.renew(worker)
    expect(await judged(p)).toEqual(['raised no_worker_for_type default/later'])
    // Somebody who takes it: over. One that only drains takes nothing.
    const taker = await p.register({ types: ['orphan', 'later'] })
    await p.drain([taker])
    expect(await judged(p)).toEqual([])
    await p.drain([taker], false)
    expect((await judged(p)).toSorted()).toEqual([
      'resolved no_worker_for_type default/later',
      'resolved no_worker_for_type default/orphan',
    ])
    // A deploy: the old one has stopped, and the new one comes within the time that is allowed.
    await p.endWorker(taker, 'interrupted')
    expect(await judged(p)).toEqual([])
    await p.passTime(MINUTE_MS)
    await p.renew(worker)
    expect((await judged(p)).toSorted()).toEqual([
      'raised no_worker_for_type default/later',
      'raised no_worker_for_type default/orphan',
    ])
  })

  test('K2: the oldest job of a queue has waited too long, though workers are there', async () => {
    const p = await openProtocol(schema)
    const worker = await p.register()
    const { held } = await p.running(1, {}, worker)
    const [waiting] = await p.enqueue(1)
    for (let minute = 0; minute < 15; minute += 1) {
      await p.passTime(20_000)
      await p.renew(worker)
      await p.passTime(20_000)
      await p.renew(worker)
      await p.passTime(20_000)
      await p.renew(worker)
    }
    expect(await judged(p)).toEqual(['raised oldest_pending default'])
    expect((await open(p))[0]).toMatchObject({
      message: 'the first job of queue default has waited for more than 15 min',
      data: { queue: 'default', type: 'work', jobIds: [waiting] },
    })
    expect((await p.claim(worker, { want: 1 })).jobs).toHaveLength(1)
    expect(await judged(p)).toEqual(['resolved oldest_pending default'])
    // A job that ran for long and was given back waits since then.
    await p.release(held)
    await p.renew(worker)
    expect(await judged(p)).toEqual([])
  })

  test('a shutdown that was cut short is told of, and an operator who drains is none', async () => {
    const p = await openProtocol(schema)
    await set(p, 'worker_lost', { enabled: false })
    const killed = await p.register()
    await p.renew(killed, { draining: true })
    await crash(p, killed)
    const drained = await p.register({ machineId: 'machine-2' })
    await p.drain([drained])
    await p.reportDeath({ machineId: 'machine-2' }, 1, [drained])
    expect(await judged(p)).toEqual(['raised shutdown_timed_out machine-1'])
    expect((await open(p))[0]).toMatchObject({
      message: `1 worker of machine machine-1 was killed, or ended by force, while shutting down, the last one ${killed.id}`,
    })
    await p.passTime(60 * MINUTE_MS)
    expect(await judged(p)).toEqual(['resolved shutdown_timed_out machine-1'])
    // One that ended itself, and says that it had to cut something.
    const cut = await p.register({ machineId: 'machine-3' })
    await p.run('end_worker', cut.incarnation, 'interrupted', {
      code: 'shutdown',
      message: 'SIGTERM',
      shutdown: { outcome: 'timed_out' },
    })
    expect(await judged(p)).toEqual(['raised shutdown_timed_out machine-3'])
  })

  test('K2: outcomes that wait too long on a worker, and workers that mean to LISTEN and can not', async () => {
    const p = await openProtocol(schema)
    const worker = await p.register()
    const renew = (ageMs: number): Promise<unknown> => {
      worker.sent += 1
      return p.run('renew', worker.incarnation, worker.sent, null, false, 0, 2, false, null, ageMs)
    }
    await renew(5 * MINUTE_MS)
    expect(await judged(p)).toEqual([])
    await renew(5 * MINUTE_MS + 1)
    expect(await judged(p)).toEqual([`raised spool_age ${worker.id}`])
    await renew(0)
    expect(await judged(p)).toEqual([`resolved spool_age ${worker.id}`])
    await p.db.rows('update %s.worker_detail set listens = true')
    expect(await judged(p)).toEqual([])
    await p.passTime(MINUTE_MS)
    await renew(0)
    expect(await judged(p)).toEqual(['raised listen_degraded machine-1'])
    await p.endWorker(worker, 'interrupted')
    expect(await judged(p)).toEqual(['resolved listen_degraded machine-1'])
  })

  test('rule 9: a machine on which a death report was wrong is told of until it was restarted', async () => {
    const p = await openProtocol(schema)
    const listed = async (): Promise<string | null> => {
      const machines = await p.run<MachineDocument[]>('list_machines', p.namespace)
      return machines.find(({ id }) => id === 'machine-1')!.witnessContradictedAt
    }
    const wronged = await p.register()
    await p.reportDeath({}, 2, [wronged])
    expect(await judged(p)).toEqual(['raised worker_lost machine-1'])
    await p.passTime(10 * MINUTE_MS)
    expect(await judged(p)).toEqual(['resolved worker_lost machine-1'])
    expect(await listed()).toBeNull()
    expect(await p.renewAnswer(wronged)).toMatchObject({ outcome: 'lease_lost' })
    // Somebody looks although nothing runs.
    const other = await p.register({ machineId: 'machine-2' })
    await p.passTime(45_001)
    expect((await p.claim(other)).running).toBe(true)
    expect(await judged(p)).toEqual(['raised witness_contradicted machine-1'])
    expect(await listed()).not.toBeNull()
    // Another worker of that boot, one whose boot can't be read, and another machine are no restart.
    await p.register()
    await p.register({ bootId: null })
    await p.register({ machineId: 'machine-2', bootId: 'boot-2' })
    const alerted = (await open(p)).find((alert) => alert.rule === 'witness_contradicted')!
    await p.run('acknowledge_alerts', p.namespace, [alerted.id], 'somebody')
    expect(await judged(p)).toEqual([])
    expect(await listed()).not.toBeNull()
    const first = await p.register({ bootId: 'boot-2' })
    expect(await listed()).toBeNull()
    expect(await judged(p)).toEqual(['resolved witness_contradicted machine-1'])
    // The layer is on again.
    expect((await p.reportDeath({ bootId: 'boot-2' }, 2, [first])).ended).toHaveLength(1)
  })

  test('each change is an event of the feed, with the alert as it is then', async () => {
    const p = await openProtocol(schema)
    await crash(p)
    await judged(p)
    const [alert] = await open(p)
    await p.run('acknowledge_alerts', p.namespace, [alert?.id], 'ana')
    await p.passTime(10 * MINUTE_MS)
    await judged(p)
    const events = (await p.allEvents()).filter(({ kind }) => kind.startsWith('alert.'))
    expect(events).toMatchObject([
      { kind: 'alert.raised', data: { id: alert?.id, status: 'open', rule: 'worker_lost' } },
      {
        kind: 'alert.acknowledged',
        data: { id: alert?.id, status: 'acknowledged', acknowledgedBy: 'ana' },
      },
      { kind: 'alert.resolved', data: { id: alert?.id, status: 'resolved' } },
    ])
  })

  test('an alert is acknowledged once, stays until it is over, and each id has its answer', async () => {
    const p = await openProtocol(schema)
    await crash(p)
    await judged(p)
    const id = (await open(p))[0]!.id
    const ack = (by: string, ids = [id]): Promise<string[]> =>
      p.run('acknowledge_alerts', p.namespace, ids, by)
    expect(await ack('ana', [randomUUID(), id])).toEqual(['not_found', 'acknowledged'])
    expect(await ack('bob')).toEqual(['acknowledged'])
    expect((await open(p))[0]).toMatchObject({ status: 'acknowledged', acknowledgedBy: 'ana' })
    expect(await judged(p)).toEqual([])
    await p.passTime(10 * MINUTE_MS)
    expect(await judged(p)).toEqual(['resolved worker_lost machine-1'])
    expect(await ack('cleo')).toEqual(['resolved'])
  })

  test('thresholds are a namespace’s own, and wrong ones are refused with what would be right', async () => {
    const p = await openProtocol(schema)
    expect(await set(p, 'worker_lost', { atLeast: 2, withinMs: MINUTE_MS })).toMatchObject({
      atLeast: 2,
      withinMs: MINUTE_MS,
      enabled: true,
      changed: true,
    })
    const other = p.in('other')
    const rules = await other.run<AlertRuleDocument[]>('alert_rules', 'other')
    expect(rules.filter(({ changed }) => changed)).toEqual([])
    expect(rules.map(({ rule }) => rule)).toEqual([
      'worker_lost',
      'crash_loop',
      'poison',
      'no_worker_for_type',
      'oldest_pending',
      'shutdown_timed_out',
      'spool_age',
      'listen_degraded',
      'witness_contradicted',
    ])
    await crash(p)
    expect(await judged(p)).toEqual([])
    await crash(p)
    expect(await judged(p)).toEqual(['raised worker_lost machine-1'])
    // What is no longer found by the rule is over.
    expect(await set(p, 'worker_lost', { enabled: false })).toMatchObject({ atLeast: 2 })
    expect(await judged(p)).toEqual(['resolved worker_lost machine-1'])
    expect(await set(p, 'worker_lost', { default: true })).toMatchObject({
      atLeast: 1,
      changed: false,
      enabled: true,
    })
    for (const [rule, settings, words] of [
      ['nothing', { enabled: true }, /no rule nothing: the rules are worker_lost, /],
      ['poison', { forMs: 1 }, /poison has no forMs/],
      ['worker_lost', { atLeast: 0 }, /atLeast .* from 1 to 1000, got 0/],
      ['worker_lost', { atLeast: 1.5 }, /whole number/],
      ['oldest_pending', { forMs: 86_400_001 }, /from 1 to 86400000, got 86400001/],
    ] as const)
      await expect(set(p, rule, settings)).rejects.toThrow(words)
  })

  test('what was lost while nobody judged is announced by whoever does, and only once by two at a time', async () => {
    const p = await openProtocol(schema)
    expect(await judged(p)).toEqual([])
    await crash(p)
    await p.passTime(5_001)
    const [one, two] = [await p.session(), await p.session()]
    await one.begin()
    expect((await one.sweep()).alerts).toHaveLength(1)
    // The first one's announcement is not committed yet: the second leaves it to the first.
    await two.query('set search_path to %s')
    expect(await two.run('judge_alerts', p.namespace)).toEqual([])
    await one.commit()
    expect(await judged(p)).toEqual([])
    expect((await p.allEvents()).filter(({ kind }) => kind === 'alert.raised')).toHaveLength(1)
  })

  test('a namespace is judged only while there is something to judge', async () => {
    const p = await openProtocol(schema)
    const worker = await p.register()
    const idle = async (): Promise<boolean> => (await p.claim(worker)).running
    expect(await idle()).toBe(false)
    const first = await p.sweep({ worker })
    expect(first).toMatchObject({ running: false, alerts: [], alertsMs: null, deliver: false })
    // A job that nobody takes waits: somebody looks again, but not before it can matter.
    await p.enqueue(1, {}, 'orphan')
    expect(await idle()).toBe(false)
    await p.passTime(45_001)
    expect(await idle()).toBe(true)
    expect(await p.sweep({ worker })).toMatchObject({ running: false, alertsMs: 30_000 })
    expect(await idle()).toBe(false)
    // An end is looked at soon, as something may be wrong.
    await crash(p)
    await p.passTime(1_001)
    expect(await idle()).toBe(true)
    expect((await p.sweep({ worker })).alerts).toHaveLength(1)
  })

  test('alerts that are over for a month are forgotten', async () => {
    const p = await openProtocol(schema)
    await crash(p)
    await judged(p)
    await p.passTime(10 * MINUTE_MS)
    await judged(p)
    await p.passTime(29 * 86_400_000)
    await judged(p)
    expect(await open(p, true)).toHaveLength(1)
    await p.passTime(86_400_000)
    await judged(p)
    expect(await open(p, true)).toEqual([])
  })

  test('a lease that lapses is told of by the sweep that ends it', async () => {
    const p = await openProtocol(schema)
    await p.running(1)
    await p.db.rows(`update %s.tick set writable_since = '-infinity'`)
    await p.passTime(LEASE_MS + 1)
    const swept = await p.sweep()
    expect(swept.ended).toHaveLength(1)
    expect(swept.alerts).toMatchObject([{ kind: 'alert.raised', alert: { rule: 'worker_lost' } }])
  })
})
