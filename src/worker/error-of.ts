import * as errors from '../errors.ts'

/** What a thread says of an error, as plain data. */
interface ErrorData {
  readonly code: string
  readonly message: string
  readonly hint: string | undefined
}

/** All classes but those that are made of more than a message. A class that is new is among them by itself. */
const {
  LeaseholdError: _abstract,
  AttemptAbortedError: _withReason,
  InputInvalidError: _withIssues,
  JobEndedError: _withEnd,
  ...classes
} = errors

const BY_CODE: ReadonlyMap<
  string,
  new (message: string, details: errors.ErrorDetails) => errors.LeaseholdError
> = new Map(Object.values(classes).map((Class) => [Class.code, Class]))

/** An error again of one that came from another thread as plain data. */
export function errorOf({ code, message, hint }: ErrorData): errors.LeaseholdError {
  const Class = BY_CODE.get(code) ?? errors.StartError
  return new Class(message, { hint })
}
