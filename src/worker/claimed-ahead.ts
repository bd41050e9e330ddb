/**
 * Jobs that were claimed and have not begun, where both threads see them: a handler that keeps the main thread busy must not hold them
 * up, so the lifeline then gives them to whoever is free. Nobody may begin what is given back, and neither thread waits for the other:
 *
 *     main       puts what a claim gave ─▶ before a start says that it begins ─▶ THEN looks at the generation: another one than
 *                when the claim was sent: it does not begin, and gives back all that was claimed before
 *     lifeline   changes the generation ─▶ THEN reads what has not begun ─▶ changes it again, and gives that back
 *
 * Atomics are in one order for all, so either the lifeline sees that a job begins, or main sees the new generation. The generation is
 * odd while the lifeline reads: a claim that is sent meanwhile is begun by nobody. What comes too late, is read half written or is given
 * back by both does no harm, as a release is fenced by the job's token.
 *
 * A claim that is under way has given jobs, perhaps, that main has not heard of. Its id is here, too: asked again with it, the database
 * says which. An id is of one generation, so that nobody begins what such a question has brought to light.
 */

const PLACE = { from: 0, to: 1, generation: 2, asked: 3 } as const
const HEAD_BYTES = 16
const UUID_LENGTH = 36
const ENTRY_BYTES = 2 * UUID_LENGTH

export interface Unbegun {
  readonly jobId: string
  readonly token: string
}

export class ClaimedAhead {
  readonly shared: SharedArrayBuffer
  readonly #head: Int32Array
  readonly #claim: Buffer
  readonly #entries: Buffer
  /** A power of two, so that places may overflow. */
  readonly #capacity: number

  constructor(shared: SharedArrayBuffer) {
    this.shared = shared
    this.#head = new Int32Array(shared, 0, HEAD_BYTES / 4)
    this.#claim = Buffer.from(shared, HEAD_BYTES, UUID_LENGTH)
    this.#entries = Buffer.from(shared, HEAD_BYTES + UUID_LENGTH)
    this.#capacity = this.#entries.length / ENTRY_BYTES
  }

  /** One for so many jobs. Of more the oldest are not given back before main does it. */
  static for(jobsMax: number): ClaimedAhead {
    const capacity = 2 ** Math.ceil(Math.log2(jobsMax))
    return new ClaimedAhead(
      new SharedArrayBuffer(HEAD_BYTES + UUID_LENGTH + capacity * ENTRY_BYTES),
    )
  }

  // ── the main thread's ────────────────────────────────────────────────────────────────────────────────────────────────────

  get generation(): number {
    return Atomics.load(this.#head, PLACE.generation)
  }

  /** A claim of this id is sent next. */
  asks(claim: string): void {
    Atomics.store(this.#head, PLACE.asked, 0)
    this.#claim.write(claim, 'latin1')
    Atomics.store(this.#head, PLACE.asked, 1)
  }

  /** No claim is open any more. Before anything that it gave begins. */
  answered(): void {
    Atomics.store(this.#head, PLACE.asked, 0)
  }

  /** In the order in which they will begin. Returns the job's place. */
  put(jobId: string, token: string): number {
    const place = this.#read(PLACE.to)
    const at = (place & (this.#capacity - 1)) * ENTRY_BYTES
    this.#entries.write(jobId, at, 'latin1')
    this.#entries.write(token, at + UUID_LENGTH, 'latin1')
    Atomics.store(this.#head, PLACE.to, place + 1)
    return place
  }

  /** The job at this place begins, or goes back, and so have all before it. Before a look at the generation. */
  leaves(place: number): void {
    Atomics.store(this.#head, PLACE.from, place + 1)
  }

  /** None is left. */
  clear(): void {
    Atomics.store(this.#head, PLACE.from, this.#read(PLACE.to))
  }

  // ── the lifeline's ───────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Whether there is anything to give back. */
  get some(): boolean {
    return this.#read(PLACE.from) !== this.#read(PLACE.to) || this.#read(PLACE.asked) === 1
  }

  /** Changes with each job that comes or begins. */
  get turn(): string {
    return `${this.#read(PLACE.from)} ${this.#read(PLACE.to)}`
  }

  /** What has not begun, and never will here, and the claim that is open. */
  take(): { readonly unbegun: readonly Unbegun[]; readonly claim: string | null } {
    Atomics.add(this.#head, PLACE.generation, 1)
    const to = this.#read(PLACE.to)
    const count = Math.min((to - this.#read(PLACE.from)) | 0, this.#capacity)
    const unbegun = Array.from({ length: Math.max(0, count) }, (_, index) => {
      const at = ((to - count + index) & (this.#capacity - 1)) * ENTRY_BYTES
      return {
        jobId: this.#entries.toString('latin1', at, at + UUID_LENGTH),
        token: this.#entries.toString('latin1', at + UUID_LENGTH, at + ENTRY_BYTES),
      }
    })
    const claim =
      this.#read(PLACE.asked) === 1 ? this.#claim.toString('latin1', 0, UUID_LENGTH) : null
    Atomics.add(this.#head, PLACE.generation, 1)
    return { unbegun, claim }
  }

  #read(place: number): number {
    return Atomics.load(this.#head, place)
  }
}
