/**
 * What of recovery fails for another reason than an outage: a grant that is missing, a trigger that refuses, a mistake of ours. Retrying
 * goes on, but the return of the database won't mend it, and all else seems well meanwhile; so somebody has to hear of it.
 */
import { elapsedMs } from '../clock.ts'
import { classifyFailure } from '../db/connect.ts'

/** `witness`: a neighbour that is gone could not be reported (layer 2). `webhooks`: what they are owed could not be sent. */
export type SweepPart = 'sweep' | 'witness' | 'webhooks'

/** A pass fails twice a second, and a log that says so each time is read by nobody. */
const SAID_AGAIN_MS = 60_000

export class SweepFailures {
  readonly #say: (part: SweepPart, message: string) => void
  readonly #saidMs = new Map<string, number>()

  constructor(say: (part: SweepPart, message: string) => void) {
    this.#say = say
  }

  /** Passes a failure on unless it is an outage, the same one again once a minute. */
  note(part: SweepPart, error: unknown): void {
    if (classifyFailure(error) === 'unknown') return
    const message = error instanceof Error ? error.message : String(error)
    const nowMs = elapsedMs()
    for (const [said, atMs] of this.#saidMs) {
      if (nowMs - atMs >= SAID_AGAIN_MS) this.#saidMs.delete(said)
    }
    const key = `${part}: ${message}`
    if (this.#saidMs.has(key)) return
    this.#saidMs.set(key, nowMs)
    this.#say(part, message)
  }
}
