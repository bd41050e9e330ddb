/**
 * The benchmark: what Leasehold promises in milliseconds, measured on real processes against a real PostgreSQL.
 *
 *     npm run bench                                everything, about 10 minutes
 *     npm run bench -- --only kill --only drain    some of it
 *     npm run bench -- --quick                     few repetitions of what is fast to measure
 *     npm run bench -- compare                     Leasehold beside its peers, with a chart: `compare --help`
 *
 * Latencies run from just before the kill or the call to what the successor's handler itself reads from the same clock; nothing is
 * timed by sleeping. The table goes to standard output, progress to standard error, every raw value to `bench/results/`; it has
 * no peers and draws no chart, `compare` does. A bound that is missed is said so, and the exit code is 1; 2 is wrong usage.
 */
import path from 'node:path'
import { parseArgs } from 'node:util'
import { createTerminal } from '../src/cli/terminal/style.ts'
import type { Figure } from './figures.ts'
import { Fleet } from './fleet.ts'
import { describeMachine, describeServer } from './machine.ts'
import type { Measure } from './measure.ts'
import { block, freeze } from './measures/hang.ts'
import { drain } from './measures/drain.ts'
import { killMachine, killNeighbour, killPooler, killSupervised } from './measures/kill.ts'
import { cancel, start } from './measures/latency.ts'
import { idle, renew } from './measures/quiet.ts'
import { sigint, sigterm } from './measures/stop.ts'
import { type Measured, runInTurn, runProgram, say, stopAfter, writeResults } from './run.ts'
import { startServer } from './server.ts'
import { allMet, renderFigures } from './table.ts'

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

async function main(args: string[]): Promise<number> {
  const { measures, quick } = parse(args)
  const startedAt = new Date()
  const server = await startServer()
  const stop = async (): Promise<void> => {
    Fleet.killAll()
    await server.stop()
  }
  return stopAfter(stop, async () => {
    say(describeServer(server))
    say(`Node.js ${process.version}, ${describeMachine()}`)
    const about = {
      startedAt: startedAt.toISOString(),
      quick,
      machine: describeMachine(),
      node: process.version,
      postgres: { version: server.version, settings: server.settings },
    }
    // Written anew after each measure.
    const keep = ({ rows: figures, errors }: Measured<Figure>): string =>
      writeResults(
        { directory: RESULTS_DIR, prefix: '', startedAt },
        { '.json': `${JSON.stringify({ ...about, figures, errors }, null, 2)}\n` },
      )
    const measured = await runInTurn(
      measures,
      (measure, progress) => measure.run({ server, quick, progress }),
      keep,
    )
    const { rows: figures, errors } = measured
    const terminal = createTerminal(process.stdout, process.env)
    process.stdout.write(`${['', ...renderFigures(terminal, figures), ''].join('\n')}\n`)
    say(`Every raw value is in ${keep(measured)}.json`)
    return allMet(figures) && Object.keys(errors).length === 0 ? 0 : 1
  })
}

await runProgram(import.meta.filename, main)
