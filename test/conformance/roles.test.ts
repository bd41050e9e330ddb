/** Roles: grants on functions alone, nobody but the owner touches a table; unsafe settings of a role are refused or overruled. */
import { randomBytes } from 'node:crypto'
import pg from 'pg'
import { describe, expect, onTestFinished, test } from 'vitest'
import { useExecutor } from '../../src/db/connect.ts'
import { type Functions, functionsOf } from '../support/functions.ts'
import {
  checkInvariantsAfterEach,
  openProtocol,
  type Protocol,
  SCHEMAS,
} from '../support/protocol.ts'

checkInvariantsAfterEach()

/** A login role that has been granted one of our roles, and a connection as that role. */
async function loginAs(
  p: Protocol,
  granted: string,
  settings: string[] = [],
): Promise<{ functions: Functions; client: pg.Client }> {
  const name = `lh_${granted.slice(10)}_${randomBytes(4).toString('hex')}`
  await p.db.rows(`create role ${name} login password 'secret' in role ${granted}`)
  for (const setting of settings) await p.db.rows(`alter role ${name} set ${setting}`)
  const url = new URL(p.db.databaseUrl)
  url.username = name
  url.password = 'secret'
  const client = new pg.Client({ connectionString: url.href })
  onTestFinished(async () => {
    await client.end()
    const admin = new pg.Client({ connectionString: p.db.databaseUrl })
    await admin.connect()
    await admin.query(`drop role ${name}`)
    await admin.end()
  })
  await client.connect()
  return { client, functions: functionsOf(useExecutor(client, p.db.schemaName), p.namespace) }
}

const DENIED = { code: 'ERR_PERMISSION_DENIED' }

describe.each(SCHEMAS)('roles (%s schema)', (schema) => {
  test('roles: a worker drops what need not be kept and can not say what that is; a client sees the settings', async () => {
    const p = await openProtocol(schema)
    const { functions: w } = await loginAs(p, 'leasehold_worker')
    const { functions: c } = await loginAs(p, 'leasehold_client')
    const [id] = await w.enqueue(1)
    await p.cancel([id!])
    await p.passTime(15 * 86_400_000)
    expect(await w.run('begin_retention', p.namespace)).toMatchObject({ begins: true })
    expect(await w.run('jobs_to_drop', p.namespace, null)).toMatchObject({ jobs: [id] })
    expect(await w.run('drop_jobs', p.namespace, [id], null)).toBe(1)
    expect(await w.run('drop_events', p.namespace)).toMatchObject({ after: null })
    await w.run('end_retention', p.namespace)
    await expect(w.run('set_retention', p.namespace, { keepMs: null })).rejects.toMatchObject(
      DENIED,
    )
    expect(await c.run('retention_of', p.namespace)).toMatchObject({ dropped: 1 })
    await expect(c.run('begin_retention', p.namespace)).rejects.toMatchObject(DENIED)
    await expect(c.run('drop_jobs', p.namespace, [id], null)).rejects.toMatchObject(DENIED)
  })

  test('roles: a worker may do its work, and neither cancel, administrate nor touch a table', async () => {
    const p = await openProtocol(schema)
    const { functions: w, client } = await loginAs(p, 'leasehold_worker')
    await w.enqueue(3)
    const worker = await w.register()
    const answer = await w.claim(worker)
    expect(answer.jobs).toHaveLength(3)
    const held = answer.jobs.map((job) => ({ job: job.id, token: job.token }))
    expect((await w.renew(worker)).held).toHaveLength(3)
    expect(await w.checkpoint(held, [1, 2, 3])).toEqual(Array(3).fill('stored'))
    expect(await w.progress(held, [1, 2, 3])).toEqual(Array(3).fill('stored'))
    expect(await w.log(held, ['a', 'b', 'c'])).toEqual(Array(3).fill('stored'))
    expect(await w.complete(held.slice(0, 1), [1])).toEqual(['completed'])
    expect(await w.fail(held.slice(1, 2), [1])).toEqual(['retrying'])
    expect((await w.sweep({ worker })).role).toBe('leader')
    expect((await w.reportDeath({}, 1, [])).ended).toEqual([])
    expect(await w.endWorker(worker, 'interrupted')).toEqual({
      outcome: 'ended',
      released: [held[2]!.job],
    })
    await w.events()
    const ids = answer.jobs.map((job) => job.id)
    await expect(w.cancel(ids)).rejects.toMatchObject(DENIED)
    await expect(w.retry(ids)).rejects.toMatchObject(DENIED)
    await expect(w.releaseJobs(ids)).rejects.toMatchObject(DENIED)
    await expect(w.evict([worker])).rejects.toMatchObject(DENIED)
    for (const table of ['job', 'attempt', 'worker', 'tick', 'job_truth', 'database_identity']) {
      await expect(client.query(`select 1 from ${p.db.schema}.${table}`)).rejects.toThrow(
        /permission denied/,
      )
    }
    await expect(client.query(`update ${p.db.schema}.job set token = null`)).rejects.toThrow(
      /permission denied/,
    )
    await expect(client.query(`create table ${p.db.schema}.mine ()`)).rejects.toThrow(
      /permission denied/,
    )
  })

  test('roles: a client may enqueue, look, cancel and retry, and not claim', async () => {
    const p = await openProtocol(schema)
    const { functions: c, client } = await loginAs(p, 'leasehold_client')
    const ids = await c.enqueue(2)
    expect(await c.cancel([ids[0]!])).toEqual(['cancelled'])
    expect(await c.retry([ids[0]!])).toEqual(['retried'])
    expect(await c.jobs(ids)).toHaveLength(2)
    await c.workers()
    await c.machines()
    await c.events()
    await c.run('stats', p.namespace)
    const worker = await p.register()
    await expect(c.register()).rejects.toMatchObject(DENIED)
    await expect(c.claim(worker)).rejects.toMatchObject(DENIED)
    await expect(c.renew(worker)).rejects.toMatchObject(DENIED)
    await expect(c.complete([])).rejects.toMatchObject(DENIED)
    await expect(c.sweep()).rejects.toMatchObject(DENIED)
    await expect(c.releaseStuck(0)).rejects.toMatchObject(DENIED)
    await expect(client.query(`select 1 from ${p.db.schema}.job`)).rejects.toThrow(
      /permission denied/,
    )
  })

  test('roles: an administrator may call what operators need, and touches no table either', async () => {
    const p = await openProtocol(schema)
    const { functions: a, client } = await loginAs(p, 'leasehold_admin')
    const { worker, ids } = await p.running(1)
    await a.drain([worker])
    expect(await a.releaseJobs(ids)).toEqual(['released'])
    expect(await a.hold(ids)).toEqual(['held'])
    expect(await a.resume(ids)).toEqual(['resumed'])
    expect((await a.evict([worker])).evicted).toEqual([worker.incarnation])
    expect(await a.releaseStuck(0)).toEqual([])
    expect(await a.invariants()).toEqual([])
    await expect(client.query(`select 1 from ${p.db.schema}.worker`)).rejects.toThrow(
      /permission denied/,
    )
  })

  test("roles: nobody else may call a function at all, and inner functions are nobody's", async () => {
    const p = await openProtocol(schema)
    const open = await p.db.rows<{ name: string }>(
      `select p.proname as name from pg_proc p
       where p.pronamespace = quote_ident($1)::regnamespace and has_function_privilege('public', p.oid, 'execute')`,
      [p.db.schemaName],
    )
    expect(open).toEqual([])
    const { functions: w } = await loginAs(p, 'leasehold_worker')
    await expect(w.run('take_back', p.namespace, [], null)).rejects.toMatchObject(DENIED)
    await expect(w.run('end_workers', p.namespace, [], 'lost', 1, {})).rejects.toMatchObject(DENIED)
    await expect(w.run('settle_late', null, null, null, null)).rejects.toMatchObject(DENIED)
  })

  test('G2: a listener and the hints agree on the channel, whatever the search path', async () => {
    const p = await openProtocol(schema)
    const { functions, client } = await loginAs(p, 'leasehold_client')
    await client.query(`set search_path to pg_catalog`)
    const channel = await functions.run<string>('channel', p.namespace)
    const heard = new Promise<string>((resolve) => {
      client.on('notification', (message) => resolve(`${message.channel} ${message.payload}`))
    })
    await client.query(`listen ${channel}`)
    await p.enqueue(1, { queue: 'q' })
    expect(await heard).toBe(`${channel} pending:q`)
    expect(await functions.run<string>('channel', 'other')).not.toBe(channel)
  })

  test('order 22: a role with repeatable read is refused by every function that writes', async () => {
    const p = await openProtocol(schema)
    const { held, worker, ids } = await p.running(1)
    const unsafe = { code: 'ERR_DATABASE_UNSAFE' }
    for (const level of ['repeatable read', 'serializable']) {
      const { functions: w } = await loginAs(p, 'leasehold_admin', [
        `default_transaction_isolation = '${level}'`,
      ])
      const calls: (() => Promise<unknown>)[] = [
        () => w.enqueue(1),
        () => w.register(),
        () => w.claim(worker),
        () => w.renew(worker),
        () => w.complete(held),
        () => w.fail(held),
        () => w.release(held),
        () => w.interrupt(held),
        () => w.acknowledgeCancel(held),
        () => w.checkpoint(held, [1]),
        () => w.progress(held, [1]),
        () => w.log(held, ['a']),
        () => w.endWorker(worker, 'lost'),
        () => w.sweep(),
        () => w.reportDeath({}, 1, [worker]),
        () => w.cancel(ids),
        () => w.retry(ids),
        () => w.hold(ids),
        () => w.resume(ids),
        () => w.releaseJobs(ids),
        () => w.releaseStuck(0),
        () => w.drain([worker]),
        () => w.evict([worker]),
      ]
      for (const refused of calls) await expect(refused()).rejects.toMatchObject(unsafe)
    }
    expect((await p.job(ids[0]!)).state).toBe('running')
  })

  test('order 22: with synchronous_commit off a write is durable all the same', async () => {
    const p = await openProtocol(schema)
    const { functions: w, client } = await loginAs(p, 'leasehold_worker', [
      'synchronous_commit = off',
    ])
    const setting = async (): Promise<unknown> =>
      (await client.query('show synchronous_commit')).rows[0].synchronous_commit
    expect(await setting()).toBe('off')
    await client.query('begin')
    await w.enqueue(1)
    expect(await setting()).toBe('on')
    await client.query('commit')
    expect(await setting()).toBe('off')
    const worker = await w.register()
    const [held] = (await w.claim(worker)).jobs.map((job) => ({ job: job.id, token: job.token }))
    for (const write of [
      () => w.checkpoint([held!], [1]),
      () => w.renew(worker),
      () => w.complete([held!]),
      () => w.sweep(),
      () => w.endWorker(worker, 'lost'),
    ]) {
      await client.query('begin')
      await write()
      expect(await setting()).toBe('on')
      await client.query('commit')
    }
    await client.query('set synchronous_commit to remote_apply')
    await client.query('begin')
    await w.enqueue(1)
    expect(await setting()).toBe('remote_apply')
    await client.query('commit')
  })

  test("order 15: no parameter of a function carries a client's time", async () => {
    const p = await openProtocol(schema)
    const timed = await p.db.rows<{ name: string }>(
      `select p.oid::regprocedure::text as name
       from pg_proc p
       where p.pronamespace = quote_ident($1)::regnamespace and p.prosecdef
         and p.proargtypes::oid[] && '{timestamptz, timestamp, date, time, timetz}'::regtype[]::oid[]`,
      [p.db.schemaName],
    )
    expect(timed).toEqual([])
    // A clock that is wrong by a day, in the one place where a client says when: it schedules, and decides about no lease.
    const [id] = await p.enqueue(1, { at: new Date(Date.now() + 86_400_000).toISOString() })
    const worker = await p.register()
    expect((await p.claim(worker)).jobs).toEqual([])
    expect((await p.job(id!)).state).toBe('scheduled')
    expect((await p.worker(worker)).status).toBe('online')
  })
})
