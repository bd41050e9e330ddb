/**
 * A worker: claims jobs, runs their handlers, settles what they end as.
 *
 *     starting → ready ⇄ degraded → draining → stopping → stopped
 *         └──────────┴──────────────────────────────────▶ failed
 *
 * `degraded`: the reserved connection is gone or the incarnation has ended, and nothing is claimed until it is well again; or claims
 * or event loop are stuck. Everything that decides who owns a job is in the database; here are three loops that only ask it: pick-up
 * (a hint, a free slot, or the poll underneath), settling (outbox) and reconciling with what each renewal says the database holds
 * for us.
 *
 * What a renewal answers is compared by token, and only with what was known when it was sent: an attempt that the answer lacks is
 * aborted as lease_lost; a token that nobody here knows is given back, unless a claim was under way meanwhile.
 */
import { randomUUID } from 'node:crypto'
import { hostname } from 'node:os'
import type { AnyJobDefinition } from '../client/define-job.ts'
import { atMost, elapsedMs, sleep } from '../clock.ts'
import { fenceMarginMs, resolveSettings, type WorkerSettings } from '../config.ts'
import {
  classifyFailure,
  type Database,
  openDatabase,
  parseDatabaseUrl,
  wentUnanswered,
} from '../db/connect.ts'
import { ensureSchema } from '../db/migrate.ts'
import type { AbortReason, RunStatus } from '../domain/states.ts'
import { formatTarget } from '../domain/target.ts'
import { UsageError } from '../errors.ts'
import {
  claim,
  type Claimed,
  type ClaimedJob,
  type EndCharge,
  type LeaseLostAnswer,
  type Renewed,
} from '../sql/protocol.ts'
import { PROGRAM_VERSION } from '../version.ts'
import { Execution, type ExecutionHost } from './execution.ts'
import { endProcess } from './end-process.ts'
import { errorOf } from './error-of.ts'
import { FencedWrites } from './fenced-writes.ts'
import { ownMachineId } from './identity.ts'
import { LaneMarks } from './lane-marks.ts'
import { Lifeline } from './lifeline.ts'
import type { FromLifeline } from './lifeline-messages.ts'
import { Outbox } from './outbox.ts'
import { PickUpConnection } from './pick-up-connection.ts'
import { RunJudge } from './run-judge.ts'
import { Spool, spoolDirectory } from './spool.ts'
import {
  type Logger,
  WorkerEventBus,
  type WorkerEventName,
  type WorkerEvents,
} from './worker-events.ts'

export type WorkerState =
  'starting' | 'ready' | 'degraded' | 'draining' | 'stopping' | 'stopped' | 'failed'

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
  /** Name of what this process is, as shown in the registry. Default `worker`. */
  readonly kind?: string
  /** Id of the run whose jobs alone it takes. It stops by itself once that has ended. */
  readonly run?: string
  /** What then becomes of the jobs that it runs: it lets them `finish`, or aborts and gives them back. Default `finish`. */
  readonly onRunEnd?: 'finish' | 'release'
}

export interface StopOptions {
  /** How long handlers may go on. Default the worker's `shutdownGraceMs`; 0 aborts them at once. */
  readonly graceMs?: number
  /** For people, kept with the worker. Default `stop`. */
  readonly reason?: string
  readonly charge?: EndCharge
  /**
   * Called in the moment when jobs were released whose handlers still run, because they ignored their signal: the process must
   * end now, or they run beside their successors. Also when the worker is stuck, as what follows could hang.
   */
  readonly onReleased?: () => void
}

export interface StateChange {
  readonly state: WorkerState
  readonly at: Date
  readonly reason: string
}

type ShutdownHook = { name: string; run: () => Promise<void> | void; timeoutMs: number }

/** How long aborted handlers have to settle before what they hold is released in the last statement. */
const ABORT_SETTLE_MS = 150
const HURRIED_SETTLE_MS = 40
/** Outcomes of a worker whose calls are not answered may be stuck as well. */
const STUCK_FLUSH_MS = 1_000
const HOOK_TIMEOUT_MS = 5_000
const TICK_BUSY_MS = 50
const TICK_IDLE_MS = 500
/** A handler that ran for less can't have blocked the event loop for as long as is reported. */
const LOOP_BLOCKED_MS = 1_000
const CLAIM_BATCH_MAX = 500
/**
 * A claim that is not answered for so long, or for half a renewal interval, is asked again, on another connection: one that died in
 * silence is replaced long before the worker counts as stuck.
 */
const CLAIM_LIMIT_MS_MIN = 2_000
/** Not at once after a hint: the job that it tells of is just being waited for. */
const WATCH_AFTER_MS = 50
/**
 * Jobs that end within milliseconds are claimed ahead of free slots, as many as will be started within this time: a round trip for
 * every ten of them would be most of their cost. What has not started after `AHEAD_MS_MAX` all the same goes back, not charged.
 */
const AHEAD_MS = 10
const AHEAD_MAX = 300
const AHEAD_MS_MAX = 250
/** A job that takes longer is not claimed ahead. */
const SHORT_JOB_MS = 5
/** How often to look for outcomes that dead processes have left on this disk: one look at a directory that seldom exists. */
const SPOOL_LOOK_MS = 1_000
/** Claims wait so long for outcomes that are being taken over: jobs whose work is done should not be run again, nor others starve. */
const TAKE_OVER_MS_MAX = 5_000
/** An attempt's last progress and log lines go before its outcome, but don't keep it from being safe for longer than this. */
const LAST_REPORTS_MS_MAX = 1_000
/** A stop ends the run whose last job it ended; the sweep would, but this may have been the last worker. */
const LAST_JUDGEMENT_MS_MAX = 500

export class Worker implements AsyncDisposable {
  readonly settings: WorkerSettings
  readonly namespace: string
  readonly #options: WorkerOptions
  readonly #definitions = new Map<string, AnyJobDefinition>()
  readonly #queues: readonly string[]
  readonly #bus: WorkerEventBus
  readonly #history: StateChange[] = []
  readonly #hooks: ShutdownHook[] = []
  /** Set before `start` by whoever guards a process that is the worker's own: it may be ended when it is stuck. */
  mayEndProcess = false
  /** How it stops when its run has ended. Set by whoever guards a process that then ends too. */
  stopAfterRun: (options: StopOptions) => Promise<void> = (options) => this.stop(options)
  #run: Running | null = null
  #stopping: Promise<void> | null = null

  constructor(options: WorkerOptions) {
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
      ...settings
    } = options
    parseDatabaseUrl(databaseUrl)
    this.settings = resolveSettings(settings)
    if (jobs.length === 0) throw new UsageError('a worker needs at least one job definition.')
    for (const job of jobs) {
      if (this.#definitions.has(job.type))
        throw new UsageError(`two definitions of type "${job.type}" were given.`)
      this.#definitions.set(job.type, job)
    }
    this.#options = options
    this.namespace = namespace ?? 'default'
    this.#queues = queues ?? [...new Set(jobs.map((job) => job.queue))]
    this.#bus = new WorkerEventBus(logger)
    this.#enter('stopped', 'not started')
    this.#history.length = 0
  }

  #state: WorkerState = 'stopped'

  get state(): WorkerState {
    return this.#state
  }

  get history(): readonly StateChange[] {
    return this.#history
  }

  /** `<host>-<pid>-<uuid>` of the present incarnation, or null before it has registered. */
  get id(): string | null {
    return this.#run?.workerId ?? null
  }

  get incarnation(): string | null {
    return this.#run?.incarnation ?? null
  }

  /** Ids of the jobs whose handlers run here now. */
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

  /** Called during shutdown, after the handlers and before the worker is marked offline, in the order of registration. */
  onShutdown(
    name: string,
    run: () => Promise<void> | void,
    options: { timeoutMs?: number } = {},
  ): void {
    this.#hooks.push({ name, run, timeoutMs: options.timeoutMs ?? HOOK_TIMEOUT_MS })
  }

  /** Registers and begins to take jobs. Resolves once it is ready. May be called again after `stop`. */
  async start(): Promise<void> {
    if (this.#run !== null || this.#state === 'starting')
      throw new UsageError(`the worker is ${this.#state}; stop it before starting it again.`)
    this.#enter('starting', 'start')
    const { databaseUrl, schema } = this.#options
    let run: Running | null = null
    try {
      // First: the lifeline registers as soon as it is there.
      await ensureSchema({ databaseUrl, ...(schema === undefined ? {} : { schema }) })
      run = new Running({
        options: this.#options,
        settings: this.settings,
        namespace: this.namespace,
        queues: this.#queues,
        definitions: this.#definitions,
        bus: this.#bus,
        enter: (state, reason) => this.#enter(state, reason),
        mayEndProcess: this.mayEndProcess,
        runIsOver: (stop) => {
          // It may have been stopped, and started anew, while its last handlers finished.
          if (this.#run === run) void this.stopAfterRun(stop)
        },
        giveUp: (execution, deafForMs) => {
          const error = new Error(`${execution.job.type} ignored its signal for ${deafForMs} ms`)
          void this.blame(execution, error, () => endProcess(1)).then(() => endProcess(1))
        },
      })
      this.#run = run
      await run.start()
    } catch (error) {
      this.#run = null
      await run?.abandon()
      this.#enter('failed', (error as Error).message)
      throw error
    }
  }

  /**
   * Stops gracefully, in phases: no more claims; handlers may go on for the grace; then they are aborted; what they still hold goes
   * back; hooks run; outcomes are flushed; the worker is marked offline. Idempotent, resolves when nothing of ours is left.
   */
  stop(options: StopOptions = {}): Promise<void> {
    if (this.#run === null) return this.#stopping ?? Promise.resolve()
    if (this.#stopping !== null) {
      if (options.graceMs !== undefined) this.#run.hurry(options.graceMs)
      return this.#stopping
    }
    const run = this.#run
    this.#stopping = run.stop(options, this.#hooks).finally(() => {
      this.#run = null
      this.#stopping = null
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
    onReleased?: () => void,
  ): Promise<void> {
    const own =
      execution !== undefined && this.#run?.executions.get(execution.job.token) === execution
    if (own) {
      execution.blame(error)
      await this.#run?.settledWithin([execution], 1_000)
    }
    await this.stop({
      graceMs: 0,
      reason: `uncaught error: ${error.message}`,
      charge: own ? 'released' : 'lost',
      ...(onReleased === undefined ? {} : { onReleased }),
    })
  }

  /** Says that a shutdown was cut because something hung. */
  reportTimeout(afterMs: number): void {
    this.#bus.emit('shutdown.timeout', { phase: this.#state, afterMs })
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop()
  }

  #enter(state: WorkerState, reason: string): void {
    if (state === this.#state && this.#history.length > 0) return
    this.#state = state
    this.#history.push({ state, at: new Date(), reason })
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
  readonly mayEndProcess: boolean
  /** The run that it is aimed at has ended, and nothing of it is left here that should not be released. */
  readonly runIsOver: (stop: StopOptions) => void
  /** A handler that ignores its signal has to be ended, and only the end of the process can. */
  readonly giveUp: (execution: Execution, deafForMs: number) => void
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
  readonly #pickUp: PickUpConnection
  readonly #judge: RunJudge
  readonly #types: readonly string[]
  readonly #machineId: string
  readonly #marginMs: number
  readonly #onOutage: 'continue' | 'abort'
  readonly #ready = deferred()
  /** False while an incarnation is over and the next has not registered. */
  #live = false
  #draining = false
  /** The run that it is aimed at has ended: nothing more is claimed. */
  #runEnded = false
  #claiming = false
  #wanted = false
  #alone = false
  /** An operator has drained this worker: it takes nothing new and goes on renewing. */
  #drained = false
  /** When the last claim that may have taken something was sent or answered. */
  #lastClaimMs = -Infinity
  #openClaim: string | null = null
  #nextPoll: NodeJS.Timeout | null = null
  #nextWide: NodeJS.Timeout | null = null
  #nextWatch: NodeJS.Timeout | null = null
  readonly #marks = new LaneMarks()
  #ticker: NodeJS.Timeout | null = null
  #hurry = new AbortController()
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
  /** Claimed ahead, by token, in the order in which they start. */
  readonly #ahead = new Map<string, { job: ClaimedJob; claimedMs: number }>()
  /** A handler that blocks the event loop has mostly ended by the time that anybody can say so. */
  #justEnded: readonly { execution: Execution; endedMs: number }[] = []
  /** Running mean of how long jobs take here. */
  #meanMs = Infinity

  constructor(options: RunningOptions) {
    this.#o = options
    this.#marginMs = fenceMarginMs(options.settings.leaseMs)
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
          this.#lifeline.send({ type: 'watch' })
        }, WATCH_AFTER_MS)
      },
      runEnded: (runId) => {
        if (runId === options.options.run) this.#judge.touch(runId)
      },
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
      depthChanged: (depth) => this.#lifeline.write('spoolDepth', depth),
    })
    this.#lifeline = new Lifeline(
      {
        connect,
        namespace: options.namespace,
        settings: options.settings,
        onOutage: [...options.definitions.values()].some((job) => this.#goesOn(job))
          ? 'continue'
          : 'abort',
        mayEndProcess: options.mayEndProcess,
        identity: {
          machineId: this.#machineId,
          hostname: hostname(),
          pid: process.pid,
          bootId: null,
          pidNamespace: null,
          processStarted: null,
          parentPid: process.ppid,
          kind: options.options.kind ?? 'worker',
          version: PROGRAM_VERSION,
          command: process.argv.slice(1, 4).join(' '),
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
  }

  async start(): Promise<void> {
    void this.#takeOver()
    this.#tick()
    await this.#ready.promise
  }

  /** Takes everything down that a failed start has opened. */
  async abandon(): Promise<void> {
    this.#stopTimers()
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
      this.#claimSettled = this.#claimLoop().finally(() => {
        this.#claiming = false
        this.#lifeline.write('claimTurn', 0)
      })
    }
  }

  #mayClaim(): boolean {
    return (
      this.#live &&
      !this.#draining &&
      !this.#runEnded &&
      !this.#claimsWait &&
      this.#lifeline.read('connected') === 1 &&
      this.#lifeline.read('fenced') === 0 &&
      this.#wants() > 0
    )
  }

  /** How many jobs to ask for now: the free slots, and ahead of them what short jobs will need at once. */
  #wants(): number {
    const { concurrency } = this.#o.settings
    const free = concurrency - this.executions.size
    const ahead =
      this.#meanMs < SHORT_JOB_MS
        ? Math.min(AHEAD_MAX, Math.floor((concurrency * AHEAD_MS) / Math.max(this.#meanMs, 0.1)))
        : 0
    const wants = Math.min(CLAIM_BATCH_MAX, free + ahead - this.#ahead.size)
    return this.#ahead.size > ahead / 2 ? 0 : wants
  }

  async #claimLoop(): Promise<void> {
    let pauseMs = 100
    // A turn of the event loop lets all that ends together free its slots first.
    if (this.executions.size > 0) await new Promise((resolve) => setImmediate(resolve))
    while (this.#wanted && this.#mayClaim()) {
      this.#wanted = false
      const want = this.#wants()
      this.#lifeline.write('claimTurn', this.#claimTurn)
      try {
        const answer = await this.#claim(want)
        pauseMs = 100
        this.#claimTurn += 1
        if (answer.outcome === 'lease_lost') {
          this.#lifeline.send({ type: 'renew' })
          return
        }
        this.#alone = answer.alone
        this.#drained = answer.drain
        if (answer.run !== null) this.#hearOfRun(answer.run)
        if (answer.running) this.#lifeline.send({ type: 'watch' })
        // More may wait when everything that was asked for came; otherwise a hint, the next due job or the poll tells.
        if (answer.jobs.length === want && want > 0) this.#wanted = true
        this.#schedulePoll(answer.nextDueMs)
      } catch (error) {
        if (!wentUnanswered(error)) this.#claimTurn += 1
        if (classifyFailure(error) !== 'unknown') {
          this.#o.bus.emit('worker.degraded', { reason: (error as Error).message })
          pauseMs = 5_000
        }
        this.#wanted = true
        await sleep(pauseMs * (0.75 + Math.random() / 2), this.#hurry.signal)
        pauseMs = Math.min(pauseMs * 2, this.#o.settings.leaseMs / 6)
      }
    }
  }

  async #claim(want: number): Promise<Claimed | LeaseLostAnswer> {
    const incarnation = this.incarnation ?? ''
    // An id whose answer was lost is asked again, and gets the same attempts.
    this.#openClaim ??= randomUUID()
    const sentMs = elapsedMs()
    this.#lastClaimMs = Infinity
    this.#lifeline.add('claiming', 1)
    try {
      const marks = this.#marks.next(sentMs)
      const answer = await claim(this.#pickUp, {
        incarnation,
        claim: this.#openClaim,
        want,
        queues: this.#o.queues,
        types: this.#types,
        marks,
        runId: this.#o.options.run ?? null,
        targets: this.#targets(),
        limitMs: Math.max(CLAIM_LIMIT_MS_MIN, this.#o.settings.renewMs / 2),
      })
      this.#openClaim = null
      if (answer.outcome === 'claimed') {
        if (answer.marks !== null)
          this.#marks.saw(marks, answer.marks, { sentMs, nowMs: elapsedMs() })
        // What was committed late stands below the near marks, and nobody may tell of it again.
        if (marks.reach === 'near' && answer.jobs.length < want)
          this.#lookWideIn(this.#marks.wideInMs(elapsedMs()))
        if (incarnation === this.incarnation) this.#lifeline.proved(sentMs)
        const claimedMs = elapsedMs()
        for (const job of answer.jobs) this.#begin(job, incarnation, claimedMs)
      }
      return answer
    } finally {
      this.#lastClaimMs = elapsedMs()
      this.#lifeline.add('claiming', -1)
    }
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
    const beatMs = this.executions.size > 0 ? Math.min(renewMs, idleBeatMs) : idleBeatMs
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
    this.#lifeline.write('draining', 1)
    this.#lifeline.send({ type: 'renew' })
    void Promise.all([...this.executions.values()].map((execution) => execution.left)).then(() =>
      this.#o.runIsOver({ reason }),
    )
  }

  // ── running ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

  #begin(job: ClaimedJob, incarnation: string, claimedMs: number): void {
    // A fenced worker starts nothing, and neither does one that is stopping: it gives the claim back.
    if (
      !this.#o.definitions.has(job.type) ||
      !this.#live ||
      this.#draining ||
      this.#runEnded ||
      incarnation !== this.incarnation
    ) {
      this.#giveBack(job)
    } else if (this.executions.size < this.#o.settings.concurrency) {
      this.#startHandler(job, claimedMs)
    } else {
      this.#ahead.set(job.token, { job, claimedMs })
    }
  }

  #giveBack(job: ClaimedJob): void {
    void this.#outbox.add({
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
    this.#ahead.clear()
  }

  #startHandler(job: ClaimedJob, claimedMs: number): void {
    const { bus, definitions } = this.#o
    const execution = new Execution(job, definitions.get(job.type) as AnyJobDefinition, this, {
      knownSinceMs: claimedMs,
      awakeMs: this.#lifeline.read('awakeMs'),
    })
    this.executions.set(job.token, execution)
    this.#lifeline.write('handlers', this.executions.size)
    if (this.executions.size === 1) this.#hastenTick()
    if (bus.heard('job.picked_up')) {
      bus.emit('job.picked_up', {
        jobId: job.id,
        type: job.type,
        queue: job.queue,
        attempt: job.attempt,
      })
    }
    void this.#execute(execution)
  }

  async #execute(execution: Execution): Promise<void> {
    const { job } = execution
    // Not elapsedMs: that reads the time since boot from a file, and this is no fence.
    const startedMs = performance.now()
    let ending = await execution.run()
    // Not ordered from outside: what such an end costs the job is for the worker's last statement to say.
    if (ending?.outcome === 'interrupted' && this.#charge !== 'interrupted') ending = null
    if (this.writes.hasReports(job.token)) await atMost(this.writes.flush(), LAST_REPORTS_MS_MAX)
    const tookMs = performance.now() - startedMs
    this.#meanMs = this.#meanMs === Infinity ? tookMs : 0.9 * this.#meanMs + 0.1 * tookMs
    this.executions.delete(job.token)
    this.#lifeline.write('handlers', this.executions.size)
    execution.leave()
    if (tookMs >= LOOP_BLOCKED_MS)
      this.#justEnded = [...this.#justEnded, { execution, endedMs: elapsedMs() }]
    const answer =
      ending === null ? null : this.#outbox.add({ jobId: job.id, token: job.token, ...ending })
    this.#startNext()
    this.wake()
    if (this.executions.size === 0 && !this.#live) this.#lifeline.send({ type: 'reincarnate' })
    if (ending === null || answer === null) return
    const said = await answer
    if (job.runId !== undefined) this.#judge.touch(job.runId)
    this.#announce(execution, ending, said, tookMs)
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
    const nowMs = elapsedMs()
    const ended = this.#justEnded.map(({ execution }) => execution)
    return [...this.executions.values(), ...ended].filter(
      (execution) => nowMs - execution.knownSinceMs >= forMs - TICK_IDLE_MS,
    )
  }

  #startNext(): void {
    for (const [token, { job, claimedMs }] of this.#ahead) {
      if (this.executions.size >= this.#o.settings.concurrency) return
      this.#ahead.delete(token)
      this.#startHandler(job, claimedMs)
    }
  }

  #announce(
    execution: Execution,
    ending: { outcome: string; value: string | null },
    answer: string,
    tookMs: number,
  ): void {
    const { bus } = this.#o
    const { job } = execution
    const durationMs = Math.round(tookMs)
    const facts = { jobId: job.id, type: job.type, attempt: job.attempt, durationMs }
    if (answer === 'lease_lost') {
      bus.emit('lease.lost', {
        jobIds: [job.id],
        code: 'late_result',
        message: `its ${ending.outcome} came too late and is kept with the attempt`,
      })
    } else if (
      answer === 'completed' ||
      answer === 'adopted' ||
      (answer === 'accepted before' && ending.outcome === 'completed')
    ) {
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
        retrying: answer === 'retrying',
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
    if (this.#lifeline.read('outage') === 1) {
      if (!this.#goesOn(execution.definition)) execution.abort('lease_lost', 'the database is down')
      return
    }
    this.#abortAll('lease_lost', 'the lease could not be renewed in time')
  }

  #trusted(): boolean {
    return (
      this.#lifeline.read('fenced') === 0 &&
      elapsedMs() < this.#lifeline.read('proofSentMs') + this.#o.settings.leaseMs - this.#marginMs
    )
  }

  awakeMs(): number {
    return this.#lifeline.read('awakeMs')
  }

  costReported(runId: string): void {
    this.#judge.touch(runId)
  }

  shutdownDeadline(): Date | null {
    return this.#deadline
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
    this.#lifeline.write('mainBeatMs', nowMs)
    const [oldest] = this.#ahead.values()
    if (oldest !== undefined && nowMs - oldest.claimedMs > AHEAD_MS_MAX) {
      this.#meanMs = Infinity
      this.#giveBackAhead()
    }
    const awakeMs = this.#lifeline.read('awakeMs')
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
    this.#tickMs = this.executions.size > 0 ? TICK_BUSY_MS : TICK_IDLE_MS
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
    if (this.#tickMs > TICK_BUSY_MS) this.#tick()
  }

  // ── the lifeline's news ──────────────────────────────────────────────────────────────────────────────────────────────────

  #onLifeline(message: FromLifeline): void {
    const { bus, enter } = this.#o
    switch (message.type) {
      case 'registered':
        this.#registered(message)
        break
      case 'renewed':
        this.#reconcile(message.sentMs, message.answer)
        break
      case 'neighbours_gone':
        void this.#takeOver()
        break
      case 'recovered':
        bus.emit('jobs.recovered', {
          jobIds: message.jobs.map((job) => job.job),
          layer: message.layer,
          workerIds: message.workers,
        })
        bus.emit('worker.offline', { workerIds: message.workers, layer: message.layer })
        for (const { job, code } of message.jobs)
          if (code === 'poison') bus.emit('job.poisoned', { jobId: job })
        this.wake()
        break
      case 'connection':
        if (message.up) {
          this.#pickUp.listen = message.listening
          this.#outbox.hasten()
          if (this.#live && !this.#draining) enter('ready', 'connected again')
          if (!message.listening && this.#o.settings.listen) {
            bus.emit('listen.degraded', {
              reason: 'a pooler stands between; looking for work by polling',
            })
          }
          this.wake()
        } else if (!this.#draining) {
          enter('degraded', message.error ?? 'no connection')
          bus.emit('worker.degraded', { reason: message.error ?? 'no connection' })
        }
        break
      case 'renewal_failed':
        bus.emit('lease.renewal_failed', {
          error: message.error,
          trustedForMs: message.trustedForMs,
        })
        break
      case 'over':
        this.#over(message.message)
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
      case 'stuck':
        this.#stuck = message.part !== null || (this.#stuck && this.#draining)
        if (message.part !== null) {
          if (!this.#draining) enter('degraded', `stuck: ${message.part}`)
          bus.emit('worker.stuck', { part: message.part, forMs: message.forMs })
        } else if (this.#live && !this.#draining) {
          enter('ready', 'no longer stuck')
        }
        break
      case 'refused':
        // An incarnation after the first, for a run that ended meanwhile.
        if (this.workerId !== null && this.#o.options.run !== undefined)
          this.#judge.touch(this.#o.options.run)
        this.#ready.reject(errorOf(message.error))
        break
      case 'ended':
        break
    }
  }

  #registered(message: Extract<FromLifeline, { type: 'registered' }>): void {
    const { bus, enter, settings, queues } = this.#o
    this.workerId = message.id
    this.incarnation = message.incarnation
    this.#pickUp.listen = message.listening
    this.#openClaim = null
    this.#live = true
    if (!this.#draining) enter('ready', 'registered')
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

  /** This incarnation is over: another owns its jobs, or soon will. A fresh one begins when every handler has settled. */
  #over(message: string): void {
    this.#live = false
    if (!this.#draining) this.#o.enter('degraded', message)
    this.#ahead.clear()
    this.#abortAll('lease_lost', message)
    if (this.executions.size === 0) this.#lifeline.send({ type: 'reincarnate' })
  }

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
    const claimWasUnderWay = this.#openClaim !== null || this.#lastClaimMs >= sentMs
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
        void this.#outbox.add({
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

  /** Shortens the grace of a stop that has begun. */
  hurry(graceMs: number): void {
    if (graceMs <= 0) this.#hurry.abort()
  }

  async stop(options: StopOptions, hooks: readonly ShutdownHook[]): Promise<void> {
    const { bus, enter, settings } = this.#o
    const startedMs = elapsedMs()
    const graceMs = options.graceMs ?? settings.shutdownGraceMs
    const reason = options.reason ?? 'stop'
    this.#draining = true
    this.#lifeline.write('draining', 1)
    this.#charge = options.charge ?? 'interrupted'
    this.#deadline = new Date(Date.now() + graceMs)
    if (this.#nextPoll !== null) clearTimeout(this.#nextPoll)
    if (this.#nextWide !== null) clearTimeout(this.#nextWide)
    enter('draining', reason)
    bus.emit('worker.draining', {
      workerId: this.workerId ?? '',
      reason,
      running: this.executions.size,
      graceMs,
    })
    this.#lifeline.send({ type: 'renew' })
    this.#giveBackAhead()

    if (graceMs > 0 && this.executions.size > 0)
      await this.settledWithin([...this.executions.values()], graceMs)
    this.#phase('draining', startedMs)

    enter('stopping', reason)
    const abortedMs = elapsedMs()
    if (this.executions.size > 0) {
      this.#abortAll('shutdown', `the worker stops: ${reason}`)
      const settleMs =
        graceMs === 0 || this.#hurry.signal.aborted ? HURRIED_SETTLE_MS : ABORT_SETTLE_MS
      await this.settledWithin([...this.executions.values()], settleMs, false)
    }
    this.#phase('aborting', abortedMs)
    const deaf = [...this.executions.values()]
    for (const execution of deaf) {
      bus.emit('job.unresponsive', {
        jobId: execution.job.id,
        type: execution.job.type,
        attempt: execution.job.attempt,
        reason: 'shutdown',
        forMs: Math.round(elapsedMs() - abortedMs),
      })
    }

    // With a handler that is deaf, time is up: what is left goes back now, and the process is expected to end.
    const leftMs = (): number =>
      deaf.length > 0 ? 0 : Math.max(0, startedMs + settings.hardExitMs - elapsedMs() - 500)
    for (const hook of hooks) await this.#runHook(hook, leftMs())
    const flushedMs = elapsedMs()
    await this.#claimCut()
    await this.#outbox.flushed(this.#stuck ? STUCK_FLUSH_MS : Math.max(200, leftMs()))
    await atMost(this.#judge.settled(), LAST_JUDGEMENT_MS_MAX)
    this.#judge.close()
    this.#phase('flushing', flushedMs)

    const { released, error } = await this.#lifeline.end(
      this.#charge,
      {
        code:
          this.#charge === 'interrupted'
            ? 'shutdown'
            : this.#stuck
              ? 'worker_stuck'
              : 'uncaught_error',
        message: reason,
      },
      Math.max(500, leftMs()),
      this.executions.size > 0 ? options.onReleased : undefined,
    )
    // Connections that are stuck would be waited for, too.
    if (this.#stuck) options.onReleased?.()
    if (released.length > 0) bus.emit('jobs.released', { jobIds: released, reason })
    if (error !== null)
      bus.emit('lease.renewal_failed', { error: `not marked offline: ${error}`, trustedForMs: 0 })
    this.#stopTimers()
    await this.#outbox.close()
    await Promise.all([this.#pickUp.close(), this.db.close(), this.#lifeline.terminate()])
    enter('stopped', reason)
    bus.emit('worker.stopped', {
      workerId: this.workerId ?? '',
      reason,
      durationMs: Math.round(elapsedMs() - startedMs),
      released: released.length,
    })
  }

  /** Waits until these have settled, or for so long; a hurry cuts it short. */
  async settledWithin(
    executions: readonly Execution[],
    limitMs: number,
    hurried = true,
  ): Promise<void> {
    const over = new AbortController()
    const left = Promise.all(executions.map((execution) => execution.left))
    const limit = AbortSignal.any(hurried ? [over.signal, this.#hurry.signal] : [over.signal])
    await Promise.race([left, sleep(limitMs, limit)])
    over.abort()
  }

  /** A claim under way may still bring jobs, which go straight back; an answer that does not come is left to the last statement. */
  async #claimCut(): Promise<void> {
    this.#hurry.abort()
    await atMost(this.#claimSettled, 500)
  }

  async #runHook(hook: ShutdownHook, leftMs: number): Promise<void> {
    const startedMs = elapsedMs()
    const limitMs = Math.min(hook.timeoutMs, leftMs)
    if (limitMs <= 0) return
    const limit = new AbortController()
    try {
      const late = Symbol('late')
      const outcome = await Promise.race([
        Promise.resolve(hook.run()),
        sleep(limitMs, limit.signal).then(() => (limit.signal.aborted ? undefined : late)),
      ])
      if (outcome === late)
        this.#o.bus.emit('shutdown.timeout', { phase: `hook ${hook.name}`, afterMs: limitMs })
    } catch (error) {
      // A hook is the user's own code; its failure is reported and must not keep the worker from ending well.
      this.#o.bus.emit('worker.degraded', {
        reason: `shutdown hook ${hook.name}: ${(error as Error).message}`,
      })
    } finally {
      limit.abort()
      this.#phase(`hook ${hook.name}`, startedMs)
    }
  }

  #phase(phase: string, startedMs: number): void {
    this.#o.bus.emit('worker.phase', { phase, durationMs: Math.round(elapsedMs() - startedMs) })
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
  return new Worker(options)
}
