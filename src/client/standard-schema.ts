/** Checking values with anybody's schema library. */
import { InputInvalidError } from '../errors.ts'

/**
 * The part of the Standard Schema specification, version 1, that is used here (https://standardschema.dev): zod, valibot,
 * arktype and others implement it.
 */
export interface StandardSchema<Input = unknown, Output = Input> {
  readonly '~standard': {
    readonly version: 1
    readonly vendor: string
    readonly validate: (value: unknown) => SchemaResult<Output> | Promise<SchemaResult<Output>>
    readonly types?: { readonly input: Input; readonly output: Output } | undefined
  }
}

type SchemaResult<Output> =
  | { readonly value: Output; readonly issues?: undefined }
  | {
      readonly issues: readonly {
        readonly message: string
        readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined
      }[]
    }

/** The value as the schema sees it, at once where the schema answers at once. @throws {InputInvalidError} with every issue and its path. */
export function parseWith<Output>(
  schema: StandardSchema<unknown, Output>,
  value: unknown,
  what: string,
): Output | Promise<Output> {
  const result = schema['~standard'].validate(value)
  return isPromiseLike(result)
    ? Promise.resolve(result).then((later) => accepted(later, what))
    : accepted(result, what)
}

/** Whether there is something to wait for. */
export function isPromiseLike<Value>(
  value: Value | PromiseLike<Value>,
): value is PromiseLike<Value> {
  return typeof (value as { then?: unknown } | null | undefined)?.then === 'function'
}

function accepted<Output>(result: SchemaResult<Output>, what: string): Output {
  if (result.issues === undefined) return result.value
  const issues = result.issues.map((issue) => ({
    path: (issue.path ?? [])
      .map((part) => String(typeof part === 'object' ? part.key : part))
      .join('.'),
    message: issue.message,
  }))
  throw new InputInvalidError(
    `${what} does not fit its schema:\n${issues.map((issue) => `  ${issue.path || '(whole)'}: ${issue.message}`).join('\n')}`,
    issues,
    { hint: 'Nothing was stored.' },
  )
}

export function isStandardSchema(value: unknown): boolean {
  return typeof (value as StandardSchema | undefined)?.['~standard']?.validate === 'function'
}
