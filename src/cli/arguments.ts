/** Values of flags, checked where they are read, so that a wrong one is named with what would be right. */
import { parseDuration } from '../domain/duration.ts'
import { UsageError } from '../errors.ts'
import { didYouMean } from '../domain/nearest.ts'

/** A text that says something. */
export function someText(flag: string): (text: string) => string {
  return (text) => {
    if (text.trim() !== '') return text
    throw new UsageError(`${flag} is empty.`)
  }
}

/** Any number of such texts. */
export function someTexts(
  flag: string,
): (text: string, before?: readonly string[]) => readonly string[] {
  const one = someText(flag)
  return (text, before = []) => [...before, one(text)]
}

/** Milliseconds of `30s`. */
export function duration(
  flag: string,
  { min = 0 }: { min?: number } = {},
): (text: string) => number {
  return (text) => {
    const milliseconds = parseDuration(text)
    if (milliseconds !== null && milliseconds < min)
      throw new UsageError(`${flag} must be longer than 0, got "${text}".`)
    if (milliseconds !== null) return milliseconds
    throw new UsageError(`${flag} is a duration such as 250ms, 30s, 5m or 2h, got "${text}".`)
  }
}

export function wholeNumber(
  flag: string,
  range: { min: number; max: number },
): (text: string) => number {
  return (text) => {
    const value = /^[+-]?\d+$/.test(text.trim()) ? Number(text) : Number.NaN
    if (value >= range.min && value <= range.max) return value
    throw new UsageError(
      `${flag} is a whole number from ${range.min} to ${range.max}, got "${text}".`,
    )
  }
}

/** `4`, or `1..8`: the least and the most. */
export function numberRange(
  flag: string,
  range: { min: number; max: number },
): (text: string) => { readonly min: number; readonly max: number } {
  return (text) => {
    const [, least, most] = /^(\d+)(?:\.\.(\d+))?$/.exec(text.trim()) ?? []
    const min = Number(least)
    const max = Number(most ?? least)
    if (min >= range.min && max <= range.max && min <= max) return { min, max }
    throw new UsageError(
      `${flag} is a whole number from ${range.min} to ${range.max}, or a range of them such as 1..8, got "${text}".`,
    )
  }
}

/** One of these words; the nearest one is suggested. */
export function oneOf<Word extends string>(
  flag: string,
  words: readonly Word[],
): (text: string) => Word {
  return (text) => {
    const word = words.find((known) => known === text)
    if (word !== undefined) return word
    throw new UsageError(
      `${flag} is one of ${words.join(', ')}, got "${text}".${didYouMean(text, words)}`,
    )
  }
}

/** Any number of these words, apart or with commas. */
export function manyOf<Word extends string>(
  flag: string,
  words: readonly Word[],
): (text: string, before?: readonly Word[]) => readonly Word[] {
  const one = oneOf(flag, words)
  return (text, before = []) => [
    ...before,
    ...text
      .split(',')
      .filter((word) => word !== '')
      .map(one),
  ]
}

/** A moment in ISO 8601 with its zone: without one it would mean another time on each machine. */
export function instant(flag: string): (text: string) => Date {
  return (text) => {
    const at = new Date(text)
    const written = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:?\d{2})$/i
    if (written.test(text) && !Number.isNaN(at.getTime())) return at
    throw new UsageError(
      `${flag} is a time with its zone, such as 2026-11-23T10:00:00Z, got "${text}".`,
    )
  }
}

/** The given values alone: what was not said leaves no key behind. */
export function given<T extends object>(values: { [Key in keyof T]: T[Key] | undefined }): T
export function given(values: object): object {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined))
}
