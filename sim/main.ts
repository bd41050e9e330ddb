/**
 * Runs seeds of the simulation.
 *
 *   node --import tsx sim/main.ts --seeds 50 --start 1 [--variant no-token] [--steps 500] [--trace] [--keep] [--all] [--mixed]
 *
 * The database is DATABASE_URL, or an embedded one. --steps ends the faults of each seed after so many applied calls; --trace
 * prints a seed's whole trace instead of its end; --keep leaves the schema of a failing seed in place; --all goes
 * on after a failing seed; --mixed lets seeds choose the faults for a variant too. The exit code is 1 when
 * a seed fails; with --variant, when none does.
 */
import { execFileSync } from 'node:child_process'
import path from 'node:path'
import { performance } from 'node:perf_hooks'
import { parseArgs } from 'node:util'
import { startEmbedded } from '../src/db/embedded.ts'
import { openSimDatabase, type SimDatabase } from './database.ts'
import { simulate, type SimulateResult } from './simulate.ts'
import { VARIANTS } from './variants.ts'

const TRACE_LINES = 120

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '50' },
    start: { type: 'string', default: '1' },
    variant: { type: 'string' },
    steps: { type: 'string' },
    trace: { type: 'boolean', default: false },
    keep: { type: 'boolean', default: false },
    mixed: { type: 'boolean', default: false },
    all: { type: 'boolean', default: false },
  },
})
const variant = values.variant === undefined ? undefined : VARIANTS[values.variant]
if (values.variant !== undefined && variant === undefined) {
  console.error(`no variant ${values.variant}; there are: ${Object.keys(VARIANTS).join(', ')}`)
  process.exit(2)
}

const root = path.resolve(import.meta.dirname, '..')
const server =
  process.env['DATABASE_URL'] === undefined
    ? await startEmbedded({
        dataDir: path.join(root, '.leasehold', 'sim'),
        durable: false,
        onParentExit: 'stop',
      })
    : null
const database = await openSimDatabase({
  databaseUrl: process.env['DATABASE_URL'] ?? server?.url ?? '',
  schemaName: `sim_${process.pid}`,
  replacements: variant?.replacements ?? [],
})
const failed = await runSeeds(database)
await database.close({ keep: values.keep && failed > 0 })
await server?.stop()
process.exitCode = failed > 0 === (variant === undefined) ? 1 : 0

async function runSeeds(db: SimDatabase): Promise<number> {
  const startedMs = performance.now()
  const first = Number(values.start)
  const faults: Record<string, number> = {}
  const counts: Record<string, number> = {}
  let ran = 0
  let bad = 0
  let virtualMs = 0
  for (let seed = first; seed < first + Number(values.seeds); seed += 1) {
    const result = await simulate({
      seed,
      database: db,
      ...(variant?.rules === undefined ? {} : { rules: variant.rules }),
      ...(variant === undefined || values.mixed ? {} : { faults: variant.faults }),
      ...(values.steps === undefined ? {} : { callsMax: Number(values.steps) }),
    })
    ran += 1
    virtualMs += result.virtualMs
    for (const [fault, times] of Object.entries(result.faults))
      faults[fault] = (faults[fault] ?? 0) + times
    for (const [what, times] of Object.entries(result.counts))
      counts[what] = (counts[what] ?? 0) + times
    if (result.violation === null) {
      if (values.trace) console.log(result.trace.join('\n'))
      continue
    }
    bad += 1
    report(result)
    if (!values.all) break
  }
  const seconds = (performance.now() - startedMs) / 1_000
  console.log(
    `${ran} seeds, ${bad} failed; ${seconds.toFixed(1)} s, ${(ran / seconds).toFixed(2)} seeds/s, ` +
      `${(virtualMs / 3_600_000).toFixed(1)} h of virtual time`,
  )
  console.log(`faults: ${list(faults)}`)
  console.log(`seen: ${list(counts)}`)
  return bad
}

function report(result: SimulateResult): void {
  const commit = currentCommit()
  console.log(
    `seed=${result.seed} commit=${commit}${values.variant === undefined ? '' : ` variant=${values.variant}`}`,
  )
  if (values.variant !== undefined && !values.trace) {
    console.log(`caught: ${result.violation?.message}`)
    return
  }
  console.log(result.setting)
  console.log((values.trace ? result.trace : result.trace.slice(-TRACE_LINES)).join('\n'))
}

function list(counted: Readonly<Record<string, number>>): string {
  return Object.entries(counted)
    .map(([name, times]) => `${name} ${times}`)
    .join(', ')
}

function currentCommit(): string {
  try {
    return execFileSync('git', ['rev-parse', '--short', 'HEAD'], {
      cwd: root,
      encoding: 'utf8',
    }).trim()
  } catch {
    return 'unknown'
  }
}
