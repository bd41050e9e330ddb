/**
 * Durations, which are always milliseconds inside: as people write them (`250ms`, `30s`, `5m`, `2h`, `1d`) and as they read them.
 *
 * Those that are read are cut, never rounded up: an age may not claim what has not passed yet, and "59.9 s" may not become "60.0 s".
 */

const UNITS_MS = Object.freeze({ ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 })
type Unit = keyof typeof UNITS_MS

/** Milliseconds of `text`, or `null` if it is not a duration. A bare number has no unit and is none. */
export function parseDuration(text: string): number | null {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/.exec(text.trim())
  if (match === null) return null
  const milliseconds = Number(match[1]) * UNITS_MS[match[2] as Unit]
  return Number.isSafeInteger(Math.round(milliseconds)) ? Math.round(milliseconds) : null
}

/** `212 ms`, `1.6 s`, `4 m 51 s`, `3 h 16 m`, `2 d 4 h`: two parts at most, a second part of 0 left out. */
export function formatDuration(durationMs: number): string {
  const ms = Math.max(0, Math.floor(durationMs))
  if (ms < UNITS_MS.s) return `${ms} ms`
  if (ms < UNITS_MS.m) return `${(Math.floor(ms / 100) / 10).toFixed(1)} s`
  if (ms < UNITS_MS.h) return twoParts(ms, 'm', 's')
  if (ms < UNITS_MS.d) return twoParts(ms, 'h', 'm')
  return twoParts(ms, 'd', 'h')
}

function twoParts(ms: number, large: Unit, small: Unit): string {
  const rest = Math.floor((ms % UNITS_MS[large]) / UNITS_MS[small])
  const first = `${Math.floor(ms / UNITS_MS[large]).toLocaleString('en-US')} ${large}`
  return rest === 0 ? first : `${first} ${rest} ${small}`
}
