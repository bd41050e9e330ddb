/** How long what failed waits before it is tried again. Pure: the same job and failure give the same delay. */

export interface Backoff {
  /** Delay after the first failure, in milliseconds. */
  readonly baseMs: number
  /** What each further failure multiplies it by. */
  readonly factor: number
  /** No delay is longer, in milliseconds. */
  readonly maxMs: number
}

/** 1 s, 4 s, 16 s, 64 s … up to 10 minutes: long enough for a passing fault, short enough to watch. */
export const BACKOFF_DEFAULTS: Backoff = Object.freeze({ baseMs: 1_000, factor: 4, maxMs: 600_000 })

/**
 * Delay in milliseconds after the `failures`-th failure (1 or more), spread over the upper half of the full delay by
 * `seed`, so that jobs that failed together do not come back together.
 */
export function backoffMs(backoff: Backoff, failures: number, seed: string): number {
  const full = Math.min(backoff.maxMs, backoff.baseMs * backoff.factor ** Math.max(0, failures - 1))
  return Math.round(full * (0.5 + fraction(`${seed}:${failures}`) / 2))
}

/** A number in [0, 1) that depends on every character (FNV-1a, 32 bit). */
function fraction(text: string): number {
  let hash = 0x811c9dc5
  for (let i = 0; i < text.length; i += 1) {
    hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193)
  }
  return (hash >>> 0) / 2 ** 32
}
