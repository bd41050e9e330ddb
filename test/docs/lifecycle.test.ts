/**
 * docs/lifecycle.md and docs/shutdown.md against the code: the diagram has exactly the changes of state that the code lets pass, each of
 * them is taken by a real worker here, and phases, bounds and outcomes are listed as the code has them.
 */
import { expect, test } from 'vitest'
import { defineJob } from '../../src/client/define-job.ts'
import type { StandardSchema } from '../../src/client/standard-schema.ts'
import { Bounds } from '../../src/worker/bounds.ts'
import { resolveSettings } from '../../src/config.ts'
import { Lifecycle, STATE_CHANGES } from '../../src/worker/lifecycle.ts'
import { HOOK_PHASES, SHUTDOWN_PHASES } from '../../src/worker/shutdown-report.ts'
import { STEP_LIMIT_MS } from '../../src/worker/shutdown-step.ts'
import type { Worker } from '../../src/worker/worker.ts'
import type { WorkerOptions } from '../../src/worker/worker-options.ts'
import { Proxy } from '../process/proxy.ts'
import { createTestDatabase } from '../support/database.ts'
import { builtApi } from '../support/process.ts'
import { until } from '../support/until.ts'
import { code, codes, readPage, section, tables } from './documents.ts'

const life = readPage('docs/lifecycle.md')
const shutdown = readPage('docs/shutdown.md')

const edges = Object.entries(STATE_CHANGES).flatMap(([from, next]) =>
  next.map((to) => `${from} --> ${to}`),
)

test('the diagram draws the changes of state that the code lets pass, and no other', () => {
  const diagram = /```mermaid\nstateDiagram-v2\n([\s\S]*?)```/.exec(life)?.[1] ?? ''
  const drawn = [...diagram.matchAll(/^\s*(\S+) --> ([^\s:]+)/gm)].map(
    (edge) => `${edge[1]} --> ${edge[2]}`,
  )
  expect(drawn.toSorted()).toEqual(['[*] --> stopped', ...edges].toSorted())
  const states = tables(section(life, '## States'), 'State').map((row) => code(row['State']))
  expect(states.toSorted()).toEqual(Object.keys(STATE_CHANGES).toSorted())
})

test('a change that is not drawn is refused, and the present state is no change', () => {
  const worker = new Lifecycle()
  worker.enter('stopped', 'already')
  expect(worker.history).toEqual([])
  expect(() => worker.enter('ready', 'no')).toThrow('a worker that is stopped can not become ready')
  worker.enter('starting', 'start')
  expect(worker.history).toMatchObject([{ state: 'starting', reason: 'start' }])
})

test('a worker takes every change that is drawn', async () => {
  const { createWorker } = await builtApi()
  const db = await createTestDatabase()
  const anything: StandardSchema = {
    '~standard': { version: 1, vendor: 'test', validate: (value) => ({ value }) },
  }
  const job = defineJob({ type: 'job', input: anything, run: () => null })
  const taken = new Set<string>()
  const note = ({ history }: Worker): void => {
    let from = 'stopped'
    for (const { state } of history) {
      taken.add(`${from} --> ${state}`)
      from = state
    }
  }
  const make = (options: Partial<WorkerOptions>): Worker =>
    createWorker({
      databaseUrl: db.databaseUrl,
      schema: db.schemaName,
      jobs: [job],
      leaseMs: 6_000,
      ...options,
    })

  const lost = make({ databaseUrl: 'postgres://nobody@127.0.0.1:1/none' })
  for (let time = 1; time <= 2; time += 1) await expect(lost.start()).rejects.toThrow()
  note(lost)

  await using proxy = await Proxy.open(db.databaseUrl)
  const cut = make({ databaseUrl: proxy.url })
  await cut.start()
  await proxy.refuse()
  await until('degraded', () => cut.state === 'degraded')
  await proxy.heal()
  await until('ready again', () => cut.state === 'ready')
  await cut.stop({ graceMs: 0 })
  await cut.start()
  await proxy.refuse()
  await until('degraded once more', () => cut.state === 'degraded')
  await cut.stop({ graceMs: 0 })
  note(cut)

  // The schema can be brought up to date, and the lifeline can't register.
  await proxy.heal()
  proxy.drop('leasehold lifeline')
  const early = make({ databaseUrl: proxy.url })
  let asked = false
  early.on('lease.renewal_failed', () => (asked = true))
  const starting = early.start()
  await until('it has tried to register', () => asked)
  await early.stop({ graceMs: 0 })
  await expect(starting).rejects.toThrow('stopped before it was ready')
  note(early)

  expect([...taken].toSorted()).toEqual(edges.toSorted())
})

test('the bounds are those of the code, with their settings and flags', () => {
  const rows = tables(section(life, '## Bounds'), 'Bound')
  const flag = (name: string): string =>
    `--${name.replace(/Ms$/, '').replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`
  for (const row of rows)
    expect(codes(row['Flag'])[0]?.split(' ')[0]).toBe(flag(code(row['Bound'])))
  const bounded = rows.map((row) => {
    const name = code(row['Bound'])
    const bounds = new Bounds(resolveSettings({ [name]: name === 'exitWhenIdle' ? true : 1 }))
    bounds.registered(0)
    bounds.answered({ jobs: 0, idle: true })
    bounds.answered({ jobs: 0, idle: true })
    bounds.begun()
    return [name, bounds.reached(1, 0)?.bound]
  })
  expect(bounded).toEqual(bounded.map(([name]) => [name, name]))
  expect(rows).toHaveLength(4)
})

test('the phases of a shutdown are in their order, and those of hooks are among them', () => {
  const phases = tables(section(shutdown, '## Phases'), 'Phase').map((row) => code(row['Phase']))
  expect(phases).toEqual([...SHUTDOWN_PHASES])
  for (const phase of HOOK_PHASES) expect(phases).toContain(phase)
})

test('the limits of a shutdown', () => {
  const limits = section(shutdown, '## Time limits')
  const { shutdownGraceMs, hardExitMs } = resolveSettings({})
  expect(limits).toContain(`| ${shutdownGraceMs / 1_000} s `)
  expect(limits).toContain(`grace + ${(hardExitMs - shutdownGraceMs) / 1_000} s`)
  expect(limits.match(new RegExp(`\\| ${STEP_LIMIT_MS / 1_000} s `, 'g'))).toHaveLength(2)
  expect(shutdown).toContain(`terminationGracePeriodSeconds: ${hardExitMs / 1_000 + 5}`)
})

test('the report and the outcomes are described as they are', async () => {
  const { createWorker, createClient } = await builtApi()
  const db = await createTestDatabase()
  const connect = { databaseUrl: db.databaseUrl, schema: db.schemaName }
  const anything: StandardSchema = {
    '~standard': { version: 1, vendor: 'test', validate: (value) => ({ value }) },
  }
  const job = defineJob({ type: 'job', input: anything, run: () => null })
  const worker = createWorker({ ...connect, jobs: [job] })
  await worker.start()
  const report = await worker.stop()
  const fields = tables(section(shutdown, '## The report'), 'Field').map((row) =>
    code(row['Field']),
  )
  expect(fields.toSorted()).toEqual(Object.keys(report ?? {}).toSorted())
  const client = createClient(connect)
  const [counts] = await client.workers.shutdowns()
  await client.close()
  const outcomes = tables(section(shutdown, '## How many end well'), 'Outcome').map((row) =>
    code(row['Outcome']).replace('timed_out', 'timedOut'),
  )
  expect(Object.keys(counts ?? {})).toEqual(expect.arrayContaining(outcomes))
  expect(outcomes).toHaveLength(3)
})
