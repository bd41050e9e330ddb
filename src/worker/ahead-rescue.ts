/**
 * Gives back, from the lifeline, what the main thread has claimed and does not begin, as a handler keeps it busy: somebody else is free.
 * How the two threads keep out of each other's way is in claimed-ahead.ts.
 */
import type { Database } from '../db/connect.ts'
import { claim, settle } from '../sql/protocol.ts'
import type { ClaimedAhead, Unbegun } from './claimed-ahead.ts'
import { AHEAD_MS_MAX, TICK_IDLE_MS } from './lifeline-messages.ts'
import type { SharedNumbers } from './shared-numbers.ts'

/** In one statement: a renewal waits behind it. */
const RELEASE_MAX = 500

export class AheadRescue {
  readonly #ahead: ClaimedAhead
  readonly #numbers: SharedNumbers
  readonly #everyMs: number
  /** What the main thread did last about jobs that it has not begun. */
  #turn = ''
  #silentMs = 0
  /** They were given back since. */
  #given = false

  /** @param everyMs How often it looks. */
  constructor(ahead: ClaimedAhead, numbers: SharedNumbers, everyMs: number) {
    this.#ahead = ahead
    this.#numbers = numbers
    this.#everyMs = everyMs
  }

  /**
   * @param ranMs How long this process has run since the last look.
   * @param to Where the worker has them from; null while it is not registered, or not connected.
   */
  look(ranMs: number, to: { readonly db: Database; readonly incarnation: string } | null): void {
    const turn = `${this.#numbers.read('mainBeatMs')} ${this.#ahead.turn}`
    if (turn !== this.#turn) {
      this.#turn = turn
      this.#silentMs = 0
      this.#given = false
      return
    }
    this.#silentMs += Math.min(ranMs, this.#everyMs)
    const idleMs = this.#numbers.read('handlers') === 0 ? TICK_IDLE_MS : 0
    const isLate = this.#silentMs >= AHEAD_MS_MAX + idleMs
    if (this.#given || !isLate || !this.#ahead.some || to === null) return
    this.#given = true
    void this.#giveBack(to.db, to.incarnation).catch(() => {
      // Tried again, while the main thread is still silent. Afterwards that gives them back itself.
      this.#given = false
    })
  }

  async #giveBack(db: Database, incarnation: string): Promise<void> {
    const { unbegun, claim: asked } = this.#ahead.take()
    await release(db, unbegun)
    if (asked === null) return
    // The same id again: it gets what it has given, and takes nothing.
    const answer = await claim(db, { incarnation, claim: asked, want: 0, queues: [], types: [] })
    if (answer.outcome !== 'claimed') return
    await release(
      db,
      answer.jobs.map(({ id, token }) => ({ jobId: id, token })),
    )
  }
}

async function release(db: Database, jobs: readonly Unbegun[]): Promise<void> {
  for (let from = 0; from < jobs.length; from += RELEASE_MAX) {
    const part = jobs.slice(from, from + RELEASE_MAX)
    await settle(
      db,
      part.map((job) => ({ ...job, outcome: 'released', value: null, delayMs: null })),
    )
  }
}
