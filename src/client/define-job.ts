/**
 * A job type: its name, the schemas of its input and output, its budgets and its handler. Declared wherever it belongs;
 * whoever imports the definition can enqueue it with a checked input, and a worker that is given it can run it.
 */
import { HANDLER_CHECK_MS } from '../config.ts'
import type { Backoff } from '../domain/backoff.ts'
import { BACKOFF_DEFAULTS } from '../domain/backoff.ts'
import { shown } from '../domain/shown.ts'
import { UsageError } from '../errors.ts'
import {
  ANYTHING,
  FUNCTION,
  MILLISECONDS,
  oneOf,
  problem,
  problemsOf,
  type Rule,
  type Rules,
  TEXT,
  wholeNumber,
} from './check-options.ts'
import type { JobContext } from './job-context.ts'
import { JOB_RULES } from './new-job-options.ts'
import { isStandardSchema, type StandardSchema } from './standard-schema.ts'

export interface JobOptions<Input, Parsed, Result> {
  /** The name that jobs carry in the database, as `video.transcode`. */
  readonly type: string
  readonly input: StandardSchema<Input, Parsed>
  readonly output?: StandardSchema<Result, unknown>
  /** Default `default`. */
  readonly queue?: string
  /** Failures until the job has failed for good. Default 3. */
  readonly maxAttempts?: number
  /** Workers lost in a row, without progress in between, until the job has failed as poison. Default 3. */
  readonly maxLost?: number
  /** Delay after a failure. Default 1 s, times 4, up to 10 minutes. */
  readonly backoff?: Partial<Backoff>
  /** Longest run of one attempt, in milliseconds; independent of the lease. Default none. */
  readonly timeoutMs?: number
  /** A handler that neither progresses nor checkpoints for so long is shown as stalled and aborted, in milliseconds. Default none. */
  readonly progressDeadlineMs?: number
  /**
   * Jobs of a namespace with the same concurrency key run one at a time; the others wait their turn. A text, or what makes one of the
   * input; null for none.
   */
  readonly concurrencyKey?: string | ((input: Input) => string | null)
  /** What becomes of the job when its worker is lost. Default `retry`. */
  readonly onWorkerLost?: 'retry' | 'fail' | 'hold'
  /** Whether a handler goes on past the fence while the database is positively down. Default by the database's URL. */
  readonly onOutage?: 'continue' | 'abort'
  /** What becomes of a worker whose handler ignores its signal. Default `report`. */
  readonly onDeaf?: 'report' | 'exit'
  /** How long a handler may ignore `cancelled`, `timeout`, `stalled` or `lease_lost` until it is called deaf, in milliseconds. Default 10,000, at least 50. */
  readonly cancelGraceMs?: number
  readonly run: (ctx: JobContext<Parsed>) => Promise<Result> | Result
}

export interface JobDefinition<Input = unknown, Parsed = Input, Result = unknown> extends Readonly<
  Omit<JobOptions<Input, Parsed, Result>, 'backoff'>
> {
  readonly kind: 'leasehold.job'
  readonly queue: string
  readonly maxAttempts: number
  readonly maxLost: number
  readonly onWorkerLost: 'retry' | 'fail' | 'hold'
  readonly onDeaf: 'report' | 'exit'
  readonly cancelGraceMs: number
  readonly backoff: Backoff
}

/** Any definition, whatever its types. */
// eslint-disable-next-line typescript/no-explicit-any -- a handler's parameter is contravariant: only any fits them all.
export type AnyJobDefinition = JobDefinition<any, any, any>

const BACKOFF_RULES: Rules<Backoff> = {
  baseMs: MILLISECONDS,
  factor: {
    fits: (value) => Number.isFinite(value) && (value as number) >= 1,
    must: 'must be a number from 1',
  },
  maxMs: MILLISECONDS,
}

const schema = (must: string): Rule => ({ fits: isStandardSchema, must })

/** What a job type may be called. */
export const JOB_TYPE: Rule = {
  fits: (value) => typeof value === 'string' && /^[\w.:/-]{1,120}$/.test(value),
  must: 'must be 1 to 120 letters, digits or any of . : / _ -',
}

const RULES: Rules<JobOptions<never, never, never>> = {
  type: JOB_TYPE,
  input: schema('must be a Standard Schema (zod, valibot, arktype …)'),
  output: schema('must be a Standard Schema'),
  run: FUNCTION,
  ...JOB_RULES,
  // What is wrong inside is told with its own name.
  backoff: ANYTHING,
  concurrencyKey: {
    fits: (value) => TEXT.fits(value) || typeof value === 'function',
    must: 'must be a text that is not empty, or a function of the input that returns one',
  },
  onOutage: oneOf(['continue', 'abort']),
  onDeaf: oneOf(['report', 'exit']),
  // A grace that is over before anybody looks would be another one than it says.
  cancelGraceMs: wholeNumber(HANDLER_CHECK_MS),
}

const REQUIRED = ['type', 'input', 'run'] as const

/** Checks and completes a definition. @throws {UsageError} naming what is wrong with it. */
export function defineJob<Input, Parsed, Result>(
  options: JobOptions<Input, Parsed, Result>,
): JobDefinition<Input, Parsed, Result> {
  const problems = problemsOf(options, RULES)
  if (typeof options === 'object' && options !== null) {
    const missing = REQUIRED.filter((name) => options[name] === undefined)
    problems.push(...missing.map((name) => problem(name, undefined, RULES[name])))
    if (options.backoff !== undefined)
      problems.push(...problemsOf(options.backoff, BACKOFF_RULES, 'backoff'))
  }
  if (problems.length > 0) {
    const type: unknown = options?.type
    const name = typeof type === 'string' ? `defineJob("${type}")` : 'defineJob'
    throw new UsageError(`${name}: ${problems.join('; ')}.`)
  }
  return Object.freeze({
    ...options,
    kind: 'leasehold.job' as const,
    queue: options.queue ?? 'default',
    maxAttempts: options.maxAttempts ?? 3,
    maxLost: options.maxLost ?? 3,
    onWorkerLost: options.onWorkerLost ?? 'retry',
    onDeaf: options.onDeaf ?? 'report',
    cancelGraceMs: options.cancelGraceMs ?? 10_000,
    backoff: completeBackoff(options.backoff),
  })
}

/** One that is given as undefined is not given. */
function completeBackoff(given: Partial<Backoff> = {}): Backoff {
  const { baseMs, factor, maxMs } = BACKOFF_DEFAULTS
  return {
    baseMs: given.baseMs ?? baseMs,
    factor: given.factor ?? factor,
    maxMs: given.maxMs ?? maxMs,
  }
}

export function isJobDefinition(value: unknown): value is AnyJobDefinition {
  return (value as { kind?: unknown } | null)?.kind === 'leasehold.job'
}

/** What a worker is to run, by type. @throws {UsageError} */
export function definitionsByType(
  jobs: readonly AnyJobDefinition[],
): Map<string, AnyJobDefinition> {
  if (!Array.isArray(jobs)) {
    throw new UsageError(
      `a worker's \`jobs\` must be a list of job definitions, got ${shown(jobs)}.`,
      {
        hint: 'Pass what defineJob returned: jobs: [one, two]. Of a module: Object.values(module).',
      },
    )
  }
  if (jobs.length === 0) throw new UsageError('a worker needs at least one job definition.')
  const byType = new Map<string, AnyJobDefinition>()
  for (const [index, job] of jobs.entries()) {
    if (!isJobDefinition(job)) {
      throw new UsageError(`\`jobs[${index}]\` must be a job definition, got ${shown(job)}.`, {
        hint: 'Pass what defineJob returned.',
      })
    }
    if (byType.has(job.type))
      throw new UsageError(`two definitions of type "${job.type}" were given.`)
    byType.set(job.type, job)
  }
  return byType
}
