/**
 * The client: enqueue, look, cancel, wait. Usable without a worker, and inside the caller's own transaction.
 *
 * Guarantees: input is checked against the definition's schema before anything is stored; `enqueueMany` stores all or none; an
 * enqueue that a broken connection left unknown can be repeated with the same `key`. `wait` and `on` read the database; LISTEN only
 * makes them faster.
 */
import { INPUT_BYTES_MAX } from '../config.ts'
import { type Database, type Executor, openDatabase, useExecutor } from '../db/connect.ts'
import { isId } from '../domain/id.ts'
import { JOB_STATES, TERMINAL_STATUSES } from '../domain/states.ts'
import { shown } from '../domain/shown.ts'
import { formatTarget } from '../domain/target.ts'
import { whySentence } from '../domain/why.ts'
import {
  InputTooLargeError,
  JobEndedError,
  JobTerminalError,
  NotFoundError,
  StateRefusedError,
  UsageError,
  ValueUnstorableError,
} from '../errors.ts'
import * as inspect from '../sql/inspect.ts'
import * as protocol from '../sql/protocol.ts'
import type { AnyJobDefinition, JobDefinition } from './define-job.ts'
import { parseWith, type StandardSchema } from './standard-schema.ts'
import { type ClientAlerts, openAlerts } from './alerts.ts'
import {
  ANY_TEXT,
  ANYTHING,
  checkOptions,
  EXECUTOR,
  FLAG,
  ID,
  LIMIT_MS,
  MILLISECONDS,
  PAGE_SIZE,
  type Rules,
  SIGNAL,
  someOf,
  TEXT,
  wholeNumber,
} from './check-options.ts'
import type { JobDocument, Page, StatsDocument } from './documents.ts'
import { type EventListener, type EventName, EventFeed } from './event-feed.ts'
import { EnqueueGatherer } from './enqueue-gatherer.ts'
import {
  checkedConcurrencyKey,
  checkNewJob,
  checkNewJobOptions,
  type NewJobOptions,
} from './new-job-options.ts'
import { type Called, checkedEnding, checkedId, notFound, onlyOne } from './only-one.ts'
import {
  type ClientMachines,
  type ClientSupervisors,
  type ClientWorkers,
  openMachines,
  openSupervisors,
  openWorkers,
} from './registry.ts'
import { type ClientRetention, openRetention } from './retention-settings.ts'
import { openRuns, type Runs } from './runs.ts'
import { storableJson } from './storable-json.ts'
import { waitFor } from './wait-for.ts'
import { type JobFacts, withWhy } from './with-why.ts'

export interface ClientOptions {
  /** `postgres://…`; several hosts, separated by commas, for failover. */
  readonly databaseUrl?: string
  /** Anything with `query(text, values)` that resolves to `{ rows }`, such as a pg pool. */
  readonly pool?: Executor
  /** The same, for one transaction or an adapter of another library. */
  readonly executor?: Executor
  /** Default `default`. */
  readonly namespace?: string
  /** Schema of Leasehold's functions. Default `leasehold`. */
  readonly schema?: string
  readonly connectionsMax?: number
}

type InputOf<Definition> =
  Definition extends JobDefinition<infer Input, infer _P, infer _R> ? Input : never
type ResultOf<Definition> =
  Definition extends JobDefinition<infer _I, infer _P, infer Result> ? Result : never

export interface JobListOptions {
  readonly states?: readonly string[]
  /** A type, or its beginning and `*`. */
  readonly type?: string
  readonly queue?: string
  readonly workerId?: string
  readonly runId?: string
  readonly after?: string
  /** 1 to 500. Default 50. */
  readonly limit?: number
}

export interface LogLineDocument {
  readonly line: number
  readonly attempt: number
  readonly at: string
  readonly level: string
  readonly message: string
  readonly fields: Record<string, unknown> | null
}

export interface WaitOptions {
  /** Rejects with {@link WaitTimeoutError} after so many milliseconds; the job goes on. Default none. */
  readonly timeoutMs?: number
  readonly signal?: AbortSignal
}

export interface Client extends AsyncDisposable {
  readonly namespace: string
  /** Stores one job and resolves to its id. @throws {InputInvalidError} @throws {InputTooLargeError} */
  enqueue<Definition extends AnyJobDefinition>(
    job: Definition,
    input: InputOf<Definition>,
    options?: NewJobOptions,
  ): Promise<string>
  /** Stores many jobs of one type in one statement, all or none; ids in order. */
  enqueueMany<Definition extends AnyJobDefinition>(
    job: Definition,
    inputs: readonly InputOf<Definition>[],
    options?: NewJobOptions,
  ): Promise<string[]>
  /** Stores a job by the name of its type, its input unchecked: for programs that do not have the definition. */
  enqueueRaw(type: string, input: unknown, options?: NewJobOptions): Promise<string>
  /** The job with attempts and events. @throws {NotFoundError} */
  get(jobId: string): Promise<JobDocument>
  list(options?: JobListOptions): Promise<Page<JobDocument>>
  /** The whole id for a unique ending of 4 or more characters. @throws {NotFoundError} @throws {IdAmbiguousError} */
  resolveJobId(idOrEnding: string): Promise<string>
  /** Oldest first, after the line; at most `limit` (1 to 10,000, default 1,000). */
  logs(
    jobId: string,
    options?: { attempt?: number; afterLine?: number; limit?: number },
  ): Promise<LogLineDocument[]>
  /** `cancelled` when it waited, `cancelling` when it runs. @throws {JobTerminalError} when it has ended otherwise. */
  cancel(jobId: string, options?: { reason?: string }): Promise<'cancelled' | 'cancelling'>
  /** A new start for an ended or held job, budgets cleared. @throws {StateRefusedError} */
  retry(jobId: string): Promise<void>
  /** Sets a waiting job aside until it is resumed. @throws {StateRefusedError} */
  hold(jobId: string): Promise<void>
  /** Lets a held job go on. @throws {StateRefusedError} */
  resume(jobId: string): Promise<void>
  /** Takes a running job from its worker, dead or alive; it is due at once, nothing is charged. @throws {StateRefusedError} */
  release(jobId: string): Promise<void>
  /** Hands back the jobs of workers that gave no sign of life for so long. */
  releaseStuck(options: {
    olderThanMs: number
    dryRun?: boolean
    force?: boolean
  }): Promise<{ job: string; status: string }[]>
  /**
   * Resolves with the result when the job completes. Waits through an outage of the database; any other failure ends it.
   * @throws {JobEndedError} @throws {WaitTimeoutError} @throws {StateRefusedError} when the client is closed meanwhile.
   */
  wait<Definition extends AnyJobDefinition = JobDefinition>(
    jobId: string,
    options?: WaitOptions & { job?: Definition },
  ): Promise<ResultOf<Definition>>
  stats(): Promise<StatsDocument>
  /** Types that some live worker runs. */
  knownTypes(): Promise<string[]>
  readonly workers: ClientWorkers
  readonly runs: Runs
  readonly supervisors: ClientSupervisors
  readonly machines: ClientMachines
  readonly alerts: ClientAlerts
  /** How long ended jobs are kept, a setting of the namespace: see docs/retention.md. */
  readonly retention: ClientRetention
  /** One sweep now, by whoever asks. */
  sweep(): Promise<protocol.Swept>
  /** Calls `listener` for every such event from now on; returns what ends that. A listener that throws hurts nobody. */
  on<Name extends EventName>(name: Name, listener: EventListener<Name>): () => void
  /**
   * Ends its connections and its waits. Idle connections do not keep a process alive; listeners and waits do. Calls that come later are
   * refused with {@link StateRefusedError}. A pool or an executor of the caller's stays open.
   */
  close(): Promise<void>
}

const NAMED_BY_END = 'A job is named by the end of its id: ids of one time begin alike.'
const NO_RETURN = 'Look at it: leasehold jobs show'

const CLIENT_RULES: Rules<ClientOptions> = {
  databaseUrl: ANY_TEXT,
  pool: EXECUTOR,
  executor: EXECUTOR,
  namespace: TEXT,
  schema: TEXT,
  connectionsMax: wholeNumber(1),
}

const LIST_RULES: Rules<JobListOptions> = {
  states: someOf(JOB_STATES),
  type: TEXT,
  queue: TEXT,
  workerId: TEXT,
  runId: ID,
  after: ID,
  limit: PAGE_SIZE,
}

const LOGS_RULES: Rules<{ attempt?: number; afterLine?: number; limit?: number }> = {
  attempt: wholeNumber(1),
  afterLine: wholeNumber(0),
  limit: wholeNumber(1, 10_000),
}

const STUCK_RULES: Rules<{ olderThanMs: number; dryRun?: boolean; force?: boolean }> = {
  olderThanMs: MILLISECONDS,
  dryRun: FLAG,
  force: FLAG,
}

const WAIT_RULES: Rules<WaitOptions & { job?: unknown }> = {
  timeoutMs: LIMIT_MS,
  signal: SIGNAL,
  job: ANYTHING,
}

const WAYS = ['databaseUrl', 'pool', 'executor'] as const

export function createClient(options: ClientOptions): Client {
  checkOptions('createClient', options, CLIENT_RULES)
  // JavaScript may call it without.
  const given = WAYS.filter((way) => (options as ClientOptions | undefined)?.[way] !== undefined)
  if (given.length !== 1) {
    throw new UsageError(
      `createClient needs exactly one of \`databaseUrl\`, \`pool\` and \`executor\`, got ${given.join(' and ') || 'none'}.`,
      {
        hint:
          given.length === 0
            ? 'The URL looks like postgres://user:password@host:5432/database. If it comes from the environment, that is not set.'
            : undefined,
      },
    )
  }
  const executor = options.pool ?? options.executor
  const db =
    executor === undefined
      ? openDatabase({
          databaseUrl: options.databaseUrl ?? '',
          // A script that forgets to close has nothing left to do all the same.
          idleLetsExit: true,
          ...(options.schema === undefined ? {} : { schema: options.schema }),
          ...(options.connectionsMax === undefined
            ? {}
            : { connectionsMax: options.connectionsMax }),
        })
      : useExecutor(executor, options.schema)
  // In a transaction of the caller's one call that fails spoils the others: each is sent as it comes.
  const gathers = options.executor === undefined
  const isOwn = executor === undefined
  const { namespace = 'default', schema } = options
  return new DatabaseClient(db, { namespace, schema, gathers, isOwn })
}

class DatabaseClient implements Client {
  readonly namespace: string
  readonly #db: Database
  readonly #storing: Database
  readonly #schema: string | undefined
  readonly #feed: EventFeed
  readonly #gatherer: EnqueueGatherer | null
  readonly #closed = new AbortController()
  readonly workers: ClientWorkers
  readonly runs: Runs
  readonly supervisors: ClientSupervisors
  readonly machines: ClientMachines
  readonly alerts: ClientAlerts
  readonly retention: ClientRetention

  constructor(
    connected: Database,
    options: { namespace: string; schema: string | undefined; gathers: boolean; isOwn: boolean },
  ) {
    const { namespace, gathers, isOwn } = options
    const db = refusingOnce(this.#closed.signal, connected)
    this.#db = db
    // What was asked for before a close is sent all the same, where connections are left to send it on.
    this.#storing = isOwn ? db : connected
    this.namespace = namespace
    this.#schema = options.schema
    this.#feed = new EventFeed(db, namespace)
    this.#gatherer = gathers ? new EnqueueGatherer(this.#storing, namespace) : null
    this.workers = openWorkers(db, namespace)
    this.runs = openRuns(db, namespace, { feed: this.#feed, closed: this.#closed.signal })
    this.supervisors = openSupervisors(db, namespace)
    this.machines = openMachines(db, namespace)
    this.alerts = openAlerts(db, namespace)
    this.retention = openRetention(db, namespace)
  }

  async enqueue<Definition extends AnyJobDefinition>(
    job: Definition,
    input: InputOf<Definition>,
    options?: NewJobOptions,
  ): Promise<string> {
    refuseOnce(this.#closed.signal)
    checkNewJob('enqueue', job, options)
    await parseWith(job.input as StandardSchema, input, `the input of ${job.type}`)
    return this.#storeOne(newJob(job.type, input, optionsText(job, input, options)), options)
  }

  async enqueueMany<Definition extends AnyJobDefinition>(
    job: Definition,
    inputs: readonly InputOf<Definition>[],
    options?: NewJobOptions,
  ): Promise<string[]> {
    refuseOnce(this.#closed.signal)
    checkNewJob('enqueueMany', job, options)
    if (!Array.isArray(inputs)) {
      throw new UsageError(
        `enqueueMany("${job.type}") needs a list of inputs, got ${shown(inputs)}.`,
        { hint: 'To store one job: client.enqueue' },
      )
    }
    if (inputs.length === 0) return []
    if (options?.key !== undefined && inputs.length > 1) {
      throw new UsageError('`key` names one job, so it goes with one input.')
    }
    for (const input of inputs)
      await parseWith(job.input as StandardSchema, input, `the input of ${job.type}`)
    const ofAll =
      typeof job.concurrencyKey === 'function' ? null : optionsText(job, undefined, options)
    return this.#store(
      inputs.map((input) => newJob(job.type, input, ofAll ?? optionsText(job, input, options))),
      options,
    )
  }

  async enqueueRaw(type: string, input: unknown, options?: NewJobOptions): Promise<string> {
    refuseOnce(this.#closed.signal)
    if (typeof type !== 'string' || type.trim() === '') {
      throw new UsageError(`enqueueRaw needs the name of a job type, got ${shown(type)}.`, {
        hint: 'To store a job of a definition: client.enqueue',
      })
    }
    if (options !== undefined) checkNewJobOptions('enqueueRaw', type, options)
    return this.#storeOne(newJob(type, input, saidOptions(options ?? {})), options)
  }

  /** Together with the calls that are made at the same time, unless it belongs to a transaction of the caller's. */
  async #storeOne(job: protocol.NewJob, options: NewJobOptions | undefined): Promise<string> {
    if (options?.executor === undefined && this.#gatherer !== null)
      return this.#gatherer.enqueue(job, options?.key)
    const [id] = await this.#store([job], options)
    return id as string
  }

  #store(jobs: protocol.NewJob[], options: NewJobOptions | undefined): Promise<string[]> {
    const db =
      options?.executor === undefined ? this.#storing : useExecutor(options.executor, this.#schema)
    return protocol.enqueue(db, this.namespace, jobs, true)
  }

  async get(jobId: string): Promise<JobDocument> {
    const [job] = await inspect.getJobs<JobFacts>(
      this.#db,
      this.namespace,
      [checkedId(jobId)],
      true,
    )
    if (job === undefined) throw unknownJob(jobId, this.namespace)
    return withWhy(job)
  }

  async list(options: JobListOptions = {}): Promise<Page<JobDocument>> {
    checkOptions('list', options, LIST_RULES)
    const { limit = 50 } = options
    const found = await inspect.listJobs<JobFacts>(this.#db, this.namespace, {
      states: options.states,
      type: options.type,
      queue: options.queue,
      workerId: options.workerId,
      runId: options.runId === undefined ? undefined : checkedId(options.runId),
      after: options.after === undefined ? undefined : checkedId(options.after),
      limit: limit + 1,
    })
    const items = found.slice(0, limit).map(withWhy)
    return { items, nextCursor: found.length > limit ? (items.at(-1)?.id ?? null) : null }
  }

  async resolveJobId(idOrEnding: string): Promise<string> {
    if (typeof idOrEnding === 'string' && isId(idOrEnding)) return idOrEnding.toLowerCase()
    const ending = checkedEnding('job', idOrEnding)
    const found = await inspect.findJobs(this.#db, this.namespace, ending)
    const called = jobCalled(`…${ending}`, this.namespace)
    const isBeginning = /^01[0-9a-f-]{4,}$/.test(ending)
    return onlyOne(
      found.map((id) => ({ id })),
      isBeginning ? { ...called, hint: `${NAMED_BY_END}\n${called.hint}` } : called,
    ).id
  }

  async logs(
    jobId: string,
    options: { attempt?: number; afterLine?: number; limit?: number } = {},
  ): Promise<LogLineDocument[]> {
    checkOptions('logs', options, LOGS_RULES)
    return inspect.jobLogs(this.#db, this.namespace, {
      jobId: checkedId(jobId),
      attempt: options.attempt ?? null,
      afterLine: options.afterLine ?? 0,
      limit: options.limit ?? 1_000,
    })
  }

  async cancel(
    jobId: string,
    options: { reason?: string } = {},
  ): Promise<'cancelled' | 'cancelling'> {
    checkOptions('cancel', options, { reason: ANY_TEXT })
    const reason = options.reason === undefined ? {} : { message: options.reason }
    const answer = await this.#one(jobId, (ids) =>
      protocol.cancel(this.#db, this.namespace, ids, reason),
    )
    if (answer === 'cancelled' || answer === 'cancelling') return answer
    throw new JobTerminalError(
      `job ${jobId} is ${answer}, and a job that has ended can't be cancelled.`,
      {
        hint: `To run it again: leasehold jobs retry ${jobId}`,
      },
    )
  }

  async retry(jobId: string): Promise<void> {
    const answer = await this.#one(jobId, (ids) => protocol.retry(this.#db, this.namespace, ids))
    if (answer !== 'retried') this.#refuse(jobId, answer, 'retried; only an ended or held job can')
  }

  async hold(jobId: string): Promise<void> {
    const answer = await this.#one(jobId, (ids) => protocol.hold(this.#db, this.namespace, ids))
    if (answer !== 'held') this.#refuse(jobId, answer, 'held; only a waiting job can')
  }

  async resume(jobId: string): Promise<void> {
    const answer = await this.#one(jobId, (ids) => protocol.resume(this.#db, this.namespace, ids))
    if (answer !== 'resumed') this.#refuse(jobId, answer, 'resumed; only a held job can')
  }

  async release(jobId: string): Promise<void> {
    const answer = await this.#one(jobId, (ids) =>
      protocol.releaseJobs(this.#db, this.namespace, ids),
    )
    if (answer !== 'released') {
      this.#refuse(jobId, answer, 'released; only a running job can')
    }
  }

  async releaseStuck(options: {
    olderThanMs: number
    dryRun?: boolean
    force?: boolean
  }): Promise<{ job: string; status: string }[]> {
    checkOptions('releaseStuck', options ?? null, STUCK_RULES)
    if (options.olderThanMs === undefined) throw new UsageError('releaseStuck needs `olderThanMs`.')
    return protocol.releaseStuck(this.#db, this.namespace, {
      olderThanMs: options.olderThanMs,
      dryRun: options.dryRun ?? false,
      force: options.force ?? false,
    })
  }

  async wait<Definition extends AnyJobDefinition = JobDefinition>(
    jobId: string,
    options: WaitOptions & { job?: Definition } = {},
  ): Promise<ResultOf<Definition>> {
    const id = checkedId(jobId)
    checkOptions('wait', options, WAIT_RULES)
    return waitFor({
      what: `job ${id}`,
      look: async () => {
        const [job] = await inspect.getJobs<JobFacts>(this.#db, this.namespace, [id], false)
        if (job === undefined) throw unknownJob(jobId, this.namespace)
        if (job.status === 'completed') return { end: job.result as ResultOf<Definition> }
        const { status, endReason, error } = job
        if (status === 'failed' || status === 'cancelled') {
          throw new JobEndedError(
            whySentence(job),
            { jobId: id, status, endReason, error },
            { hint: `${NO_RETURN} ${id}` },
          )
        }
        return { state: job.state }
      },
      onHint: (hurry) =>
        this.#feed.onAny(
          TERMINAL_STATUSES.map((status) => `job.${status}` as const),
          ({ jobIds }) => {
            if (jobIds.includes(id)) hurry()
          },
        ),
      timeoutMs: options.timeoutMs,
      signals: [this.#closed.signal, options.signal],
    })
  }

  async stats(): Promise<StatsDocument> {
    return inspect.stats(this.#db, this.namespace)
  }

  knownTypes(): Promise<string[]> {
    return inspect.knownTypes(this.#db, this.namespace)
  }

  sweep(): Promise<protocol.Swept> {
    return protocol.sweep(this.#db, {
      namespace: this.namespace,
      incarnation: null,
      limit: 10_000,
      reckonedMs: null,
    })
  }

  on<Name extends EventName>(name: Name, listener: EventListener<Name>): () => void {
    refuseOnce(this.#closed.signal)
    return this.#feed.onAny([name], listener as EventListener<EventName>)
  }

  async close(): Promise<void> {
    this.#closed.abort(new StateRefusedError('the client was closed while it waited.'))
    await this.#feed.close()
    await this.#db.close()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  async #one(jobId: string, act: (ids: string[]) => Promise<string[]>): Promise<string> {
    const [answer] = await act([checkedId(jobId)])
    if (answer === undefined || answer === 'not_found') throw unknownJob(jobId, this.namespace)
    return answer
  }

  #refuse(jobId: string, status: string, what: string): never {
    throw new StateRefusedError(`job ${jobId} is ${status} and can't be ${what}.`, {
      hint: `${NO_RETURN} ${jobId}`,
    })
  }
}

/** A call to a client that was closed is a mistake of its caller's, and not a database that is away: nobody should try it again. */
function refuseOnce(closed: AbortSignal): void {
  if (!closed.aborted) return
  throw new StateRefusedError('the client was closed and takes no more calls.', {
    hint: 'Close it once nothing uses it any more, or create another one.',
  })
}

function refusingOnce(closed: AbortSignal, db: Database): Database {
  return {
    ...db,
    query(text, values, limitMs) {
      refuseOnce(closed)
      return db.query(text, values, limitMs)
    },
  }
}

function unknownJob(jobId: string, namespace: string): NotFoundError {
  return notFound(jobCalled(jobId, namespace))
}

function jobCalled(text: string, namespace: string): Called {
  return {
    what: 'job',
    text,
    namespace,
    hint: 'It may be in another namespace, or have been dropped: ended jobs are kept for a while.',
  }
}

/** What a definition and a call say about a job, as JSON for the database; the call wins where it says something. */
export function optionsText(
  job: AnyJobDefinition,
  input: unknown,
  options: NewJobOptions = {},
): string {
  const { queue, maxAttempts, maxLost, onWorkerLost, timeoutMs, progressDeadlineMs } = job
  const concurrencyKey =
    typeof job.concurrencyKey === 'function'
      ? checkedConcurrencyKey(job.type, job.concurrencyKey(input))
      : (job.concurrencyKey ?? null)
  return saidOptions({
    queue,
    maxAttempts,
    maxLost,
    onWorkerLost,
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
    ...(progressDeadlineMs === undefined ? {} : { progressDeadlineMs }),
    ...(concurrencyKey === null ? {} : { concurrencyKey }),
    ...withoutUndefined(options),
  })
}

/** An option that is undefined is not given: what the definition says holds. */
function withoutUndefined(options: NewJobOptions): NewJobOptions {
  return Object.values(options).includes(undefined)
    ? Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined))
    : options
}

/** Options as JSON for the database, without what it takes for granted. */
function saidOptions(options: NewJobOptions): string {
  const { at, executor: _, run, target, ...rest } = options
  const said: Record<string, unknown> = at === undefined ? {} : { at: at.toISOString() }
  if (run !== undefined) said['runId'] = checkedId(run)
  if (target !== undefined) {
    said['target'] = formatTarget(target)
    if (target.ifOffline !== undefined) said['ifOffline'] = target.ifOffline
    if (target.waitMs !== undefined) said['waitMs'] = target.waitMs
  }
  for (const [name, value] of Object.entries(rest)) {
    if (value !== undefined && value !== NEW_JOB_DEFAULTS[name]) said[name] = value
  }
  return JSON.stringify(said)
}

/** A job as the protocol takes it. @throws {InputTooLargeError} @throws {ValueUnstorableError} */
export function newJob(type: string, input: unknown, options: string): protocol.NewJob {
  const text = storableJson(input ?? null, `the input of ${type}`)
  if (text === null) throw new ValueUnstorableError(`the input of ${type} is not JSON.`)
  const bytes = Buffer.byteLength(text)
  if (bytes > INPUT_BYTES_MAX) {
    throw new InputTooLargeError(
      `the input of ${type} is ${bytes} bytes, and at most ${INPUT_BYTES_MAX} are stored.`,
      {
        hint: 'Put the data where both sides can reach it, and pass its address.',
      },
    )
  }
  return { type, input: text, options }
}

/** What the database takes for granted, so that it need not be said: most jobs have no options then. */
const NEW_JOB_DEFAULTS: Readonly<Record<string, unknown>> = Object.freeze({
  queue: 'default',
  priority: 0,
  delayMs: 0,
  maxAttempts: 3,
  maxLost: 3,
  onWorkerLost: 'retry',
})
