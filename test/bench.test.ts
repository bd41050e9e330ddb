/**
 * Goal: the side-by-side benchmark works, so that whoever needs its figures need not repair it first.
 *
 * Method: its quick run, which is Leasehold alone with tiny counts and downloads nothing, as a process on the tests' own server. What
 * it measured is not judged.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import type { Arena, Contestant } from '../bench/compare/arena.ts'
import { chart } from '../bench/compare/chart.ts'
import { type Case, interleave } from '../bench/compare/comparison.ts'
import { renderRows } from '../bench/compare/output.ts'
import { PeerProcess } from '../bench/compare/process.ts'
import { createTerminal } from '../src/cli/terminal/style.ts'
import { testDatabaseUrl } from './support/database.ts'
import { builtProgram } from './support/process.ts'

const ROOT = path.resolve(import.meta.dirname, '..')

/** Ample for a busy machine; on an idle one it takes some seconds. */
const SLOW_MS = 240_000

interface Results {
  readonly about: readonly string[]
  readonly rows: readonly {
    variant: string
    contestant: string
    values: number[]
    notes: string[]
  }[]
}

test(
  'the quick comparison measures Leasehold, and writes a table, a file and a chart',
  { timeout: SLOW_MS },
  async () => {
    const directory = mkdtempSync(path.join(tmpdir(), 'leasehold-bench-test-'))
    onTestFinished(() => rmSync(directory, { recursive: true, force: true }))
    const program = path.join(ROOT, 'bench/compare/main.ts')
    const child = spawn(
      process.execPath,
      ['--import', 'tsx', program, '--quick', '--out', directory],
      {
        cwd: ROOT,
        env: {
          ...process.env,
          DATABASE_URL: testDatabaseUrl(),
          LEASEHOLD_BENCH_API: path.join(path.dirname(builtProgram()), '../index.js'),
        },
      },
    )
    let [table, said] = ['', '']
    child.stdout.on('data', (text) => (table += String(text)))
    child.stderr.on('data', (text) => (said += String(text)))
    const [code] = (await once(child, 'close')) as [number | null]

    expect(code, said + table).toBe(0)
    const written = readdirSync(directory).sort()
    expect(written.map((name) => path.extname(name))).toEqual(['.json', '.svg'])
    const [json = '', svg = ''] = written.map((name) =>
      readFileSync(path.join(directory, name), 'utf8'),
    )
    const { about, rows } = JSON.parse(json) as Results
    for (const line of [
      /^leasehold \d.*default: concurrency/,
      /^PostgreSQL \d+.*fsync/,
      /^drain: /,
    ]) {
      const shown = about.find((text) => line.test(text))?.slice(0, 60) ?? `nothing like ${line}`
      expect(table).toContain(`# ${shown}`)
      expect(svg).toContain(`>${shown}`)
    }
    const measured = rows.filter(({ contestant }) => contestant === 'leasehold')
    for (const name of ['drain', 'enqueue', 'latency', 'pinned', 'sweep', 'cost', 'memory'])
      expect(measured.map(({ variant }) => variant.split(/[ ,]/)[0])).toContain(name)
    expect(measured.map(({ variant }) => variant)).toContain('enqueue, 8 writers, NOTIFY on')
    for (const { variant, values } of rows)
      expect(
        values.every((value) => value > 0),
        `${variant}: ${values.join()}`,
      ).toBe(true)
    for (const { variant } of measured) {
      expect(table).toContain(variant)
      expect(svg).toContain(`>${variant}<`)
    }
  },
)

test('a process of a contestant that is gone while it is told something does not end the benchmark', async () => {
  for (let round = 0; round < 3; round += 1) {
    const contestant = new PeerProcess('raw-sql', { onEvent: () => undefined })
    await contestant.ready()
    const killed = contestant.kill().then(() => 'killed')
    const told = async (): Promise<string> => {
      contestant.tell('handled', { count: 1 })
      return new Promise((resolve) => setImmediate(resolve, 'told'))
    }
    while ((await Promise.race([killed, told()])) === 'told');
    await expect(contestant.call('memory')).rejects.toThrow(/channel|ended/i)
  }
})

test('a reading that fails is missed in its row, in the table and in the chart', async () => {
  const options = { quick: false, repetitions: 3, big: false, pinMs: 0, freeMs: 0 }
  const arena = { options, progress: () => undefined } as unknown as Arena
  const caseOf = (name: string, variant: string, read: Case['read']): Case => {
    const contestant = { name, version: '1', modes: { fast: {} } } as unknown as Contestant
    return { variant, contestant, mode: 'fast', read }
  }
  let calls = 0
  const sometimes = async (): ReturnType<Case['read']> => {
    calls += 1
    if (calls === 2) throw new Error('broke once')
    return [{ unit: 'jobs/s', value: 3 }]
  }
  const rows = await interleave(arena, [
    caseOf('leasehold', 'latency', async () => [{ what: 'p50', unit: 'ms', value: 5 }]),
    caseOf('peer', 'latency', async () => Promise.reject(new Error('never worked'))),
    caseOf('peer', 'drain', sometimes),
    caseOf('peer', 'cost', async () => [{ unit: 'bytes', value: 1 / 0 }]),
  ])

  const failed = rows.map(({ variant, contestant, values, failures }) => {
    return [variant, contestant, values.length, failures.length]
  })
  expect(failed).toEqual([
    ['latency, p50', 'leasehold', 3, 0],
    ['drain', 'peer', 2, 1],
    ['latency, p50', 'peer', 0, 3],
    ['cost', 'peer', 0, 3],
  ])
  const table = renderRows(createTerminal({ isTTY: false }, {}), rows, [])
  const svg = chart(rows, { title: '', about: [] })
  for (const text of [
    'failed 1 of 3',
    'failed 3 of 3',
    'never worked',
    'There is no value for cost',
  ]) {
    expect(table.join('\n')).toContain(text)
    expect(svg).toContain(text)
  }
})
