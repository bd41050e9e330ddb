/**
 * Order 8 of protocol.md: a standby is promoted that missed a claim, then one that missed a completion. Two real servers; in the
 * first tests the calls are those that a worker makes, in the last ones a worker makes them.
 */
import { randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { createClient } from '../../src/client/client.ts'
import { defineJob } from '../../src/client/define-job.ts'
import { type Database, openDatabase } from '../../src/db/connect.ts'
import { inspectSchema, migrate } from '../../src/db/migrate.ts'
import { getJobs } from '../../src/sql/inspect.ts'
import { claim, enqueue, register, renew, settle } from '../../src/sql/protocol.ts'
import type { JobDocument } from '../../src/client/documents.ts'
import { builtApi } from '../support/process.ts'
import { until } from '../support/until.ts'
import { startPair } from '../support/standby.ts'
import { anything, gate } from '../support/jobs.ts'

const { createWorker } = await builtApi()
const NAMESPACE = 'default'

function open(databaseUrl: string): Database {
  const db = openDatabase({ databaseUrl })
  onTestFinished(() => db.close())
  return db
}

async function startWorker(db: Database): Promise<string> {
  const incarnation = randomUUID()
  await register(db, NAMESPACE, {
    incarnation,
    machineId: 'm1',
    hostname: 'host',
    pid: 4711,
    bootId: 'boot',
    pidNamespace: 'pids',
    processStarted: '1',
    parentPid: 1,
    kind: 'worker',
    version: '0',
    command: 'test',
    concurrency: 4,
    queues: ['default'],
    types: ['work'],
    labels: [],
    leaseMs: 30_000,
    renewMs: 10_000,
    idleBeatMs: 30_000,
    direct: false,
  })
  return incarnation
}

async function claimOne(
  db: Database,
  incarnation: string,
): Promise<{ jobId: string; token: string }> {
  const answer = await claim(db, {
    incarnation,
    claim: randomUUID(),
    want: 1,
    queues: ['default'],
    types: ['work'],
    limitMs: 30_000,
  })
  if (answer.outcome !== 'claimed' || answer.jobs[0] === undefined)
    throw new Error(`nothing claimed: ${JSON.stringify(answer)}`)
  return { jobId: answer.jobs[0].id, token: answer.jobs[0].token }
}

const renewal = (incarnation: string, sendNumber: number) => ({
  incarnation,
  sendNumber,
  idleBeatMs: null,
  draining: false,
  loopLagMs: 0,
  spoolDepth: 0,
  direct: false,
  stuck: null,
})

async function jobOf(db: Database, jobId: string): Promise<JobDocument> {
  const [job] = await getJobs<JobDocument>(db, NAMESPACE, [jobId], true)
  if (job === undefined) throw new Error(`no job ${jobId}`)
  return job
}

describe('order 8: failover', () => {
  test('a promoted standby that missed a claim holds nothing for its worker, and gives the job out anew', async () => {
    const pair = await startPair()
    await migrate({ databaseUrl: pair.primary.url })
    const before = open(pair.primary.url)
    const worker = await startWorker(before)
    await enqueue(before, NAMESPACE, [{ type: 'work', input: '{}', options: '{}' }], false)
    await pair.caughtUp()
    await pair.cut()
    const lost = await claimOne(before, worker)
    await pair.failOver()

    const after = open(pair.standbyUrl)
    // It is the same database, so nobody has to confirm anything (O1).
    expect(await inspectSchema({ databaseUrl: pair.standbyUrl })).toMatchObject({ copied: false })
    expect((await jobOf(after, lost.jobId)).state).toBe('pending')
    expect((await renew(after, renewal(worker, 1))).outcome).toBe('lease_lost')
    const successor = await startWorker(after)
    const won = await claimOne(after, successor)
    expect(won.jobId).toBe(lost.jobId)
    expect(won.token).not.toBe(lost.token)
    const stale = await settle(after, [
      { ...lost, outcome: 'completed', value: '"old"', delayMs: null },
    ])
    expect(stale).toEqual(['lease_lost'])
    expect(
      await settle(after, [{ ...won, outcome: 'completed', value: '"new"', delayMs: null }]),
    ).toEqual(['completed'])
    expect((await jobOf(after, won.jobId)).result).toBe('new')
  })

  test('a promoted standby that missed a completion takes it when the spool delivers it again', async () => {
    const pair = await startPair()
    await migrate({ databaseUrl: pair.primary.url })
    const before = open(pair.primary.url)
    const worker = await startWorker(before)
    await enqueue(before, NAMESPACE, [{ type: 'work', input: '{}', options: '{}' }], false)
    const held = await claimOne(before, worker)
    await pair.caughtUp()
    await pair.cut()
    const outcome = { ...held, outcome: 'completed' as const, value: '"paid for"', delayMs: null }
    expect(await settle(before, [outcome])).toEqual(['completed'])
    await pair.failOver()

    const after = open(pair.standbyUrl)
    expect((await jobOf(after, held.jobId)).status).toBe('running')
    // The incarnation belongs to another epoch: it is over, but what it finished is not lost.
    expect((await renew(after, renewal(worker, 1))).outcome).toBe('lease_lost')
    expect(await settle(after, [outcome])).toEqual(['completed'])
    expect(await settle(after, [outcome])).toEqual(['accepted before'])
    const job = await jobOf(after, held.jobId)
    expect(job.result).toBe('paid for')
    expect(job.attempts?.map((attempt) => attempt.endedAs)).toEqual(['completed'])
  })

  test.each([
    { meanwhile: 'it runs another job', busy: true },
    { meanwhile: 'it is idle', busy: false },
  ])(
    'a worker delivers a completion that the promoted standby missed, and its job is not run again, while $meanwhile',
    async ({ busy }) => {
      const pair = await startPair()
      const [primary, standby] = [new URL(pair.primary.url), new URL(pair.standbyUrl)]
      const both = `postgres://${primary.username}:${primary.password}@127.0.0.1:${primary.port},127.0.0.1:${standby.port}/postgres`
      await migrate({ databaseUrl: pair.primary.url })
      const home = mkdtempSync(path.join(tmpdir(), 'leasehold-failover-'))
      onTestFinished(() => rmSync(home, { recursive: true, force: true }))
      const starts: number[] = []
      const gates = [gate(), gate()]
      const job = defineJob({
        type: 'gated',
        input: anything,
        async run(ctx) {
          starts.push(ctx.input as number)
          await Promise.race([
            gates[ctx.input as number]?.opened,
            new Promise((_, reject) => {
              ctx.signal.addEventListener('abort', () => reject(ctx.signal.reason as Error))
            }),
          ])
          return 'paid for'
        },
      })
      await using worker = createWorker({ databaseUrl: both, jobs: [job], spoolDir: home })
      await worker.start()
      await using client = createClient({ databaseUrl: pair.primary.url })
      const jobId = await client.enqueue(job, 0)
      if (busy) await client.enqueue(job, 1)
      await until('they have started', () => starts.length === (busy ? 2 : 1))
      await pair.caughtUp()
      await pair.cut()
      gates[0]?.open()
      expect(await client.wait(jobId)).toBe('paid for')
      await pair.failOver()

      const after = open(pair.standbyUrl)
      await until('it is taken, or begun again', async () => {
        const { status } = await jobOf(after, jobId)
        return status === 'completed' || starts.filter((input) => input === 0).length > 1
      })
      const found = await jobOf(after, jobId)
      expect(found.result).toBe('paid for')
      expect(found.attempts?.map((attempt) => attempt.endedAs)).toEqual(['completed'])
      expect(starts.filter((input) => input === 0)).toEqual([0])
      // What it ran goes on at once: it ends the row of the lease that the failover ended, and nobody has to wait that out.
      if (busy) {
        await until(
          'the other one has begun again',
          () => starts.filter((n) => n === 1).length === 2,
        )
        const [row] = (
          await after.query(
            `select d.end_reason ->> 'code' as code, w.end_charge as charge from ${after.schema}.worker w
             join ${after.schema}.worker_detail d using (incarnation) where w.ended_at is not null`,
            [],
          )
        ).rows
        expect(row).toEqual({ code: 'failed_over', charge: 'uncharged' })
      }
      gates[1]?.open()
      await worker.stop()
    },
  )
})
