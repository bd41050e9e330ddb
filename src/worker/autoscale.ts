/**
 * How many processes a supervisor keeps between its least and its most, from what its children say of themselves and, only when all
 * of them are full, from how long the oldest job has waited.
 *
 *     all full, and a job waits for longer than a process takes to start ──▶ one more
 *     a process has had nothing to do for one idle beat, and others remain ──▶ that one goes
 *
 * Nothing else is asked of the database: while a child has a free slot, what waits is claimed within milliseconds. A job that has
 * waited for longer than a start takes would be running by now, had the process been there: so the threshold is measured, not set.
 */

/** What a child says of its slots, once a second and only when something has changed. */
export interface Load {
  readonly running: number
  /** The most that ran at one time since it said so last: jobs of milliseconds leave slots free between two of them. */
  readonly peak: number
  readonly concurrency: number
}

/** A child as the decision sees it. */
export interface Sized {
  readonly ready: boolean
  readonly load: Load | null
  /** Since when it has had nothing to do, as an `elapsedMs` reading. */
  readonly idleSinceMs: number | null
}

/** Often enough for jobs that take minutes, and a statement that costs next to nothing. */
export const LOOK_EVERY_MS = 3_000
/** A start that was measured on an idle machine is no promise: less than this is no backlog. */
const WAITED_MS_MIN = 2_000

/** Whether to ask how long jobs have waited: every child is there and had no slot free. */
export function mayNeedMore(children: readonly Sized[], processesMax: number): boolean {
  return (
    children.length < processesMax &&
    children.every(({ ready, load }) => ready && load !== null && load.peak >= load.concurrency)
  )
}

/** Whether a job that has waited for so long shows that another process is wanted. */
export function isBacklog(waitedMs: number | null, startTookMs: number): boolean {
  return waitedMs !== null && waitedMs > Math.max(WAITED_MS_MIN, 2 * startTookMs)
}

/** The child that has been idle longest, if one may go. */
export function surplus<Child extends Sized>(
  children: readonly Child[],
  processesMin: number,
  now: { readonly nowMs: number; readonly idleForMs: number },
): Child | null {
  if (children.length <= processesMin) return null
  const idle = children
    .filter(({ idleSinceMs }) => idleSinceMs !== null && now.nowMs - idleSinceMs >= now.idleForMs)
    .toSorted((one, other) => (one.idleSinceMs ?? 0) - (other.idleSinceMs ?? 0))
  return idle[0] ?? null
}
