/**
 * Numbers that the main thread and the lifeline both read and write without asking each other, so that neither can hold the other up.
 * Each stands in a place of its own in memory that both have; all times are `elapsedMs` readings, rounded.
 */
import { SHUTDOWN_PHASES, type ShutdownPhase } from './shutdown-report.ts'

/** Attempts whose outcome the database has answered, by what it said. */
export const SETTLED_SLOTS = [
  'completed',
  'failed',
  'retrying',
  'cancelled',
  'interrupted',
  'released',
  'late',
] as const
export type SettledSlot = (typeof SETTLED_SLOTS)[number]

const SLOTS = [
  /** When the last accepted renewal or claim was sent: the lease is counted from here. */
  'proofSentMs',
  /** Last sign of life of the main thread's event loop. */
  'mainBeatMs',
  /** Handlers that have not settled. While there is one, the process may not outlive the lease. */
  'handlers',
  /** 1 once this incarnation has fenced itself. */
  'fenced',
  'spoolDepth',
  /** Since when the oldest outcome in the spool has waited, 0 while there is none. */
  'spoolSinceMs',
  'draining',
  /** Time during which this process was not frozen, in milliseconds. */
  'awakeMs',
  /** 1 while the database is positively down and handlers may go on past the fence. */
  'outage',
  /** Claims in flight: an incarnation with one is not idle. */
  'claiming',
  /** 1 when the reserved connection is up: without it nothing is claimed. */
  'connected',
  /** Sign of life of the claim loop: another number after each answer while it is under way, 0 while it rests. */
  'claimTurn',
  /** Claims that were answered, and the jobs that they brought. */
  'claimRounds',
  'claimed',
  /** 1 when the worker's row was ended, or could not be: what a main thread waits for that lets no handler go on. */
  'ended',
  /** Place in SHUTDOWN_PHASES, from 1; 0: no shutdown. */
  'shutdownPhase',
] as const
export type SharedSlot = (typeof SLOTS)[number] | SettledSlot

const ALL_SLOTS: readonly SharedSlot[] = [...SLOTS, ...SETTLED_SLOTS]
const PLACES = Object.freeze(
  Object.fromEntries(ALL_SLOTS.map((slot, place) => [slot, place])),
) as Readonly<Record<SharedSlot, number>>

export class SharedNumbers {
  /** What is handed to the other thread. */
  readonly memory: SharedArrayBuffer
  readonly #numbers: BigInt64Array

  constructor(
    memory: SharedArrayBuffer = new SharedArrayBuffer(
      ALL_SLOTS.length * BigInt64Array.BYTES_PER_ELEMENT,
    ),
  ) {
    this.memory = memory
    this.#numbers = new BigInt64Array(memory)
  }

  read(slot: SharedSlot): number {
    return Number(Atomics.load(this.#numbers, PLACES[slot]))
  }

  write(slot: SharedSlot, value: number): void {
    Atomics.store(this.#numbers, PLACES[slot], BigInt(Math.round(value)))
  }

  add(slot: SharedSlot, change: number): void {
    Atomics.add(this.#numbers, PLACES[slot], BigInt(change))
  }

  /** Of the shutdown that is under way; null: none is. */
  get phase(): ShutdownPhase | null {
    return SHUTDOWN_PHASES[this.read('shutdownPhase') - 1] ?? null
  }

  set phase(phase: ShutdownPhase) {
    this.write('shutdownPhase', SHUTDOWN_PHASES.indexOf(phase) + 1)
  }

  /** Sets it to 1, and wakes a thread that stands still for it. */
  announce(slot: SharedSlot): void {
    this.write(slot, 1)
    Atomics.notify(this.#numbers, PLACES[slot])
  }

  /** Stands still, event loop and all, until it is announced, or for `limitMs`. */
  standStillFor(slot: SharedSlot, limitMs: number): void {
    Atomics.wait(this.#numbers, PLACES[slot], 0n, limitMs)
  }
}
