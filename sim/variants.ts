/** The protocol with one rule broken on purpose. The checkers must catch each: that proves that they look. */
import type { Replacement } from './database.ts'
import type { Fault } from './simulate.ts'
import type { WorkerRules } from './worker.ts'

export interface Variant {
  readonly what: string
  readonly rules?: Partial<WorkerRules>
  /** The kinds of faults that bring it to light soonest. */
  readonly faults: readonly Fault[]
  readonly replacements?: readonly Replacement[]
  /** Rules of the checkers of which one must speak. */
  readonly caughtBy: readonly string[]
  /** Seeds, from 1, within which it is caught. */
  readonly seedsMax: number
}

export const VARIANTS: Readonly<Record<string, Variant>> = Object.freeze({
  'no-token': {
    what: 'settle takes an outcome from any token while the job runs',
    faults: ['cut', 'freeze'],
    replacements: [
      { functionName: 'settle', from: 'and j.token = o.token', to: 'and j.token is not null' },
    ],
    caughtBy: ['stale-write'],
    seedsMax: 5,
  },
  'fence-from-reply': {
    what: 'a worker counts its lease from the reply to a renewal instead of from its send',
    faults: ['brownout'],
    rules: { fence: 'reply' },
    caughtBy: ['one-handler'],
    seedsMax: 20,
  },
  'no-fence': {
    what: 'a worker that can no longer renew goes on with its jobs',
    faults: ['cut'],
    rules: { fence: 'never' },
    caughtBy: ['one-handler'],
    seedsMax: 30,
  },
  revive: {
    what: 'a renewal brings an ended worker row back to life',
    faults: ['cut', 'freeze'],
    replacements: [
      {
        functionName: 'renew',
        from: 'if not found or v_worker.ended_at is not null or',
        to: 'if not found or',
      },
      {
        functionName: 'renew',
        from: 'set seen_at = clock(),',
        to: 'set seen_at = clock(), ended_at = null, end_charge = null, end_layer = null,',
      },
    ],
    caughtBy: ['protected'],
    seedsMax: 5,
  },
  'no-reconcile': {
    what: 'a worker does not give back what a lost answer to a claim has left with it',
    faults: ['lost claim'],
    rules: { reconcile: false },
    caughtBy: ['liveness'],
    seedsMax: 10,
  },
  'no-amnesty': {
    what: 'after an outage, whoever has not renewed yet is judged lost at once',
    faults: ['outage'],
    replacements: [
      {
        functionName: 'judged_after',
        from: /select greatest\([\s\S]*\n {2}\)\n/,
        to: 'select least(p_until, clock() + milliseconds(p_span_ms))\n',
      },
    ],
    caughtBy: ['innocent', 'one-handler'],
    seedsMax: 10,
  },
  'cancel-forgotten': {
    what: 'a completion beats a cancel that was promised',
    faults: ['cancel'],
    replacements: [
      {
        functionName: 'settle',
        from: "when j.cancel_requested_at is not null or o.outcome = 'cancelled' then 'cancelled'",
        to: "when o.outcome <> 'completed' and j.cancel_requested_at is not null or o.outcome = 'cancelled' then 'cancelled'",
      },
    ],
    caughtBy: ['terminal'],
    seedsMax: 10,
  },
  'charged-twice': {
    what: 'a lost worker costs its job two of its chances',
    faults: ['crash'],
    replacements: [
      {
        functionName: 'take_back',
        from: "when v_charge = 'lost' then 1",
        to: "when v_charge = 'lost' then 2",
      },
    ],
    caughtBy: ['budgets'],
    seedsMax: 5,
  },
})
