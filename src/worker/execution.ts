/**
 * One attempt in this process: the handler, its `ctx`, and what its end means.
 *
 *     started ── handler returns ─▶ completed            (its schema refuses the result: failed)
 *        ├────── handler throws ──▶ failed               FinalError: for good
 *        └────── aborted, then it settles:
 *                  cancelled ─▶ cancelled   shutdown ─▶ interrupted   timeout, stalled ─▶ failed
 *                  lease_lost ─▶ nothing to say, but a result that came all the same is offered as late
 *
 * Every call of `ctx` first looks whether the lease can still be trusted, so a process that was frozen learns it from the first thing
 * that its handler does, before any timer of ours has run.
 */
import { AsyncLocalStorage } from 'node:async_hooks'
import type { AnyJobDefinition } from '../client/define-job.ts'
import { jsonText, storableJson } from '../client/storable-json.ts'
import { isPromiseLike, parseWith, type StandardSchema } from '../client/standard-schema.ts'
import type { JobContext, JobLog, Resume } from '../client/job-context.ts'
import type { Sessions } from '../client/session.ts'
import { newJob, optionsText } from '../client/client.ts'
import { checkNewJob, type NewJobOptions } from '../client/new-job-options.ts'
import { VALUE_BYTES_MAX } from '../config.ts'
import { backoffMs } from '../domain/backoff.ts'
import type { AbortReason } from '../domain/states.ts'
import {
  AttemptAbortedError,
  FinalError,
  InputInvalidError,
  LeaseholdError,
  LeaseLostError,
  UsageError,
  ValueUnstorableError,
} from '../errors.ts'
import { atMost, Pauses, sleep } from '../clock.ts'
import { classifyFailure, isHeldByOther, type Database } from '../db/connect.ts'
import {
  type ClaimedJob,
  cost,
  type CostSum,
  enqueueChild,
  type FencedAnswer,
  type Outcome,
} from '../sql/protocol.ts'
import type { FencedWrites } from './fenced-writes.ts'
import { isA, readThrown } from './thrown.ts'

/** Which attempt the code that is running belongs to, so that an error outside its promise can be attributed. */
export const currentExecution: AsyncLocalStorage<Execution> = new AsyncLocalStorage()

/** `signal.reason`: an error, so that it can be thrown on, whose `code` is the reason. */
export class AbortError extends Error {
  override readonly name = 'AbortError'
  readonly code: AbortReason

  constructor(code: AbortReason, message: string) {
    super(message)
    this.code = code
  }
}

export interface ExecutionHost {
  readonly db: Database
  readonly writes: FencedWrites
  /** Throws the attempt's lease away if it can't be trusted any more. */
  checkFence(execution: Execution): void
  /** Time during which this process was not frozen, in milliseconds. */
  awakeMs(): number
  shutdownDeadline(): Date | null
  /** An attempt of this run has reported what it costs. */
  costReported(runId: string): void
  /** The handler has ended, and what it reported is written. Null: there is nothing to say, as the lease was lost. */
  ended(execution: Execution, ending: Ending | null): void
  readonly sessions: Sessions
}

/** An attempt's last progress and log lines go before its outcome, but don't keep it from being safe for longer than this. */
const LAST_REPORTS_MS_MAX = 1_000
const NOTHING_SPENT: CostSum = { tokens: 0, usd: 0 }

export interface Ending {
  readonly outcome: Outcome
  readonly value: string | null
  readonly delayMs: number | null
}

export class Execution {
  readonly job: ClaimedJob
  readonly definition: AnyJobDefinition
  /** When this process learned of the attempt, as a `monotonicMs` reading. */
  readonly knownSinceMs: number
  readonly startedAwakeMs: number
  /** Not elapsedMs: that reads the time since boot from a file, and this is no fence. */
  readonly startedMs: number = performance.now()
  readonly host: ExecutionHost
  #abort: AbortController | null = null
  /** The handler has returned or thrown. */
  settled = false
  /** What it tells the database that it ended as. Null: it has not ended, or has nothing to say. */
  outcome: Outcome | null = null
  /** When it was first seen aborted, as an `elapsedMs` reading. */
  abortedMs: number | null = null
  reportedDeaf = false
  /** Awake time at the last progress or checkpoint. */
  progressedAwakeMs: number
  /** An error outside its promise was attributed to this attempt: it has failed, whatever its handler still returns. */
  strayError: Error | null = null
  #endStray: (() => void) | null = null
  #cost = NOTHING_SPENT
  #left = false
  #whenLeft: (() => void)[] = []

  constructor(
    job: ClaimedJob,
    definition: AnyJobDefinition,
    host: ExecutionHost,
    times: { knownSinceMs: number; awakeMs: number },
  ) {
    this.job = job
    this.definition = definition
    this.host = host
    this.knownSinceMs = times.knownSinceMs
    this.startedAwakeMs = times.awakeMs
    this.progressedAwakeMs = times.awakeMs
  }

  /** Resolves when the attempt is out of its worker's hands: its outcome is on its way. */
  left(): Promise<void> {
    return this.#left
      ? Promise.resolve()
      : new Promise((resolve) => {
          this.#whenLeft.push(resolve)
        })
  }

  leave(): void {
    this.#left = true
    for (const resolve of this.#whenLeft) resolve()
  }

  /** Made when it is first asked for: most short handlers never do. */
  get signal(): AbortSignal {
    this.#abort ??= new AbortController()
    return this.#abort.signal
  }

  get aborted(): AbortReason | null {
    return this.#abort?.signal.aborted === true
      ? (this.#abort.signal.reason as AbortError).code
      : null
  }

  abort(code: AbortReason, message: string): void {
    if (this.aborted !== null) return
    this.#abort ??= new AbortController()
    this.#abort.abort(new AbortError(code, message))
  }

  /** Fails this attempt because of an error that its promise did not carry. */
  blame(error: Error): void {
    this.strayError ??= error
    this.abort('shutdown', 'an error of this handler was not caught, and its process ends')
    this.#endStray?.()
  }

  /**
   * Runs the handler to its end and tells the host, whatever the handler throws. Awaits only what is a promise, and so may be over when
   * it returns: an await makes several promises, and where AsyncLocalStorage is in use each costs as much as the rest of a short job.
   */
  async run(): Promise<void> {
    const { definition, job } = this
    let ending: Ending | null
    let begun = false
    try {
      const parsed = parseWith(
        definition.input as StandardSchema,
        job.input,
        `the input of ${job.type}`,
      )
      const input = isPromiseLike(parsed) ? await parsed : parsed
      begun = true
      const running = currentExecution.run(this, () => this.#handle(input))
      const value = isPromiseLike(running) ? await running : running
      if (this.aborted === 'lease_lost') {
        ending = late(value)
      } else if (definition.output === undefined) {
        ending = completed(value)
      } else {
        const output = definition.output as StandardSchema
        ending = completed(await parseWith(output, value, `the result of ${job.type}`))
      }
    } catch (error) {
      // An input that does not fit its schema never will.
      const isFinal = !begun && isA(error, InputInvalidError)
      ending = this.#failed(isFinal ? new FinalError(error.message, { cause: error }) : error)
    }
    this.settled = true
    const { writes } = this.host
    try {
      if (writes.hasReports(job.token)) await atMost(writes.flush(), LAST_REPORTS_MS_MAX)
      this.host.ended(this, ending)
    } catch (error) {
      // A bug of ours. The attempt ends all the same; where it has, the error is loud.
      if (this.#left) throw error
      this.host.ended(this, this.#failed(error))
    }
  }

  /** What the handler returns; while it has not settled, an error that its promise does not carry ends it too. */
  #handle(input: unknown): unknown {
    const value: unknown = this.definition.run(new Context(this, input))
    if (!isPromiseLike(value)) return value
    return new Promise((resolve, reject) => {
      this.#endStray = () => reject(this.strayError)
      value.then(resolve, reject)
    })
  }

  #failed(error: unknown): Ending | null {
    switch (this.strayError === null ? this.aborted : null) {
      case 'lease_lost':
        return null
      case 'cancelled':
        return { outcome: 'cancelled', value: null, delayMs: null }
      case 'shutdown':
        return {
          outcome: 'interrupted',
          value: JSON.stringify({ code: 'shutdown', message: 'its worker was told to stop' }),
          delayMs: null,
        }
      case 'timeout':
        return this.#failure(
          'timeout',
          `it ran longer than ${this.job.options.timeoutMs} ms`,
          undefined,
          false,
        )
      case 'stalled':
        return this.#failure('stalled', 'it made no progress within its deadline', undefined, false)
      default: {
        const { code, message, stack } = readThrown(error)
        const isFinal = isA(error, FinalError) || isA(error, ValueUnstorableError)
        return this.#failure(code, message, stack, isFinal)
      }
    }
  }

  #failure(code: string, message: string, stack: string | undefined, finally_: boolean): Ending {
    const failures = (this.job.failures ?? 0) + 1
    return {
      outcome: finally_ ? 'failed_finally' : 'failed',
      value: JSON.stringify({
        code: clean(code, 200),
        message: clean(message, 10_000),
        ...(stack === undefined ? {} : { stack: clean(stack, 20_000) }),
      }),
      delayMs: backoffMs(this.definition.backoff, failures, this.job.id),
    }
  }

  /** Adds to what this attempt has cost. Sent as a sum, so that one whose fate is unknown can be sent again. */
  async cost(more: CostSum): Promise<FencedAnswer> {
    const nanodollars = Math.round((this.#cost.usd + more.usd) * 1e9)
    this.#cost = { tokens: this.#cost.tokens + more.tokens, usd: nanodollars / 1e9 }
    const sum = this.#cost
    return this.#untilKnown(() => cost(this.host.db, this.fence, sum))
  }

  /** Before every act of a handler: whether it may still act. */
  guard(what: string): void {
    this.host.checkFence(this)
    if (this.settled)
      throw new UsageError(`${what} was called after the handler of ${this.job.type} had ended.`)
    if (this.aborted === 'lease_lost') {
      throw new LeaseLostError(
        `attempt ${this.job.attempt} no longer holds job ${this.job.id}; ${what} wrote nothing.`,
      )
    }
  }

  throwIfAborted(hint: string): void {
    if (this.aborted === null) return
    throw new AttemptAbortedError(
      this.aborted,
      `attempt ${this.job.attempt} was told to stop: ${this.aborted}.`,
      { hint },
    )
  }

  refused(what: string): LeaseLostError {
    this.abort('lease_lost', 'the database has given the job to somebody else')
    return new LeaseLostError(
      `attempt ${this.job.attempt} no longer holds job ${this.job.id}; ${what}.`,
    )
  }

  /** A checkpoint whose fate is unknown is written again: it is the same value under the same token. */
  checkpoint(value: string): Promise<FencedAnswer> {
    return this.#untilKnown(() => this.host.writes.checkpoint(this.fence, value))
  }

  async #untilKnown(write: () => Promise<FencedAnswer>): Promise<FencedAnswer> {
    const pauses = new Pauses({ minMs: 100, maxMs: 2_000 })
    for (;;) {
      try {
        return await write()
      } catch (error) {
        if (classifyFailure(error) !== 'unknown' && !isHeldByOther(error)) throw error
        await sleep(pauses.next(), this.signal)
        this.host.checkFence(this)
        this.signal.throwIfAborted()
      }
    }
  }

  get fence(): { jobId: string; token: string } {
    return { jobId: this.job.id, token: this.job.token }
  }
}

/** `ctx`. */
class Context implements JobContext {
  readonly input: unknown
  readonly #execution: Execution
  #log: JobLog | null = null

  constructor(execution: Execution, input: unknown) {
    this.#execution = execution
    this.input = input
  }

  get jobId(): string {
    return this.#execution.job.id
  }

  get type(): string {
    return this.#execution.job.type
  }

  get runId(): string | null {
    return this.#execution.job.runId ?? null
  }

  get attempt(): number {
    return this.#execution.job.attempt
  }

  get resume(): Resume | null {
    return this.#execution.job.resume ?? null
  }

  get idempotencyKey(): string {
    return this.#execution.job.id
  }

  get signal(): AbortSignal {
    this.#execution.host.checkFence(this.#execution)
    return this.#execution.signal
  }

  get shutdownDeadline(): Date | null {
    return this.#execution.host.shutdownDeadline()
  }

  get sessions(): Sessions {
    return this.#execution.host.sessions
  }

  get log(): JobLog {
    this.#log ??= {
      debug: this.#line('debug'),
      info: this.#line('info'),
      warn: this.#line('warn'),
      error: this.#line('error'),
    }
    return this.#log
  }

  #line(level: string): (message: string, fields?: Record<string, unknown>) => void {
    return (message, fields) => {
      const execution = this.#execution
      execution.guard('ctx.log')
      execution.host.writes.log(execution.fence, {
        level,
        message: clean(message, 10_000),
        fields: storableJson(fields, 'the fields of ctx.log', VALUE_BYTES_MAX),
      })
    }
  }

  // Functions that handlers may take off ctx, made when they are asked for: most short handlers never do.
  get checkpoint(): JobContext['checkpoint'] {
    return (value) => this.#keep(value)
  }

  get cost(): JobContext['cost'] {
    return (more) => this.#spend(more)
  }

  get progress(): JobContext['progress'] {
    return (done, total, message) => this.#report(done, total, message)
  }

  get enqueue(): JobContext['enqueue'] {
    return (child, input, options) => this.#enqueueChild(child as AnyJobDefinition, input, options)
  }

  async #keep(value: unknown): Promise<void> {
    const execution = this.#execution
    execution.guard('ctx.checkpoint')
    const answer = await execution.checkpoint(
      storableJson(value, 'the checkpoint', VALUE_BYTES_MAX) ?? 'null',
    )
    if (answer === 'lease_lost') throw execution.refused('the checkpoint was refused')
    execution.progressedAwakeMs = execution.host.awakeMs()
    if (answer === 'cancelling') execution.abort('cancelled', 'cancel was asked')
    execution.throwIfAborted('The checkpoint was kept.')
  }

  async #spend({ tokens = 0, usd = 0 }: Partial<CostSum>): Promise<void> {
    const execution = this.#execution
    execution.guard('ctx.cost')
    if (!Number.isSafeInteger(tokens) || tokens < 0 || !Number.isFinite(usd) || usd < 0) {
      throw new UsageError(
        `ctx.cost takes a whole number of tokens and an amount of USD, neither below 0, got ${tokens} and ${usd}.`,
      )
    }
    const answer = await execution.cost({ tokens, usd })
    if (answer === 'lease_lost') throw execution.refused('the cost was refused')
    if (execution.job.runId !== undefined) execution.host.costReported(execution.job.runId)
    if (answer === 'cancelling') execution.abort('cancelled', 'cancel was asked')
    execution.throwIfAborted('The cost was kept.')
  }

  #report(done: number, total?: number, message?: string): void {
    const execution = this.#execution
    execution.guard('ctx.progress')
    execution.progressedAwakeMs = execution.host.awakeMs()
    for (const count of total == null ? [done] : [done, total]) {
      if (!Number.isFinite(count))
        throw new UsageError(`ctx.progress takes finite numbers, got ${String(count)}.`)
    }
    execution.host.writes.progress(execution.fence, {
      done,
      total: total ?? null,
      message: message === undefined ? null : clean(message, 1_000),
    })
  }

  async #enqueueChild(
    child: AnyJobDefinition,
    input: unknown,
    options?: NewJobOptions,
  ): Promise<string> {
    const execution = this.#execution
    execution.guard('ctx.enqueue')
    checkNewJob('ctx.enqueue', child, options)
    await parseWith(child.input as StandardSchema, input, `the input of ${child.type}`)
    const stored = await enqueueChild(
      execution.host.db,
      execution.fence,
      newJob(child.type, input, optionsText(child, input, options)),
    )
    if (stored?.[0] === undefined) throw execution.refused('no child was stored')
    return stored[0]
  }
}

/** Storable or not: a result that the database refuses is work that was done, and the outbox keeps it on disk. */
function completed(value: unknown): Ending {
  return { outcome: 'completed', value: jsonText(value, 'the result'), delayMs: null }
}

/** A result that came after the lease was lost: offered all the same, as it may still be adopted, and is kept in any case. */
function late(value: unknown): Ending | null {
  try {
    return completed(value)
  } catch (error) {
    if (error instanceof LeaseholdError) return null
    throw error
  }
}

/** Halves of characters, such as a cut leaves. */
const LONE_SURROGATES = /\p{Surrogate}/gu

/** Text that PostgreSQL takes, not longer than is useful. */
function clean(text: string, lengthMax: number): string {
  return text.replaceAll('\0', '').slice(0, lengthMax).replace(LONE_SURROGATES, '\ufffd')
}
