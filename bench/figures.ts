/**
 * A figure: every raw value of one measure, the bounds it was promised to keep, and whether it kept them.
 *
 * Quantiles are nearest-rank, so each is a value that was measured; nothing is left out and nothing is interpolated.
 */

export type Unit =
  'ms' | 'jobs/s' | 'writes' | 'statements' | 'runs' | 'ratio' | 'rows' | 'bytes' | 'MB'

export interface Check {
  /** The bound in words, such as `worst ≤ 1,000 ms`. */
  readonly says: string
  readonly met: boolean
}

export interface Figure {
  /** As `--only` takes it. */
  readonly name: string
  readonly what: string
  readonly unit: Unit
  readonly values: readonly number[]
  /** None: shown beside the others, not judged. */
  readonly checks: readonly Check[]
  /** Why it could not be measured. */
  readonly skipped?: string
  /** One more thing to know when reading it. */
  readonly note?: string
  /** Everything else that was seen, for the results file. */
  readonly details?: unknown
}

export type Statistic = 'median' | 'worst' | 'p50' | 'p99'

/** Whether more is better. */
export function moreIsBetter(unit: Unit): boolean {
  return unit === 'jobs/s' || unit === 'ratio'
}

export function statistic(values: readonly number[], which: Statistic, unit: Unit): number {
  if (which === 'worst') return moreIsBetter(unit) ? Math.min(...values) : Math.max(...values)
  return quantile(values, which === 'p99' ? 0.99 : 0.5)
}

export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? Number.NaN
}

/** The bound that a statistic of the values is at most, or for rates at least, so much. */
export function bound(
  values: readonly number[],
  which: Statistic,
  limit: number,
  unit: Unit,
): Check {
  const value = statistic(values, which, unit)
  const more = moreIsBetter(unit)
  return {
    says: `${which} ${more ? '≥' : '≤'} ${formatValue(limit, unit)}`,
    met: more ? value >= limit : value <= limit,
  }
}

/** The others are counts of what the measure names. */
const UNITS_SHOWN: ReadonlySet<Unit> = new Set(['ms', 'jobs/s', 'bytes', 'MB'])

/** `212 ms`, `1.84 ms`, `15,230 jobs/s`, `0.31` */
export function formatValue(value: number, unit: Unit): string {
  if (Number.isNaN(value)) return '–'
  if (unit === 'ratio') return value.toFixed(2)
  const small = value < 10 && !Number.isInteger(value)
  if (small && (unit === 'ms' || unit === 'jobs/s')) return `${value.toFixed(2)} ${unit}`
  const digits = Number.isInteger(value) || UNITS_SHOWN.has(unit) ? 0 : 2
  const text = value.toLocaleString('en-US', { maximumFractionDigits: digits })
  return UNITS_SHOWN.has(unit) ? `${text} ${unit}` : text
}
