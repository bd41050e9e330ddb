/** Waiting for something that has no event of its own: it is asked for until it is there, and named when it never comes. */
import { setTimeout as delay } from 'node:timers/promises'

/** Ample on a busy machine with two cores: only something that never comes takes so long. */
export const LIMIT_MS = 25_000
const POLL_MS = 25

/** Resolves to what `look` finds as soon as it finds something. @throws an Error named `what` after the limit. */
export async function until<T>(
  what: string,
  look: () => Promise<T | null | undefined | false> | T | null | undefined | false,
  options: { limitMs?: number; told?: () => string } = {},
): Promise<T> {
  const { limitMs = LIMIT_MS, told = () => '' } = options
  const startedMs = performance.now()
  for (;;) {
    const found = await look()
    if (found !== null && found !== undefined && found !== false) return found
    if (performance.now() - startedMs > limitMs)
      throw new Error(`never came within ${limitMs} ms: ${what}${told()}`)
    await delay(POLL_MS)
  }
}
