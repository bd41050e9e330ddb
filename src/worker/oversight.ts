/**
 * What the main thread watches of the handlers that run on it: whether the lease is still good for them, their time limits, and whether
 * they do what they were told. With each look it gives the event loop's sign of life.
 *
 * A look every `HANDLER_CHECK_MS` while a handler runs. The lease is asked for more often: before each start and each act of a handler,
 * as a process that was frozen comes to those before any timer has run. The lifeline judges by the same numbers when this thread is
 * blocked.
 */
import type { AnyJobDefinition } from '../client/define-job.ts'
import { elapsedAtLeastMs, elapsedMs, monotonicMs } from '../clock.ts'
import { fenceMarginMs, HANDLER_CHECK_MS } from '../config.ts'
import type { AbortReason } from '../domain/states.ts'
import { announceDeaf } from './announce.ts'
import type { Execution } from './execution.ts'
import { TICK_IDLE_MS } from './lifeline-messages.ts'
import type { SharedNumbers } from './shared-numbers.ts'
import type { WorkerEventBus } from './worker-events.ts'

/** A handler that ran for less can't have blocked the event loop for as long as is reported. */
const LOOP_BLOCKED_MS = 1_000

export interface OversightParts {
  readonly leaseMs: number
  /** Whether handlers may go on past the fence while the database is positively down, where their definitions do not say. */
  readonly goesOnInOutage: boolean
  readonly bus: WorkerEventBus
  readonly numbers: SharedNumbers
  /** By token. */
  readonly executions: ReadonlyMap<string, Execution>
  /** A handler that ignores its signal has to be ended, and only the end of the process can. */
  readonly giveUp: (execution: Execution, deafForMs: number) => void
  /** Called with each look. */
  readonly looked: (nowMs: number) => void
}

export class Oversight {
  readonly #p: OversightParts
  readonly #trustMs: number
  #everyMs = TICK_IDLE_MS
  #timer: NodeJS.Timeout | null = null
  /** A handler that blocks the event loop has mostly ended by the time that anybody can say so. */
  #justEnded: readonly { execution: Execution; endedMs: number }[] = []

  constructor(parts: OversightParts) {
    this.#p = parts
    this.#trustMs = parts.leaseMs - fenceMarginMs(parts.leaseMs)
  }

  /** The event loop's sign of life, and what is due in it. */
  look(): void {
    if (this.#timer !== null) clearTimeout(this.#timer)
    const { executions, looked, numbers } = this.#p
    const nowMs = elapsedMs()
    numbers.write('mainBeatMs', nowMs)
    const awakeMs = numbers.read('awakeMs')
    for (const execution of executions.values()) {
      this.checkFence(execution)
      watchLimits(execution, awakeMs)
      this.#watchDeaf(execution, nowMs)
    }
    if (this.#justEnded.length > 0) {
      this.#justEnded = this.#justEnded.filter(({ endedMs }) => nowMs - endedMs < LOOP_BLOCKED_MS)
    }
    looked(nowMs)
    this.#everyMs = executions.size > 0 ? HANDLER_CHECK_MS : TICK_IDLE_MS
    this.#timer = setTimeout(() => this.look(), this.#everyMs)
  }

  /** An idle worker's next look is far away: time limits and the fence want it sooner now. */
  hasten(): void {
    if (this.#everyMs > HANDLER_CHECK_MS) this.look()
  }

  close(): void {
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = null
  }

  // ── the lease ────────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Aborts the attempt, and all others, once the lease can't be trusted. Called before every act of a handler. */
  checkFence(execution: Execution): void {
    if (execution.aborted === 'lease_lost' || this.#provedAt(elapsedMs())) return
    if (this.#p.numbers.read('outage') === 1) this.#abortInOutage(execution)
    else this.abortAll('lease_lost', 'the lease could not be renewed in time')
  }

  /** Asked before each start, so of the cheaper clock: sleep that nobody has noticed is left to the handler's own acts. */
  mayStart(): boolean {
    return this.#provedAt(elapsedAtLeastMs())
  }

  #provedAt(nowMs: number): boolean {
    const { numbers } = this.#p
    return numbers.read('fenced') === 0 && nowMs < numbers.read('proofSentMs') + this.#trustMs
  }

  /** The database is down past the fence. */
  outage(): void {
    for (const execution of this.#p.executions.values()) this.#abortInOutage(execution)
  }

  #abortInOutage(execution: Execution): void {
    if (!mayGoOn(execution.definition, this.#p.goesOnInOutage))
      execution.abort('lease_lost', 'the database is down')
  }

  abortAll(code: AbortReason, message: string): void {
    const jobIds: string[] = []
    for (const execution of this.#p.executions.values()) {
      if (execution.aborted === null) jobIds.push(execution.job.id)
      execution.abort(code, message)
    }
    if (code === 'lease_lost' && jobIds.length > 0)
      this.#p.bus.emit('lease.lost', { jobIds, code, message })
  }

  // ── handlers that take too long ──────────────────────────────────────────────────────────────────────────────────────────

  ended(execution: Execution, tookMs: number): void {
    if (tookMs >= LOOP_BLOCKED_MS)
      this.#justEnded = [...this.#justEnded, { execution, endedMs: elapsedMs() }]
  }

  /** Attempts that may have kept the event loop busy for `forMs` until now, running or just ended. */
  blockers(forMs: number): Execution[] {
    const nowMs = monotonicMs()
    const ended = this.#justEnded.map(({ execution }) => execution)
    return [...this.#p.executions.values(), ...ended].filter(
      (execution) => nowMs - execution.knownSinceMs >= forMs - TICK_IDLE_MS,
    )
  }

  /** A handler that ignores its signal is reported, and ends its process if its definition says so. */
  #watchDeaf(execution: Execution, nowMs: number): void {
    const { aborted, definition } = execution
    if (aborted === null || aborted === 'shutdown') return
    execution.abortedMs ??= nowMs
    const forMs = Math.round(nowMs - execution.abortedMs)
    if (execution.reportedDeaf || forMs < definition.cancelGraceMs) return
    execution.reportedDeaf = true
    announceDeaf(this.#p.bus, execution, aborted, forMs)
    if (definition.onDeaf === 'exit') this.#p.giveUp(execution, forMs)
  }
}

/** Whether handlers of a type may go on past the fence while the database is positively down. */
export function mayGoOn(definition: AnyJobDefinition, byDefault: boolean): boolean {
  return definition.onOutage === undefined ? byDefault : definition.onOutage === 'continue'
}

function watchLimits(execution: Execution, awakeMs: number): void {
  const { timeoutMs, progressDeadlineMs } = execution.job.options
  if (timeoutMs !== undefined && awakeMs - execution.startedAwakeMs >= timeoutMs)
    execution.abort('timeout', `it ran longer than ${timeoutMs} ms`)
  const stalledMs = awakeMs - execution.progressedAwakeMs
  if (progressDeadlineMs !== undefined && stalledMs >= progressDeadlineMs)
    execution.abort('stalled', `it made no progress for ${progressDeadlineMs} ms`)
}
