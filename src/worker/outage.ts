/**
 * Whether the database is positively down, from what came back when it was asked: the one exception to the fence.
 *
 *     none ── a refusal, at most a renewal interval old ──▶ down ── ten minutes ──▶ too long
 *       ◀── any other failure, no answer for a renewal interval, or an accepted renewal ──┘
 *
 * Times are `elapsedMs` readings.
 */
const OUTAGE_MS_MAX = 600_000

export class Outage {
  readonly #freshMs: number
  #refusedMs = -Infinity
  #sinceMs: number | null = null

  constructor(options: { renewMs: number }) {
    this.#freshMs = options.renewMs
  }

  /** It said itself that it is down: refused, shutting down or starting up. */
  refused(nowMs: number): void {
    this.#refusedMs = nowMs
  }

  /** It failed in a way that says nothing about the server: a time-out, a lost packet. */
  unclear(): void {
    this.#refusedMs = -Infinity
  }

  /** The outage is counted from when it was first asked about, as long as that is asked all the while. */
  state(nowMs: number): 'none' | 'down' | 'too long' {
    if (nowMs - this.#refusedMs > this.#freshMs) {
      this.over()
      return 'none'
    }
    this.#sinceMs ??= nowMs
    return nowMs - this.#sinceMs <= OUTAGE_MS_MAX ? 'down' : 'too long'
  }

  over(): void {
    this.#sinceMs = null
  }
}
