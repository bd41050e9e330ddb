/**
 * Everything between one `start` of a worker and the `stop` that ends it: it puts the parts together and says what each has to do with
 * the others.
 *
 *     Claimer ── a job ──▶ Execution ── its ending ──▶ Outbox ── what the database made of it ──▶ announced
 *     Lifeline ── registered, renewed, over … ──▶ here: what it means for the attempts
 *     Oversight: the lease and the time limits of what runs        Stopping: the end
 *
 * Everything that decides who owns a job is in the database. What a renewal answers is compared by token, and only with what was known
 * when it was sent: an attempt that the answer lacks is aborted as lease_lost; a token that nobody here knows is given back, unless a
 * claim was under way meanwhile.
 *
 * An incarnation that is over takes nothing more. When every handler has settled a fresh one registers, if one may.
 */
import { hostname } from 'node:os'
import type { AnyJobDefinition } from '../client/define-job.ts'
import type { Sessions } from '../client/session.ts'
import { atMost, elapsedMs } from '../clock.ts'
import type { WorkerSettings } from '../config.ts'
import { type Database, openDatabase, parseDatabaseUrl } from '../db/connect.ts'
import type { RunStatus } from '../domain/states.ts'
import { StateRefusedError } from '../errors.ts'
import type { ClaimedJob, EndCharge, Renewed } from '../sql/protocol.ts'
import { Retention } from '../sweep/retention.ts'
import { PROGRAM_VERSION } from '../version.ts'
import { AheadQueue } from './ahead-queue.ts'
import { announce } from './announce.ts'
import type { ReachedBound } from './bounds.ts'
import { Claimer, type ClaimHost } from './claimer.ts'
import { errorOf } from './error-of.ts'
import { type Ending, Execution, type ExecutionHost } from './execution.ts'
import { FencedWrites } from './fenced-writes.ts'
import { ownMachineId } from './identity.ts'
import type { WorkerState } from './lifecycle.ts'
import { Lifeline } from './lifeline.ts'
import type { FromLifeline } from './lifeline-messages.ts'
import { Outbox } from './outbox.ts'
import { mayGoOn, Oversight } from './oversight.ts'
import { PickUpConnection } from './pick-up-connection.ts'
import { redactedCommand } from './redacted-command.ts'
import { RunJudge } from './run-judge.ts'
import type { WorkerSessions } from './sessions.ts'
import type { SharedNumbers } from './shared-numbers.ts'
import type { ShutdownHooks } from './shutdown-hooks.ts'
import type { ShutdownReport } from './shutdown-report.ts'
import { Spool, spoolDirectory } from './spool.ts'
import { Stopping, type StopOptions } from './stopping.ts'
import type { WorkerEventBus } from './worker-events.ts'
import type { WorkerOptions } from './worker-options.ts'

/** Not at once after a hint: the job that it tells of is just being waited for. */
const WATCH_AFTER_MS = 50
/** How often to look for outcomes that dead processes have left on this disk: one look at a directory that seldom exists. */
const SPOOL_LOOK_MS = 1_000
/** Claims wait so long for outcomes that are being taken over: jobs whose work is done should not be run again, nor others starve. */
const TAKE_OVER_MS_MAX = 5_000

export interface RunningOptions {
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

export class Running implements ExecutionHost, ClaimHost {
  readonly db: Database
  readonly writes: FencedWrites
  /** By token. An execution stays until its outcome is in the outbox. */
  readonly executions: Map<string, Execution> = new Map()
  workerId: string | null = null
  incarnation: string | null = null
  readonly #o: RunningOptions
  readonly #types: readonly string[]
  readonly #claimer: Claimer
  readonly #oversight: Oversight
  readonly #outbox: Outbox
  readonly #lifeline: Lifeline
  readonly #numbers: SharedNumbers
  readonly #pickUp: PickUpConnection
  readonly #judge: RunJudge
  readonly #retention: Retention
  readonly #ready = deferred()
  #stopping: Stopping | null = null
  /** False while an incarnation is over and the next has not registered. */
  #live = false
  /** An operator wants no worker here. */
  #evicted = false
  /** The run that it is aimed at has ended: nothing more is claimed. */
  #runEnded = false
  /** The lifeline says that something here gives no sign of life. */
  #stuck = false
  /** Handlers that the lifeline knows of. */
  #counted = 0
  #takingOver = false
  #claimsWait = false
  #lookedMs = -Infinity
  #nextWatch: NodeJS.Timeout | null = null

  constructor(options: RunningOptions) {
    this.#o = options
    const { bus, namespace, queues, settings } = options
    const { databaseUrl, schema, labels = [], run, archive } = options.options
    this.#types = [...options.definitions.keys()]
    const connect = { databaseUrl, ...(schema === undefined ? {} : { schema }) }
    this.db = openDatabase({ ...connect, applicationName: 'leasehold worker' })
    this.#pickUp = new PickUpConnection(connect, namespace, {
      hint: (queue) => this.#hinted(queue),
      runEnded: (runId) => {
        if (runId === run) this.askAboutRun()
      },
      asked: (incarnation) => {
        if (incarnation === this.incarnation) this.#lifeline.send({ type: 'renew' })
      },
      watch: () => this.#lifeline.send({ type: 'watch', when: 'now' }),
      subscribed: () => this.#watchSoon(),
      lost: () => this.#claimer.wake(),
    })
    this.#judge = new RunJudge(this.db, namespace, (runId, status) => {
      if (runId === run) this.hearOfRun(status)
    })
    this.writes = new FencedWrites(this.db, (token, answer) => {
      const execution = this.executions.get(token)
      if (answer === 'cancelling') execution?.abort('cancelled', 'cancel was asked')
      if (answer === 'lease_lost')
        execution?.abort('lease_lost', 'the database has given the job to somebody else')
    })
    const directory = spoolDirectory(settings.spoolDir, connect, namespace)
    const spool = new Spool({
      directory,
      onDegraded: (reason) => bus.emit('spool.degraded', { directory, reason }),
    })
    this.#outbox = new Outbox(this.db, spool, {
      buffered: (depth, onDisk, error) => bus.emit('spool.buffered', { depth, onDisk, error }),
      flushed: (count, answers) => bus.emit('spool.flushed', { count, answers }),
      takenOver: (pid, count, unreadable) =>
        bus.emit('spool.taken_over', { pid, count, unreadable }),
      depthChanged: (depth, sinceMs) => {
        this.#numbers.write('spoolDepth', depth)
        this.#numbers.write('spoolSinceMs', sinceMs ?? 0)
        // An outcome that was under way was the one thing that kept it from being idle.
        if (depth === 0 && settings.exitWhenIdle) this.#claimer.wake()
      },
    })
    this.#retention = new Retention(
      { connect, namespace, archive: archive ?? null },
      {
        dropped: (count) => bus.emit('jobs.dropped', { count }),
        failed: (error, retryMs) => bus.emit('retention.failed', { error, retryMs }),
      },
    )
    const machineId = options.options.machineId ?? ownMachineId()
    const ahead = new AheadQueue(settings.concurrency)
    const goesOnInOutage = parseDatabaseUrl(databaseUrl).hosts.length === 1
    const goesOn = [...options.definitions.values()].some((job) => mayGoOn(job, goesOnInOutage))
    this.#lifeline = new Lifeline(
      {
        connect,
        namespace,
        settings,
        onOutage: goesOn ? 'continue' : 'abort',
        mayEndProcess: options.mayEndProcess,
        endsWithParent: options.endsWithParent,
        ahead: ahead.shelf.shared,
        identity: {
          machineId,
          hostname: hostname(),
          pid: process.pid,
          bootId: null,
          pidNamespace: null,
          processStarted: null,
          parentPid: process.ppid,
          kind: options.options.kind ?? 'library',
          version: PROGRAM_VERSION,
          command: redactedCommand(process.argv.slice(1)),
          concurrency: settings.concurrency,
          queues,
          types: this.#types,
          labels,
          ...(run === undefined ? {} : { runId: run }),
          leaseMs: settings.leaseMs,
          renewMs: settings.renewMs,
          idleBeatMs: settings.idleBeatMs,
        },
      },
      (message) => this.#onLifeline(message),
    )
    this.#numbers = this.#lifeline.numbers
    this.#oversight = new Oversight({
      leaseMs: settings.leaseMs,
      goesOnInOutage,
      bus,
      numbers: this.#numbers,
      executions: this.executions,
      giveUp: options.giveUp,
      looked: (nowMs) => this.#looked(nowMs),
    })
    this.#claimer = new Claimer({
      settings,
      queues,
      types: this.#types,
      machineId,
      labels,
      runId: run ?? null,
      bus,
      lifeline: this.#lifeline,
      pickUp: this.#pickUp,
      ahead,
      host: this,
    })
  }

  async start(): Promise<void> {
    void this.#takeOver()
    this.#oversight.look()
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

  async stop(options: StopOptions): Promise<ShutdownReport> {
    const { bus, enter, hooks, sessions, settings, worker } = this.#o
    this.#stopping = new Stopping(
      {
        settings,
        bus,
        enter,
        worker,
        sessions,
        hooks,
        executions: this.executions,
        abortAll: (code, message) => this.#oversight.abortAll(code, message),
        claimer: this.#claimer,
        outbox: this.#outbox,
        judge: this.#judge,
        retention: this.#retention,
        lifeline: this.#lifeline,
        pickUp: this.#pickUp,
        db: this.db,
        stopTimers: () => this.#stopTimers(),
        workerId: () => this.workerId ?? '',
        isStuck: () => this.#stuck,
      },
      options,
    )
    this.#ready.reject(new StateRefusedError('the worker was stopped before it was ready.'))
    return await this.#stopping.run()
  }

  /** A second order to stop. */
  join(options: StopOptions): void {
    this.#stopping?.join(options)
  }

  /** Of the shutdown that is under way. */
  get phase(): string | null {
    return this.#numbers.phase
  }

  #stopTimers(): void {
    this.#claimer.rest()
    this.#oversight.close()
    if (this.#nextWatch !== null) clearTimeout(this.#nextWatch)
    this.#nextWatch = null
  }

  // ── for its claims ───────────────────────────────────────────────────────────────────────────────────────────────────────

  get slotsTaken(): number {
    return this.executions.size
  }

  get owesOutcomes(): boolean {
    return this.#outbox.depth > 0
  }

  get leaves(): boolean {
    return this.#stopping !== null || this.#runEnded
  }

  mayClaim(): boolean {
    return (
      this.#live &&
      !this.leaves &&
      !this.#claimsWait &&
      this.#numbers.read('connected') === 1 &&
      this.#numbers.read('fenced') === 0
    )
  }

  mayStart(): boolean {
    return this.#oversight.mayStart()
  }

  canRun(job: ClaimedJob, incarnation: string): boolean {
    return (
      this.#o.definitions.has(job.type) &&
      this.#live &&
      !this.leaves &&
      incarnation === this.incarnation
    )
  }

  run(job: ClaimedJob, claimedMs: number): void {
    const { bus, definitions } = this.#o
    const execution = new Execution(job, definitions.get(job.type) as AnyJobDefinition, this, {
      knownSinceMs: claimedMs,
      awakeMs: this.#numbers.read('awakeMs'),
    })
    this.executions.set(job.token, execution)
    // Before it begins: it may block this thread from its first line on.
    this.countHandlers()
    if (this.executions.size === 1) this.#oversight.hasten()
    if (bus.heard('job.picked_up')) {
      bus.emit('job.picked_up', {
        jobId: job.id,
        type: job.type,
        queue: job.queue,
        attempt: job.attempt,
      })
    }
    void execution.run()
  }

  /** The lifeline knows of a handler before it begins, and until its outcome is in the outbox. */
  countHandlers(): void {
    const { size } = this.executions
    if (size === this.#counted) return
    this.#counted = size
    this.#numbers.write('handlers', size)
  }

  giveBack(job: ClaimedJob): void {
    this.#release(job.id, job.token, null)
  }

  boundReached(bound: ReachedBound): void {
    this.#o.bus.emit('worker.bound_reached', { bound: bound.bound, reason: bound.reason })
    this.#o.onBound(bound)
  }

  askAboutRun(): void {
    const { run } = this.#o.options
    if (run !== undefined) this.#judge.touch(run)
  }

  /** What the run is that this worker is aimed at. Once it has ended, so does the worker. */
  hearOfRun(status: RunStatus | 'not_found'): void {
    const { bus, enter, options } = this.#o
    if (status === 'active' || this.leaves) return
    this.#runEnded = true
    const reason = `its run ${status === 'not_found' ? 'is gone' : `ended as ${status}`}`
    bus.emit('run.ended', { runId: options.run ?? '', status, running: this.executions.size })
    this.#claimer.giveBackAhead()
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

  #hinted(queue: string): void {
    if (queue === '*' || this.#o.queues.includes(queue)) this.#claimer.wake()
    this.#watchSoon()
  }

  /** Others may have taken something just now. They could die the moment after, and nobody might sweep yet. */
  #watchSoon(): void {
    this.#nextWatch ??= setTimeout(() => {
      this.#nextWatch = null
      this.#lifeline.send({ type: 'watch', when: 'soon' })
    }, WATCH_AFTER_MS)
  }

  // ── for its attempts ─────────────────────────────────────────────────────────────────────────────────────────────────────

  get sessions(): Sessions {
    return this.#o.sessions
  }

  checkFence(execution: Execution): void {
    this.#oversight.checkFence(execution)
  }

  awakeMs(): number {
    return this.#numbers.read('awakeMs')
  }

  costReported(runId: string): void {
    this.#judge.touch(runId)
  }

  shutdownDeadline(): Date | null {
    return this.#stopping?.deadline ?? null
  }

  ended(execution: Execution, said: Ending | null): void {
    const { job } = execution
    // Not ordered from outside: what such an end costs the job is for the worker's last statement to say.
    const ending = said?.outcome === 'interrupted' && this.#charge !== 'interrupted' ? null : said
    const tookMs = performance.now() - execution.startedMs
    this.executions.delete(job.token)
    execution.outcome = ending?.outcome ?? null
    execution.leave()
    this.#retention.jobEnded()
    this.#oversight.ended(execution, tookMs)
    if (ending !== null) {
      this.#outbox.add({ jobId: job.id, token: job.token, ...ending }, (answer) => {
        if (job.runId !== undefined) this.#judge.touch(job.runId)
        announce(this.#o.bus, this.#numbers, { execution, ending, said: answer, tookMs })
      })
    }
    this.#claimer.slotFreed(tookMs)
    if (this.executions.size === 0 && !this.#live) this.#goOn()
  }

  /** What the end of this worker costs the jobs that it gives back. */
  get #charge(): EndCharge {
    return this.#stopping?.charge ?? 'interrupted'
  }

  #looked(nowMs: number): void {
    this.#claimer.giveBackLate()
    if (nowMs - this.#lookedMs >= SPOOL_LOOK_MS) void this.#takeOver()
    this.#claimer.checkBounds()
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
    this.#claimer.resume()
  }

  #release(jobId: string, token: string, value: string | null): void {
    this.#outbox.add({ jobId, token, outcome: 'released', value, delayMs: null })
  }

  // ── the lifeline's news ──────────────────────────────────────────────────────────────────────────────────────────────────

  /** How it goes, while it may claim. The life of one that leaves, by a stop or because its run has ended, only goes on from there. */
  #feel(state: 'ready' | 'degraded', reason: string): void {
    if (!this.leaves) this.#o.enter(state, reason)
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
        this.#recovered(message)
        break
      case 'connection':
        this.#connection(message)
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
        this.#oversight.outage()
        break
      case 'event_loop_blocked': {
        const jobs = this.#oversight.blockers(message.forMs).map(({ job }) => job)
        bus.emit('event_loop.blocked', {
          forMs: message.forMs,
          jobIds: jobs.map((job) => job.id),
          types: [...new Set(jobs.map((job) => job.type))],
        })
        break
      }
      case 'stood_still':
        bus.emit('worker.stood_still', { forMs: message.forMs })
        break
      case 'stuck':
        this.#stuck = message.part !== null || (this.#stuck && this.#stopping !== null)
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
        this.#refused(message)
        break
      case 'ended':
        break
    }
  }

  #registered(message: Extract<FromLifeline, { type: 'registered' }>): void {
    const { bus, settings, queues } = this.#o
    this.workerId = message.id
    this.incarnation = message.incarnation
    this.#pickUp.listen = message.listening
    this.#live = true
    this.#claimer.registered()
    this.#feel('ready', 'registered')
    bus.emit('worker.started', {
      workerId: message.id,
      queues,
      types: this.#types,
      concurrency: settings.concurrency,
      listening: message.listening,
    })
    this.#ready.resolve()
    this.#claimer.wake()
  }

  /** The first may not start at all. A later one is refused, say, for a run that ended meanwhile. */
  #refused({ error }: Extract<FromLifeline, { type: 'refused' }>): void {
    if (this.workerId === null) {
      this.#ready.reject(errorOf(error))
      return
    }
    this.askAboutRun()
    const { message, hint } = error
    this.#o.bus.emit('worker.degraded', {
      reason: hint === undefined ? message : `${message}. ${hint}`,
    })
  }

  #connection(message: Extract<FromLifeline, { type: 'connection' }>): void {
    const { bus, settings } = this.#o
    if (message.up) {
      this.#pickUp.listen = message.listening
      this.#outbox.hasten()
      if (this.#live) this.#feel('ready', 'connected again')
      if (!message.listening && settings.listen) {
        bus.emit('listen.degraded', {
          reason: 'a pooler stands between; looking for work by polling',
        })
      }
      this.#claimer.wake()
    } else if (this.#stopping === null) {
      const reason = message.error ?? 'no connection'
      if (this.workerId !== null) this.#feel('degraded', reason)
      bus.emit('worker.degraded', { reason })
    }
  }

  #recovered({ jobs, layer, workers }: Extract<FromLifeline, { type: 'recovered' }>): void {
    const { bus } = this.#o
    // One that held nothing leaves no job behind, and one that left more than a sweep takes was found gone by an earlier one.
    if (jobs.length > 0)
      bus.emit('jobs.recovered', { jobIds: jobs.map(({ job }) => job), layer, workerIds: workers })
    if (workers.length > 0) bus.emit('worker.offline', { workerIds: workers, layer })
    for (const { job, code } of jobs)
      if (code === 'poison') bus.emit('job.poisoned', { jobId: job })
    this.#claimer.wake()
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

  /** This incarnation is over: another owns its jobs, or soon will. */
  #over(message: string, evicted: boolean): void {
    this.#live = false
    this.#evicted = evicted
    this.#feel('degraded', message)
    this.#claimer.forgetAhead()
    this.#oversight.abortAll('lease_lost', message)
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
      if (execution.knownSinceMs < sentMs && !held.has(execution.job.token))
        execution.abort('lease_lost', 'the database has given the job to somebody else')
    }
    this.#claimer.keepOnly(held, sentMs)
    const claimWasUnderWay = this.#claimer.mayHaveTakenSince(sentMs)
    // Its answer was lost and nobody asks again, as nothing may be claimed now: what it gave goes back, and its id must not ask for it.
    if (!claimWasUnderWay) this.#claimer.closeClaim()
    for (const { job, token, cancel } of answer.held) {
      const execution = this.executions.get(token)
      if (execution !== undefined) {
        if (cancel) execution.abort('cancelled', 'cancel was asked')
        continue
      }
      if (this.#claimer.holds(token, cancel) || this.#outbox.redeliver(token)) continue
      if (this.#outbox.knows(token) || this.#charge !== 'interrupted' || claimWasUnderWay) continue
      const reason = { code: 'claim_lost', message: 'its worker never learned of this claim' }
      this.#release(job, token, JSON.stringify(reason))
    }
    this.#claimer.setDrained(answer.drain)
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
