/**
 * O1, O2: ids of another namespace are answered as no such thing, by every function that takes ids. The list below is compared with the
 * functions that there are, so that a new one has to say which it is.
 */
import { randomUUID } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import type { WorkerRow } from '../support/functions.ts'
import {
  checkInvariantsAfterEach,
  openProtocol,
  type Protocol,
  SCHEMAS,
} from '../support/protocol.ts'

checkInvariantsAfterEach()

interface Foreign {
  readonly worker: WorkerRow
  readonly running: string
  readonly pending: string
  readonly held: string
  readonly failed: string
  readonly alert: string
  readonly webhook: string
  readonly run: string
  readonly supervisor: string
}

/** What namespace `app` has of everything. */
async function everything(p: Protocol): Promise<Foreign> {
  const { worker, ids } = await p.running(1)
  const failing = await p.running(1, { queue: 'failing' }, worker)
  await p.settle(failing.held, ['failed_finally'])
  const [pending, held] = await p.enqueue(2, { queue: 'waiting' })
  await p.hold([held!])
  const dead = await p.register({ machineId: 'machine-2' })
  await p.reportDeath({ machineId: 'machine-2' }, 1, [dead])
  await p.sweep()
  const [alert] = await p.run<{ id: string }[]>('list_alerts', p.namespace)
  const { id: webhook } = await p.run<{ id: string }>(
    'add_webhook',
    p.namespace,
    'https://example.com/hook',
  )
  const { id: run } = await p.run<{ id: string }>('create_run', p.namespace, 'nightly')
  const supervisor = randomUUID()
  await p.run('supervise', p.namespace, {
    machineId: 'machine-1',
    name: 'handlers',
    incarnation: supervisor,
    hostname: 'host',
    pid: 1,
    bootId: 'boot-1',
    pidNamespace: 'pids-1',
    processStarted: '1',
    version: '0',
    command: 'worker',
    processesMin: 1,
    processesMax: 1,
    leaseMs: 90_000,
  })
  return {
    run,
    supervisor,
    worker,
    running: ids[0]!,
    pending: pending!,
    held: held!,
    failed: failing.ids[0]!,
    alert: alert!.id,
    webhook,
  }
}

type Call = (p: Protocol, foreign: Foreign, namespace: string) => Promise<unknown>

/** Functions that take ids and a namespace: what each answers to ids of another one. */
const SCOPED: Readonly<Record<string, { call: Call; answer: unknown }>> = {
  cancel: {
    call: (p, f, ns) => p.run('cancel', ns, [f.running, f.pending, f.held]),
    answer: ['not_found', 'not_found', 'not_found'],
  },
  retry: {
    call: (p, f, ns) => p.run('retry', ns, [f.failed, f.held]),
    answer: ['not_found', 'not_found'],
  },
  hold: { call: (p, f, ns) => p.run('hold', ns, [f.pending]), answer: ['not_found'] },
  resume: { call: (p, f, ns) => p.run('resume', ns, [f.held]), answer: ['not_found'] },
  release_jobs: {
    call: (p, f, ns) => p.run('release_jobs', ns, [f.running]),
    answer: ['not_found'],
  },
  get_jobs: {
    call: (p, f, ns) => p.run('get_jobs', ns, [f.running, f.pending], true),
    answer: [],
  },
  list_jobs: {
    call: (p, f, ns) => p.run('list_jobs', ns, null, null, null, f.worker.id, null, 50),
    answer: [],
  },
  find_jobs: {
    call: (p, f, ns) => p.run('find_jobs', ns, f.running.slice(-8)),
    answer: [],
  },
  job_logs: { call: (p, f, ns) => p.run('job_logs', ns, f.running, null, 0, 10), answer: [] },
  drain_workers: {
    call: (p, f, ns) => p.run('drain_workers', ns, [f.worker.incarnation], true),
    answer: ['not_found'],
  },
  evict_workers: {
    call: (p, f, ns) => p.run('evict_workers', ns, [f.worker.incarnation]),
    answer: { evicted: [], released: [] },
  },
  report_death: {
    call: (p, f, ns) =>
      p.run(
        'report_death',
        ns,
        { machineId: 'machine-1', bootId: 'boot-1', pidNamespace: 'pids-1', id: 'other' },
        1,
        [f.worker.incarnation],
      ),
    answer: { ended: [], recovered: [] },
  },
  sweep: {
    // As a candidate, with the incarnation of another namespace's worker: it sweeps its own namespace alone.
    call: async (p, f, ns) => {
      const { ended, recovered } = await p.run<{ ended: unknown[]; recovered: unknown[] }>(
        'sweep',
        ns,
        f.worker.incarnation,
      )
      return { ended, recovered }
    },
    answer: { ended: [], recovered: [] },
  },
  find_workers: { call: (p, f, ns) => p.run('find_workers', ns, f.worker.id), answer: [] },
  drain_machine: {
    call: (p, f, ns) => p.run('drain_machine', ns, f.worker.machineId, true),
    answer: 'not_found',
  },
  find_machines: {
    call: (p, f, ns) => p.run('find_machines', ns, f.worker.machineId),
    answer: [],
  },
  acknowledge_alerts: {
    call: (p, f, ns) => p.run('acknowledge_alerts', ns, [f.alert], 'me'),
    answer: ['not_found'],
  },
  find_alerts: { call: (p, f, ns) => p.run('find_alerts', ns, f.alert), answer: [] },
  find_webhooks: { call: (p, f, ns) => p.run('find_webhooks', ns, f.webhook), answer: [] },
  remove_webhook: { call: (p, f, ns) => p.run('remove_webhook', ns, f.webhook), answer: false },
  test_webhook: { call: (p, f, ns) => p.run('test_webhook', ns, f.webhook), answer: null },
  find_runs: { call: (p, f, ns) => p.run('find_runs', ns, f.run), answer: [] },
  update_run: { call: (p, f, ns) => p.run('update_run', ns, f.run, 'stage'), answer: 'not_found' },
  end_run: {
    call: (p, f, ns) => p.run('end_run', ns, f.run, 'completed', 'cancel'),
    answer: 'not_found',
  },
  judge_runs: { call: (p, f, ns) => p.run('judge_runs', ns, [f.run]), answer: ['not_found'] },
  keep_supervising: {
    call: (p, f, ns) =>
      p.run('keep_supervising', ns, 'machine-1', 'handlers', f.supervisor, 9, null),
    answer: 'lost',
  },
  stop_supervising: {
    call: async (p, f, ns) => {
      await p.run('stop_supervising', ns, 'machine-1', 'handlers', f.supervisor)
      return p.run('list_supervisors', ns)
    },
    answer: [],
  },
  find_processes: {
    call: (p, f, ns) => p.run('find_processes', ns, 'boot-1', 'pids-1', [f.worker.pid], ['1']),
    answer: [],
  },
  drop_jobs: {
    call: (p, f, ns) => p.run('drop_jobs', ns, [f.failed], null),
    answer: 0,
  },
  take_deliveries: {
    call: (p, f, ns) => p.run('take_deliveries', ns, f.worker.incarnation),
    answer: [],
  },
}

/** Functions that take no namespace: an incarnation, or the token of an attempt or a try, is the identity that they act for. */
const BY_IDENTITY = [
  'acknowledge_cancel',
  'checkpoint',
  'claim',
  'complete',
  'cost',
  'end_worker',
  'enqueue_child',
  'fail',
  'interrupt',
  'log',
  'progress',
  'release',
  'renew',
  'settle',
  'settle_delivery',
]

/** Functions that take text which is no id, or no more than the namespace itself. */
const NO_IDS = [
  'add_webhook',
  'alert_rules',
  'backlog_age',
  'begin_retention',
  'channel',
  'create_run',
  'drop_events',
  'end_retention',
  'events_dropped',
  'jobs_to_drop',
  'list_runs',
  'list_supervisors',
  'retention_of',
  'set_retention',
  'shutdowns',
  'supervise',
  'enqueue',
  'events_end',
  'known_types',
  'list_alerts',
  'list_machines',
  'list_webhooks',
  'list_workers',
  'read_events',
  'register',
  'release_stuck',
  'set_alert_rule',
  'stats',
]

/** Functions about the whole database. */
const ABOUT_ALL = [
  'database_facts',
  'confirm_copy',
  'database_copied',
  'installed_release',
  'invariants',
]

describe.each(SCHEMAS)('namespaces (%s schema)', (schema) => {
  test('O1: every function that may be called is known to take no ids, or is tried with those of another namespace', async () => {
    const p = await openProtocol(schema)
    const callable = await p.db.rows<{ name: string }>(
      `select distinct p.proname::text as name from pg_proc p
       where p.pronamespace = quote_ident($1)::regnamespace and p.prosecdef order by 1`,
      [p.db.schemaName],
    )
    expect(callable.map(({ name }) => name)).toEqual(
      [...Object.keys(SCOPED), ...BY_IDENTITY, ...NO_IDS, ...ABOUT_ALL].toSorted(),
    )
  })

  test('O1, O2: ids of another namespace are no such thing, and nothing happens to what they name', async () => {
    const p = await openProtocol(schema)
    const foreign = await everything(p)
    const state = async (): Promise<unknown> => ({
      jobs: (await p.jobs([foreign.running, foreign.pending, foreign.held, foreign.failed])).map(
        ({ id, state: shown, attempt }) => [id, shown, attempt],
      ),
      worker: (await p.worker(foreign.worker)).status,
      alerts: await p.run('list_alerts', p.namespace, true),
      webhooks: await p.run('list_webhooks', p.namespace),
      runs: (
        await p.run<{ id: string; status: string; stage: string | null }[]>(
          'find_runs',
          p.namespace,
          foreign.run,
        )
      ).map(({ id, status, stage }) => [id, status, stage]),
      supervisors: (
        await p.run<{ name: string; status: string }[]>('list_supervisors', p.namespace)
      ).map(({ name, status }) => [name, status]),
      machines: (await p.machines()).map(({ id, status }) => [id, status]),
    })
    const before = await state()
    for (const [name, { call, answer }] of Object.entries(SCOPED)) {
      expect({ name, answer: await call(p, foreign, 'other') }).toEqual({ name, answer })
      expect({ name, state: await state() }).toEqual({ name, state: before })
    }
  })

  test('O2: what is silent in one namespace is not handed back, nor told of, from another', async () => {
    const p = await openProtocol(schema)
    const { ids } = await p.running(1)
    const bob = p.in('bob')
    await bob.register()
    await p.db.rows(`update %s.tick set writable_since = '-infinity'`)
    await p.passTime(10 * 60_000)
    expect((await p.job(ids[0]!)).state).toBe('lost')
    expect(await bob.releaseStuck(0, { force: true })).toEqual([])
    expect(await bob.sweep()).toMatchObject({ recovered: [] })
    expect((await p.job(ids[0]!)).state).toBe('lost')
    expect(await bob.run<{ rule: string; subject: string }[]>('list_alerts', 'bob')).toHaveLength(1)
    expect(await p.run('list_alerts', p.namespace)).toEqual([])
  })
})
