/**
 * The process around a worker: signals, uncaught errors and the hard exit. Installed by the program, or on request: a library that
 * takes signals from its host without being asked breaks the host's own shutdown.
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
import type { Worker } from './worker.ts'

const SIGNALS = ['SIGTERM', 'SIGINT', 'SIGQUIT', 'SIGHUP'] as const
type Signal = (typeof SIGNALS)[number]

export interface GuardOptions {
  /** Ends the process. Default `process.exit`. */
  readonly exit?: (code: number) => void
  /** Runs after the worker has stopped and before the process exits. */
  readonly beforeExit?: () => Promise<void> | void
  /** Told of each signal, so that it can be logged. */
  readonly onSignal?: (signal: string, count: number) => void
  readonly onUncaught?: (error: Error) => void
}

/** Guards the process until the worker has stopped. Returns what removes the guard, and what begins a graceful stop. */
export function guardProcess(
  worker: Worker,
  options: GuardOptions = {},
): { shutDown: (reason: string) => Promise<void>; remove: () => void } {
  const exit = options.exit ?? endProcess
  let signals = 0
  let ending = false
  let exitCode = 0

  let hardExits = false
  const hardExit = (): void => {
    if (hardExits) return
    hardExits = true
    const startedMs = elapsedMs()
    setTimeout(() => {
      worker.reportTimeout(Math.round(elapsedMs() - startedMs))
      exit(1)
    }, worker.settings.hardExitMs).unref()
  }

  const finish = async (stopped: Promise<unknown>): Promise<void> => {
    await stopped
    await options.beforeExit?.()
    remove()
    exit(exitCode)
  }

  // A handler that ignores its signal must not run beside its successor: once its job is released, the process is gone.
  const onReleased = (): void => exit(exitCode)

  const shutDown = (reason: string, signal?: Signal): Promise<void> => {
    hardExit()
    ending = true
    return finish(
      worker.stop({ reason, exitCode, onReleased, ...(signal === undefined ? {} : { signal }) }),
    )
  }

  const onSignal = (signal: Signal): void => {
    signals += 1
    options.onSignal?.(signal, signals)
    const code = 128 + constants.signals[signal]
    if (signals === 1) {
      void shutDown(signal, signal)
    } else if (signals === 2) {
      // Abort, release, exit: the stop that is under way does it, without its grace.
      exitCode = code
      void worker.stop({ graceMs: 0, reason: signal, exitCode })
    } else {
      exit(code)
    }
  }

  const onUncaught = (thrown: unknown): void => {
    const error = thrown instanceof Error ? thrown : new Error(String(thrown))
    options.onUncaught?.(error)
    const execution = currentExecution.getStore()
    if (ending) return
    ending = true
    exitCode = 1
    hardExit()
    void finish(worker.blame(execution, error, { exitCode, onReleased }))
  }

  worker.mayEndProcess = true
  worker.stopAfterRun = async (stop) => {
    if (ending) return
    ending = true
    hardExit()
    await finish(worker.stop({ ...stop, onReleased }))
  }
  worker.onEvicted = () => void shutDown('an operator evicted it')
  const unhear = worker.on('worker.stuck', ({ part }) => {
    if (ending) return
    ending = true
    exitCode = 1
    hardExit()
    const reason = `stuck: ${part === 'claims' ? 'its claims were not answered' : 'its event loop was blocked'}`
    void finish(worker.stop({ graceMs: 0, reason, charge: 'lost', exitCode, onReleased }))
  })
  // The worker begins to stop by itself, and its handlers may take their time: this joins it, and does not shorten it.
  const unhearBound = worker.on('worker.bound_reached', ({ reason }) => {
    queueMicrotask(
      () => void finish(worker.stop({ reason, graceMs: Infinity, exitCode, onReleased })),
    )
  })
  const unhearPhase = worker.on('worker.phase', ({ phase }) => {
    if (phase === 'draining') hardExit()
  })

  const remove = (): void => {
    unhear()
    unhearBound()
    unhearPhase()
    for (const signal of SIGNALS) process.off(signal, onSignal)
    process.off('uncaughtException', onUncaught)
    process.off('unhandledRejection', onUncaught)
  }
  for (const signal of SIGNALS) process.on(signal, onSignal)
  process.on('uncaughtException', onUncaught)
  process.on('unhandledRejection', onUncaught)
  return { shutDown, remove }
}
