/**
 * The process around a worker that has it to itself: signals, uncaught errors and the hard exit. For the program alone, and not
 * exported: a library that takes signals from its host breaks the host's own shutdown.
 *
 *     first signal   graceful stop, exit 0             second: abort, release, exit       third: exit at once
 *     an uncaught error or rejection: the job it belongs to fails, the others go back, exit 1
 *     the worker is stuck: its jobs go back, charged as lost, as none is to blame; exit 1
 *     the run that the worker is aimed at has ended: the same as a first signal
 *     an operator has evicted the worker: exit 0
 *     a bound of the worker is reached: graceful stop, exit 0
 *     whatever hangs: exit 1 at the hard exit, counted from the first signal, or after a bound from when nothing runs any more
 *
 * A main thread that hangs comes to none of this; the lifeline then ends the process a second after the hard exit.
 */
import { constants } from 'node:os'
import { elapsedMs } from '../clock.ts'
import { endProcess } from './end-process.ts'
import { currentExecution } from './execution.ts'
import type { WorkerEvents } from './worker-events.ts'
import type { StopOptions } from './stopping.ts'
import { JobWorker, type Worker } from './worker.ts'
import type { WorkerOptions } from './worker-options.ts'
import { messageOf } from './thrown.ts'

const SIGNALS = ['SIGTERM', 'SIGINT', 'SIGQUIT', 'SIGHUP'] as const
type Signal = (typeof SIGNALS)[number]

export interface GuardOptions {
  /** Whether this process may not outlive its parent, which supervises it. */
  readonly endsWithParent: boolean
  /** Told of each signal, so that it can be logged. */
  readonly onSignal: (signal: string, count: number) => void
  readonly onUncaught: (error: Error) => void
}

/** What each stop of this process says of its end. */
type LastWords = Required<Pick<StopOptions, 'exitCode' | 'onReleased'>>

/** Makes a worker and guards the process until that has stopped. */
export class ProcessGuard {
  readonly #worker: JobWorker
  readonly #options: GuardOptions
  readonly #unhear: readonly (() => void)[]
  #signals = 0
  #ending = false
  #exitCode = 0
  #hardExits = false

  constructor(options: WorkerOptions, guard: GuardOptions) {
    this.#options = guard
    const worker: JobWorker = new JobWorker(options, {
      endsWithParent: guard.endsWithParent,
      stopAfterRun: (stop) =>
        this.#end(0, ({ onReleased }) => worker.stop({ ...stop, onReleased })),
      onEvicted: () => void this.shutDown('an operator evicted it'),
    })
    this.#worker = worker
    this.#unhear = [
      worker.on('worker.stuck', ({ part }) => this.#onStuck(part)),
      worker.on('worker.bound_reached', ({ reason }) => this.#onBound(reason)),
      worker.on('worker.phase', ({ phase }) => {
        if (phase === 'draining') this.#hardExit()
      }),
    ]
    for (const signal of SIGNALS) process.on(signal, this.#onSignal)
    process.on('uncaughtException', this.#onUncaught)
    process.on('unhandledRejection', this.#onUncaught)
  }

  get worker(): Worker {
    return this.#worker
  }

  /** Begins a graceful stop of this process, or joins what ends it already, which then ends no later. */
  shutDown(reason: string, signal?: Signal): Promise<void> {
    const stop = (last: LastWords): Promise<unknown> =>
      this.#worker.stop({ reason, ...last, ...(signal === undefined ? {} : { signal }) })
    return this.#ending ? this.#exitAfter(stop) : this.#end(0, stop)
  }

  /** Leaves the process to itself again. */
  remove(): void {
    for (const unhear of this.#unhear) unhear()
    for (const signal of SIGNALS) process.off(signal, this.#onSignal)
    process.off('uncaughtException', this.#onUncaught)
    process.off('unhandledRejection', this.#onUncaught)
  }

  /** Begins the end of this process, unless it has begun. */
  async #end(exitCode: number, stop: (last: LastWords) => Promise<unknown>): Promise<void> {
    if (this.#ending) return
    this.#ending = true
    this.#exitCode = exitCode
    this.#hardExit()
    await this.#exitAfter(stop)
  }

  async #exitAfter(stop: (last: LastWords) => Promise<unknown>): Promise<void> {
    // A handler that ignores its signal must not run beside its successor: once its job is released, the process is gone.
    const onReleased = (): void => endProcess(this.#exitCode)
    await stop({ exitCode: this.#exitCode, onReleased })
    this.remove()
    endProcess(this.#exitCode)
  }

  #hardExit(): void {
    if (this.#hardExits) return
    this.#hardExits = true
    const startedMs = elapsedMs()
    setTimeout(() => {
      this.#worker.reportTimeout(Math.round(elapsedMs() - startedMs))
      endProcess(1)
    }, this.#worker.settings.hardExitMs).unref()
  }

  readonly #onSignal = (signal: Signal): void => {
    this.#signals += 1
    this.#options.onSignal(signal, this.#signals)
    const code = 128 + constants.signals[signal]
    if (this.#signals === 1) {
      void this.shutDown(signal, signal)
    } else if (this.#signals === 2) {
      // Abort, release, exit: the stop that is under way does it, without its grace.
      this.#exitCode = code
      void this.#worker.stop({ graceMs: 0, reason: signal, exitCode: code })
    } else {
      endProcess(code)
    }
  }

  readonly #onUncaught = (thrown: unknown): void => {
    const error = thrown instanceof Error ? thrown : new Error(messageOf(thrown))
    this.#options.onUncaught(error)
    const execution = currentExecution.getStore()
    void this.#end(1, (last) => this.#worker.blame(execution, error, last))
  }

  #onStuck(part: WorkerEvents['worker.stuck']['part']): void {
    const reason = `stuck: ${part === 'claims' ? 'its claims were not answered' : 'its event loop was blocked'}`
    void this.#end(1, (last) => this.#worker.stop({ graceMs: 0, reason, charge: 'lost', ...last }))
  }

  /** The worker begins to stop by itself, and its handlers may take their time: this joins it, and does not shorten it. */
  #onBound(reason: string): void {
    queueMicrotask(
      () =>
        void this.#exitAfter((last) => this.#worker.stop({ reason, graceMs: Infinity, ...last })),
    )
  }
}
