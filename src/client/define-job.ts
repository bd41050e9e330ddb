/**
 * A job type: its name, the schemas of its input and output, its budgets and its handler. Declared wherever it belongs;
 * whoever imports the definition can enqueue it with a checked input, and a worker that is given it can run it.
 */
import { HANDLER_CHECK_MS } from '../config.ts'
import type { Backoff } from '../domain/backoff.ts'
import { BACKOFF_DEFAULTS } from '../domain/backoff.ts'
import { UsageError } from '../errors.ts'
import type { JobContext } from './job-context.ts'
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

const KNOWN_OPTIONS = new Set([
  'type',
  'input',
  'output',
  'queue',
  'maxAttempts',
  'maxLost',
  'backoff',
  'timeoutMs',
  'progressDeadlineMs',
  'concurrencyKey',
  'onWorkerLost',
  'onOutage',
  'onDeaf',
  'cancelGraceMs',
  'run',
])

/** Checks and completes a definition. @throws {UsageError} naming what is wrong with it. */
export function defineJob<Input, Parsed, Result>(
  options: JobOptions<Input, Parsed, Result>,
): JobDefinition<Input, Parsed, Result> {
  const name = typeof options.type === 'string' ? `defineJob("${options.type}")` : 'defineJob'
  const problems = [
    ...Object.keys(options)
      .filter((key) => !KNOWN_OPTIONS.has(key))
      .map((key) => `there is no option \`${key}\``),
    ...(typeof options.type === 'string' && /^[\w.:/-]{1,120}$/.test(options.type)
      ? []
      : ['`type` must be 1 to 120 letters, digits or any of . : / _ -']),
    ...(isStandardSchema(options.input)
      ? []
      : ['`input` must be a Standard Schema (zod, valibot, arktype …)']),
    ...(options.output === undefined || isStandardSchema(options.output)
      ? []
      : ['`output` must be a Standard Schema']),
    ...(typeof options.run === 'function' ? [] : ['`run` must be a function']),
    ...wholeNumber('maxAttempts', options.maxAttempts, 32_767),
    ...wholeNumber('maxLost', options.maxLost, 32_767),
    ...wholeNumber('timeoutMs', options.timeoutMs, Number.MAX_SAFE_INTEGER),
    ...wholeNumber('progressDeadlineMs', options.progressDeadlineMs, Number.MAX_SAFE_INTEGER),
    ...(['string', 'function', 'undefined'].includes(typeof options.concurrencyKey)
      ? []
      : ['`concurrencyKey` must be a text, or a function of the input that returns one']),
    ...wholeNumber('cancelGraceMs', options.cancelGraceMs, Number.MAX_SAFE_INTEGER),
    ...noticedInTime(options.cancelGraceMs),
    ...oneOf('onWorkerLost', options.onWorkerLost, ['retry', 'fail', 'hold']),
    ...oneOf('onOutage', options.onOutage, ['continue', 'abort']),
    ...oneOf('onDeaf', options.onDeaf, ['report', 'exit']),
  ]
  if (problems.length > 0) throw new UsageError(`${name}: ${problems.join('; ')}.`)
  return Object.freeze({
    ...options,
    kind: 'leasehold.job' as const,
    queue: options.queue ?? 'default',
    maxAttempts: options.maxAttempts ?? 3,
    maxLost: options.maxLost ?? 3,
    onWorkerLost: options.onWorkerLost ?? 'retry',
    onDeaf: options.onDeaf ?? 'report',
    cancelGraceMs: options.cancelGraceMs ?? 10_000,
    backoff: { ...BACKOFF_DEFAULTS, ...options.backoff },
  })
}

export function isJobDefinition(value: unknown): value is AnyJobDefinition {
  return (value as { kind?: unknown } | null)?.kind === 'leasehold.job'
}

function wholeNumber(name: string, value: number | undefined, max: number): string[] {
  return value === undefined || (Number.isInteger(value) && value >= 1 && value <= max)
    ? []
    : [`\`${name}\` must be a whole number from 1, got ${value}`]
}

/** A grace that is over before anybody looks would be another one than it says. */
function noticedInTime(graceMs: number | undefined): string[] {
  return graceMs !== undefined &&
    Number.isInteger(graceMs) &&
    graceMs >= 1 &&
    graceMs < HANDLER_CHECK_MS
    ? [
        `\`cancelGraceMs\` is ${graceMs} ms, but a handler is looked at every ${HANDLER_CHECK_MS} ms only, so it must be at least that`,
      ]
    : []
}

function oneOf(name: string, value: string | undefined, values: readonly string[]): string[] {
  return value === undefined || values.includes(value)
    ? []
    : [`\`${name}\` must be one of ${values.join(', ')}, got "${value}"`]
}
