/** What may be said of a new job beside its input, and what of that is refused before anything is stored. */
import type { Executor } from '../db/connect.ts'
import { shown } from '../domain/shown.ts'
import type { TargetName } from '../domain/target.ts'
import { UsageError } from '../errors.ts'
import {
  ANYTHING,
  DATE,
  EXECUTOR,
  ID,
  MILLISECONDS,
  oneOf,
  problem,
  problemsOf,
  type Rule,
  type Rules,
  TEXT,
  wholeNumber,
} from './check-options.ts'
import { isStandardSchema } from './standard-schema.ts'

/** Which workers alone may take a job, and what becomes of it while there are none. */
export type JobTarget = TargetName & {
  /**
   * What happens when no worker of the target is online: `wait` for one, `fail` the job, or let `any` worker take it. Default `wait`.
   */
  readonly ifOffline?: 'wait' | 'fail' | 'any'
  /**
   * How long after it is due the job waits for its start at most, online or not, in milliseconds; then it fails, or with `any` is
   * everybody's. Default for ever.
   */
  readonly waitMs?: number
}

/** What may be said of a new job beside its input; the definition says the rest. */
export interface NewJobOptions {
  readonly queue?: string
  /** Higher runs first, from -32768 to 32767. Default 0. */
  readonly priority?: number
  /** Due so many milliseconds from now, by the database's clock. Not with `at`. */
  readonly delayMs?: number
  /** Due then; a moment that is over is now. Not with `delayMs`. */
  readonly at?: Date
  /** The same key in a namespace is the same job: enqueueing it again returns its id. */
  readonly key?: string
  /** At most one job of a namespace with the same concurrency key runs at a time; the others wait their turn. */
  readonly concurrencyKey?: string
  readonly maxAttempts?: number
  readonly maxLost?: number
  readonly onWorkerLost?: 'retry' | 'fail' | 'hold'
  readonly timeoutMs?: number
  readonly progressDeadlineMs?: number
  /** Id of the active run that the job belongs to. A child of a run's job belongs to the same one if nothing is said. */
  readonly run?: string
  readonly target?: JobTarget
  /** A caller's transaction to enqueue in: the job exists exactly if that commits. */
  readonly executor?: Executor
}

/** What a definition and a call say in the same words. */
export const JOB_RULES: Rules<
  Pick<
    NewJobOptions,
    'queue' | 'maxAttempts' | 'maxLost' | 'onWorkerLost' | 'timeoutMs' | 'progressDeadlineMs'
  >
> = {
  queue: TEXT,
  maxAttempts: wholeNumber(1, 32_767),
  maxLost: wholeNumber(1, 32_767),
  onWorkerLost: oneOf(['retry', 'fail', 'hold']),
  timeoutMs: wholeNumber(1),
  progressDeadlineMs: wholeNumber(1),
}

const TARGET_KINDS = ['machine', 'worker', 'label'] as const
const TARGET_RULES: Readonly<Record<string, Rule>> = {
  machine: TEXT,
  worker: TEXT,
  label: TEXT,
  ifOffline: oneOf(['wait', 'fail', 'any']),
  waitMs: MILLISECONDS,
}

/** Of a child: the attempt's worker stores it, so no transaction of the handler's can. */
const CHILD_RULES: Rules<Omit<NewJobOptions, 'executor'>> = {
  ...JOB_RULES,
  priority: wholeNumber(-32_768, 32_767),
  delayMs: MILLISECONDS,
  at: DATE,
  key: TEXT,
  concurrencyKey: TEXT,
  run: { ...ID, must: 'must be the id of a run' },
  // What is wrong inside is told with its own name.
  target: ANYTHING,
}

const NEW_JOB_RULES: Rules<NewJobOptions> = { ...CHILD_RULES, executor: EXECUTOR }

/** What is stored, and what is said of it. @throws {UsageError} */
export function checkNewJob(
  who: 'enqueue' | 'enqueueMany' | 'ctx.enqueue',
  job: { readonly type: string; readonly input: unknown },
  options: NewJobOptions | undefined,
): void {
  // JavaScript does not know of types.
  if (typeof (job as typeof job | undefined)?.type !== 'string' || !isStandardSchema(job.input)) {
    throw new UsageError(`${who} needs a job definition, got ${shown(job)}.`, {
      hint: `Pass what defineJob returned${who === 'enqueue' ? '; to name the type of a job instead: client.enqueueRaw' : ''}.`,
    })
  }
  if (options !== undefined) checkNewJobOptions(who, job.type, options)
}

/** @throws {UsageError} naming everything that is wrong with the options of a new job. */
export function checkNewJobOptions(
  who: 'enqueue' | 'enqueueMany' | 'enqueueRaw' | 'ctx.enqueue',
  type: string,
  options: NewJobOptions,
): void {
  const problems = problemsOf(options, who === 'ctx.enqueue' ? CHILD_RULES : NEW_JOB_RULES)
  if (options?.target !== undefined) problems.push(...targetProblems(options.target))
  if (options?.at !== undefined && options.delayMs !== undefined)
    problems.push('`at` and `delayMs` exclude each other')
  if (problems.length > 0) throw new UsageError(`${who}("${type}"): ${problems.join('; ')}.`)
}

function targetProblems(target: unknown): string[] {
  const problems = problemsOf(target, TARGET_RULES, 'target')
  if (typeof target !== 'object' || target === null) return problems
  const kinds = TARGET_KINDS.filter(
    (kind) => (target as Record<string, unknown>)[kind] !== undefined,
  )
  return kinds.length === 1
    ? problems
    : [...problems, `\`target\` must have exactly one of ${TARGET_KINDS.join(', ')}`]
}

/** The concurrency key that a definition makes of an input. @throws {UsageError} when it is none. */
export function checkedConcurrencyKey(type: string, key: unknown): string | null {
  if (key === undefined || key === null) return null
  if (TEXT.fits(key)) return key as string
  const must = `${TEXT.must}, or null for none`
  throw new UsageError(
    `the job type "${type}": ${problem('concurrencyKey', key, { ...TEXT, must })}.`,
  )
}
