/**
 * What a shutdown did, written down as it goes: what `stop` resolves to, what `worker.stopped` says, and, in short, what the registry
 * keeps. The registry's copy travels with the statement that marks the worker offline, so it lacks what comes after that.
 */
import type { SessionResult } from '../client/session.ts'
import { elapsedMs } from '../clock.ts'
import type { StepResult } from './shutdown-step.ts'

/** In their order. Those with nothing to do are passed over. */
export const SHUTDOWN_PHASES = [
  'before-drain',
  'draining',
  'aborting',
  'after-drain',
  'sessions',
  'before-close',
  'flushing',
  'offline',
  'after-offline',
  'closing',
] as const
export type ShutdownPhase = (typeof SHUTDOWN_PHASES)[number]

/**
 * Those that plug-ins have hooks in. before-drain: claims have ended, handlers go on. after-drain: no handler runs any more, sessions are
 * open. before-close: sessions are closed, the registry still shows the worker. after-offline: it is offline there; the process ends
 * next.
 */
export const HOOK_PHASES = ['before-drain', 'after-drain', 'before-close', 'after-offline'] as const
export type HookPhase = (typeof HOOK_PHASES)[number]

export interface HookResult extends StepResult {
  readonly name: string
  readonly phase: HookPhase
}

/**
 * graceful: everything ended in its time, and the registry knows. timed_out: something was cut, or the registry could not be told.
 * crashed: the process brought its end on itself, by an uncaught error or because it was stuck.
 */
export type ShutdownOutcome = 'graceful' | 'timed_out' | 'crashed'

export interface ShutdownReport {
  readonly workerId: string
  readonly outcome: ShutdownOutcome
  readonly reason: string
  readonly signal: string | null
  /** What the process exits with, as far as the worker was told; null inside a program of its owner's. */
  readonly exitCode: number | null
  readonly durationMs: number
  readonly phases: readonly { readonly phase: ShutdownPhase; readonly durationMs: number }[]
  /** Jobs whose attempts ended by their own outcome while the worker drained. */
  readonly finished: readonly string[]
  /** Jobs whose handlers were told to stop, and did. */
  readonly interrupted: readonly string[]
  /** Jobs that went back without their handlers: those of deaf ones, and those that had not begun. */
  readonly released: readonly string[]
  readonly sessions: readonly SessionResult[]
  readonly hooks: readonly HookResult[]
  /** Why the worker could not be marked offline, or null: the lease or a neighbour tells of its end then. */
  readonly error: string | null
}

export interface ShutdownFacts {
  readonly reason: string
  readonly signal: string | null
  readonly exitCode: number | null
  readonly crashed: boolean
}

export interface PhaseListener {
  begins(phase: ShutdownPhase): void
  ended(phase: ShutdownPhase, durationMs: number): void
}

export class ShutdownRecord {
  readonly startedMs: number = elapsedMs()
  facts: ShutdownFacts
  finished: string[] = []
  interrupted: string[] = []
  released: string[] = []
  sessions: SessionResult[] = []
  hooks: HookResult[] = []
  error: string | null = null
  /** Handlers that ignored their signal, or outcomes that were not delivered. */
  cut = false
  readonly #told: PhaseListener
  readonly #phases: { phase: ShutdownPhase; durationMs: number }[] = []

  constructor(facts: ShutdownFacts, told: PhaseListener) {
    this.facts = facts
    this.#told = told
  }

  async phase<T>(phase: ShutdownPhase, work: () => Promise<T>): Promise<T> {
    this.#told.begins(phase)
    const startedMs = elapsedMs()
    try {
      return await work()
    } finally {
      const durationMs = Math.round(elapsedMs() - startedMs)
      this.#phases.push({ phase, durationMs })
      this.#told.ended(phase, durationMs)
    }
  }

  report(workerId: string): ShutdownReport {
    const { crashed, ...facts } = this.facts
    return {
      workerId,
      outcome: crashed ? 'crashed' : this.#isGraceful() ? 'graceful' : 'timed_out',
      ...facts,
      durationMs: Math.round(elapsedMs() - this.startedMs),
      phases: [...this.#phases],
      finished: this.finished,
      interrupted: this.interrupted,
      released: this.released,
      sessions: this.sessions,
      hooks: this.hooks,
      error: this.error,
    }
  }

  /** Numbers instead of ids, and of steps only those that did not end well: the registry keeps it for ever. */
  stored(workerId: string): Record<string, unknown> {
    const { finished, interrupted, released, sessions, hooks, ...rest } = this.report(workerId)
    const troubled = [
      ...sessions.map((session) => ({ session: session.name, outcome: session.outcome })),
      ...hooks.map((hook) => ({ hook: hook.name, outcome: hook.outcome })),
    ].filter(({ outcome }) => outcome !== 'done')
    const { workerId: _w, reason: _r, error: _e, ...kept } = rest
    return {
      ...kept,
      finished: finished.length,
      interrupted: interrupted.length,
      released: released.length,
      sessions: sessions.length,
      hooks: hooks.length,
      troubled: troubled.slice(0, TROUBLED_MAX),
    }
  }

  #isGraceful(): boolean {
    const steps = [...this.sessions, ...this.hooks]
    return (
      !this.cut &&
      this.error === null &&
      steps.every(({ outcome }) => outcome === 'done' || outcome === 'failed')
    )
  }
}

const TROUBLED_MAX = 20
