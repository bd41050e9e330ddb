/**
 * The client: enqueue, look, cancel, wait. Usable without a worker, and inside the caller's own transaction.
 *
 * Guarantees: input is checked against the definition's schema before anything is stored; `enqueueMany` stores all or none; an
 * enqueue that a broken connection left unknown can be repeated with the same `key`. `wait` and `on` read the database; LISTEN only
 * makes them faster.
 */
import { INPUT_BYTES_MAX } from '../config.ts'
import { sleep } from '../clock.ts'
import { type Database, type Executor, openDatabase, useExecutor } from '../db/connect.ts'
import { isTerminal, TERMINAL_STATUSES } from '../domain/states.ts'
import { formatTarget } from '../domain/target.ts'
import { type WhyFacts, whySentence } from '../domain/why.ts'
import {
  IdAmbiguousError,
  InputTooLargeError,
  JobEndedError,
  JobTerminalError,
  NotFoundError,
  StateRefusedError,
  UsageError,
  ValueUnstorableError,
  WaitTimeoutError,
} from '../errors.ts'
import * as inspect from '../sql/inspect.ts'
import * as protocol from '../sql/protocol.ts'
import { retentionOf, setRetention } from '../sql/retention.ts'
import { listSupervisors } from '../sql/supervisors.ts'
import type { AnyJobDefinition, JobDefinition } from './define-job.ts'
import { parseWith, type StandardSchema } from './standard-schema.ts'
import { type ClientAlerts, openAlerts } from './alerts.ts'
import type {
  JobDocument,
  MachineDetailDocument,
  MachineDocument,
  Page,
  RetentionDocument,
  ShutdownsDocument,
  StatsDocument,
  SupervisorDocument,
  WorkerDocument,
} from './documents.ts'
import { type EventListener, type EventName, EventFeed } from './event-feed.ts'
import { EnqueueGatherer } from './enqueue-gatherer.ts'
import type { NewJobOptions } from './new-job-options.ts'
import { DatabaseRuns, type Runs } from './runs.ts'
import { storableJson } from './storable-json.ts'
import { type Archive, passRetention } from './retention.ts'

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

export interface RetentionChanges {
  /** How long a job is kept after its end, in milliseconds, at least an hour. Default 14 days. */
  readonly keepMs?: number | null
  /** How many ended jobs are kept, the newest. Default no limit. */
  readonly keepCount?: number | null
  /** Whether jobs must pass through an archive hook. A worker that has one sets this. */
  readonly archive?: boolean
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
  /** Resolves with the result when the job completes. @throws {JobEndedError} @throws {WaitTimeoutError} */
  wait<Definition extends AnyJobDefinition = JobDefinition>(
    jobId: string,
    options?: WaitOptions & { job?: Definition },
  ): Promise<ResultOf<Definition>>
  stats(): Promise<StatsDocument>
  /** Types that some live worker runs. */
  knownTypes(): Promise<string[]>
  readonly workers: {
    list(options?: { endedWithinMs?: number }): Promise<WorkerDocument[]>
    get(id: string): Promise<WorkerDocument>
    drain(id: string): Promise<string>
    resume(id: string): Promise<string>
    /** Fences it first, then hands back its jobs. */
    evict(id: string): Promise<{ job: string; status: string }[]>
    /** How workers ended, by machine and version. Default those of the last seven days. */
    shutdowns(options?: { withinMs?: number }): Promise<ShutdownsDocument[]>
  }
  readonly runs: Runs
  /** Those that are there, and those that ended within the time (default an hour). */
  readonly supervisors: {
    list(options?: { endedWithinMs?: number }): Promise<SupervisorDocument[]>
  }
  readonly machines: {
    list(): Promise<MachineDocument[]>
    /** With the crashes of its workers. @throws {NotFoundError} @throws {IdAmbiguousError} */
    get(id: string): Promise<MachineDetailDocument>
    /** Its workers take no new jobs, nor do those that start there later, until `resume`. */
    drain(id: string): Promise<void>
    resume(id: string): Promise<void>
  }
  readonly alerts: ClientAlerts
  /** How long ended jobs are kept, a setting of the namespace: see docs/retention.md. */
  readonly retention: {
    get(): Promise<RetentionDocument>
    /** What is not given stays as it is; null means no limit. @throws {UsageError} */
    set(changes: RetentionChanges): Promise<RetentionDocument>
    /**
     * Drops now, whenever the next pass is due, what need not be kept, and resolves to the number of jobs. Rejects with what the hook
     * threw. @throws {StateRefusedError} when jobs must be archived and no hook is given.
     */
    run(options?: { archive?: Archive; signal?: AbortSignal }): Promise<number>
  }
  /** One sweep now, by whoever asks. */
  sweep(): Promise<protocol.Swept>
  /** Calls `listener` for every such event from now on; returns what ends that. A listener that throws hurts nobody. */
  on<Name extends EventName>(name: Name, listener: EventListener<Name>): () => void
  close(): Promise<void>
}

const NO_RETURN = 'Look at it: leasehold jobs show'

export function createClient(options: ClientOptions): Client {
  const given = [options.databaseUrl, options.pool, options.executor].filter(
    (value) => value !== undefined,
  )
  if (given.length !== 1) {
    throw new UsageError('createClient needs exactly one of `databaseUrl`, `pool` and `executor`.')
  }
  const executor = options.pool ?? options.executor
  const db =
    executor === undefined
      ? openDatabase({
          databaseUrl: options.databaseUrl ?? '',
          ...(options.schema === undefined ? {} : { schema: options.schema }),
          ...(options.connectionsMax === undefined
            ? {}
            : { connectionsMax: options.connectionsMax }),
        })
      : useExecutor(executor, options.schema)
  // In a transaction of the caller's one call that fails spoils the others: each is sent as it comes.
  const gathers = options.executor === undefined
  return new DatabaseClient(db, options.namespace ?? 'default', options.schema, gathers)
}

class DatabaseClient implements Client {
  readonly namespace: string
  readonly #db: Database
  readonly #schema: string | undefined
  readonly #feed: EventFeed
  readonly #gatherer: EnqueueGatherer | null
  readonly runs: Runs

  constructor(db: Database, namespace: string, schema: string | undefined, gathers: boolean) {
    this.#db = db
    this.namespace = namespace
    this.#schema = schema
    this.#feed = new EventFeed(db, namespace)
    this.runs = new DatabaseRuns(db, namespace, this.#feed)
    this.#gatherer = gathers ? new EnqueueGatherer(db, namespace) : null
  }

  async enqueue<Definition extends AnyJobDefinition>(
    job: Definition,
    input: InputOf<Definition>,
    options: NewJobOptions = {},
  ): Promise<string> {
    await parseWith(job.input as StandardSchema, input, `the input of ${job.type}`)
    return this.#storeOne(newJob(job.type, input, optionsText(job, input, options)), options)
  }

  async enqueueMany<Definition extends AnyJobDefinition>(
    job: Definition,
    inputs: readonly InputOf<Definition>[],
    options: NewJobOptions = {},
  ): Promise<string[]> {
    if (inputs.length === 0) return []
    if (options.key !== undefined && inputs.length > 1) {
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

  async enqueueRaw(type: string, input: unknown, options: NewJobOptions = {}): Promise<string> {
    return this.#storeOne(newJob(type, input, saidOptions(options)), options)
  }

  /** Together with the calls that are made at the same time, unless it belongs to a transaction of the caller's. */
  async #storeOne(job: protocol.NewJob, options: NewJobOptions): Promise<string> {
    if (options.executor === undefined && this.#gatherer !== null)
      return this.#gatherer.enqueue(job, options.key)
    const [id] = await this.#store([job], options)
    return id as string
  }

  #store(jobs: protocol.NewJob[], options: NewJobOptions): Promise<string[]> {
    const db =
      options.executor === undefined ? this.#db : useExecutor(options.executor, this.#schema)
    return protocol.enqueue(db, this.namespace, jobs, true)
  }

  async get(jobId: string): Promise<JobDocument> {
    const [job] = await inspect.getJobs<JobDocument>(
      this.#db,
      this.namespace,
      [checkedId(jobId)],
      true,
    )
    if (job === undefined) throw unknownJob(jobId, this.namespace)
    return withWhy(job)
  }

  async list(options: JobListOptions = {}): Promise<Page<JobDocument>> {
    const limit = Math.min(500, Math.max(1, options.limit ?? 50))
    const found = await inspect.listJobs<JobDocument>(this.#db, this.namespace, {
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
    const text = idOrEnding.replace(/^…/, '').toLowerCase()
    if (UUID.test(text)) return text
    if (!/^[0-9a-f-]{4,36}$/.test(text)) {
      throw new UsageError(
        `"${idOrEnding}" is not a job id, nor an ending of one (4 or more of its characters).`,
      )
    }
    const found = await inspect.findJobs(this.#db, this.namespace, text)
    if (found.length > 1) {
      throw new IdAmbiguousError(`more than one job id ends in ${text}: ${found.join(', ')}`, {
        hint: 'Give more of its end.',
      })
    }
    if (found[0] === undefined) throw unknownJob(`…${text}`, this.namespace)
    return found[0]
  }

  logs(
    jobId: string,
    options: { attempt?: number; afterLine?: number; limit?: number } = {},
  ): Promise<LogLineDocument[]> {
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

  releaseStuck(options: {
    olderThanMs: number
    dryRun?: boolean
    force?: boolean
  }): Promise<{ job: string; status: string }[]> {
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
    const deadline = options.timeoutMs === undefined ? Infinity : Date.now() + options.timeoutMs
    const ended = new AbortController()
    const unsubscribe = this.#feed.onAny(
      TERMINAL_STATUSES.map((status) => `job.${status}` as const),
      (event) => {
        if (event.jobIds.includes(id)) ended.abort()
      },
    )
    try {
      // The feed tells at once; the reading underneath needs neither it nor luck, so it may be slow.
      for (let pauseMs = 50; ; pauseMs = Math.min(2_000, pauseMs * 2)) {
        options.signal?.throwIfAborted()
        const [job] = await inspect.getJobs<JobDocument>(this.#db, this.namespace, [id], false)
        if (job === undefined) throw unknownJob(jobId, this.namespace)
        if (job.status === 'completed') return job.result as ResultOf<Definition>
        if (isTerminal(job.status))
          throw new JobEndedError(whySentence(job as unknown as WhyFacts), {
            hint: `${NO_RETURN} ${id}`,
          })
        if (Date.now() >= deadline) {
          throw new WaitTimeoutError(
            `job ${id} is ${job.state} after ${options.timeoutMs} ms. It goes on.`,
          )
        }
        const left = deadline - Date.now()
        await sleep(Math.min(pauseMs, left), anySignal(ended.signal, options.signal))
      }
    } finally {
      unsubscribe()
    }
  }

  async stats(): Promise<StatsDocument> {
    return inspect.stats(this.#db, this.namespace)
  }

  knownTypes(): Promise<string[]> {
    return inspect.knownTypes(this.#db, this.namespace)
  }

  readonly workers: Client['workers'] = {
    list: (options = {}) =>
      inspect.listWorkers(this.#db, this.namespace, options.endedWithinMs ?? 3_600_000),
    get: (id) => this.#worker(id),
    drain: async (id) => this.#drain(await this.#worker(id), true),
    resume: async (id) => this.#drain(await this.#worker(id), false),
    evict: async (id) => {
      const worker = await this.#worker(id)
      const { evicted, released } = await protocol.evictWorkers(this.#db, this.namespace, [
        worker.incarnation,
      ])
      if (evicted.length === 0) {
        throw new StateRefusedError(`worker ${worker.id} has ended already: ${worker.reason}.`)
      }
      return released
    },
    shutdowns: (options = {}) =>
      inspect.shutdowns(this.#db, this.namespace, options.withinMs ?? 604_800_000),
  }

  readonly machines: Client['machines'] = {
    list: () => inspect.listMachines(this.#db, this.namespace),
    get: (id) => this.#machine(id),
    drain: async (id) => this.#drainMachine(await this.#machine(id), true),
    resume: async (id) => this.#drainMachine(await this.#machine(id), false),
  }

  readonly supervisors: Client['supervisors'] = {
    list: (options = {}) =>
      listSupervisors(this.#db, this.namespace, options.endedWithinMs ?? 3_600_000),
  }

  get alerts(): ClientAlerts {
    return (this.#alerts ??= openAlerts(this.#db, this.namespace))
  }

  #alerts: ClientAlerts | null = null

  readonly retention: Client['retention'] = {
    get: () => retentionOf(this.#db, this.namespace),
    set: async (changes) => setRetention(this.#db, this.namespace, checkedRetention(changes)),
    run: async ({ archive, signal } = {}) => {
      const { begun, dropped, failure } = await passRetention(this.#db, {
        namespace: this.namespace,
        archive: archive ?? null,
        now: true,
        retryMs: 60_000,
        stop: signal ?? new AbortController().signal,
      })
      if (begun.needsArchive) {
        throw new StateRefusedError(
          `jobs of namespace ${this.namespace} are to be archived before they are dropped, and no hook was given.`,
          {
            hint: 'A worker with the hook drops them. To give that up: leasehold retention --no-archive',
          },
        )
      }
      if (failure !== null) throw failure.error
      return dropped
    },
  }

  sweep(): Promise<protocol.Swept> {
    return protocol.sweep(this.#db, {
      namespace: this.namespace,
      incarnation: null,
      limit: 10_000,
      clockStepped: false,
    })
  }

  on<Name extends EventName>(name: Name, listener: EventListener<Name>): () => void {
    return this.#feed.onAny([name], listener as EventListener<EventName>)
  }

  async close(): Promise<void> {
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

  async #worker(id: string): Promise<WorkerDocument> {
    const found = await inspect.findWorkers<WorkerDocument>(this.#db, this.namespace, id)
    if (found.length > 1 && found[0]?.id !== id && found[0]?.incarnation !== id) {
      throw new IdAmbiguousError(
        `more than one worker matches ${id}: ${found.map((w) => w.id).join(', ')}`,
      )
    }
    if (found[0] === undefined) {
      throw new NotFoundError(`no worker ${id} in namespace ${this.namespace}.`, {
        hint: 'See: leasehold workers list',
      })
    }
    return found[0]
  }

  async #machine(id: string): Promise<MachineDetailDocument> {
    const found = await inspect.findMachines<MachineDetailDocument>(this.#db, this.namespace, id)
    const exact = found.find((machine) => machine.id === id)
    if (exact === undefined && found.length > 1) {
      throw new IdAmbiguousError(
        `more than one machine matches ${id}: ${found.map((machine) => machine.id).join(', ')}`,
      )
    }
    const machine = exact ?? found[0]
    if (machine === undefined) {
      throw new NotFoundError(`no machine ${id} in namespace ${this.namespace}.`, {
        hint: 'See: leasehold machines list',
      })
    }
    return machine
  }

  async #drainMachine({ id }: MachineDocument, drain: boolean): Promise<void> {
    await protocol.drainMachine(this.#db, this.namespace, id, drain)
  }

  async #drain(worker: WorkerDocument, drain: boolean): Promise<string> {
    const [answer] = await protocol.drainWorkers(
      this.#db,
      this.namespace,
      [worker.incarnation],
      drain,
    )
    if (answer === 'offline')
      throw new StateRefusedError(`worker ${worker.id} is offline: ${worker.reason}.`)
    return answer ?? 'offline'
  }
}

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/

function checkedId(jobId: string): string {
  if (!UUID.test(jobId.toLowerCase())) throw new UsageError(`"${jobId}" is not an id.`)
  return jobId.toLowerCase()
}

/** Numbers of their own kind; their ranges are the database's. */
function checkedRetention(changes: RetentionChanges): RetentionChanges {
  for (const [name, value] of Object.entries(changes)) {
    const fits = name === 'archive' ? typeof value === 'boolean' : Number.isSafeInteger(value ?? 0)
    if (!fits)
      throw new UsageError(
        `\`${name}\` is ${name === 'archive' ? 'true or false' : 'a whole number or null'}, got ${String(value)}.`,
      )
  }
  return changes
}

function unknownJob(jobId: string, namespace: string): NotFoundError {
  return new NotFoundError(`no job ${jobId} in namespace ${namespace}.`, {
    hint: 'It may be in another namespace (--namespace), or have been dropped: ended jobs are kept for a while (leasehold retention).',
  })
}

function withWhy(job: JobDocument): JobDocument {
  return { ...job, why: whySentence(job as unknown as WhyFacts) }
}

/** What a definition and a call say about a job, as JSON for the database; the call wins. */
export function optionsText(
  job: AnyJobDefinition,
  input: unknown,
  options: NewJobOptions = {},
): string {
  const { queue, maxAttempts, maxLost, onWorkerLost, timeoutMs, progressDeadlineMs } = job
  const concurrencyKey: string | null | undefined =
    typeof job.concurrencyKey === 'function' ? job.concurrencyKey(input) : job.concurrencyKey
  return saidOptions({
    queue,
    maxAttempts,
    maxLost,
    onWorkerLost,
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
    ...(progressDeadlineMs === undefined ? {} : { progressDeadlineMs }),
    ...(concurrencyKey == null ? {} : { concurrencyKey }),
    ...options,
  })
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

function anySignal(...signals: (AbortSignal | undefined)[]): AbortSignal {
  return AbortSignal.any(signals.filter((signal) => signal !== undefined))
}
