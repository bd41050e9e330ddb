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
  /** Of SharedNumbers. */
  readonly shared: SharedArrayBuffer
  /** A ClaimedAhead's. */
  readonly ahead: SharedArrayBuffer
}

/** How often an idle main thread gives a sign of life; a busy one does ten times as often. */
export const TICK_IDLE_MS = 500
/** What was claimed ahead of free slots and has not begun for so long goes back, not charged. */
export const AHEAD_MS_MAX = 250

export type ToLifeline =
  | { readonly type: 'renew' }
  | { readonly type: 'watch'; readonly when: 'soon' | 'now' }
  /** All handlers of the ended incarnation have settled: begin a fresh one. */
  | { readonly type: 'reincarnate' }
  /** The database has answered for every outcome that it may have forgotten, or had its time to. */
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
  /** No thread of this process ran. */
  | { readonly type: 'stood_still'; readonly forMs: number }
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
