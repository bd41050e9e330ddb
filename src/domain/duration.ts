/** Durations as people write them: `250ms`, `30s`, `5m`, `2h`, `1d`. Always milliseconds inside. */

const UNITS_MS = Object.freeze({ ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 })

/** Milliseconds of `text`, or `null` if it is not a duration. A bare number has no unit and is none. */
export function parseDuration(text: string): number | null {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/.exec(text.trim())
  if (match === null) return null
  const milliseconds = Number(match[1]) * UNITS_MS[match[2] as keyof typeof UNITS_MS]
  return Number.isSafeInteger(Math.round(milliseconds)) ? Math.round(milliseconds) : null
}
