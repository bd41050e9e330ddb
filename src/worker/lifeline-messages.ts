/** What the main thread and the lifeline thread say to each other. */
import type { ConnectOptions } from '../db/connect.ts'
import type { WorkerSettings } from '../config.ts'
import type { AlertChange } from '../sql/alerts.ts'
import type { SweepPart } from '../sweep/failures.ts'
import type {
  EndCharge,
  RecoveredJob,
  Renewed,
  StuckPart,
  WorkerIdentity,
} from '../sql/protocol.ts'

export interface LifelineData {
  readonly connect: ConnectOptions
  readonly namespace: string
  readonly identity: Omit<
    WorkerIdentity,
    'incarnation' | 'direct' | 'processAgeMs' | 'memoryBytes' | 'clockAheadMs' | 'listens'
  >
  readonly settings: WorkerSettings
  readonly onOutage: 'continue' | 'abort'
  /** Whether this process may be ended when its event loop is stuck: it is the worker's own, not one that a library is a guest in. */
  readonly mayEndProcess: boolean
  /** Whether this process may not outlive its parent, which supervises it. */
  readonly endsWithParent: boolean
  readonly shared: SharedArrayBuffer
  /** A ClaimedAhead's. */
  readonly ahead: SharedArrayBuffer
}

/** How often an idle main thread gives a sign of life; a busy one does ten times as often. */
export const TICK_IDLE_MS = 500
/** What was claimed ahead of free slots and has not begun for so long goes back, not charged. */
export const AHEAD_MS_MAX = 250

export type SharedSlot =
  | 'proofSentMs'
  | 'mainBeatMs'
  | 'handlers'
  | 'fenced'
  | 'spoolDepth'
  | 'draining'
  | 'awakeMs'
  | 'outage'
  | 'claiming'
  | 'connected'
  | 'claimTurn'
  | 'ended'
  | 'spoolSinceMs'
  | 'claimRounds'
  | 'claimed'
  | 'shutdownPhase'
  | SettledSlot
  | 'slots'

/** Attempts whose outcome the database has answered, by what it said. */
export type SettledSlot = (typeof SETTLED_SLOTS)[number]
export const SETTLED_SLOTS = [
  'completed',
  'failed',
  'retrying',
  'cancelled',
  'interrupted',
  'released',
  'late',
] as const

/**
 * Numbers that both threads read and write without asking each other, so that neither can hold the other up. All times are
 * `elapsedMs` readings, rounded.
 */
export const SHARED: Readonly<Record<SharedSlot, number>> = Object.freeze({
  /** When the last accepted renewal or claim was sent: the lease is counted from here. */
  proofSentMs: 0,
  /** Last sign of life of the main thread's event loop. */
  mainBeatMs: 1,
  /** Handlers that have not settled. While there is one, the process may not outlive the lease. */
  handlers: 2,
  /** 1 once this incarnation has fenced itself. */
  fenced: 3,
  spoolDepth: 4,
  draining: 5,
  /** Time during which this process was not frozen, in milliseconds. */
  awakeMs: 6,
  /** 1 while the database is positively down and handlers may go on past the fence. */
  outage: 7,
  /** Claims in flight: an incarnation with one is not idle. */
  claiming: 8,
  /** 1 when the reserved connection is up: without it nothing is claimed. */
  connected: 9,
  /** Sign of life of the claim loop: another number after each answer while it is under way, 0 while it rests. */
  claimTurn: 10,
  /** 1 when the worker's row was ended, or could not be: what a main thread waits for that lets no handler go on. */
  ended: 11,
  /** Since when the oldest outcome in the spool has waited, 0 while there is none. */
  spoolSinceMs: 12,
  /** Claims that were answered, and the jobs that they brought. */
  claimRounds: 13,
  claimed: 14,
  /** Place in SHUTDOWN_PHASES, from 1; 0: no shutdown. */
  shutdownPhase: 15,
  completed: 16,
  failed: 17,
  retrying: 18,
  cancelled: 19,
  interrupted: 20,
  released: 21,
  late: 22,
  slots: 23,
})

export type ToLifeline =
  | { readonly type: 'renew' }
  | { readonly type: 'watch'; readonly when: 'soon' | 'now' }
  /** All handlers of the ended incarnation have settled: begin a fresh one. */
  | { readonly type: 'reincarnate' }
  /** The database was asked about every outcome that it may have forgotten. */
  | { readonly type: 'redelivered' }
  /** A shutdown has begun, or is to end sooner: whoever may end this process does, should the main thread not come to it. */
  | {
      readonly type: 'stopping'
      readonly charge: EndCharge
      readonly reason: string
      readonly signal: string | null
      /** An `elapsedMs` reading; null: not while handlers may go on for as long as they take. */
      readonly hardExitAtMs: number | null
    }
  | {
      readonly type: 'end'
      readonly charge: EndCharge
      readonly reason: {
        readonly code: string
        readonly message: string
        readonly shutdown: Record<string, unknown>
      }
      readonly limitMs: number
    }

export type FromLifeline =
  | { readonly type: 'health'; readonly host: string; readonly port: number }
  | {
      readonly type: 'registered'
      readonly incarnation: string
      readonly id: string
      readonly direct: boolean
      readonly listening: boolean
    }
  | {
      readonly type: 'connection'
      readonly up: boolean
      readonly listening: boolean
      readonly error: string | null
    }
  /** Another life of the database answers (a standby was promoted), which may lack what the former one acknowledged. */
  | { readonly type: 'failed_over' }
  | { readonly type: 'renewed'; readonly sentMonotonicMs: number; readonly answer: Renewed }
  | { readonly type: 'renewal_failed'; readonly error: string; readonly trustedForMs: number }
  /** This incarnation is over: abort everything. */
  | {
      readonly type: 'over'
      readonly code: 'lease_lost' | 'self_fenced'
      readonly message: string
      /** An operator wants no worker here: no other incarnation is to follow. */
      readonly evicted: boolean
    }
  /** The database is down past the fence: handlers that may not go on in an outage have to stop. */
  | { readonly type: 'outage' }
  | { readonly type: 'event_loop_blocked'; readonly forMs: number }
  /** The database knows that this part of the worker is stuck; null: that it is so no more. */
  | { readonly type: 'stuck'; readonly part: StuckPart | null; readonly forMs: number }
  /** Processes of neighbours no longer exist; the database is told next. */
  | { readonly type: 'neighbours_gone' }
  | {
      readonly type: 'recovered'
      readonly layer: number | null
      readonly workers: readonly string[]
      readonly jobs: readonly RecoveredJob[]
    }
  | { readonly type: 'sweep_failed'; readonly part: SweepPart; readonly error: string }
  | ({ readonly type: 'alert' } & AlertChange)
  | {
      readonly type: 'refused'
      readonly error: {
        name: string
        message: string
        hint: string | undefined
        code: string
        exitCode: number
      }
    }
  | { readonly type: 'ended'; readonly released: readonly string[]; readonly error: string | null }
