/**
 * A worker that renews and does nothing else would look well for ever, so the lifeline watches the rest of it: claims that are not
 * answered, and a main thread that is silent though no handler keeps it busy.
 *
 * Only time counts in which the lifeline itself was answered (an outage is nobody's wedge), and in which this process ran. A main thread
 * that a handler keeps busy owes no sign of life, and neither do its claims meanwhile.
 */
import type { StuckPart } from '../sql/protocol.ts'
import type { SharedNumbers } from './shared-numbers.ts'

/** How often it looks. */
export const WATCHDOG_EVERY_MS = 100
const LOOP_BLOCKED_MS = 1_000
/** In renewal intervals. The rest of the third is for the renewal that says so, so that it is known within three. */
const STUCK_AFTER = 1.75

export interface WatchdogParts {
  readonly numbers: SharedNumbers
  readonly renewMs: number
  readonly concurrency: number
  /** The event loop was blocked for so long, and is no more. */
  readonly loopWasBlocked: (forMs: number) => void
}

export class Watchdog {
  readonly #p: WatchdogParts
  #loopLagMs = 0
  #blockedMs = 0
  /** How long this process has stood still since the main thread's last beat. */
  #standstill = { afterBeatMs: 0, forMs: 0 }
  /** How long each part has given no sign of life that it owed. */
  readonly #silentMs: Record<StuckPart, number> = { claims: 0, event_loop: 0 }
  #stuck: StuckPart | null = null
  #claimTurn = 0
  #claimRounds = 0
  #unaskedMs = 0

  constructor(parts: WatchdogParts) {
    this.#p = parts
  }

  /** How long the main thread's event loop has been blocked. */
  get loopLagMs(): number {
    return this.#loopLagMs
  }

  get stuck(): StuckPart | null {
    return this.#stuck
  }

  /** How long a claim has been due, as far as looks saw, and nobody has made one. */
  get unaskedMs(): number {
    return this.#unaskedMs
  }

  silentMs(part: StuckPart): number {
    return this.#silentMs[part]
  }

  /** What was silent may have been waiting for what did not answer the lifeline either. */
  forgetSilence(): void {
    this.#silentMs.claims = 0
    this.#silentMs.event_loop = 0
    this.#stuck = null
  }

  /** No thread of this process ran for `gapMs` until now: no handler has blocked anything. */
  stoodStill(nowMs: number, gapMs: number): void {
    const beatMs = this.#p.numbers.read('mainBeatMs')
    // It has run since.
    if (beatMs > nowMs - gapMs + 2 * WATCHDOG_EVERY_MS) return
    const { afterBeatMs, forMs } = this.#standstill
    this.#standstill = {
      afterBeatMs: beatMs,
      forMs: gapMs + (afterBeatMs === beatMs ? forMs : 0),
    }
  }

  /**
   * Returns whether another part is stuck than before.
   *
   * @param ranMs How long this process has run since the last look.
   * @param well Whether the worker is registered, and connected.
   */
  look(nowMs: number, ranMs: number, well: boolean): boolean {
    this.#measureLoop(nowMs)
    const { concurrency, numbers, renewMs } = this.#p
    const draining = numbers.read('draining') === 1
    // A worker that stops because it is stuck does not get well by claiming nothing any more.
    if (this.#stuck === 'claims' && draining) return false
    const handlers = numbers.read('handlers')
    const turn = numbers.read('claimTurn')
    const rounds = numbers.read('claimRounds')
    const blocked = this.#loopLagMs >= LOOP_BLOCKED_MS
    const claims = well && !blocked && !draining
    const isUnasked = claims && turn === 0 && rounds === this.#claimRounds && handlers < concurrency
    this.#unaskedMs = isUnasked ? this.#unaskedMs + ranMs : 0
    this.#count('claims', claims && turn !== 0 && turn === this.#claimTurn, ranMs)
    this.#count('event_loop', well && blocked && handlers === 0, ranMs)
    this.#claimTurn = turn
    this.#claimRounds = rounds
    const before = this.#stuck
    const limitMs = STUCK_AFTER * renewMs
    const { claims: claimsMs, event_loop: loopMs } = this.#silentMs
    this.#stuck = claimsMs >= limitMs ? 'claims' : loopMs >= limitMs ? 'event_loop' : null
    return this.#stuck !== before
  }

  #count(part: StuckPart, owed: boolean, ranMs: number): void {
    this.#silentMs[part] = owed ? this.#silentMs[part] + ranMs : 0
  }

  #measureLoop(nowMs: number): void {
    const beatMs = this.#p.numbers.read('mainBeatMs')
    const { afterBeatMs, forMs } = this.#standstill
    const stillMs = afterBeatMs === beatMs ? forMs : 0
    this.#loopLagMs = Math.max(0, nowMs - beatMs - 2 * WATCHDOG_EVERY_MS - stillMs)
    if (this.#loopLagMs >= LOOP_BLOCKED_MS) {
      this.#blockedMs = this.#loopLagMs
    } else if (this.#blockedMs > 0) {
      this.#p.loopWasBlocked(Math.round(this.#blockedMs))
      this.#blockedMs = 0
    }
  }
}
