/**
 * Processes that do not answer, with a second worker on another machine ready to take over: one whose event loop is blocked keeps its
 * job, one that is frozen loses it, and nothing that it tries to write afterwards is accepted.
 */
import { writeFileSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { sleep } from '../../src/clock.ts'
import { checkpoint, enqueueChild, log, progress } from '../../src/sql/protocol.ts'
import type { Check } from '../figures.ts'
import { freeze as freezeJob } from '../handlers.ts'
import { inPlace, type Measure, roundText, type Site } from '../measure.ts'
import type { Report } from '../reports.ts'

const LEASE_MS = 6_000
const BLOCKED_LEASES = 5
const FROZEN_LEASES = 2
const REFUSED = 'ERR_LEASE_LOST'
/** What is tried with the stale token: its own result by the frozen worker, the others from here. */
const STALE_WRITES = ['checkpoint', 'completed', 'enqueue', 'log', 'progress']

export const block: Measure = {
  name: 'block',
  what: 'a handler that blocks the event loop for five leases (6 s): how often it runs',
  quick: false,
  run: (bench) =>
    inPlace(bench, 'block', async (site) => {
      await startTwo(site)
      const job = await site.client.enqueueRaw('bench.block', { forMs: BLOCKED_LEASES * LEASE_MS })
      const first = await site.fleet.started(job, 1)
      bench.progress(`blocked for ${(BLOCKED_LEASES * LEASE_MS) / 1_000} s`)
      await site.client.wait(job)
      const runs = startsOf(site, job).length
      const { status, attempt, lost } = await site.client.get(job)
      const { name, what } = block
      const checks: Check[] = [
        { says: 'once', met: runs === 1 && attempt === 1 && lost === 0 },
        { says: 'completed', met: status === 'completed' },
      ]
      return [{ name, what, unit: 'runs', values: [runs], checks, details: { first, lost } }]
    }),
}

interface Thaw {
  readonly runs: number
  readonly thawed: Report
  readonly facts: Readonly<Record<string, boolean>>
  /** What the facts were judged by. */
  readonly seen: unknown
}

export const freeze: Measure = {
  name: 'freeze',
  what: 'SIGSTOP for two leases (6 s), then SIGCONT: how often the job runs',
  quick: false,
  run: async (bench) => {
    const directory = mkdtempSync(path.join(tmpdir(), 'leasehold-bench-'))
    try {
      return await inPlace(bench, 'freeze', async (site) => {
        await startTwo(site)
        const thaws: Thaw[] = []
        for (let round = 1; round <= 3; round += 1) {
          thaws.push(await freezeOne(site, path.join(directory, String(round))))
          bench.progress(roundText(round, 3, `${thaws.at(-1)?.runs} runs`))
        }
        const { name, what } = freeze
        const values = thaws.map(({ runs }) => runs)
        const says = Object.keys(thaws[0]?.facts ?? {})
        const checks = says.map((fact) => ({
          says: fact,
          met: thaws.every(({ facts }) => facts[fact] === true),
        }))
        return [{ name, what, unit: 'runs', values, checks, details: thaws }]
      })
    } finally {
      rmSync(directory, { recursive: true, force: true })
    }
  },
}

async function freezeOne(site: Site, finish: string): Promise<Thaw> {
  const { client, fleet } = site
  const job = await client.enqueueRaw('bench.freeze', { finish })
  const first = await fleet.started(job, 1)
  const frozen = fleet.byPid(first.pid)
  frozen.kill('SIGSTOP')
  // Not timed: the freeze only has to be longer than a lease, and its successor comes when it comes.
  await Promise.all([fleet.started(job, 2), sleep(FROZEN_LEASES * LEASE_MS)])
  frozen.kill('SIGCONT')
  const thawed = await fleet.reports.first('the frozen handler to go on', (report) => {
    return report.event === 'thawed' && report.job === job
  })
  await lateResultOf(site, job)
  const direct = await refusedByTheDatabase(site, job)
  const [recorded] = await site.rows<{ writes: string[] | null }>(
    `select array_agg(distinct data ->> 'write') as writes from %s.event
     where kind = 'job.stale_write' and job_ids = array[$1::uuid]`,
    [job],
  )
  const [left] = await site.rows<{ clean: boolean }>(
    `select not exists (select from %s.checkpoint where job_id = $1)
        and not exists (select from %s.progress where job_id = $1)
        and not exists (select from %s.attempt_log where job_id = $1)
        and not exists (select from %s.job_detail where type = 'bench.instant') as clean`,
    [job],
  )
  writeFileSync(finish, '')
  const result = await client.wait(job, { job: freezeJob })
  const { attempts, lost, failures } = await client.get(job)
  const ends = attempts?.map(({ endedAs }) => endedAs)
  const runs = startsOf(site, job).length
  const refused = Object.values(thawed.writes ?? {}).every((answer) => answer === REFUSED)
  return {
    runs,
    thawed,
    seen: { attempts, lost, failures, recorded, direct, left },
    facts: {
      'overtaken once': runs === 2 && ends?.join() === 'lost,completed' && failures === 0,
      'told first': thawed.toldFirst === true,
      'late writes refused': refused && direct && left?.clean === true,
      'refusals recorded': STALE_WRITES.every((write) => recorded?.writes?.includes(write)),
      'late result recorded': attempts?.[0]?.lateResult != null,
      'result is the successor’s': result.from === 'the successor',
    },
  }
}

/** Waits until the frozen worker's result has arrived, or has had ample time to. */
async function lateResultOf(site: Site, job: string): Promise<void> {
  for (let tries = 0; tries < 60; tries += 1) {
    const { attempts } = await site.client.get(job)
    if (attempts?.[0]?.lateResult != null) return
    await sleep(50)
  }
}

/** The handler's own calls are stopped in its process; a client that ignored the fence would be refused here. */
async function refusedByTheDatabase(site: Site, job: string): Promise<boolean> {
  const [attempt] = await site.rows<{ token: string }>(
    `select token from %s.attempt where job_id = $1 and attempt = 1`,
    [job],
  )
  const fence = { jobId: job, token: attempt?.token ?? '' }
  const child = { type: 'bench.instant', input: 'null', options: '{}' }
  const answers = [
    ...(await checkpoint(site.db, [{ ...fence, value: '1' }])),
    ...(await progress(site.db, [{ ...fence, done: 1, total: null, message: null }])),
    ...(await log(site.db, [{ ...fence, level: 'info', message: 'late', fields: null, ageMs: 0 }])),
  ]
  const children = await enqueueChild(site.db, fence, child)
  return answers.every((answer) => answer === 'lease_lost') && children === null
}

async function startTwo(site: Site): Promise<void> {
  const on = (machine: string) =>
    site.fleet.start({
      env: { LEASE_DURATION: String(LEASE_MS / 1_000), LEASEHOLD_MACHINE_ID: machine },
    })
  await Promise.all([on('bench-a'), on('bench-b')])
}

function startsOf(site: Site, job: string): Report[] {
  return site.fleet.reports.items.filter(({ event, job: of }) => event === 'started' && of === job)
}
