/**
 * The benchmark: what Leasehold promises in milliseconds, measured on real processes against a real PostgreSQL.
 *
 *     npm run bench                                everything, about 10 minutes
 *     npm run bench -- --only kill --only drain    some of it
 *     npm run bench -- --quick                     few repetitions of what is fast to measure
 *     npm run bench -- compare                     Leasehold beside its peers: compare/main.ts
 *
 * Latencies run from just before the kill or the call to what the successor's handler itself reads from the same clock; nothing is
 * timed by sleeping. The table goes to standard output, progress to standard error, every raw value to `bench/results/`. A bound
 * that is missed is said so, and the exit code is 1; 2 is wrong usage.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { createLiveRegion } from '../src/cli/terminal/live.ts'
import { createTerminal } from '../src/cli/terminal/style.ts'
import type { Figure } from './figures.ts'
import { Fleet } from './fleet.ts'
import { helped } from './help.ts'
import { describeMachine, describeServer } from './machine.ts'
import type { Bench, Measure } from './measure.ts'
import { block, freeze } from './measures/hang.ts'
import { drain } from './measures/drain.ts'
import { killMachine, killNeighbour, killPooler, killSupervised } from './measures/kill.ts'
import { cancel, start } from './measures/latency.ts'
import { idle, renew } from './measures/quiet.ts'
import { sigint, sigterm } from './measures/stop.ts'
import { type Server, startServer } from './server.ts'
import { allMet, progressLine, renderFigures } from './table.ts'

const MEASURES: readonly Measure[] = [
  killSupervised,
  killNeighbour,
  killMachine,
  killPooler,
  sigterm,
  sigint,
  cancel,
  start,
  drain,
  renew,
  idle,
  block,
  freeze,
]

const RESULTS_DIR = path.join(import.meta.dirname, 'results')

interface Choice {
  readonly measures: readonly Measure[]
  readonly quick: boolean
}

function parse(args: string[]): Choice {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: { only: { type: 'string', multiple: true }, quick: { type: 'boolean' } },
  })
  const quick = values.quick ?? false
  const only = [...(values.only ?? []), ...positionals]
  const unknown = only.filter((name) => !MEASURES.some((measure) => measure.name === name))
  if (unknown.length > 0 || (positionals.length > 0 && values.only === undefined)) {
    const names = MEASURES.map(({ name }) => name).join(', ')
    throw new TypeError(`--only takes names of ${names}; got ${unknown[0] ?? only[0] ?? ''}.`)
  }
  const measures = MEASURES.filter(({ name, quick: isQuick }) =>
    only.length > 0 ? only.includes(name) : !quick || isQuick,
  )
  return { measures, quick }
}

async function main(): Promise<number> {
  if (helped(import.meta.filename)) return 0
  const choice = parse(process.argv.slice(2))
  const startedAt = new Date()
  const server = await startServer()
  const stop = (signal: NodeJS.Signals): void => {
    Fleet.killAll()
    void server.stop().finally(() => process.exit(signal === 'SIGINT' ? 130 : 143))
  }
  process.once('SIGINT', stop).once('SIGTERM', stop)
  try {
    process.stderr.write(
      `${describeServer(server)}\nNode.js ${process.version}, ${describeMachine()}\n`,
    )
    const { figures, errors } = await runAll(server, choice)
    const terminal = createTerminal(process.stdout, process.env)
    process.stdout.write(`${['', ...renderFigures(terminal, figures), ''].join('\n')}\n`)
    const file = writeResults({ server, choice, startedAt, figures, errors })
    process.stderr.write(`Every raw value is in ${path.relative(process.cwd(), file)}\n`)
    for (const [name, message] of Object.entries(errors))
      process.stderr.write(`error: ${name} could not be measured: ${message}\n`)
    return allMet(figures) && Object.keys(errors).length === 0 ? 0 : 1
  } finally {
    await server.stop()
  }
}

/** One after the other: two at once would measure each other. One that breaks leaves the others alone. */
async function runAll(
  server: Server,
  { measures, quick }: Choice,
): Promise<{ figures: Figure[]; errors: Record<string, string> }> {
  const terminal = createTerminal(process.stderr, process.env)
  const figures: Figure[] = []
  const errors: Record<string, string> = {}
  for (const measure of measures) {
    const live = createLiveRegion(terminal, process.stderr)
    const startedMs = performance.now()
    const bench: Bench = {
      server,
      quick,
      progress: (text) => live.update([progressLine(terminal, measure.name, text)]),
    }
    bench.progress(measure.what)
    try {
      figures.push(...(await measure.run(bench)))
    } catch (error) {
      errors[measure.name] = messageOf(error)
    }
    live.close()
    const seconds = ((performance.now() - startedMs) / 1_000).toFixed(1)
    const outcome = measure.name in errors ? 'FAILED' : 'measured'
    process.stderr.write(`${progressLine(terminal, measure.name, `${outcome} in ${seconds} s`)}\n`)
  }
  return { figures, errors }
}

function writeResults(run: {
  server: Server
  choice: Choice
  startedAt: Date
  figures: readonly Figure[]
  errors: Readonly<Record<string, string>>
}): string {
  const { version, settings } = run.server
  mkdirSync(RESULTS_DIR, { recursive: true })
  const date = run.startedAt.toISOString().slice(0, 19).replaceAll(':', '')
  const file = path.join(RESULTS_DIR, `${date}.json`)
  const document = {
    startedAt: run.startedAt.toISOString(),
    quick: run.choice.quick,
    machine: describeMachine(),
    node: process.version,
    postgres: { version, settings },
    figures: run.figures,
    errors: run.errors,
  }
  writeFileSync(file, `${JSON.stringify(document, null, 2)}\n`)
  return file
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

try {
  process.exit(await main())
} catch (error) {
  process.stderr.write(`error: ${messageOf(error)}\n`)
  process.exit(error instanceof TypeError ? 2 : 1)
}
