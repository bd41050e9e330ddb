/** A value as a message shows it: what was passed where something else would have fitted. */

/** In one line, and not longer than a reader needs to find it. */
export function shown(value: unknown): string {
  if (typeof value === 'string') return `"${cut(value)}"`
  if (typeof value === 'function') return 'a function'
  if (typeof value === 'symbol' || typeof value === 'bigint') return `a ${typeof value}`
  if (Array.isArray(value)) return cut(`[${value.slice(0, 10).map(shown).join(', ')}]`)
  if (typeof value === 'object' && value !== null) {
    if (value instanceof Date)
      return Number.isNaN(value.getTime()) ? 'an invalid Date' : value.toISOString()
    const names = Object.keys(value)
    return cut(names.length === 0 ? '{}' : `an object with ${names.slice(0, 10).join(', ')}`)
  }
  return String(value)
}

function cut(text: string): string {
  return text.length > 200 ? `${text.slice(0, 200)}…` : text
}
