/**
 * Leasehold and its peers side by side: the same readings of each, in turn, on the same PostgreSQL in the same run.
 *
 *     npm run bench -- compare                              everything; two to three hours
 *     npm run bench -- compare --only drain --only latency  some of it
 *     npm run bench -- compare --peers graphile-worker,pg-boss   these beside Leasehold; leasehold: it alone
 *     npm run bench -- compare --quick                      Leasehold alone, tiny counts: to see that the harness works;
 *                                                           with --peers those beside it
 *
 * The table goes to standard output with the versions and settings that it holds for, progress to standard error; every value and a
 * chart (SVG) to `bench/results/`, or to `--out`, anew after each measure. A contestant that can't be here is said so and left out. The
 * exit code is 1 if any reading failed, in whichever repetition, 2 for wrong usage. What Leasehold promises in milliseconds, without
 * peers and without a chart, is `npm run bench` without `compare`.
 *
 * `--reps` (3) times each; a pinned horizon for `--pin-seconds` (120) and the same without a pin for `--free-minutes` (2), both once;
 * `--big` adds a backlog of 10 million and histories of 1 and 10 million.
 */
import { parseArgs } from 'node:util'
import path from 'node:path'
import { createTerminal } from '../../src/cli/terminal/style.ts'
import { describeMachine, describeServer } from '../machine.ts'
import { type Measured, runInTurn, runProgram, say, stopAfter, writeResults } from '../run.ts'
import { type Server, startServer } from '../server.ts'
import { type ArenaOptions, PEERS, type Contestant } from './arena.ts'
import { type ContestantName, enter, LEFT_OUT, OURS } from './arena.ts'
import { chart } from './chart.ts'
import { type Comparison, type Row, settingsText } from './comparison.ts'
import { backlog } from './measures/backlog.ts'
import { cost } from './measures/cost.ts'
import { drain } from './measures/drain.ts'
import { enqueue } from './measures/enqueue.ts'
import { horizon } from './measures/horizon.ts'
import { latency } from './measures/latency.ts'
import { memory } from './measures/memory.ts'
import { notify } from './measures/notify.ts'
import { renewals } from './measures/renewals.ts'
import { sweep } from './measures/sweep.ts'
import { renderRows } from './output.ts'
import { type Redis, startRedis } from './redis.ts'

const COMPARISONS: readonly Comparison[] = [
  drain,
  enqueue,
  latency,
  backlog,
  horizon,
  sweep,
  renewals,
  cost,
  notify,
  memory,
]

const RESULTS_DIR = path.join(import.meta.dirname, '..', 'results')

interface Choice {
  readonly comparisons: readonly Comparison[]
  readonly names: readonly ContestantName[]
  readonly options: ArenaOptions
  /** Where the results go. */
  readonly directory: string
}

function parse(args: string[]): Choice {
  const { values } = parseArgs({
    args,
    options: {
      only: { type: 'string', multiple: true },
      peers: { type: 'string' },
      quick: { type: 'boolean' },
      reps: { type: 'string' },
      big: { type: 'boolean' },
      'pin-seconds': { type: 'string' },
      'free-minutes': { type: 'string' },
      out: { type: 'string' },
    },
  })
  const quick = values.quick ?? false
  const only = known(
    values.only ?? [],
    COMPARISONS.map(({ name }) => name),
    '--only',
  )
  const peers = values.peers?.split(',') ?? (quick ? [] : PEERS)
  return {
    comparisons: COMPARISONS.filter(({ name, quick: isQuick }) =>
      only.length > 0 ? only.includes(name) : !quick || isQuick,
    ),
    directory: values.out ?? RESULTS_DIR,
    names: [OURS, ...known(peers, [OURS, ...PEERS], '--peers').filter((name) => name !== OURS)],
    options: {
      quick,
      repetitions: numberOf(values.reps, quick ? 1 : 3, '--reps'),
      big: values.big ?? false,
      pinMs: numberOf(values['pin-seconds'], quick ? 2 : 120, '--pin-seconds') * 1_000,
      freeMs: numberOf(values['free-minutes'], quick ? 0 : 2, '--free-minutes') * 60_000,
    },
  }
}

function known<Name extends string>(
  given: readonly string[],
  names: readonly Name[],
  option: string,
): Name[] {
  const unknown = given.find((name) => !names.includes(name as Name))
  if (unknown !== undefined)
    throw new TypeError(`${option} takes names of ${names.join(', ')}; got ${unknown}.`)
  return given as Name[]
}

function numberOf(given: string | undefined, otherwise: number, option: string): number {
  const value = given === undefined ? otherwise : Number(given)
  if (!(value >= 0)) throw new TypeError(`${option} takes a number; got ${given}.`)
  return value
}

async function main(args: string[]): Promise<number> {
  const choice = parse(args)
  const startedAt = new Date()
  const server = await startServer()
  let redis: Redis | string | null = null
  // What else was started ends with the channel to this process.
  const stop = async (): Promise<void> => {
    if (redis !== null && typeof redis !== 'string') await redis.stop()
    await server.stop()
  }
  return stopAfter(stop, async () => {
    if (choice.names.includes('bullmq')) redis = await startRedis(say)
    const { contestants, absent } = await enterAll(choice, redis)
    const about = aboutOf(choice, { startedAt, server, redis, contestants, absent })
    for (const line of about) say(line)
    const arena = {
      server,
      redis: typeof redis === 'string' ? null : redis,
      contestants,
      options: choice.options,
    }
    // Written anew after each measure.
    const keep = ({ rows, errors }: Measured<Row>): string => {
      const document = {
        startedAt: startedAt.toISOString(),
        ...choice.options,
        about,
        contestants,
        absent,
        errors,
        rows,
      }
      return writeResults(
        { directory: choice.directory, prefix: 'compare-', startedAt },
        {
          '.json': `${JSON.stringify(document, plain, 2)}\n`,
          '.svg': chart(rows, {
            title: 'Leasehold and its peers',
            about: [...about, ...errorLines(errors)],
          }),
        },
      )
    }
    const measured = await runInTurn(
      choice.comparisons,
      (comparison, progress) => comparison.run({ ...arena, progress }),
      keep,
    )
    const { rows, errors } = measured
    const terminal = createTerminal(process.stdout, process.env)
    const table = renderRows(terminal, rows, [...about, ...errorLines(errors)])
    process.stdout.write(`${['', ...table, ''].join('\n')}\n`)
    say(`Every value is in ${keep(measured)}.json, the chart beside it in .svg`)
    const allMeasured = rows.every(({ failures }) => failures.length === 0)
    return allMeasured && Object.keys(errors).length === 0 ? 0 : 1
  })
}

/** Notes are sets; a file has lists. */
function plain(_: string, value: unknown): unknown {
  return value instanceof Set ? [...value] : value
}

/** Those that can be here, and for the others why not. */
async function enterAll(
  { names, options }: Choice,
  redis: Redis | string | null,
): Promise<{ contestants: Contestant[]; absent: Record<string, string> }> {
  const contestants: Contestant[] = []
  const absent: Record<string, string> = options.quick ? {} : { ...LEFT_OUT }
  for (const name of names) {
    const entered = await enter(name, redis)
    if (typeof entered === 'string') absent[name] = entered
    else contestants.push(entered)
  }
  return { contestants, absent }
}

/** What the figures hold for. It stands with the table, in the file and in the chart. */
function aboutOf(
  { comparisons, options }: Choice,
  on: {
    startedAt: Date
    server: Server
    redis: Redis | string | null
    contestants: readonly Contestant[]
    absent: Readonly<Record<string, string>>
  },
): string[] {
  return [
    `Measured on ${on.startedAt.toISOString().slice(0, 10)}`,
    options.quick
      ? 'Quick run with tiny counts: it shows that the harness works, not how fast anything is'
      : `Medians of ${options.repetitions}; horizon and renewals once`,
    describeServer(on.server),
    ...(on.redis === null || typeof on.redis === 'string'
      ? []
      : [`Redis ${on.redis.version}, the redis-server of the machine: ${on.redis.settings}`]),
    `Node.js ${process.version}, ${describeMachine()}`,
    ...on.contestants.flatMap(({ name, version, modes }) =>
      Object.entries(modes).map(
        ([mode, settings]) => `${name} ${version}, ${mode}: ${settingsText(settings)}`,
      ),
    ),
    ...Object.entries(on.absent).map(([name, reason]) => `Without ${name}: ${onOneLine(reason)}`),
    ...comparisons.map(({ name, how }) => `${name}: ${how}`),
  ]
}

function errorLines(errors: Readonly<Record<string, string>>): string[] {
  return Object.entries(errors).map(
    ([name, message]) => `${name} could not be measured: ${onOneLine(message)}`,
  )
}

function onOneLine(text: string): string {
  return text.replaceAll(/\s+/g, ' ')
}

await runProgram(import.meta.filename, main)
