/**
 * A shutdown. It goes sessions, then our own connections, then the process, whatever hangs: each phase has an end, and what is somebody
 * else's code (handlers, sessions, hooks) is cut at its own limit or at the end of all. Its order is that of SHUTDOWN_PHASES.
 *
 * Its end may come nearer while it goes on, by a second order, and never farther. What ends it by force where this thread hangs is the
 * lifeline, which therefore hears of each order.
 */
import { atMost, elapsedMs, sleep } from '../clock.ts'
import type { WorkerSettings } from '../config.ts'
import type { Database } from '../db/connect.ts'
import type { AbortReason } from '../domain/states.ts'
import type { EndCharge } from '../sql/protocol.ts'
import type { Retention } from '../sweep/retention.ts'
import { announceDeaf } from './announce.ts'
import type { Claimer } from './claimer.ts'
import type { Execution } from './execution.ts'
import type { WorkerState } from './lifecycle.ts'
import type { Lifeline } from './lifeline.ts'
import type { Outbox } from './outbox.ts'
import type { PickUpConnection } from './pick-up-connection.ts'
import type { RunJudge } from './run-judge.ts'
import type { WorkerSessions } from './sessions.ts'
import type { ShutdownHooks } from './shutdown-hooks.ts'
import { type HookPhase, ShutdownRecord, type ShutdownReport } from './shutdown-report.ts'
import type { StepLimits } from './shutdown-step.ts'
import type { WorkerEventBus } from './worker-events.ts'

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
/** A stop ends the run whose last job it ended; the sweep would, but this may have been the last worker. */
const LAST_JUDGEMENT_MS_MAX = 500
const TIMER_MS_MAX = 2_147_483_647

/** What is shut down. */
export interface StoppingParts {
  readonly settings: WorkerSettings
  readonly bus: WorkerEventBus
  readonly enter: (state: WorkerState, reason: string) => void
  /** Whom the steps are of. */
  readonly worker: object
  readonly sessions: WorkerSessions
  readonly hooks: ShutdownHooks
  readonly executions: ReadonlyMap<string, Execution>
  readonly abortAll: (code: AbortReason, message: string) => void
  readonly claimer: Claimer
  readonly outbox: Outbox
  readonly judge: RunJudge
  readonly retention: Retention
  readonly lifeline: Lifeline
  readonly pickUp: PickUpConnection
  readonly db: Database
  readonly stopTimers: () => void
  readonly workerId: () => string
  readonly isStuck: () => boolean
}

export class Stopping {
  readonly #p: StoppingParts
  readonly #record: ShutdownRecord
  /** What bounds sessions and hooks. */
  readonly #limits: StepLimits
  /** Aborts when everything under way has to be cut: a second signal. */
  readonly #cut = new AbortController()
  /** Aborts when the end of the grace has changed, and is replaced then. */
  #graceChanged = new AbortController()
  #onReleased: (() => void) | undefined
  readonly #graceMs: number
  #charge: EndCharge
  #deadline: Date | null = null
  // Readings of `elapsedMs`.
  #graceEndsMs = Infinity
  #hardExitAtMs = Infinity
  #deafEndsMs = Infinity

  constructor(parts: StoppingParts, options: StopOptions) {
    this.#p = parts
    const { bus, lifeline, settings } = parts
    this.#graceMs = options.graceMs ?? settings.shutdownGraceMs
    this.#charge = options.charge ?? 'interrupted'
    this.#onReleased = options.onReleased
    const facts = {
      reason: options.reason ?? 'stop',
      signal: options.signal ?? null,
      exitCode: options.exitCode ?? null,
      crashed: this.#charge !== 'interrupted',
    }
    this.#record = new ShutdownRecord(facts, {
      begins: (phase) => {
        lifeline.numbers.phase = phase
      },
      ended: (phase, durationMs) => bus.emit('worker.phase', { phase, durationMs }),
    })
    this.#limits = {
      worker: parts.worker,
      leftMs: () => this.#leftMs(),
      cut: this.#cut.signal,
    }
  }

  /** What the end of this worker costs the jobs that it gives back. */
  get charge(): EndCharge {
    return this.#charge
  }

  /** Until when handlers may go on. Null: as long as they take. */
  get deadline(): Date | null {
    return this.#deadline
  }

  /** A second order to stop: of the two the earlier end holds, and one without grace cuts whatever is under way. */
  join(options: StopOptions): void {
    this.#onReleased = options.onReleased ?? this.#onReleased
    const { facts } = this.#record
    // An error that nobody caught, or a part that is stuck, while it drained in peace.
    const crashed = options.charge !== undefined && options.charge !== 'interrupted'
    if (crashed) this.#charge = options.charge
    this.#record.facts = {
      ...facts,
      crashed: facts.crashed || crashed,
      signal: facts.signal ?? options.signal ?? null,
      exitCode: options.exitCode ?? facts.exitCode,
    }
    const graceMs = options.graceMs ?? this.#p.settings.shutdownGraceMs
    this.#order(graceMs)
    if (graceMs <= 0) {
      this.#cut.abort()
      this.#p.claimer.hurry()
    }
  }

  async run(): Promise<ShutdownReport> {
    const { bus, claimer, enter, executions, lifeline, sessions } = this.#p
    const record = this.#record
    const { reason } = record.facts
    lifeline.numbers.write('draining', 1)
    claimer.rest()
    enter('draining', reason)
    bus.emit('worker.draining', {
      workerId: this.#p.workerId(),
      reason,
      running: executions.size,
      graceMs: Number.isFinite(this.#graceMs) ? this.#graceMs : null,
    })
    this.#order(this.#graceMs)
    record.released = claimer.giveBackAhead()
    sessions.tell({ reason, deadline: this.#deadline }, this.#limits)
    const running = [...executions.values()]
    await this.#runHooks('before-drain')
    await record.phase('draining', () => this.#drain(running))

    enter('stopping', reason)
    // Handlers had all the time that they wanted; the rest does not.
    if (this.#hardExitAtMs === Infinity) this.#order(0)
    if (executions.size > 0) await record.phase('aborting', () => this.#abort())
    const { interrupted, ended } = groupByEnd(running)
    record.finished = idsOf(ended)
    record.interrupted = idsOf(interrupted)
    await this.#runHooks('after-drain')
    const closed = sessions.end({ reason, deadline: this.#deadline }, this.#limits)
    record.sessions = await (sessions.names.length === 0
      ? closed
      : record.phase('sessions', () => closed))
    await this.#runHooks('before-close')
    await record.phase('flushing', () => this.#flush())
    await record.phase('offline', () => this.#goOffline())
    await this.#runHooks('after-offline')
    this.#p.stopTimers()
    await record.phase('closing', () => this.#close())
    enter('stopped', reason)
    return this.#reportStop()
  }

  /** Handlers may go on for so long from now, and the whole for as long beyond that as the settings allow. */
  #order(graceMs: number): void {
    const { shutdownGraceMs, hardExitMs } = this.#p.settings
    const nowMs = elapsedMs()
    if (nowMs + graceMs < this.#graceEndsMs) {
      this.#graceEndsMs = nowMs + graceMs
      this.#deadline = new Date(Date.now() + graceMs)
      this.#graceChanged.abort()
      this.#graceChanged = new AbortController()
    }
    const wholeMs = Math.max(hardExitMs, graceMs + hardExitMs - shutdownGraceMs)
    this.#hardExitAtMs = Math.min(this.#hardExitAtMs, nowMs + wholeMs)
    const { reason, signal } = this.#record.facts
    this.#p.lifeline.send({
      type: 'stopping',
      charge: this.#charge,
      reason,
      signal,
      hardExitAtMs: Number.isFinite(this.#hardExitAtMs) ? this.#hardExitAtMs : null,
    })
  }

  #leftMs(): number {
    const endsMs = Math.min(this.#hardExitAtMs - LAST_ACTS_MS, this.#deafEndsMs)
    return this.#cut.signal.aborted ? 0 : Math.max(0, endsMs - elapsedMs())
  }

  async #drain(running: readonly Execution[]): Promise<void> {
    const left = Promise.all(running.map((execution) => execution.left()))
    const over = new AbortController()
    void left.then(() => over.abort())
    // The time that is left may be cut short meanwhile.
    while (running.some((execution) => this.#p.executions.has(execution.job.token))) {
      const waitMs = Math.min(this.#graceEndsMs - elapsedMs(), TIMER_MS_MAX)
      if (waitMs <= 0 || this.#cut.signal.aborted) break
      await sleep(waitMs, AbortSignal.any([over.signal, this.#graceChanged.signal]))
    }
  }

  async #abort(): Promise<void> {
    const { abortAll, bus, executions } = this.#p
    const startedMs = elapsedMs()
    abortAll('shutdown', `the worker stops: ${this.#record.facts.reason}`)
    const hurried = this.#graceMs === 0 || this.#cut.signal.aborted
    await settledWithin([...executions.values()], hurried ? HURRIED_SETTLE_MS : ABORT_SETTLE_MS)
    for (const execution of executions.values()) {
      // Time is up: what is left goes back soon, and the process is expected to end.
      this.#deafEndsMs = elapsedMs() + DEAF_STEPS_MS
      this.#record.cut = true
      announceDeaf(bus, execution, 'shutdown', Math.round(elapsedMs() - startedMs))
    }
  }

  async #runHooks(phase: HookPhase): Promise<void> {
    if (!this.#p.hooks.has(phase)) return
    await this.#record.phase(phase, async () => {
      this.#record.hooks.push(...(await this.#p.hooks.run(phase, this.#limits)))
    })
  }

  async #flush(): Promise<void> {
    const { claimer, executions, isStuck, judge, outbox } = this.#p
    await claimer.ended()
    const leftMs = executions.size > 0 ? 0 : this.#leftMs()
    await outbox.flushed(isStuck() ? STUCK_FLUSH_MS : Math.max(200, leftMs))
    if (outbox.depth > 0) this.#record.cut = true
    await atMost(judge.settled(), LAST_JUDGEMENT_MS_MAX)
    judge.close()
  }

  /** The worker's last statement; with handlers that are deaf, the last thing that happens in this process. */
  async #goOffline(): Promise<void> {
    const { bus, executions, isStuck, lifeline, workerId } = this.#p
    const record = this.#record
    const onReleased = this.#onReleased
    const { reason } = record.facts
    const left = idsOf([...executions.values()])
    record.released.push(...left)
    const code =
      this.#charge === 'interrupted' ? 'shutdown' : isStuck() ? 'worker_stuck' : 'uncaught_error'
    const { released, error } = await lifeline.end(
      this.#charge,
      { code, message: reason, shutdown: record.stored(workerId()) },
      Math.max(500, this.#leftMs()),
      left.length === 0 || onReleased === undefined
        ? undefined
        : () => {
            this.#reportStop()
            onReleased()
          },
    )
    record.released = [...new Set([...record.released, ...released])]
    record.error = error
    if (released.length > 0) bus.emit('jobs.released', { jobIds: released, reason })
    if (error !== null)
      bus.emit('lease.renewal_failed', { error: `not marked offline: ${error}`, trustedForMs: 0 })
    // Connections that are stuck would be waited for, too.
    if (isStuck() && onReleased !== undefined) {
      this.#reportStop()
      onReleased()
    }
  }

  async #close(): Promise<void> {
    const { db, lifeline, outbox, pickUp, retention } = this.#p
    // Together: a call of the outbox that nobody answers ends with its connection.
    await Promise.all([outbox.close(), pickUp.close(), db.close(), retention.close()])
    // Last, as it answers for our health to the end.
    await lifeline.terminate()
  }

  #reportStop(): ShutdownReport {
    const report = this.#record.report(this.#p.workerId())
    const { workerId, reason, durationMs, released } = report
    this.#p.bus.emit('worker.stopped', {
      workerId,
      reason,
      durationMs,
      released: released.length,
      report,
    })
    return report
  }
}

/** Waits until these have settled, or for so long. */
export async function settledWithin(
  executions: readonly Execution[],
  limitMs: number,
): Promise<void> {
  await atMost(Promise.all(executions.map((execution) => execution.left())), limitMs)
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
