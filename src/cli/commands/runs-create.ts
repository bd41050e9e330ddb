import type { Command } from 'commander'
import { UsageError } from '../../errors.ts'
import { duration, given, oneOf, wholeNumber } from '../arguments.ts'
import { documented } from '../help.ts'
import { lines } from '../output.ts'
import { readInput } from '../read-json.ts'
import { flagsOf, withSession } from '../session.ts'

interface Flags {
  readonly target?: number
  readonly stage?: string
  readonly maxFailed?: number
  readonly budgetTokens?: number
  readonly budgetUsd?: number
  readonly fillGrace?: number
  readonly rest?: 'cancel' | 'keep'
}

const LARGE = { min: 1, max: Number.MAX_SAFE_INTEGER }

/** `runs create`: a new run; its id is all that goes to standard output. */
export function registerRunsCreate(runs: Command): void {
  documented(runs.command('create <NAME> [CRITERIA]'), {
    says: 'Makes a run and prints its id. The criteria, what it is about, are JSON, - for standard input, or @FILE.',
    examples: [
      'leasehold runs create nightly-eval \'{"dataset": "v7"}\' --target 500 --max-failed 10',
      'leasehold runs create crawl --budget-usd 25 --rest keep',
      'RUN=$(leasehold runs create thumbnails --target 2)\nleasehold enqueue image.resize \'{"n": 1}\' --run $RUN\nleasehold enqueue image.resize \'{"n": 2}\' --run $RUN',
    ],
    exits: '0 done · 2 wrong usage or criteria',
  })
    .option(
      '--target <N>',
      'it is completed by so many completed jobs (all that are put in)',
      wholeNumber('--target', LARGE),
    )
    .option(
      '--max-failed <N>',
      'one failed job more ends it as error (judged at its end, none)',
      wholeNumber('--max-failed', { ...LARGE, min: 0 }),
    )
    .option(
      '--budget-tokens <N>',
      'so many tokens, as its jobs report them, end it as error',
      wholeNumber('--budget-tokens', LARGE),
    )
    .option('--budget-usd <X>', 'the same in US dollars', dollars)
    .option('--stage <NAME>', 'where it is, in your own words')
    .option(
      '--fill-grace <D>',
      'without a target: how long after the last enqueue more may come (30s)',
      duration('--fill-grace'),
    )
    .option(
      '--rest <R>',
      'cancel or keep what is left when it ends (cancel)',
      oneOf('--rest', ['cancel', 'keep']),
    )
    .action(async (name: string, text: string | undefined, _flags, command: Command) => {
      const flags = flagsOf<Flags>(command)
      const criteria = await readInput(text, (line) => process.stderr.write(`${line}\n`))
      await withSession(command, async ({ client, output }) => {
        const budget = given({ tokens: flags.budgetTokens, usd: flags.budgetUsd })
        const run = await client.runs.create({
          name,
          criteria: criteria ?? {},
          ...given({
            target: flags.target,
            stage: flags.stage,
            maxFailed: flags.maxFailed,
            budget: Object.keys(budget).length === 0 ? undefined : budget,
            fillGraceMs: flags.fillGrace,
            rest: flags.rest,
          }),
        })
        output.result(run, () => ({
          output: lines(run.id),
          note: lines(`Put jobs in: leasehold enqueue TYPE JSON --run ${run.id}`),
        }))
      })
    })
}

function dollars(text: string): number {
  const value = /^\d+(\.\d+)?$/.test(text.trim()) ? Number(text) : Number.NaN
  if (value > 0 && Number.isFinite(value)) return value
  throw new UsageError(`--budget-usd is an amount above 0, such as 12.50, got "${text}".`)
}
