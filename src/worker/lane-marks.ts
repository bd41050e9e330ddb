/**
 * Where claims may begin to look, so that they do not walk over what was taken before: under a transaction that is held open for an
 * hour the index keeps every entry of that hour, and a claim that starts at the beginning steps over all of them.
 *
 * Marks are hints in the memory of one worker. For each lane there are two, both places below which nothing is to be seen:
 *
 *     near   a little before where the last claim stopped taking: what nearly all claims start at
 *     safe   a place below which nothing will ever appear: what a wide claim starts at, at least every 100 ms
 *
 * A job that is committed late may stand below `near`, as others drew later places and committed first; it stands above `safe`, so
 * the next wide claim finds it. Why `safe` is safe: whoever puts a job at a place has a transaction id before the place is drawn. A
 * claim reads the last place drawn, `end`, before it has its own id; so whoever drew a place up to `end` has a lower id. Once a
 * later claim says that no transaction below that id is under way, all of them have ended, and what that claim, which looked from
 * `safe` on, does not see up to `end` will never be there: jobs that others are just taking are still seen, and a job that goes back is
 * given a fresh place. A long transaction that writes keeps `safe` where it is; then wide claims take longer and become rarer.
 *
 * Should that ever be wrong (a failover to a copy that lacks some of it), a claim from the very beginning, at the start and about
 * every minute, bounds the delay.
 */
import type { SeenLanes } from '../sql/protocol.ts'

const WIDE_EVERY_MS = 100
const WHOLE_EVERY_MS = 60_000
/** Calls of enqueue that commit at the same time commit in any order: those of a few callers are found without a wide claim. */
const NEAR_PLACES = 32
/** At most this share of the time goes into wide claims, and into whole ones. */
const WIDE_COST_FACTOR = 50
const WHOLE_COST_FACTOR = 100

export type Reach = 'near' | 'wide' | 'whole'

export interface ClaimMarks {
  readonly reach: Reach
  readonly lanes: readonly number[]
  readonly places: readonly number[]
}

export class LaneMarks {
  readonly #near = new Map<number, number>()
  readonly #safe = new Map<number, number>()
  #waitsFor: { end: number; transaction: bigint } | null = null
  /** Whoever drew a place up to this has ended. */
  #ended = 0
  #lastEnd = 0
  #lastTookMs = Infinity
  #nextWideMs = -Infinity
  #nextWholeMs = -Infinity

  /** Where the next claim should start. */
  next(nowMs: number): ClaimMarks {
    const reach = nowMs >= this.#nextWholeMs ? 'whole' : nowMs >= this.#nextWideMs ? 'wide' : 'near'
    if (reach === 'whole') return { reach, lanes: [], places: [] }
    const marks = reach === 'wide' ? this.#safe : this.#near
    return { reach, lanes: [...marks.keys()], places: [...marks.values()] }
  }

  /** How long until a claim will reach further than near, in milliseconds. */
  wideInMs(nowMs: number): number {
    return Math.max(0, this.#nextWideMs - nowMs)
  }

  /** What a claim with these marks has seen. */
  saw({ reach }: ClaimMarks, seen: SeenLanes, times: { sentMs: number; nowMs: number }): void {
    if (seen.end < this.#lastEnd) {
      // Places went backwards: this is an older copy of the database.
      this.forget()
      return
    }
    this.#lastEnd = seen.end
    for (const [index, lane] of seen.lanes.entries()) {
      const front = seen.fronts[index] ?? null
      if (front !== null) this.#near.set(lane, Math.max(0, front - 1 - NEAR_PLACES))
    }
    if (this.#waitsFor !== null && BigInt(seen.oldest) >= this.#waitsFor.transaction) {
      this.#ended = this.#waitsFor.end
      this.#waitsFor = null
    }
    if (reach !== 'near') {
      this.#forgetLanesBut(seen.lanes)
      // Of two, the faster: one that was held up by something else does not put off the next ones.
      const thisMs = times.nowMs - times.sentMs
      const tookMs = Math.min(thisMs, this.#lastTookMs)
      this.#lastTookMs = thisMs
      this.#nextWideMs = times.nowMs + Math.max(WIDE_EVERY_MS, WIDE_COST_FACTOR * tookMs)
      if (reach === 'whole') {
        this.#safe.clear()
        // Spread, so that a fleet that started together does not look together.
        const everyMs = Math.max(WHOLE_EVERY_MS, WHOLE_COST_FACTOR * tookMs)
        this.#nextWholeMs = times.nowMs + everyMs * (0.8 + Math.random() * 0.4)
      }
      this.#raiseSafe(seen)
    }
    this.#waitsFor ??= { end: seen.end, transaction: BigInt(seen.transaction) }
  }

  /** Nothing is known any more: the next claim looks at everything. */
  forget(): void {
    this.#near.clear()
    this.#safe.clear()
    this.#waitsFor = null
    this.#ended = 0
    this.#lastEnd = 0
    this.#nextWholeMs = -Infinity
  }

  /** Lanes of runs come and go. Should one come back, it is looked at from the beginning. */
  #forgetLanesBut(lanes: readonly number[]): void {
    if (this.#near.size === 0) return
    const known = new Set(lanes)
    for (const marks of [this.#near, this.#safe])
      for (const lane of marks.keys()) if (!known.has(lane)) marks.delete(lane)
  }

  #raiseSafe(seen: SeenLanes): void {
    for (const [index, lane] of seen.lanes.entries()) {
      const head = seen.heads[index] ?? null
      const safe = head === null ? this.#ended : Math.min(head - 1, this.#ended)
      this.#safe.set(lane, Math.max(safe, this.#safe.get(lane) ?? 0))
      this.#near.set(lane, Math.max(this.#near.get(lane) ?? 0, safe))
    }
  }
}
