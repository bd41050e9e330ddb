/** Dropping ended jobs from real processes: what a kill leaves is finished by the next one, and nobody who works is held up. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { describe, expect, test } from 'vitest'
import { builtProgram, Scenario } from '../support/process.ts'

builtProgram()

/** Ended jobs that are older than they are kept. The clock of the schema goes `days` and `minutes` ahead. */
async function oldJobs(s: Scenario, count: number): Promise<void> {
  await s.rows(
    `select %s.cancel('default', %s.enqueue('default', array_fill('plain'::text, array[$1::integer]), array_fill('{}'::text, array[$1::integer])))`,
    [count],
  )
  await ahead(s, '15 days')
}

async function ahead(s: Scenario, interval: string): Promise<void> {
  await s.rows(
    `create or replace function %s.clock() returns timestamptz language sql stable as 'select statement_timestamp() + interval ''${interval}'''`,
  )
}

async function left(s: Scenario): Promise<number> {
  const [row] = await s.rows<{ n: number }>(
    `select count(*)::integer as n from %s.job_stored where finished_at < %s.clock() - interval '14 days'`,
  )
  return row!.n
}

describe.concurrent('retention', () => {
  test('a worker that is killed in its archive hook: the next one archives and drops what it had not', async (context) => {
    const s = await Scenario.open(context)
    await oldJobs(s, 250)
    const archived = path.join(s.directory, 'archived')
    const killed = path.join(s.directory, 'killed')
    const file = path.join(s.directory, 'archiving.mjs')
    const defineJob = pathToFileURL(
      path.join(path.dirname(builtProgram()), '../client/define-job.js'),
    )
    writeFileSync(
      file,
      `import { appendFileSync, existsSync, writeFileSync } from 'node:fs'
       import { defineJob } from ${JSON.stringify(defineJob.href)}
       const input = { '~standard': { version: 1, vendor: 'test', validate: (value) => ({ value }) } }
       export const plain = defineJob({ type: 'plain', input, run: () => null })
       let count = 0
       export async function archive(jobs) {
         for (const job of jobs) {
           appendFileSync(${JSON.stringify(archived)}, job.id + ' ' + job.status + ' ' + job.events.length + '\\n')
           count += 1
           if (count === 150 && !existsSync(${JSON.stringify(killed)})) {
             writeFileSync(${JSON.stringify(killed)}, '')
             process.kill(process.pid, 'SIGKILL')
           }
         }
       }`,
    )
    await s.enqueue('plain')
    const first = s.run(['worker', file])
    expect(await first.exit()).toMatchObject({ signal: 'SIGKILL' })
    expect(existsSync(killed)).toBe(true)
    // What the hook had returned from is gone; what it was killed with is not.
    expect(await left(s)).toBe(150)
    // Without the hook nobody goes on.
    const refused = s.run(['retention', '--run'])
    expect(await refused.exit()).toMatchObject({ code: 5 })
    await ahead(s, '15 days 3 minutes')
    await s.enqueue('plain')
    const second = s.run(['worker', file])
    expect(await second.event('jobs.dropped')).toMatchObject({ count: 150 })
    expect(await left(s)).toBe(0)
    const lines = readFileSync(archived, 'utf8').trim().split('\n')
    expect(lines).toHaveLength(300)
    expect(new Set(lines).size).toBe(250)
    expect(lines[0]).toMatch(/ cancelled [1-9]/)
    second.kill('SIGTERM')
    expect(await second.exit()).toMatchObject({ code: 0 })
  })

  test('beside workers and enqueuers, killed and begun anew: the old jobs go, and each new one completes', async (context) => {
    const s = await Scenario.open(context)
    await oldJobs(s, 20_000)
    await s.worker()
    const stop = new AbortController()
    const fresh: string[] = []
    const enqueuing = (async () => {
      while (!stop.signal.aborted) fresh.push(...(await s.enqueueSome(5, 'plain')))
    })()
    const first = s.run(['retention', '--run'])
    await s.until('some are dropped', async () => (await left(s)) < 20_000)
    first.kill('SIGKILL')
    await first.exit()
    const second = s.run(['retention', '--run', '--json'])
    expect(await second.exit(60_000)).toMatchObject({ code: 0 })
    stop.abort()
    await enqueuing
    expect(await left(s)).toBe(0)
    expect(fresh.length).toBeGreaterThan(0)
    await s.until('all of the new ones are completed', async () => {
      const [row] = await s.rows<{ n: number }>(
        `select count(*)::integer as n from %s.job_stored where id = any ($1) and status = 'completed'`,
        [fresh],
      )
      return row!.n === fresh.length
    })
    expect(await s.client.retention.get()).toMatchObject({ dropped: 20_000, problem: null })
  })
})
