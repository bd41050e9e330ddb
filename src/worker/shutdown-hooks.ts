/** Code of plug-ins that a shutdown runs, in named phases; within a phase in the order of registration, each with its own limit. */
import { UsageError } from '../errors.ts'
import { HOOK_PHASES, type HookPhase, type HookResult } from './shutdown-report.ts'
import { checkedLimitMs, runStep, type StepLimits } from './shutdown-step.ts'
import type { WorkerEventBus } from './worker-events.ts'

export interface HookOptions {
  /** Default `before-close`. */
  readonly phase?: HookPhase
  /** Longest wait for it, in milliseconds. Default 5,000. */
  readonly timeoutMs?: number
}

interface Hook {
  readonly name: string
  readonly run: () => unknown
  readonly phase: HookPhase
  readonly limitMs: number
}

export class ShutdownHooks {
  readonly #bus: WorkerEventBus
  readonly #hooks: Hook[] = []

  constructor(bus: WorkerEventBus) {
    this.#bus = bus
  }

  add(name: string, run: () => unknown, options: HookOptions): void {
    const { phase = 'before-close' } = options
    if (!HOOK_PHASES.includes(phase)) {
      throw new UsageError(
        `hook "${name}" wants the phase "${phase as string}"; there are ${HOOK_PHASES.join(', ')}.`,
      )
    }
    const limitMs = checkedLimitMs(`hook "${name}"`, options.timeoutMs)
    this.#hooks.push({ name, run, phase, limitMs })
  }

  has(phase: HookPhase): boolean {
    return this.#hooks.some((hook) => hook.phase === phase)
  }

  async run(phase: HookPhase, limits: StepLimits): Promise<HookResult[]> {
    const results: HookResult[] = []
    for (const { name, run, limitMs } of this.#hooks.filter((hook) => hook.phase === phase)) {
      const result = await runStep(run, limitMs, limits)
      results.push({ name, phase, ...result })
      if (result.outcome !== 'done') {
        this.#bus.emit('hook.failed', {
          name,
          phase,
          outcome: result.outcome,
          error: result.error ?? 'no time was left',
        })
      }
    }
    return results
  }
}
