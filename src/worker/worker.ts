/**
 * A worker as whoever made it sees it: it is started, stopped, and may be started again. Its states are in lifecycle.ts; what happens
 * between a start and the stop that ends it is in running.ts.
 */
import type { AnyJobDefinition } from '../client/define-job.ts'
import { definitionsByType } from '../client/define-job.ts'
import type { Sessions } from '../client/session.ts'
import { resolveSettings, type WorkerSettings } from '../config.ts'
import { parseDatabaseUrl } from '../db/connect.ts'
import { ensureSchema } from '../db/migrate.ts'
import { StateRefusedError, UsageError } from '../errors.ts'
import { endProcess } from './end-process.ts'
import { currentExecution, type Execution } from './execution.ts'
import { Lifecycle, type StateChange, type WorkerState } from './lifecycle.ts'
import { Running } from './running.ts'
import { WorkerSessions } from './sessions.ts'
import { type HookOptions, ShutdownHooks } from './shutdown-hooks.ts'
import type { ShutdownReport } from './shutdown-report.ts'
import { steppingFor } from './shutdown-step.ts'
import { settledWithin, type StopOptions } from './stopping.ts'
import { messageOf } from './thrown.ts'
import { WorkerEventBus, type WorkerEventName, type WorkerEvents } from './worker-events.ts'
import type { WorkerOptions } from './worker-options.ts'

/** What `createWorker` returns. */
export interface Worker extends AsyncDisposable {
  /** As they were resolved, frozen. */
  readonly settings: WorkerSettings
  readonly state: WorkerState
  readonly history: readonly StateChange[]
  /** What the worker serves outside its jobs and closes in order when it stops. Handlers have the same as `ctx.sessions`. */
  readonly sessions: Sessions
  /** `<host>-<pid>-<uuid>` of the present incarnation, or null before it has registered. */
  readonly id: string | null
  readonly incarnation: string | null
  /** Ids of the jobs whose handlers run here now. */
  readonly running: readonly string[]
  /** Registers and begins to take jobs. Resolves once it is ready. May be called again after `stop`. */
  start(): Promise<void>
  /**
   * Stops gracefully, in phases: no more claims; sessions are told; handlers may go on for the grace; then they are aborted; sessions
   * are closed; outcomes are flushed; the worker is marked offline and what it still holds goes back; our connections are closed.
   * Hooks run in between. Resolves to what it did when nothing of ours is left, and to null where there was nothing to stop.
   *
   * Idempotent: a second call joins the first and may shorten its grace. From inside a handler, session or hook of this worker it
   * begins the stop and resolves at once, to null: they can't wait for their own end.
   */
  stop(options?: StopOptions): Promise<ShutdownReport | null>
  /** Called in every shutdown, in its phase, in the order of registration. One that throws or hangs is logged and passed over. */
  onShutdown(name: string, run: () => unknown, options?: HookOptions): void
  /** Calls the listener with the fields of each such event. Returns what ends that. */
  on<Name extends WorkerEventName>(
    name: Name,
    listener: (fields: WorkerEvents[Name]) => void,
  ): () => void
  /** As `on`, for all events. */
  onEvery(
    listener: (name: WorkerEventName, fields: WorkerEvents[WorkerEventName]) => void,
  ): () => void
}

/** What a process hands in that is the worker's own, and not one that it is a guest in: it may be ended, and ends with the worker. */
export interface OwnProcess {
  /** Whether it may not outlive its parent. */
  readonly endsWithParent: boolean
  /** Stops the worker, whose run has ended. */
  readonly stopAfterRun: (options: StopOptions) => Promise<unknown>
  /** An operator has evicted the worker, and every handler has settled. */
  readonly onEvicted: () => void
}

/** The one `Worker` there is: a guest by `createWorker`, or with a process of its own by the program. */
export class JobWorker implements Worker {
  readonly settings: WorkerSettings
  readonly namespace: string
  readonly #options: WorkerOptions
  readonly #definitions: ReadonlyMap<string, AnyJobDefinition>
  readonly #queues: readonly string[]
  readonly #bus: WorkerEventBus
  readonly #life = new Lifecycle()
  readonly #hooks: ShutdownHooks
  readonly #sessions: WorkerSessions
  readonly #ownProcess: OwnProcess | null
  #run: Running | null = null
  #stopping: Promise<ShutdownReport> | null = null
  #lastReport: ShutdownReport | null = null
  /** Stopped before there was anything to stop. */
  #startRevoked = false

  constructor(options: WorkerOptions, ownProcess: OwnProcess | null = null) {
    this.#ownProcess = ownProcess
    const {
      databaseUrl,
      jobs,
      namespace,
      schema: _s,
      queues,
      machineId: _m,
      labels: _l,
      logger,
      kind: _k,
      run: _r,
      onRunEnd: _e,
      archive,
      ...settings
    } = options
    parseDatabaseUrl(databaseUrl)
    this.settings = resolveSettings(settings)
    this.#definitions = definitionsByType(jobs)
    if (archive !== undefined && typeof archive !== 'function')
      throw new UsageError('`archive` is a function that gets jobs.')
    this.#options = options
    this.namespace = namespace ?? 'default'
    this.#queues = queues ?? [...new Set(jobs.map((job) => job.queue))]
    this.#bus = new WorkerEventBus(logger)
    this.#hooks = new ShutdownHooks(this.#bus)
    this.#sessions = new WorkerSessions(this, this.#bus)
  }

  get state(): WorkerState {
    return this.#life.state
  }

  get history(): readonly StateChange[] {
    return this.#life.history
  }

  get sessions(): Sessions {
    return this.#sessions
  }

  get id(): string | null {
    return this.#run?.workerId ?? null
  }

  get incarnation(): string | null {
    return this.#run?.incarnation ?? null
  }

  get running(): string[] {
    return this.#run === null
      ? []
      : [...this.#run.executions.values()].map((execution) => execution.job.id)
  }

  on<Name extends WorkerEventName>(
    name: Name,
    listener: (fields: WorkerEvents[Name]) => void,
  ): () => void {
    return this.#bus.on(name, listener)
  }

  onEvery(
    listener: (name: WorkerEventName, fields: WorkerEvents[WorkerEventName]) => void,
  ): () => void {
    return this.#bus.onEvery(listener)
  }

  onShutdown(name: string, run: () => unknown, options: HookOptions = {}): void {
    this.#hooks.add(name, run, options)
  }

  async start(): Promise<void> {
    if (this.#run !== null || this.state === 'starting')
      throw new UsageError(`the worker is ${this.state}; stop it before starting it again.`)
    this.#life.enter('starting', 'start')
    this.#startRevoked = false
    const { databaseUrl, schema } = this.#options
    const own = this.#ownProcess
    let run: Running | null = null
    try {
      // First: the lifeline registers as soon as it is there.
      await ensureSchema({ databaseUrl, ...(schema === undefined ? {} : { schema }) })
      if (this.#startRevoked)
        throw new StateRefusedError('the worker was stopped before it was ready.')
      run = new Running({
        options: this.#options,
        settings: this.settings,
        namespace: this.namespace,
        queues: this.#queues,
        definitions: this.#definitions,
        bus: this.#bus,
        enter: (state, reason) => this.#life.enter(state, reason),
        sessions: this.#sessions,
        hooks: this.#hooks,
        worker: this,
        onBound: ({ reason, graceMs }) => void this.#stop({ reason, graceMs: graceMs ?? Infinity }),
        mayEndProcess: own !== null,
        runIsOver: (stop) => {
          // It may have been stopped, and started anew, while its last handlers finished.
          if (this.#run === run) void (own === null ? this.stop(stop) : own.stopAfterRun(stop))
        },
        endsWithParent: own?.endsWithParent ?? false,
        evicted: own?.onEvicted ?? (() => void this.stop({ graceMs: 0, reason: 'evicted' })),
        giveUp: (execution, deafForMs) => {
          const error = new Error(`${execution.job.type} ignored its signal for ${deafForMs} ms`)
          const onReleased = (): void => endProcess(1)
          void this.blame(execution, error, { exitCode: 1, onReleased }).then(onReleased)
        },
      })
      this.#run = run
      await run.start()
    } catch (error) {
      if (this.#stopping !== null) {
        await this.#stopping
        throw error
      }
      this.#run = null
      await run?.abandon()
      this.#life.enter('failed', (error as Error).message)
      throw error
    }
  }

  stop(options: StopOptions = {}): Promise<ShutdownReport | null> {
    const isPart =
      steppingFor.getStore() === this ||
      (this.#run !== null && currentExecution.getStore()?.host === this.#run)
    const stopped = this.#stop(options)
    return isPart ? Promise.resolve(null) : stopped
  }

  #stop(options: StopOptions): Promise<ShutdownReport | null> {
    const run = this.#run
    if (run === null) {
      this.#startRevoked = this.state === 'starting'
      return Promise.resolve(this.#lastReport)
    }
    if (this.#stopping !== null) {
      run.join(options)
      return this.#stopping
    }
    this.#lastReport = null
    this.#stopping = run
      .stop(options)
      .then((report) => (this.#lastReport = report))
      .finally(() => {
        this.#run = null
        this.#stopping = null
        this.#sessions.reopen()
      })
    return this.#stopping
  }

  /**
   * Fails the attempt that an error outside any promise belongs to, if one can be told, and gives everything back. For the process's
   * last moments; `stop` follows.
   */
  async blame(
    execution: Execution | undefined,
    error: Error,
    options: Pick<StopOptions, 'exitCode' | 'onReleased'>,
  ): Promise<void> {
    const own =
      execution !== undefined && this.#run?.executions.get(execution.job.token) === execution
    if (own) {
      execution.blame(error)
      await settledWithin([execution], 1_000)
    }
    await this.#stop({
      graceMs: 0,
      reason: `uncaught error: ${messageOf(error)}`,
      charge: own ? 'released' : 'lost',
      ...options,
    })
  }

  /** Says that a shutdown was cut because something hung. */
  reportTimeout(afterMs: number): void {
    this.#bus.emit('shutdown.timeout', { phase: this.#run?.phase ?? this.state, afterMs })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }
}

/** Makes a worker; `start` begins. */
export function createWorker(options: WorkerOptions): Worker {
  if (typeof options !== 'object' || options === null)
    throw new UsageError('createWorker needs at least `databaseUrl` and `jobs`.')
  return new JobWorker(options)
}
