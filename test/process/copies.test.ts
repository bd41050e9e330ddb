/**
 * O1: a copy of a database does not run its jobs until somebody says so; what is no copy goes on. A standby that is promoted is in
 * test/orders/failover.test.ts.
 */
import { randomBytes, randomUUID } from 'node:crypto'
import { cpSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import pg from 'pg'
import { describe, expect, test } from 'vitest'
import { createClient } from '../../src/client/client.ts'
import { startEmbedded } from '../../src/db/embedded.ts'
import { confirmCopy, inspectSchema, migrate } from '../../src/db/migrate.ts'
import { testBinaries } from '../support/global-setup.ts'
import { type OwnServer, ownServer } from '../support/own-server.ts'
import { Scenario } from '../support/process.ts'

async function sql<T = unknown>(url: string, text: string, values: unknown[] = []): Promise<T[]> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    return (await client.query(text, values)).rows as T[]
  } finally {
    await client.end()
  }
}

const at = (url: string, database: string): string =>
  Object.assign(new URL(url), { pathname: `/${database}` }).href

const WORKER = {
  machineId: 'm',
  hostname: 'h',
  pid: 1,
  concurrency: 1,
  queues: ['default'],
  types: ['job'],
  version: '0',
  command: 'test',
  leaseMs: 30_000,
  renewMs: 10_000,
  idleBeatMs: 30_000,
  direct: false,
}

function register(url: string, incarnation: string = randomUUID()): Promise<unknown> {
  const worker = JSON.stringify({ ...WORKER, incarnation })
  return sql(url, `select leasehold.register('default', $1)`, [worker])
}

/** A database with a worker that runs one job, one job that waits, and a webhook. */
async function origin(url: string): Promise<{ worker: string; running: string; waiting: string }> {
  await migrate({ databaseUrl: url })
  const client = createClient({ databaseUrl: url })
  const worker = randomUUID()
  await register(url, worker)
  const running = await client.enqueueRaw('job', {}, { onWorkerLost: 'hold' })
  await sql(url, `select leasehold.claim($1, gen_random_uuid(), 1, '{default}', '{job}')`, [worker])
  const waiting = await client.enqueueRaw('job', {})
  await client.alerts.webhooks.add('https://example.com/hook')
  await client.close()
  return { worker, running, waiting }
}

describe.concurrent('a copy of a database', () => {
  test('O1: a database made from another as its template is one: it shows, lists and cancels, and gives out nothing', async (context) => {
    const server = await ownServer(context)
    const source = at(server.url, 'origin')
    await sql(server.url, 'create database origin')
    const made = await origin(source)
    expect(await inspectSchema({ databaseUrl: source })).toMatchObject({ copied: false })
    await sql(server.url, 'create database copy template origin')
    const copy = at(server.url, 'copy')
    expect(await inspectSchema({ databaseUrl: copy })).toMatchObject({ copied: true })
    await expect(register(copy)).rejects.toMatchObject({
      code: 'LH008',
      hint: 'If it may: leasehold migrate --confirm-copy',
    })
    await using client = createClient({ databaseUrl: copy })
    expect(await client.get(made.waiting)).toMatchObject({ state: 'pending' })
    expect((await client.list()).items).toHaveLength(2)
    const another = await client.enqueueRaw('job', {})
    expect(await client.cancel(another)).toBe('cancelled')
    // Nor is anybody told of what happened to the origin.
    await client.sweep()
    expect(await client.alerts.list({ all: true })).toEqual([])

    expect(await confirmCopy({ databaseUrl: copy })).toEqual({
      workersEnded: 1,
      jobsReleased: 1,
      webhooksRemoved: 1,
      waiting: [{ namespace: 'default', jobs: 1 }],
    })
    expect(await client.get(made.running)).toMatchObject({
      state: 'held',
      lost: 0,
      endReason: { code: 'worker_lost' },
    })
    // The worker of the origin holds nothing here, whatever it sends.
    const [renewed] = await sql<{ answer: { outcome: string } }>(
      copy,
      'select leasehold.renew($1, 1) as answer',
      [made.worker],
    )
    expect(renewed?.answer.outcome).toBe('lease_lost')
    await register(copy)
    expect(await confirmCopy({ databaseUrl: copy })).toBeNull()
    // The origin knows nothing of all that.
    expect(await inspectSchema({ databaseUrl: source })).toMatchObject({ copied: false })
    await register(source)
  })

  test('O1: rows that were restored on another server are one', async (context) => {
    const [here, there] = [await ownServer(context), await ownServer(context)]
    await origin(here.url)
    await migrate({ databaseUrl: there.url })
    // What pg_restore does with the row that says which database it is.
    const [identity] = await sql<Record<string, unknown>>(
      here.url,
      'select * from leasehold.database_identity',
    )
    await sql(there.url, 'delete from leasehold.database_identity')
    await sql(
      there.url,
      'insert into leasehold.database_identity (id, system_identifier, database_oid) values ($1, $2, $3)',
      [identity?.['id'], identity?.['system_identifier'], identity?.['database_oid']],
    )
    expect(await inspectSchema({ databaseUrl: there.url })).toMatchObject({ copied: true })
    await expect(register(there.url)).rejects.toMatchObject({ code: 'LH008' })
    // Migrating again does not make it one's own.
    await sql(there.url, `update leasehold.installed set functions = 'older'`)
    await migrate({ databaseUrl: there.url })
    await expect(register(there.url)).rejects.toMatchObject({ code: 'LH008' })
  })

  test('a backup that is restored in place is none, nor is a database that was renamed', async (context) => {
    const home = mkdtempSync(path.join(tmpdir(), 'leasehold-backup-'))
    context.onTestFinished(() => rmSync(home, { recursive: true, force: true }))
    const binaries = testBinaries()
    const start = () =>
      startEmbedded({
        dataDir: path.join(home, 'pg'),
        durable: false,
        onParentExit: 'stop',
        ...(binaries === undefined ? {} : { binaries }),
      })
    let server = await start()
    await origin(server.url)
    await server.stop()
    cpSync(path.join(home, 'pg'), path.join(home, 'backup'), { recursive: true })
    server = await start()
    await register(server.url)
    await server.stop()
    rmSync(path.join(home, 'pg'), { recursive: true })
    cpSync(path.join(home, 'backup'), path.join(home, 'pg'), { recursive: true })
    server = await start()
    await register(server.url)
    await sql(server.url, 'create database other')
    await origin(at(server.url, 'other'))
    await sql(server.url, 'alter database other rename to renamed')
    await register(at(server.url, 'renamed'))
    await server.stop()
  })

  test('where the server hides its identifier, a copy is known by the database alone', async (context) => {
    const server = await ownServer(context)
    const owner = await hiddenOwner(server)
    await origin(owner)
    const [identity] = await sql<{ system_identifier: string | null }>(
      owner,
      'select system_identifier from leasehold.database_identity',
    )
    expect(identity?.system_identifier).toBeNull()
    await register(owner)
    await sql(server.url, `create database copy template hidden owner hidden_owner`)
    await expect(register(at(owner, 'copy'))).rejects.toMatchObject({ code: 'LH008' })
    expect(await confirmCopy({ databaseUrl: at(owner, 'copy') })).not.toBeNull()
    await register(at(owner, 'copy'))
  })

  test('O1: a worker that is started on one says what to do and exits with 5', async (context) => {
    const scenario = await Scenario.open(context)
    await makeCopy(scenario)
    const worker = await scenario.worker({ unready: true })
    expect(await worker.exit()).toMatchObject({ code: 5 })
    expect(worker.text).toContain('is a copy of another one')
    expect(worker.text).toContain('leasehold migrate --confirm-copy')
    expect(worker.text).toContain('ERR_DATABASE_COPIED')
    const checked = scenario.run(['migrate', '--check'])
    expect(await checked.exit()).toMatchObject({ code: 5 })
    const confirmed = scenario.run(['migrate', '--confirm-copy'])
    expect(await confirmed.exit()).toMatchObject({ code: 0 })
    await scenario.worker()
  })

  test('O1: a worker that is there when its database becomes one waits, and goes on when that is confirmed', async (context) => {
    const scenario = await Scenario.open(context)
    const worker = await scenario.worker({ env: { LEASE_DURATION: '6' } })
    const gate = scenario.gate('gate')
    const jobId = await scenario.enqueue('wait', { gate: gate.file })
    await scenario.journalLine('start')
    await makeCopy(scenario)
    const told = await worker.event('worker.degraded', ({ reason }) =>
      String(reason).includes('--confirm-copy'),
    )
    expect(told['reason']).toContain('is a copy of another one')
    const before = worker.events('worker.started').length
    expect(before).toBe(1)
    await scenario.run(['migrate', '--confirm-copy']).exit()
    await scenario.until(
      'a fresh incarnation',
      () => worker.events('worker.started').length > before,
    )
    gate.open()
    const job = await scenario.jobIs(jobId, 'completed')
    expect(job).toMatchObject({ attempt: 2, lost: 0 })
  })
})

/** Leaves the database as a restore elsewhere would find it: with facts of another server. */
async function makeCopy(scenario: Scenario): Promise<void> {
  await scenario.rows(
    `update %s.database_identity set system_identifier = '1', id = gen_random_uuid()`,
  )
}

async function hiddenOwner(server: OwnServer): Promise<string> {
  const password = randomBytes(8).toString('hex')
  await sql(server.url, `create role hidden_owner login createrole password '${password}'`)
  await sql(server.url, 'create database hidden owner hidden_owner')
  await sql(at(server.url, 'hidden'), 'revoke execute on function pg_control_system() from public')
  const url = new URL(at(server.url, 'hidden'))
  url.username = 'hidden_owner'
  url.password = password
  return url.href
}
