/**
 * A worker: claims jobs, runs their handlers, settles what they end as. Its states are in lifecycle.ts.
 *
 * Everything that decides who owns a job is in the database; here are three loops that only ask it: pick-up (a hint, a free slot, or
 * the poll underneath), settling (outbox) and reconciling with what each renewal says the database holds for us.
 *
 * What a renewal answers is compared by token, and only with what was known when it was sent: an attempt that the answer lacks is
 * aborted as lease_lost; a token that nobody here knows is given back, unless a claim was under way meanwhile.
 *
 * A shutdown goes sessions, then our own connections, then the process, whatever hangs: each phase has an end, and what is somebody
 * else's code (handlers, sessions, hooks) is cut at its own limit or at the end of all. Its order is that of SHUTDOWN_PHASES.
 */
import { randomUUID } from 'node:crypto'
import { hostname } from 'node:os'
import { type AnyJobDefinition, definitionsByType } from '../client/define-job.ts'
import type { Archive } from '../client/retention.ts'
import {
  atMost,
  elapsedAtLeastMs,
  elapsedMs,
  jittered,
  monotonicMs,
  Pauses,
  sleep,
} from '../clock.ts'
import {
  fenceMarginMs,
  HANDLER_CHECK_MS,
  isBounded,
  resolveSettings,
  type WorkerSettings,
} from '../config.ts'
import {
  classifyFailure,
  isTooLarge,
  lacksResources,
  type Database,
  openDatabase,
  parseDatabaseUrl,
  wentUnanswered,
} from '../db/connect.ts'
import { ensureSchema } from '../db/migrate.ts'
import type { Sessions } from '../client/session.ts'
import type { AbortReason, RunStatus } from '../domain/states.ts'
import { formatTarget } from '../domain/target.ts'
import { StateRefusedError, UsageError } from '../errors.ts'
import {
  claim,
  type Claimed,
  type ClaimedJob,
  type EndCharge,
  type Outcome,
  type Renewed,
} from '../sql/protocol.ts'
import { Retention } from '../sweep/retention.ts'
import { PROGRAM_VERSION } from '../version.ts'
import { Bounds, type ReachedBound } from './bounds.ts'
import { ClaimedAhead } from './claimed-ahead.ts'
import { currentExecution, type Ending, Execution, type ExecutionHost } from './execution.ts'
import { endProcess } from './end-process.ts'
import { errorOf } from './error-of.ts'
import { FencedWrites } from './fenced-writes.ts'
import { ownMachineId } from './identity.ts'
import { LaneMarks } from './lane-marks.ts'
import { Lifecycle, type StateChange, type WorkerState } from './lifecycle.ts'
import { Lifeline } from './lifeline.ts'
import { AHEAD_MS_MAX, type FromLifeline, TICK_IDLE_MS } from './lifeline-messages.ts'
import { Outbox } from './outbox.ts'
import { redactedCommand } from './redacted-command.ts'
import { PickUpConnection } from './pick-up-connection.ts'
import { RunJudge } from './run-judge.ts'
import { WorkerSessions } from './sessions.ts'
import { type HookOptions, ShutdownHooks } from './shutdown-hooks.ts'
import type { SettledSlot, SharedNumbers } from './shared-numbers.ts'
import { type HookPhase, ShutdownRecord, type ShutdownReport } from './shutdown-report.ts'
import { steppingFor, type StepLimits } from './shutdown-step.ts'
import { Spool, spoolDirectory } from './spool.ts'
import { messageOf } from './thrown.ts'
import {
  type Logger,
  WorkerEventBus,
  type WorkerEventName,
  type WorkerEvents,
} from './worker-events.ts'

export type { StateChange, WorkerState }

export interface WorkerOptions extends Partial<WorkerSettings> {
  readonly databaseUrl: string
  readonly jobs: readonly AnyJobDefinition[]
  /** Default `default`. */
  readonly namespace?: string
  readonly schema?: string
  /** Queues to take from. Default those that the definitions name. */
  readonly queues?: readonly string[]
  /** Default the machine's own id. */
  readonly machineId?: string
  readonly labels?: readonly string[]
  /** Any logger shaped like pino's. Default none: a library is silent. */
  readonly logger?: Logger
  /** What this process is, as the registry shows it: of the program `worker` or `supervised`. Default `library`. */
  readonly kind?: string
  /** Id of the run whose jobs alone it takes. It stops by itself once that has ended. */
  readonly run?: string
  /** What then becomes of the jobs that it runs: it lets them `finish`, or aborts and gives them back. Default `finish`. */
  readonly onRunEnd?: 'finish' | 'release'
  /** Gets ended jobs before they are dropped. Once a worker had one, no job of the namespace is dropped without. Default none. */
  readonly archive?: Archive
}

export interface StopOptions {
  /**
   * How long handlers may go on. Default the worker's `shutdownGraceMs`; 0 aborts them at once; `Infinity` waits for them, and the
   * hard exit is counted from when they have ended. Of two stops the earlier end holds.
   */
  readonly graceMs?: number
  /** For people, kept with the worker. Default `stop`. */
  readonly reason?: string
  readonly charge?: EndCharge
  /** The signal that ordered it, for the report. */
  readonly signal?: string
  /** What the process will exit with, for the report. */
  readonly exitCode?: number
  /**
   * Called in the moment when jobs were released whose handlers still run, because they ignored their signal: the process must
   * end now, or they run beside their successors. Also when the worker is stuck, as what follows could hang.
   */
  readonly onReleased?: () => void
}

/** How long aborted handlers have to settle before what they hold is released in the last statement. */
const ABORT_SETTLE_MS = 150
const HURRIED_SETTLE_MS = 40
/** Outcomes of a worker whose calls are not answered may be stuck as well. */
const STUCK_FLUSH_MS = 1_000
/** Time is up when a handler is deaf: what sessions and hooks may still take then, in all. */
const DEAF_STEPS_MS = 500
/** Left to the last statement and the exit. */
const LAST_ACTS_MS = 500
const TIMER_MS_MAX = 2_147_483_647
/** A handler that ran for less can't have blocked the event loop for as long as is reported. */
const LOOP_BLOCKED_MS = 1_000
const CLAIM_BATCH_MAX = 1_000
/**
 * A claim that is not answered for so long, or for half a renewal interval, is asked again, on another connection: one that died in
 * silence is replaced long before the worker counts as stuck.
 */
const CLAIM_LIMIT_MS_MIN = 2_000
/** Not at once after a hint: the job that it tells of is just being waited for. */
const WATCH_AFTER_MS = 50
/**
 * Jobs that end within milliseconds are claimed ahead of free slots, as many as will be started within this time: a round trip for
 * every ten of them would be most of their cost. What has not begun after `AHEAD_MS_MAX` all the same goes back (see claimed-ahead.ts).
 */
const AHEAD_MS = 10
const AHEAD_MAX = 2_000
/** And of large inputs as few as fit in here. An answer of more than half a gigabyte would be too much for either side. */
const AHEAD_BYTES_MAX = 16 * 1_024 * 1_024
/** A job that takes longer is not claimed ahead. */
const SHORT_JOB_MS = 5
/** How often to look for outcomes that dead processes have left on this disk: one look at a directory that seldom exists. */
const SPOOL_LOOK_MS = 1_000
/** Claims wait so long for outcomes that are being taken over: jobs whose work is done should not be run again, nor others starve. */
const TAKE_OVER_MS_MAX = 5_000
/** A stop ends the run whose last job it ended; the sweep would, but this may have been the last worker. */
const LAST_JUDGEMENT_MS_MAX = 500

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
      await this.#run?.settledWithin([execution], 1_000)
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

interface RunningOptions {
  readonly options: WorkerOptions
  readonly settings: WorkerSettings
  readonly namespace: string
  readonly queues: readonly string[]
  readonly definitions: ReadonlyMap<string, AnyJobDefinition>
  readonly bus: WorkerEventBus
  readonly enter: (state: WorkerState, reason: string) => void
  readonly sessions: WorkerSessions
  readonly hooks: ShutdownHooks
  readonly worker: object
  readonly onBound: (bound: ReachedBound) => void
  readonly mayEndProcess: boolean
  /** The run that it is aimed at has ended, and nothing of it is left here that should not be released. */
  readonly runIsOver: (stop: StopOptions) => void
  readonly endsWithParent: boolean
  readonly evicted: () => void
  /** A handler that ignores its signal has to be ended, and only the end of the process can. */
  readonly giveUp: (execution: Execution, deafForMs: number) => void
}

/** A job that was claimed and has not begun. */
interface Ahead {
  readonly job: ClaimedJob
  readonly claimedMs: number
  readonly generation: number
  readonly place: number
}

/** A shutdown under way. Times are `elapsedMs` readings. */
interface Shutdown {
  readonly record: ShutdownRecord
  /** What bounds sessions and hooks. */
  readonly limits: StepLimits
  /** Aborts when everything under way has to be cut: a second signal. */
  readonly cut: AbortController
  /** Aborts when `graceEndsMs` has changed, and is replaced then. */
  graceChanged: AbortController
  graceEndsMs: number
  hardExitAtMs: number
  deafEndsMs: number
  onReleased: (() => void) | undefined
}

/** Everything between one `start` and the `stop` that ends it. */
class Running implements ExecutionHost {
  readonly db: Database
  readonly writes: FencedWrites
  /** By token. An execution stays until its outcome is in the outbox. */
  readonly executions = new Map<string, Execution>()
  workerId: string | null = null
  incarnation: string | null = null
  readonly #o: RunningOptions
  readonly #outbox: Outbox
  readonly #lifeline: Lifeline
  readonly #numbers: SharedNumbers
  readonly #pickUp: PickUpConnection
  readonly #judge: RunJudge
  readonly #retention: Retention
  readonly #types: readonly string[]
  readonly #machineId: string
  readonly #marginMs: number
  readonly #onOutage: 'continue' | 'abort'
  readonly #ready = deferred()
  /** An operator wants no worker here. */
  #evicted = false
  /** False while an incarnation is over and the next has not registered. */
  #live = false
  #draining = false
  /** The run that it is aimed at has ended: nothing more is claimed. */
  #runEnded = false
  #claiming = false
  #wanted = false
  #alone = false
  /** A slot that comes free is a reason to ask: not where the last claim got less than it wanted, and a hint tells of what came since. */
  #moreMayWait = true
  /** An operator has drained this worker: it takes nothing new and goes on renewing. */
  #drained = false
  /** When the last claim that may have taken something was answered, as a `monotonicMs` reading; Infinity while one is under way. */
  #lastClaimMs = -Infinity
  /** The claim that was sent and not answered, and the generation of jobs that it is of. */
  #openClaim: { readonly id: string; readonly generation: number } | null = null
  #nextPoll: NodeJS.Timeout | null = null
  #nextWide: NodeJS.Timeout | null = null
  #nextWatch: NodeJS.Timeout | null = null
  readonly #marks = new LaneMarks()
  #ticker: NodeJS.Timeout | null = null
  readonly #bounds: Bounds
  readonly #bounded: boolean
  #boundReached = false
  #shutdown: Shutdown | null = null
  /** Ends the pause before a claim is tried again, and every wait of a shutdown that is to end at once. */
  readonly #hurry = new AbortController()
  #deadline: Date | null = null
  #takingOver = false
  #claimsWait = false
  #lookedMs = -Infinity
  /** What the end of this worker costs the jobs that it gives back. */
  #charge: EndCharge = 'interrupted'
  #claimSettled: Promise<void> = Promise.resolve()
  /** Counts the claims that were answered. */
  #claimTurn = 1
  /** The lifeline says that something here gives no sign of life. */
  #stuck = false
  /** Claimed and not begun, by token, in the order in which they start; when, as a `monotonicMs` reading. */
  readonly #ahead = new Map<string, Ahead>()
  /** The same for the lifeline, which gives them back while this thread is kept busy. */
  readonly #shelf: ClaimedAhead
  /** What was claimed is being begun now. */
  #starting = false
  /** Handlers that the lifeline knows of. */
  #counted = 0
  /** A handler that blocks the event loop has mostly ended by the time that anybody can say so. */
  #justEnded: readonly { execution: Execution; endedMs: number }[] = []
  /** Running mean of how long jobs take here. */
  #meanMs = Infinity
  /** What a job of the last claim took of its answer. */
  #meanBytes = 1
  /** Halved where a claim is refused as too large, and doubled with each that is answered. */
  #claimMost = CLAIM_BATCH_MAX
  /** Half of what had to go back last, as it was not begun in time, and a tenth more with each claim that is answered. */
  #aheadMost = AHEAD_MAX

  constructor(options: RunningOptions) {
    this.#o = options
    this.#marginMs = fenceMarginMs(options.settings.leaseMs)
    this.#bounds = new Bounds(options.settings)
    this.#shelf = ClaimedAhead.for(options.settings.concurrency + AHEAD_MAX)
    this.#bounded = isBounded(options.settings)
    this.#onOutage =
      parseDatabaseUrl(options.options.databaseUrl).hosts.length === 1 ? 'continue' : 'abort'
    this.#types = [...options.definitions.keys()]
    this.#machineId = options.options.machineId ?? ownMachineId()
    const connect = {
      databaseUrl: options.options.databaseUrl,
      ...(options.options.schema === undefined ? {} : { schema: options.options.schema }),
    }
    this.db = openDatabase({ ...connect, applicationName: 'leasehold worker' })
    this.#pickUp = new PickUpConnection(connect, options.namespace, {
      hint: (queue) => {
        if (queue === '*' || options.queues.includes(queue)) this.wake()
        // Whoever takes it could die the moment after, and nobody might sweep yet.
        this.#nextWatch ??= setTimeout(() => {
          this.#nextWatch = null
          this.#lifeline.send({ type: 'watch', when: 'soon' })
        }, WATCH_AFTER_MS)
      },
      runEnded: (runId) => {
        if (runId === options.options.run) this.#judge.touch(runId)
      },
      asked: (incarnation) => {
        if (incarnation === this.incarnation) this.#lifeline.send({ type: 'renew' })
      },
      watch: () => this.#lifeline.send({ type: 'watch', when: 'now' }),
      lost: () => this.wake(),
    })
    this.#judge = new RunJudge(this.db, options.namespace, (runId, status) => {
      if (runId === options.options.run) this.#hearOfRun(status)
    })
    this.writes = new FencedWrites(this.db, (token, answer) => {
      const execution = this.executions.get(token)
      if (answer === 'cancelling') execution?.abort('cancelled', 'cancel was asked')
      if (answer === 'lease_lost')
        execution?.abort('lease_lost', 'the database has given the job to somebody else')
    })
    const directory = spoolDirectory(options.settings.spoolDir, connect, options.namespace)
    const spool = new Spool({
      directory,
      onDegraded: (reason) => options.bus.emit('spool.degraded', { directory, reason }),
    })
    this.#outbox = new Outbox(this.db, spool, {
      buffered: (depth, onDisk, error) =>
        options.bus.emit('spool.buffered', { depth, onDisk, error }),
      flushed: (count, answers) => options.bus.emit('spool.flushed', { count, answers }),
      takenOver: (pid, count, unreadable) =>
        options.bus.emit('spool.taken_over', { pid, count, unreadable }),
      depthChanged: (depth, sinceMs) => {
        this.#numbers.write('spoolDepth', depth)
        this.#numbers.write('spoolSinceMs', sinceMs ?? 0)
        // An outcome that was under way was the one thing that kept it from being idle.
        if (depth === 0 && options.settings.exitWhenIdle) this.wake()
      },
    })
    this.#retention = new Retention(
      { connect, namespace: options.namespace, archive: options.options.archive ?? null },
      {
        dropped: (count) => options.bus.emit('jobs.dropped', { count }),
        failed: (error, retryMs) => options.bus.emit('retention.failed', { error, retryMs }),
      },
    )
    this.#lifeline = new Lifeline(
      {
        connect,
        namespace: options.namespace,
        settings: options.settings,
        onOutage: [...options.definitions.values()].some((job) => this.#goesOn(job))
          ? 'continue'
          : 'abort',
        mayEndProcess: options.mayEndProcess,
        endsWithParent: options.endsWithParent,
        ahead: this.#shelf.shared,
        identity: {
          machineId: this.#machineId,
          hostname: hostname(),
          pid: process.pid,
          bootId: null,
          pidNamespace: null,
          processStarted: null,
          parentPid: process.ppid,
          kind: options.options.kind ?? 'library',
          version: PROGRAM_VERSION,
          command: redactedCommand(process.argv.slice(1)),
          concurrency: options.settings.concurrency,
          queues: options.queues,
          types: this.#types,
          labels: options.options.labels ?? [],
          ...(options.options.run === undefined ? {} : { runId: options.options.run }),
          leaseMs: options.settings.leaseMs,
          renewMs: options.settings.renewMs,
          idleBeatMs: options.settings.idleBeatMs,
        },
      },
      (message) => this.#onLifeline(message),
    )
    this.#numbers = this.#lifeline.numbers
  }

  async start(): Promise<void> {
    void this.#takeOver()
    this.#tick()
    await this.#ready.promise
  }

  /** Takes everything down that a failed start has opened. */
  async abandon(): Promise<void> {
    this.#stopTimers()
    await this.#retention.close()
    await this.#lifeline.terminate()
    await this.#outbox.close()
    await this.#pickUp.close()
    this.#judge.close()
    await this.db.close().catch(() => undefined)
  }

  // ── pick-up ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Something may be there to take. Asks now if it can, else as soon as it can. */
  wake(): void {
    this.#wanted = true
    if (!this.#claiming) {
      this.#claiming = true
      this.#claimSettled = this.#claimLoop()
    }
  }

  #mayClaim(): boolean {
    return (
      this.#live &&
      !this.#draining &&
      !this.#runEnded &&
      !this.#claimsWait &&
      !this.#bounds.claimsOver &&
      this.#numbers.read('connected') === 1 &&
      this.#numbers.read('fenced') === 0 &&
      this.#wants() > 0
    )
  }

  /** How many jobs to ask for now: the free slots, and ahead of them what short jobs will need at once. */
  #wants(): number {
    const { concurrency } = this.#o.settings
    const free = concurrency - this.executions.size
    const ahead =
      this.#meanMs < SHORT_JOB_MS
        ? Math.floor(
            Math.min(
              this.#aheadMost,
              AHEAD_BYTES_MAX / this.#meanBytes,
              (concurrency * AHEAD_MS) / Math.max(this.#meanMs, 0.1),
            ),
          )
        : 0
    const wants = Math.min(
      this.#claimMost,
      free + ahead - this.#ahead.size,
      this.#bounds.jobsLeft - this.#ahead.size,
    )
    return this.#ahead.size > ahead / 2 ? 0 : wants
  }

  async #claimLoop(): Promise<void> {
    const pauses = new Pauses({ minMs: 100, maxMs: this.#o.settings.leaseMs / 6 })
    // A turn of the event loop lets all that ends together free its slots first.
    if (this.executions.size > 0 || this.#starting)
      await new Promise((resolve) => setImmediate(resolve))
    try {
      while (this.#wanted && this.#mayClaim()) {
        this.#wanted = false
        const want = this.#wants()
        this.#numbers.write('claimTurn', this.#claimTurn)
        try {
          const outcome = await this.#claim(want)
          pauses.reset()
          this.#claimMost = Math.min(CLAIM_BATCH_MAX, 2 * this.#claimMost)
          this.#aheadMost = Math.min(AHEAD_MAX, 1.1 * this.#aheadMost + 1)
          if (outcome === 'lease_lost') {
            this.#lifeline.send({ type: 'renew' })
            return
          }
        } catch (error) {
          if (!wentUnanswered(error)) this.#claimTurn += 1
          let pauseMs = pauses.next()
          if (classifyFailure(error) !== 'unknown' || lacksResources(error)) {
            this.#o.bus.emit('worker.degraded', { reason: (error as Error).message })
            const smaller = isTooLarge(error) && want > 1
            if (smaller) this.#claimMost = Math.floor(want / 2)
            pauseMs = jittered(smaller ? 100 : 5_000)
          }
          this.#wanted = true
          await sleep(pauseMs, this.#hurry.signal)
        }
      }
    } finally {
      // In the turn in which it finds that it may not go on, not in one after: who frees a slot in between would be heard by nobody.
      this.#claiming = false
      this.#numbers.write('claimTurn', 0)
    }
  }

  /** Part of the claim, so that until its jobs have begun this worker is not taken for idle. What can wait until they have is in `#endRound`. */
  #took(answer: Claimed, want: number): void {
    this.#alone = answer.alone
    this.#drained = answer.drain
    if (answer.run !== null) this.#hearOfRun(answer.run)
    // More may wait when everything that was asked for came; otherwise a hint, the next due job or the poll tells.
    if (answer.jobs.length === want && want > 0) this.#wanted = true
    this.#moreMayWait = this.#wanted || answer.alone || !this.#pickUp.listening || this.#bounded
    this.#schedulePoll(answer.nextDueMs)
    this.#startNext()
  }

  #endRound(answer: Claimed): void {
    if (answer.running) this.#lifeline.send({ type: 'watch', when: 'soon' })
    this.#numbers.add('claimRounds', 1)
    this.#numbers.add('claimed', answer.jobs.length)
    const idle =
      !answer.alone &&
      !answer.drain &&
      this.executions.size === 0 &&
      this.#ahead.size === 0 &&
      this.#outbox.depth === 0
    if (this.#bounds.answered({ jobs: answer.jobs.length, idle })) {
      // What was committed late stands below the marks.
      this.#marks.forget()
      this.#wanted = true
    }
    this.#checkBounds()
  }

  #checkBounds(): void {
    if (!this.#bounded) return
    const bound = this.#bounds.reached(elapsedMs(), this.#ahead.size)
    if (bound === null || this.#boundReached || this.#draining) return
    this.#boundReached = true
    this.#o.bus.emit('worker.bound_reached', { bound: bound.bound, reason: bound.reason })
    this.#o.onBound(bound)
  }

  async #claim(want: number): Promise<'claimed' | 'lease_lost'> {
    const incarnation = this.incarnation ?? ''
    const { generation } = this.#shelf
    // An id whose answer was lost is asked again, and gets the same attempts.
    if (this.#openClaim?.generation !== generation)
      this.#openClaim = { id: randomUUID(), generation }
    const { id } = this.#openClaim
    this.#shelf.asks(id)
    const sentMs = monotonicMs()
    const provedMs = elapsedAtLeastMs()
    this.#lastClaimMs = Infinity
    this.#numbers.add('claiming', 1)
    try {
      const marks = this.#marks.next(sentMs)
      const answer = await claim(this.#pickUp, {
        incarnation,
        claim: id,
        want,
        queues: this.#o.queues,
        types: this.#types,
        marks,
        runId: this.#o.options.run ?? null,
        targets: this.#targets(),
        limitMs: Math.max(CLAIM_LIMIT_MS_MIN, this.#o.settings.renewMs / 2),
      })
      this.#closeClaim()
      this.#claimTurn += 1
      if (answer.outcome === 'claimed') {
        const nowMs = monotonicMs()
        if (incarnation === this.incarnation) this.#lifeline.proved(provedMs)
        if (answer.jobs.length > 0) this.#meanBytes = answer.bytes / answer.jobs.length
        for (const job of answer.jobs) this.#accept(job, incarnation, nowMs, generation)
        // What it gave, or would have given, went to others.
        if (generation !== this.#shelf.generation) this.#wanted = true
        this.#took(answer, want)
        if (answer.marks !== null) this.#marks.saw(marks, answer.marks, { sentMs, nowMs })
        // What was committed late stands below the near marks, and nobody may tell of it again.
        if (marks.reach === 'near' && answer.jobs.length < want)
          this.#lookWideIn(this.#marks.wideInMs(nowMs))
        this.#endRound(answer)
      }
      return answer.outcome
    } finally {
      this.#lastClaimMs = monotonicMs()
      this.#numbers.add('claiming', -1)
    }
  }

  /** Nobody asks for it again. */
  #closeClaim(): void {
    this.#openClaim = null
    this.#shelf.answered()
  }

  /** What this worker is, as jobs may be aimed at it. */
  #targets(): string[] {
    const labels = this.#o.options.labels ?? []
    return [
      formatTarget({ machine: this.#machineId }),
      formatTarget({ worker: this.workerId ?? '' }),
      ...labels.map((label) => formatTarget({ label })),
    ]
  }

  #lookWideIn(inMs: number): void {
    this.#nextWide ??= setTimeout(() => {
      this.#nextWide = null
      this.wake()
    }, inMs)
  }

  #schedulePoll(nextDueMs: number | null): void {
    if (this.#nextPoll !== null) clearTimeout(this.#nextPoll)
    const { idleBeatMs, pollMs, renewMs } = this.#o.settings
    // While it holds jobs it looks as often as it renews: a hint can be lost with its connection, and nothing else tells.
    const holds = this.executions.size + this.#ahead.size > 0
    const beatMs = holds ? Math.min(renewMs, idleBeatMs) : idleBeatMs
    const poll = this.#alone ? 1_000 : this.#pickUp.listening ? beatMs : pollMs
    this.#nextPoll = setTimeout(
      () => {
        this.wake()
        // One that is aimed and full claims nothing, and so would not hear that its run has ended.
        const { run } = this.#o.options
        if (run === undefined || this.#runEnded || this.#draining || this.#wants() > 0) return
        this.#judge.touch(run)
        this.#schedulePoll(null)
      },
      Math.max(1, Math.min(poll, nextDueMs ?? poll)),
    )
  }

  /** What the run is that this worker is aimed at. Once it has ended, so does the worker. */
  #hearOfRun(status: RunStatus | 'not_found'): void {
    const { bus, enter, options } = this.#o
    if (status === 'active' || this.#runEnded || this.#draining) return
    this.#runEnded = true
    const reason = `its run ${status === 'not_found' ? 'is gone' : `ended as ${status}`}`
    bus.emit('run.ended', { runId: options.run ?? '', status, running: this.executions.size })
    this.#giveBackAhead()
    if (options.onRunEnd === 'release' || this.executions.size === 0) {
      this.#o.runIsOver({ reason, graceMs: 0 })
      return
    }
    enter('draining', reason)
    this.#numbers.write('draining', 1)
    this.#lifeline.send({ type: 'renew' })
    void Promise.all([...this.executions.values()].map((execution) => execution.left())).then(() =>
      this.#o.runIsOver({ reason }),
    )
  }

  // ── running ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

  #accept(job: ClaimedJob, incarnation: string, claimedMs: number, generation: number): void {
    // A fenced worker starts nothing, and neither does one that is stopping: it gives the claim back.
    if (
      !this.#o.definitions.has(job.type) ||
      !this.#live ||
      this.#draining ||
      this.#runEnded ||
      incarnation !== this.incarnation
    ) {
      this.#giveBack(job)
    } else {
      const place = this.#shelf.put(job.id, job.token)
      this.#ahead.set(job.token, { job, claimedMs, generation, place })
    }
  }

  #giveBack(job: ClaimedJob): void {
    this.#outbox.add({
      jobId: job.id,
      token: job.token,
      outcome: 'released',
      value: null,
      delayMs: null,
    })
  }

  /** Gives back what was claimed ahead and has not started. */
  #giveBackAhead(): void {
    for (const { job } of this.#ahead.values()) this.#giveBack(job)
    this.#forgetAhead()
  }

  /** What has not begun in time goes back, and less is claimed ahead from now on. */
  #giveBackLate(): void {
    this.#aheadMost = this.#ahead.size / 2
    this.#giveBackAhead()
  }

  #forgetAhead(): void {
    this.#ahead.clear()
    this.#shelf.clear()
  }

  #startHandler(job: ClaimedJob, claimedMs: number): void {
    const { bus, definitions } = this.#o
    const execution = new Execution(job, definitions.get(job.type) as AnyJobDefinition, this, {
      knownSinceMs: claimedMs,
      awakeMs: this.#numbers.read('awakeMs'),
    })
    this.executions.set(job.token, execution)
    this.#countHandlers()
    if (this.executions.size === 1) this.#hastenTick()
    if (bus.heard('job.picked_up')) {
      bus.emit('job.picked_up', {
        jobId: job.id,
        type: job.type,
        queue: job.queue,
        attempt: job.attempt,
      })
    }
    this.#bounds.begun()
    void execution.run()
  }

  ended(execution: Execution, said: Ending | null): void {
    const { job } = execution
    // Not ordered from outside: what such an end costs the job is for the worker's last statement to say.
    const ending = said?.outcome === 'interrupted' && this.#charge !== 'interrupted' ? null : said
    const tookMs = performance.now() - execution.startedMs
    this.#meanMs = this.#meanMs === Infinity ? tookMs : 0.9 * this.#meanMs + 0.1 * tookMs
    this.executions.delete(job.token)
    execution.outcome = ending?.outcome ?? null
    execution.leave()
    this.#retention.jobEnded()
    if (tookMs >= LOOP_BLOCKED_MS)
      this.#justEnded = [...this.#justEnded, { execution, endedMs: elapsedMs() }]
    if (ending !== null) {
      this.#outbox.add({ jobId: job.id, token: job.token, ...ending }, (answer) => {
        if (job.runId !== undefined) this.#judge.touch(job.runId)
        this.#announce(execution, ending, answer, tookMs)
      })
    }
    this.#startNext()
    if (this.#wanted || this.#moreMayWait) this.wake()
    if (this.executions.size === 0 && !this.#live) this.#goOn()
  }

  /** Delivers what processes that are gone have left on disk. */
  async #takeOver(): Promise<void> {
    this.#lookedMs = elapsedMs()
    if (this.#takingOver) return
    this.#takingOver = true
    this.#claimsWait = true
    const taken = this.#outbox.takeOver().finally(() => {
      this.#takingOver = false
    })
    await atMost(taken, TAKE_OVER_MS_MAX)
    this.#claimsWait = false
    if (this.#wanted) this.wake()
  }

  /** Jobs that may have kept the event loop busy for `forMs` until now, running or just ended. */
  #blockers(forMs: number): Execution[] {
    const nowMs = monotonicMs()
    const ended = this.#justEnded.map(({ execution }) => execution)
    return [...this.executions.values(), ...ended].filter(
      (execution) => nowMs - execution.knownSinceMs >= forMs - TICK_IDLE_MS,
    )
  }

  /** Begins what was claimed, as far as there are slots. What ends at once leaves its slot to the next of the same loop. */
  #startNext(): void {
    if (this.#starting) return
    this.#starting = true
    for (const [token, { job, claimedMs, generation, place }] of this.#ahead) {
      if (this.executions.size >= this.#o.settings.concurrency) break
      // A process that was frozen comes here before any timer of ours has run. Should the lease live, a renewal gives them back.
      if (!this.#mayStart()) {
        this.#forgetAhead()
        break
      }
      // Handlers that await nothing are all begun in one turn of the event loop, and no timer comes between them.
      if (monotonicMs() - claimedMs > AHEAD_MS_MAX) {
        this.#giveBackLate()
        break
      }
      this.#ahead.delete(token)
      this.#shelf.leaves(place)
      if (generation === this.#shelf.generation) {
        this.#startHandler(job, claimedMs)
      } else {
        // A handler kept this thread busy, and the lifeline has given them back, or is doing so.
        this.#giveBack(job)
        this.#meanMs = Math.max(this.#meanMs, 2 * SHORT_JOB_MS)
        this.#wanted = true
      }
    }
    this.#starting = false
    this.#countHandlers()
    this.#checkBounds()
  }

  /** The lifeline knows of a handler before it begins, and until its outcome is in the outbox. */
  #countHandlers(): void {
    const { size } = this.executions
    if (size === this.#counted) return
    this.#counted = size
    this.#numbers.write('handlers', size)
  }

  #announce(execution: Execution, ending: Ending, said: string, tookMs: number): void {
    const { bus } = this.#o
    // Its first answer was lost; what it was follows from the outcome.
    const answer = said === 'accepted before' ? acceptedAs(ending.outcome) : said
    const { job } = execution
    const durationMs = Math.round(tookMs)
    const facts = { jobId: job.id, type: job.type, attempt: job.attempt, durationMs }
    this.#numbers.add(settledAs(said, ending.outcome), 1)
    if (answer === 'lease_lost') {
      bus.emit('lease.lost', {
        jobIds: [job.id],
        code: 'late_result',
        message: `its outcome (${ending.outcome.replaceAll('_', ' ')}) came too late and is kept with the attempt`,
      })
    } else if (answer === 'completed' || answer === 'adopted') {
      if (bus.heard('job.completed'))
        bus.emit('job.completed', { ...facts, late: answer === 'adopted' })
    } else if (answer === 'cancelled') {
      bus.emit('job.cancelled', facts)
    } else if (answer === 'failed' || answer === 'retrying') {
      // A result that the database refused is no error to read from, and nothing to log.
      const error = (
        ending.outcome === 'completed'
          ? { code: 'result_unstorable', message: "its result can't be stored" }
          : JSON.parse(ending.value ?? '{}')
      ) as { code?: string; message?: string }
      bus.emit('job.failed', {
        ...facts,
        code: error.code ?? 'unknown',
        message: error.message ?? '',
        // Whether a failure was the last that was allowed was in the answer that was lost.
        retrying:
          said === 'accepted before' && ending.outcome === 'failed' ? null : answer === 'retrying',
      })
    } else {
      bus.emit('jobs.released', { jobIds: [job.id], reason: ending.outcome })
    }
  }

  /** Whether handlers of a type may go on past the fence while the database is positively down: by default where there is one host. */
  #goesOn(job: AnyJobDefinition): boolean {
    return (job.onOutage ?? this.#onOutage) === 'continue'
  }

  /** Aborts the attempt, and all others, once the lease can't be trusted. Called before every act of a handler. */
  checkFence(execution: Execution): void {
    if (execution.aborted === 'lease_lost' || this.#trusted()) return
    if (this.#numbers.read('outage') === 1) {
      if (!this.#goesOn(execution.definition)) execution.abort('lease_lost', 'the database is down')
      return
    }
    this.#abortAll('lease_lost', 'the lease could not be renewed in time')
  }

  #trusted(): boolean {
    return this.#provedAt(elapsedMs())
  }

  /** Asked before each start, so of the cheaper clock: sleep that nobody has noticed is left to the handler's own acts. */
  #mayStart(): boolean {
    return this.#provedAt(elapsedAtLeastMs())
  }

  #provedAt(nowMs: number): boolean {
    return (
      this.#numbers.read('fenced') === 0 &&
      nowMs < this.#numbers.read('proofSentMs') + this.#o.settings.leaseMs - this.#marginMs
    )
  }

  awakeMs(): number {
    return this.#numbers.read('awakeMs')
  }

  costReported(runId: string): void {
    this.#judge.touch(runId)
  }

  shutdownDeadline(): Date | null {
    return this.#deadline
  }

  get sessions(): Sessions {
    return this.#o.sessions
  }

  /** Of the shutdown that is under way. */
  get phase(): string | null {
    return this.#numbers.phase
  }

  #abortAll(code: AbortReason, message: string): void {
    const jobIds: string[] = []
    for (const execution of this.executions.values()) {
      if (execution.aborted === null) jobIds.push(execution.job.id)
      execution.abort(code, message)
    }
    if (code === 'lease_lost' && jobIds.length > 0)
      this.#o.bus.emit('lease.lost', { jobIds, code, message })
  }

  /** The main loop's sign of life, and what is due in it: time limits, and the fence once more. */
  #tick(): void {
    if (this.#ticker !== null) clearTimeout(this.#ticker)
    const nowMs = elapsedMs()
    this.#numbers.write('mainBeatMs', nowMs)
    const [oldest] = this.#ahead.values()
    if (oldest !== undefined && monotonicMs() - oldest.claimedMs > AHEAD_MS_MAX) {
      this.#meanMs = Infinity
      this.#giveBackLate()
    }
    const awakeMs = this.#numbers.read('awakeMs')
    for (const execution of this.executions.values()) {
      this.checkFence(execution)
      const { timeoutMs } = execution.job.options
      if (timeoutMs !== undefined && awakeMs - execution.startedAwakeMs >= timeoutMs) {
        execution.abort('timeout', `it ran longer than ${timeoutMs} ms`)
      }
      const { progressDeadlineMs } = execution.job.options
      if (
        progressDeadlineMs !== undefined &&
        awakeMs - execution.progressedAwakeMs >= progressDeadlineMs
      ) {
        execution.abort('stalled', `it made no progress for ${progressDeadlineMs} ms`)
      }
      this.#watchDeaf(execution, nowMs)
    }
    if (this.#justEnded.length > 0) {
      this.#justEnded = this.#justEnded.filter(({ endedMs }) => nowMs - endedMs < LOOP_BLOCKED_MS)
    }
    if (nowMs - this.#lookedMs >= SPOOL_LOOK_MS) void this.#takeOver()
    this.#checkBounds()
    this.#tickMs = this.executions.size > 0 ? HANDLER_CHECK_MS : TICK_IDLE_MS
    this.#ticker = setTimeout(() => this.#tick(), this.#tickMs)
  }

  #tickMs = TICK_IDLE_MS

  /** A handler that ignores its signal is reported, and ends its process if its definition says so. */
  #watchDeaf(execution: Execution, nowMs: number): void {
    if (execution.aborted === null || execution.aborted === 'shutdown') return
    execution.abortedMs ??= nowMs
    const forMs = Math.round(nowMs - execution.abortedMs)
    if (execution.reportedDeaf || forMs < execution.definition.cancelGraceMs) return
    execution.reportedDeaf = true
    this.#o.bus.emit('job.unresponsive', {
      jobId: execution.job.id,
      type: execution.job.type,
      attempt: execution.job.attempt,
      reason: execution.aborted,
      forMs,
    })
    if (execution.definition.onDeaf === 'exit') this.#o.giveUp(execution, forMs)
  }

  /** An idle worker's next tick is far away: time limits and the fence want it sooner now. */
  #hastenTick(): void {
    if (this.#tickMs > HANDLER_CHECK_MS) this.#tick()
  }

  // ── the lifeline's news ──────────────────────────────────────────────────────────────────────────────────────────────────

  /** How it goes, while it may claim. The life of one that leaves, by a stop or because its run has ended, only goes on from there. */
  #feel(state: 'ready' | 'degraded', reason: string): void {
    if (!this.#draining && !this.#runEnded) this.#o.enter(state, reason)
  }

  #onLifeline(message: FromLifeline): void {
    const { bus } = this.#o
    switch (message.type) {
      case 'registered':
        this.#registered(message)
        break
      case 'health':
        bus.emit('health.listening', { host: message.host, port: message.port })
        break
      case 'renewed':
        this.#reconcile(message.sentMonotonicMs, message.answer)
        break
      case 'neighbours_gone':
        void this.#takeOver()
        break
      case 'recovered':
        // One that held nothing leaves no job behind, and one that left more than a sweep takes was found gone by an earlier one.
        if (message.jobs.length > 0)
          bus.emit('jobs.recovered', {
            jobIds: message.jobs.map((job) => job.job),
            layer: message.layer,
            workerIds: message.workers,
          })
        if (message.workers.length > 0)
          bus.emit('worker.offline', { workerIds: message.workers, layer: message.layer })
        for (const { job, code } of message.jobs)
          if (code === 'poison') bus.emit('job.poisoned', { jobId: job })
        this.wake()
        break
      case 'connection':
        if (message.up) {
          this.#pickUp.listen = message.listening
          this.#outbox.hasten()
          if (this.#live) this.#feel('ready', 'connected again')
          if (!message.listening && this.#o.settings.listen) {
            bus.emit('listen.degraded', {
              reason: 'a pooler stands between; looking for work by polling',
            })
          }
          this.wake()
        } else if (!this.#draining) {
          if (this.workerId !== null) this.#feel('degraded', message.error ?? 'no connection')
          bus.emit('worker.degraded', { reason: message.error ?? 'no connection' })
        }
        break
      case 'failed_over':
        void this.#outbox.redeliverAll().then(() => this.#lifeline.send({ type: 'redelivered' }))
        break
      case 'renewal_failed':
        bus.emit('lease.renewal_failed', {
          error: message.error,
          trustedForMs: message.trustedForMs,
        })
        break
      case 'over':
        this.#over(message.message, message.evicted)
        break
      case 'outage':
        for (const execution of this.executions.values()) {
          if (!this.#goesOn(execution.definition))
            execution.abort('lease_lost', 'the database is down')
        }
        break
      case 'event_loop_blocked':
        bus.emit('event_loop.blocked', {
          forMs: message.forMs,
          jobIds: this.#blockers(message.forMs).map((execution) => execution.job.id),
          types: [...new Set(this.#blockers(message.forMs).map((execution) => execution.job.type))],
        })
        break
      case 'stood_still':
        bus.emit('worker.stood_still', { forMs: message.forMs })
        break
      case 'stuck':
        this.#stuck = message.part !== null || (this.#stuck && this.#draining)
        if (message.part !== null) {
          this.#feel('degraded', `stuck: ${message.part}`)
          bus.emit('worker.stuck', { part: message.part, forMs: message.forMs })
        } else if (this.#live) {
          this.#feel('ready', 'no longer stuck')
        }
        break
      case 'sweep_failed':
        bus.emit('sweep.failed', { part: message.part, error: message.error })
        break
      case 'alert':
        this.#announceAlert(message)
        break
      case 'refused':
        // An incarnation after the first, for a run that ended meanwhile.
        if (this.workerId !== null && this.#o.options.run !== undefined)
          this.#judge.touch(this.#o.options.run)
        this.#ready.reject(errorOf(message.error))
        if (this.workerId !== null) {
          const { message: reason, hint } = message.error
          bus.emit('worker.degraded', {
            reason: hint === undefined ? reason : `${reason}. ${hint}`,
          })
        }
        break
      case 'ended':
        break
    }
  }

  /** By whoever swept, on behalf of all: the worker that it is about may be gone. */
  #announceAlert({ kind, alert }: Extract<FromLifeline, { type: 'alert' }>): void {
    const { bus } = this.#o
    const { id: alertId, rule, subject, message, data } = alert
    const fields = { alertId, rule, subject, message, data }
    if (kind === 'alert.raised') bus.emit('alert.raised', fields)
    else bus.emit('alert.resolved', fields)
    if (kind === 'alert.raised' && rule === 'no_worker_for_type') {
      const { type, queue, jobIds } = data as { type: string; queue: string; jobIds: string[] }
      bus.emit('no_worker_for_type', { type, queue, jobIds })
    }
  }

  #registered(message: Extract<FromLifeline, { type: 'registered' }>): void {
    const { bus, settings, queues } = this.#o
    this.workerId = message.id
    this.incarnation = message.incarnation
    this.#pickUp.listen = message.listening
    this.#closeClaim()
    this.#live = true
    this.#bounds.registered(elapsedMs())
    this.#feel('ready', 'registered')
    bus.emit('worker.started', {
      workerId: message.id,
      queues,
      types: this.#types,
      concurrency: settings.concurrency,
      listening: message.listening,
    })
    this.#ready.resolve()
    this.wake()
  }

  /** This incarnation is over: another owns its jobs, or soon will. When every handler has settled a fresh one begins, if one may. */
  #over(message: string, evicted: boolean): void {
    this.#live = false
    this.#evicted = evicted
    this.#feel('degraded', message)
    this.#forgetAhead()
    this.#abortAll('lease_lost', message)
    if (this.executions.size === 0) this.#goOn()
  }

  #goOn(): void {
    if (this.#evicted) this.#o.evicted()
    else this.#lifeline.send({ type: 'reincarnate' })
  }

  /** @param sentMs When the renewal was sent, as a `monotonicMs` reading. */
  #reconcile(sentMs: number, answer: Renewed): void {
    const held = new Set(answer.held.map((attempt) => attempt.token))
    for (const execution of this.executions.values()) {
      if (execution.knownSinceMs < sentMs && !held.has(execution.job.token)) {
        execution.abort('lease_lost', 'the database has given the job to somebody else')
      }
    }
    for (const [token, { claimedMs }] of this.#ahead) {
      if (claimedMs < sentMs && !held.has(token)) this.#ahead.delete(token)
    }
    const claimWasUnderWay = this.#claiming || this.#lastClaimMs >= sentMs
    // Its answer was lost and nobody asks again, as nothing may be claimed now: what it gave goes back, and its id must not ask for it.
    if (!claimWasUnderWay) this.#closeClaim()
    for (const attempt of answer.held) {
      const execution = this.executions.get(attempt.token)
      const ahead = this.#ahead.get(attempt.token)
      if (execution !== undefined) {
        if (attempt.cancel) execution.abort('cancelled', 'cancel was asked')
      } else if (ahead !== undefined) {
        if (attempt.cancel) {
          this.#ahead.delete(attempt.token)
          this.#giveBack(ahead.job)
        }
      } else if (
        !this.#outbox.redeliver(attempt.token) &&
        !this.#outbox.knows(attempt.token) &&
        this.#charge === 'interrupted' &&
        !claimWasUnderWay
      ) {
        this.#outbox.add({
          jobId: attempt.job,
          token: attempt.token,
          outcome: 'released',
          value: JSON.stringify({
            code: 'claim_lost',
            message: 'its worker never learned of this claim',
          }),
          delayMs: null,
        })
      }
    }
    // An operator's drain is the database's to refuse claims by; when it is undone, there may be work.
    if (this.#drained && !answer.drain) this.wake()
    this.#drained = answer.drain
  }

  // ── shutdown ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** A second order to stop: of the two the earlier end holds, and one without grace cuts whatever is under way. */
  join(options: StopOptions): void {
    const shutdown = this.#shutdown
    if (shutdown === null) return
    shutdown.onReleased = options.onReleased ?? shutdown.onReleased
    const { facts } = shutdown.record
    // An error that nobody caught, or a part that is stuck, while it drained in peace.
    const crashed = options.charge !== undefined && options.charge !== 'interrupted'
    if (crashed) this.#charge = options.charge
    shutdown.record.facts = {
      ...facts,
      crashed: facts.crashed || crashed,
      signal: facts.signal ?? options.signal ?? null,
      exitCode: options.exitCode ?? facts.exitCode,
    }
    const graceMs = options.graceMs ?? this.#o.settings.shutdownGraceMs
    this.#order(shutdown, graceMs)
    if (graceMs <= 0) {
      shutdown.cut.abort()
      this.#hurry.abort()
    }
  }

  /** Handlers may go on for so long from now, and the whole for as long beyond that as the settings allow. */
  #order(shutdown: Shutdown, graceMs: number): void {
    const { shutdownGraceMs, hardExitMs } = this.#o.settings
    const nowMs = elapsedMs()
    if (nowMs + graceMs < shutdown.graceEndsMs) {
      shutdown.graceEndsMs = nowMs + graceMs
      this.#deadline = new Date(Date.now() + graceMs)
      shutdown.graceChanged.abort()
      shutdown.graceChanged = new AbortController()
    }
    const wholeMs = Math.max(hardExitMs, graceMs + hardExitMs - shutdownGraceMs)
    shutdown.hardExitAtMs = Math.min(shutdown.hardExitAtMs, nowMs + wholeMs)
    const { reason, signal } = shutdown.record.facts
    this.#lifeline.send({
      type: 'stopping',
      charge: this.#charge,
      reason,
      signal,
      hardExitAtMs: Number.isFinite(shutdown.hardExitAtMs) ? shutdown.hardExitAtMs : null,
    })
  }

  #newShutdown(options: StopOptions): Shutdown {
    const facts = {
      reason: options.reason ?? 'stop',
      signal: options.signal ?? null,
      exitCode: options.exitCode ?? null,
      crashed: this.#charge !== 'interrupted',
    }
    const cut = new AbortController()
    const shutdown: Shutdown = {
      record: new ShutdownRecord(facts, {
        begins: (phase) => {
          this.#numbers.phase = phase
        },
        ended: (phase, durationMs) => this.#o.bus.emit('worker.phase', { phase, durationMs }),
      }),
      cut,
      limits: {
        worker: this.#o.worker,
        leftMs: () => {
          const endsMs = Math.min(shutdown.hardExitAtMs - LAST_ACTS_MS, shutdown.deafEndsMs)
          return cut.signal.aborted ? 0 : Math.max(0, endsMs - elapsedMs())
        },
        cut: cut.signal,
      },
      graceChanged: new AbortController(),
      graceEndsMs: Infinity,
      hardExitAtMs: Infinity,
      deafEndsMs: Infinity,
      onReleased: options.onReleased,
    }
    return shutdown
  }

  async stop(options: StopOptions): Promise<ShutdownReport> {
    const { bus, enter, settings, sessions } = this.#o
    const graceMs = options.graceMs ?? settings.shutdownGraceMs
    this.#draining = true
    this.#numbers.write('draining', 1)
    this.#charge = options.charge ?? 'interrupted'
    const shutdown = this.#newShutdown(options)
    this.#shutdown = shutdown
    const { record, limits } = shutdown
    const { reason } = record.facts
    if (this.#nextPoll !== null) clearTimeout(this.#nextPoll)
    if (this.#nextWide !== null) clearTimeout(this.#nextWide)
    this.#ready.reject(new StateRefusedError('the worker was stopped before it was ready.'))
    enter('draining', reason)
    bus.emit('worker.draining', {
      workerId: this.workerId ?? '',
      reason,
      running: this.executions.size,
      graceMs: Number.isFinite(graceMs) ? graceMs : null,
    })
    this.#order(shutdown, graceMs)
    record.released = [...this.#ahead.values()].map(({ job }) => job.id)
    this.#giveBackAhead()
    sessions.tell({ reason, deadline: this.#deadline }, limits)
    const running = [...this.executions.values()]
    await this.#runHooks('before-drain', shutdown)
    await record.phase('draining', () => this.#drain(running, shutdown))

    enter('stopping', reason)
    // Handlers had all the time that they wanted; the rest does not.
    if (shutdown.hardExitAtMs === Infinity) this.#order(shutdown, 0)
    if (this.executions.size > 0)
      await record.phase('aborting', () => this.#abort(shutdown, graceMs))
    const { interrupted, ended } = groupByEnd(running)
    record.finished = idsOf(ended)
    record.interrupted = idsOf(interrupted)
    await this.#runHooks('after-drain', shutdown)
    const closed = sessions.end({ reason, deadline: this.#deadline }, limits)
    record.sessions = await (sessions.names.length === 0
      ? closed
      : record.phase('sessions', () => closed))
    await this.#runHooks('before-close', shutdown)
    await record.phase('flushing', () => this.#flush(shutdown))
    await record.phase('offline', () => this.#goOffline(shutdown))
    await this.#runHooks('after-offline', shutdown)
    this.#stopTimers()
    await record.phase('closing', async () => {
      // Together: a call of the outbox that nobody answers ends with its connection.
      await Promise.all([
        this.#outbox.close(),
        this.#pickUp.close(),
        this.db.close(),
        this.#retention.close(),
      ])
      // Last, as it answers for our health to the end.
      await this.#lifeline.terminate()
    })
    enter('stopped', reason)
    return this.#reportStop(record)
  }

  async #drain(running: readonly Execution[], shutdown: Shutdown): Promise<void> {
    const left = Promise.all(running.map((execution) => execution.left()))
    const over = new AbortController()
    void left.then(() => over.abort())
    // The time that is left may be cut short meanwhile.
    while (running.some((execution) => this.executions.has(execution.job.token))) {
      const waitMs = Math.min(shutdown.graceEndsMs - elapsedMs(), TIMER_MS_MAX)
      if (waitMs <= 0 || shutdown.cut.signal.aborted) break
      await sleep(waitMs, AbortSignal.any([over.signal, shutdown.graceChanged.signal]))
    }
  }

  async #abort(shutdown: Shutdown, graceMs: number): Promise<void> {
    const startedMs = elapsedMs()
    const { reason } = shutdown.record.facts
    this.#abortAll('shutdown', `the worker stops: ${reason}`)
    const hurried = graceMs === 0 || shutdown.cut.signal.aborted
    const settleMs = hurried ? HURRIED_SETTLE_MS : ABORT_SETTLE_MS
    await this.settledWithin([...this.executions.values()], settleMs)
    for (const execution of this.executions.values()) {
      // Time is up: what is left goes back soon, and the process is expected to end.
      shutdown.deafEndsMs = elapsedMs() + DEAF_STEPS_MS
      shutdown.record.cut = true
      this.#o.bus.emit('job.unresponsive', {
        jobId: execution.job.id,
        type: execution.job.type,
        attempt: execution.job.attempt,
        reason: 'shutdown',
        forMs: Math.round(elapsedMs() - startedMs),
      })
    }
  }

  async #runHooks(phase: HookPhase, { record, limits }: Shutdown): Promise<void> {
    if (!this.#o.hooks.has(phase)) return
    await record.phase(phase, async () => {
      record.hooks.push(...(await this.#o.hooks.run(phase, limits)))
    })
  }

  async #flush({ record, limits }: Shutdown): Promise<void> {
    await this.#claimCut()
    const leftMs = this.executions.size > 0 ? 0 : limits.leftMs()
    await this.#outbox.flushed(this.#stuck ? STUCK_FLUSH_MS : Math.max(200, leftMs))
    if (this.#outbox.depth > 0) record.cut = true
    await atMost(this.#judge.settled(), LAST_JUDGEMENT_MS_MAX)
    this.#judge.close()
  }

  /** The worker's last statement; with handlers that are deaf, the last thing that happens in this process. */
  async #goOffline(shutdown: Shutdown): Promise<void> {
    const { bus } = this.#o
    const { record, limits, onReleased } = shutdown
    const { reason } = record.facts
    const left = idsOf([...this.executions.values()])
    record.released.push(...left)
    const code =
      this.#charge === 'interrupted' ? 'shutdown' : this.#stuck ? 'worker_stuck' : 'uncaught_error'
    const { released, error } = await this.#lifeline.end(
      this.#charge,
      { code, message: reason, shutdown: record.stored(this.workerId ?? '') },
      Math.max(500, limits.leftMs()),
      left.length === 0 || onReleased === undefined
        ? undefined
        : () => {
            this.#reportStop(record)
            onReleased()
          },
    )
    record.released = [...new Set([...record.released, ...released])]
    record.error = error
    if (released.length > 0) bus.emit('jobs.released', { jobIds: released, reason })
    if (error !== null)
      bus.emit('lease.renewal_failed', { error: `not marked offline: ${error}`, trustedForMs: 0 })
    // Connections that are stuck would be waited for, too.
    if (this.#stuck && onReleased !== undefined) {
      this.#reportStop(record)
      onReleased()
    }
  }

  #reportStop(record: ShutdownRecord): ShutdownReport {
    const report = record.report(this.workerId ?? '')
    const { workerId, reason, durationMs, released } = report
    this.#o.bus.emit('worker.stopped', {
      workerId,
      reason,
      durationMs,
      released: released.length,
      report,
    })
    return report
  }

  /** Waits until these have settled, or for so long. */
  async settledWithin(executions: readonly Execution[], limitMs: number): Promise<void> {
    await atMost(Promise.all(executions.map((execution) => execution.left())), limitMs)
  }

  /** A claim under way may still bring jobs, which go straight back; an answer that does not come is left to the last statement. */
  async #claimCut(): Promise<void> {
    this.#hurry.abort()
    await atMost(this.#claimSettled, 500)
  }

  #stopTimers(): void {
    if (this.#nextPoll !== null) clearTimeout(this.#nextPoll)
    if (this.#nextWide !== null) clearTimeout(this.#nextWide)
    if (this.#nextWatch !== null) clearTimeout(this.#nextWatch)
    if (this.#ticker !== null) clearTimeout(this.#ticker)
    this.#nextPoll = null
    this.#nextWide = null
    this.#nextWatch = null
    this.#ticker = null
  }
}

/** Without those that have not ended, and those whose end is not theirs to say any more. */
function groupByEnd(
  executions: readonly Execution[],
): Record<'interrupted' | 'ended', Execution[]> {
  const said = executions.filter(({ outcome }) => outcome !== null)
  return {
    interrupted: said.filter(({ outcome }) => outcome === 'interrupted'),
    ended: said.filter(({ outcome }) => outcome !== 'interrupted'),
  }
}

function idsOf(executions: readonly Execution[]): string[] {
  return executions.map((execution) => execution.job.id)
}

/** What the database answered when it first took this outcome, as far as the outcome tells. */
function acceptedAs(outcome: Outcome): string {
  return outcome === 'failed_finally' ? 'failed' : outcome
}

/** What the database made of an outcome, for the count. */
function settledAs(answer: string, outcome: Outcome): SettledSlot {
  switch (answer) {
    case 'adopted':
      return 'completed'
    case 'lease_lost':
      return 'late'
    case 'completed':
    case 'failed':
    case 'retrying':
    case 'cancelled':
      return answer
    default:
      // Accepted before, or held: what the attempt itself ended as.
      return outcome === 'failed_finally' ? 'failed' : outcome
  }
}

function deferred(): {
  promise: Promise<void>
  resolve: () => void
  reject: (error: Error) => void
} {
  let resolve: () => void = () => undefined
  let reject: (error: Error) => void = () => undefined
  const promise = new Promise<void>((onResolve, onReject) => {
    resolve = onResolve
    reject = onReject
  })
  promise.catch(() => undefined)
  return { promise, resolve, reject }
}

/** Makes a worker; `start` begins. */
export function createWorker(options: WorkerOptions): Worker {
  if (typeof options !== 'object' || options === null)
    throw new UsageError('createWorker needs at least `databaseUrl` and `jobs`.')
  return new JobWorker(options)
}
