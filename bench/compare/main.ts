/**
 * Leasehold and its peers side by side: the same readings of each, in turn, on the same PostgreSQL in the same run.
 *
 *     npm run bench -- compare                              everything; two to three hours
 *     npm run bench -- compare --only drain --only latency  some of it
 *     npm run bench -- compare --peers graphile-worker,pg-boss   these beside Leasehold; leasehold: it alone
 *     npm run bench -- compare --quick                      Leasehold alone, tiny counts: to see that the harness works;
 *                                                           with --peers those beside it
 *
 * The table goes to standard output, progress to standard error; every value and a chart to `bench/results/`, or to `--out`. A
 * contestant that can't be here is said so and left out. The exit code is 1 if any reading failed, 2 for wrong usage.
 *
 * `--reps` (3) times each; a pinned horizon for `--pin-seconds` (120) and the same without a pin for `--free-minutes` (2), both once;
 * `--big` adds a backlog of 10 million and histories of 1 and 10 million.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import path from 'node:path'
import { createLiveRegion } from '../../src/cli/terminal/live.ts'
import { createTerminal } from '../../src/cli/terminal/style.ts'
import { describeMachine, describeServer } from '../machine.ts'
import { helped } from '../help.ts'
import { startServer } from '../server.ts'
import { progressLine } from '../table.ts'
import { type Arena, type ArenaOptions, PEERS, type Contestant } from './arena.ts'
import { type ContestantName, enter, LEFT_OUT, OURS } from './arena.ts'
import { chart } from './chart.ts'
import type { Comparison, Row } from './comparison.ts'
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

async function main(): Promise<number> {
  if (helped(import.meta.filename)) return 0
  const choice = parse(process.argv.slice(2))
  const startedAt = new Date()
  const server = await startServer()
  let redis: Redis | string | null = null
  const stop = async (): Promise<void> => {
    if (redis !== null && typeof redis !== 'string') await redis.stop()
    await server.stop()
  }
  const interrupted = (signal: NodeJS.Signals): void => {
    // What was started ends with the channel to this process.
    void stop().finally(() => process.exit(signal === 'SIGINT' ? 130 : 143))
  }
  process.once('SIGINT', interrupted).once('SIGTERM', interrupted)
  try {
    if (choice.names.includes('bullmq')) redis = await startRedis(say)
    const contestants: Contestant[] = []
    const absent: Record<string, string> = choice.options.quick ? {} : { ...LEFT_OUT }
    for (const name of choice.names) {
      const entered = await enter(name, redis)
      if (typeof entered === 'string') absent[name] = entered
      else contestants.push(entered)
    }
    const about = [
      choice.options.quick
        ? 'Quick run with tiny counts: it shows that the harness works, not how fast anything is'
        : `Medians of ${choice.options.repetitions}; horizon and renewals once`,
      describeServer(server),
      ...(redis === null || typeof redis === 'string'
        ? []
        : [`Redis ${redis.version}: ${redis.settings}`]),
      `Node.js ${process.version}, ${describeMachine()}`,
      contestants.map(({ name, version }) => `${name} ${version}`).join(', '),
    ]
    for (const line of about) say(line)
    for (const [name, reason] of Object.entries(absent)) say(`Without ${name}: ${reason}.`)
    const rows = await runAll(
      {
        server,
        redis: typeof redis === 'string' ? null : redis,
        contestants,
        options: choice.options,
        progress: () => undefined,
      },
      choice.comparisons,
    )
    const terminal = createTerminal(process.stdout, process.env)
    process.stdout.write(`${['', ...renderRows(terminal, rows), ''].join('\n')}\n`)
    const results = { startedAt: startedAt.toISOString(), ...choice.options, about, absent }
    writeResults(
      { directory: choice.directory, startedAt },
      { ...results, rows },
      chart(rows, { title: 'Leasehold and its peers', about }),
    )
    return rows.some(({ values }) => values.length === 0) ? 1 : 0
  } finally {
    await stop()
  }
}

async function runAll(arena: Arena, comparisons: readonly Comparison[]): Promise<Row[]> {
  const terminal = createTerminal(process.stderr, process.env)
  const rows: Row[] = []
  for (const { name, what, run } of comparisons) {
    const live = createLiveRegion(terminal, process.stderr)
    const startedMs = performance.now()
    live.update([progressLine(terminal, name, what)])
    rows.push(
      ...(await run({
        ...arena,
        progress: (text) => live.update([progressLine(terminal, name, text)]),
      })),
    )
    live.close()
    const seconds = ((performance.now() - startedMs) / 1_000).toFixed(1)
    say(progressLine(terminal, name, `measured in ${seconds} s`))
  }
  return rows
}

function writeResults(
  { directory, startedAt }: { directory: string; startedAt: Date },
  document: object,
  svg: string,
): void {
  mkdirSync(directory, { recursive: true })
  const date = startedAt.toISOString().slice(0, 19).replaceAll(':', '')
  const base = path.join(directory, `compare-${date}`)
  // Notes are sets; a file has lists.
  const plain = (_: string, value: unknown): unknown => (value instanceof Set ? [...value] : value)
  writeFileSync(`${base}.json`, `${JSON.stringify(document, plain, 2)}\n`)
  writeFileSync(`${base}.svg`, svg)
  say(`Every value is in ${path.relative(process.cwd(), base)}.json, the chart beside it in .svg`)
}

function say(text: string): void {
  process.stderr.write(`${text}\n`)
}

try {
  process.exit(await main())
} catch (error) {
  say(`error: ${error instanceof Error ? error.message : String(error)}`)
  process.exit(error instanceof TypeError ? 2 : 1)
}
