/** From what a person or a program calls something by to the one thing that is meant. */
import { bare, endingOf, isId } from '../domain/id.ts'
import { shown } from '../domain/shown.ts'
import { IdAmbiguousError, NotFoundError, UsageError } from '../errors.ts'

export interface Called {
  /** What it is: job, run, worker, machine, alert, webhook. */
  readonly what: string
  /** What it was called by. */
  readonly text: string
  readonly namespace: string
  /** Where there is none: where to look. */
  readonly hint: string
}

/** @throws {NotFoundError} @throws {IdAmbiguousError} */
export function onlyOne<Found extends { readonly id: string }>(
  found: readonly Found[],
  called: Called,
): Found {
  const { what, text } = called
  const [first] = found
  if (first === undefined) throw notFound(called)
  if (found.length > 1) {
    throw new IdAmbiguousError(
      `more than one ${what} is meant by ${text}: ${found.map(({ id }) => id).join(', ')}`,
      { hint: 'Give the whole id, or more of its end.' },
    )
  }
  return first
}

export function notFound({ what, text, namespace, hint }: Called): NotFoundError {
  return new NotFoundError(`no ${what} ${text} in namespace ${namespace}.`, { hint })
}

/** An id as it is written. @throws {UsageError} */
export function checkedId(id: string): string {
  if (typeof id !== 'string' || !isId(id)) throw new UsageError(`${shown(id)} is not an id.`)
  return id.toLowerCase()
}

/** What something is called by, without the sign that something stands before it. @throws {UsageError} */
export function checkedName(what: string, text: string): string {
  if (typeof text !== 'string' || text === '') {
    throw new UsageError(`no ${what} is called ${shown(text)}: that takes a text.`)
  }
  return bare(text)
}

/** An id or the end of one. @throws {UsageError} */
export function checkedEnding(what: string, text: string): string {
  const ending = typeof text === 'string' ? endingOf(text) : null
  if (ending === null) {
    throw new UsageError(
      `no ${what} is called ${shown(text)}: that takes an id, or the end of one (4 or more of its characters).`,
    )
  }
  return ending
}
