/**
 * The life of a worker as its own process sees it:
 *
 *     stopped ─▶ starting ─▶ ready ⇄ degraded
 *        ▲           │ │        └──────┴────▶ draining ─▶ stopping ─▶ stopped
 *        │           │ └────────────────────────▲
 *        └── failed ◀┘
 *
 * `degraded`: nothing is claimed until it is well again. Its reserved connection is gone, its incarnation has ended, or claims or event
 * loop are stuck. What others see (online, late, offline …) is computed by the database and stored nowhere.
 *
 * Whoever asks for a change that is not listed has a wrong idea of where the worker is; that is a bug, and loud.
 */
import assert from 'node:assert/strict'

export type WorkerState =
  'stopped' | 'starting' | 'ready' | 'degraded' | 'draining' | 'stopping' | 'failed'

export const STATE_CHANGES: Readonly<Record<WorkerState, readonly WorkerState[]>> = Object.freeze({
  stopped: ['starting'],
  starting: ['ready', 'draining', 'failed'],
  ready: ['degraded', 'draining'],
  degraded: ['ready', 'draining'],
  draining: ['stopping'],
  stopping: ['stopped'],
  failed: ['starting'],
})

export interface StateChange {
  readonly state: WorkerState
  readonly at: Date
  readonly reason: string
}

export class Lifecycle {
  readonly #history: StateChange[] = []
  #state: WorkerState = 'stopped'

  get state(): WorkerState {
    return this.#state
  }

  get history(): readonly StateChange[] {
    return this.#history
  }

  /** Entering the present state again changes nothing. */
  enter(state: WorkerState, reason: string): void {
    if (state === this.#state) return
    assert(
      STATE_CHANGES[this.#state].includes(state),
      `a worker that is ${this.#state} can not become ${state}`,
    )
    this.#state = state
    this.#history.push({ state, at: new Date(), reason })
  }
}
