/** A JavaScript value as JSON text that PostgreSQL's jsonb takes. */
import { ValueUnstorableError } from '../errors.ts'

/**
 * Escapes that jsonb refuses: NUL, and half of a surrogate pair (JSON.stringify writes a whole pair unescaped, and only half of one
 * as `\ud800` to `\udfff`). An escaped backslash before `u` is none.
 */
const REFUSED = /(?<!\\)(?:\\\\)*\\u(?:(0000)|d[89a-f])/

/** JSON text of a value, or null for undefined and what JSON has no word for. @throws {ValueUnstorableError} */
export function storableJson(
  value: unknown,
  what: string,
  bytesMax: number = Infinity,
): string | null {
  const text = jsonText(value, what)
  const why = text === null ? null : whyUnstorable(text, bytesMax)
  if (why !== null) {
    throw new ValueUnstorableError(`${what} ${why}.`, {
      hint: 'Put the data where both sides can reach it, and pass its address.',
    })
  }
  return text
}

/** JSON text of a value, storable or not; null for undefined. @throws {ValueUnstorableError} when there is none. */
export function jsonText(value: unknown, what: string): string | null {
  try {
    const text: string | undefined = JSON.stringify(value)
    return text ?? null
  } catch (cause) {
    throw new ValueUnstorableError(`${what} is not JSON: ${(cause as Error).message}`, { cause })
  }
}

/** Why the database would refuse this text for its own sake, as the rest of a sentence; null: it takes it. */
export function whyUnstorable(text: string, bytesMax: number): string | null {
  const refused = text.includes('\\u') ? REFUSED.exec(text) : null
  if (refused !== null)
    return `contains ${refused[1] === undefined ? 'half of a surrogate pair' : 'NUL (\\u0000)'}, which PostgreSQL can't store`
  const bytes = bytesMax === Infinity ? 0 : Buffer.byteLength(text)
  return bytes > bytesMax ? `is ${bytes} bytes, and at most ${bytesMax} are stored` : null
}
