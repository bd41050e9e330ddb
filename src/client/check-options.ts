/**
 * Options of a call, looked at before anything is done with them: every problem is told at once, each with the name of the option, the
 * value and what would fit. An option that is undefined is not given; a name that nobody knows is refused, as a mistyped option would
 * else be silently without effect.
 */
import { types } from 'node:util'
import { isId } from '../domain/id.ts'
import { nearest } from '../domain/nearest.ts'
import { shown } from '../domain/shown.ts'
import { UsageError } from '../errors.ts'

export interface Rule {
  readonly fits: (value: unknown) => boolean
  /** What would fit, as the rest of a sentence: `must be …`. */
  readonly must: string
  /** Where it is one of these, the nearest is suggested. */
  readonly words?: readonly string[]
}

/** A rule for each option, so that one without is noticed by the compiler. */
export type Rules<Options extends object> = {
  readonly [Name in keyof Required<Options>]: Rule
}

/** Of the options of this call, or of the option `within` them. @throws {UsageError} naming everything that is wrong. */
export function checkOptions(
  who: string,
  given: unknown,
  rules: Readonly<Record<string, Rule>>,
  within?: string,
): void {
  if (given === undefined) return
  const problems = problemsOf(given, rules, within)
  if (problems.length > 0) throw new UsageError(`${who}: ${problems.join('; ')}.`)
}

/** What is wrong with these options, each as a sentence without its period. */
export function problemsOf(
  given: unknown,
  rules: Readonly<Record<string, Rule>>,
  within: string = '',
): string[] {
  if (typeof given !== 'object' || given === null)
    return [`${within === '' ? 'options' : `\`${within}\``} must be an object, got ${shown(given)}`]
  const problems: string[] = []
  // A loop, as most calls have no options or one.
  for (const name of Object.keys(given)) {
    const value = (given as Record<string, unknown>)[name]
    const called = within === '' ? name : `${within}.${name}`
    const rule = Object.hasOwn(rules, name) ? rules[name] : undefined
    if (rule === undefined)
      problems.push(`there is no option \`${called}\`${suggestion(name, Object.keys(rules))}`)
    else if (value !== undefined && !rule.fits(value)) problems.push(problem(called, value, rule))
  }
  return problems
}

/** What is wrong with a value that does not fit. */
export function problem(name: string, value: unknown, { must, words }: Rule): string {
  // Of a list, the first that is none of them.
  const wrong: unknown = Array.isArray(value)
    ? value.find((word) => words?.includes(word as string) === false)
    : value
  const near = words === undefined || typeof wrong !== 'string' ? '' : suggestion(wrong, words)
  return `\`${name}\` ${must}, got ${shown(value)}${near}`
}

function suggestion(word: string, words: readonly string[]): string {
  const near = nearest(word, words)
  return near === null ? '' : ` (did you mean \`${near}\`?)`
}

export function wholeNumber(min: number, max: number = Number.MAX_SAFE_INTEGER): Rule {
  const to = max === Number.MAX_SAFE_INTEGER ? '' : ` to ${max}`
  return {
    fits: (value) =>
      Number.isSafeInteger(value) && (value as number) >= min && (value as number) <= max,
    must: `must be a whole number from ${min}${to}`,
  }
}

/** A duration that may be nothing, or a part of a millisecond. */
export const MILLISECONDS: Rule = {
  fits: (value) => typeof value === 'number' && value >= 0 && value <= Number.MAX_SAFE_INTEGER,
  must: 'must be a number of milliseconds from 0',
}

/** The same, or no end. */
export const LIMIT_MS: Rule = {
  fits: (value) => value === Infinity || MILLISECONDS.fits(value),
  must: MILLISECONDS.must,
}

export const TEXT: Rule = {
  fits: (value) => typeof value === 'string' && value !== '',
  must: 'must be a text that is not empty',
}

export const ANY_TEXT: Rule = {
  fits: (value) => typeof value === 'string',
  must: 'must be a text',
}

export const ID: Rule = {
  fits: (value) => typeof value === 'string' && isId(value),
  must: 'must be an id',
}

/** How many a list has at most. */
export const PAGE_SIZE: Rule = wholeNumber(1, 500)

export const FLAG: Rule = {
  fits: (value) => typeof value === 'boolean',
  must: 'must be true or false',
}

export const FUNCTION: Rule = {
  fits: (value) => typeof value === 'function',
  must: 'must be a function',
}

/** Also one of another realm. PostgreSQL's calendar is wider than what both write alike. */
export const DATE: Rule = {
  fits: (value) => {
    const year = types.isDate(value) ? value.getUTCFullYear() : Number.NaN
    return year >= 1 && year <= 9_999
  },
  must: 'must be a valid Date',
}

/** What has a `query`: a pool, a client, or an adapter of another library. */
export const EXECUTOR: Rule = {
  fits: (value) => typeof (value as { query?: unknown } | null)?.query === 'function',
  must: 'must have a function `query(text, values)`, as a pg pool has',
}

export const SIGNAL: Rule = {
  fits: (value) =>
    typeof (value as { throwIfAborted?: unknown } | null)?.throwIfAborted === 'function',
  must: 'must be an AbortSignal',
}

export const ANYTHING: Rule = { fits: () => true, must: '' }

export function oneOf(words: readonly string[]): Rule {
  return {
    fits: (value) => (words as readonly unknown[]).includes(value),
    must: `must be one of ${words.join(', ')}`,
    words,
  }
}

/** A list of these words. */
export function someOf(words: readonly string[]): Rule {
  return {
    fits: (value) => Array.isArray(value) && value.every((word) => words.includes(word as string)),
    must: `must be a list of any of ${words.join(', ')}`,
    words,
  }
}
