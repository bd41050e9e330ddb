import {
  DatabaseCopiedError,
  DatabaseReadOnlyError,
  DatabaseUnreachableError,
  DatabaseUnsafeError,
  NotFoundError,
  HealthPortError,
  PermissionDeniedError,
  RunTerminalError,
  SchemaNewerError,
  SchemaOutdatedError,
  UsageError,
} from '../errors.ts'

/** An error again of one that came from another thread as plain data. */
export function errorOf(data: { code: string; message: string; hint: string | undefined }): Error {
  const Known = [
    DatabaseUnreachableError,
    DatabaseReadOnlyError,
    DatabaseUnsafeError,
    DatabaseCopiedError,
    HealthPortError,
    PermissionDeniedError,
    SchemaOutdatedError,
    SchemaNewerError,
    UsageError,
    NotFoundError,
    RunTerminalError,
  ].find((Class) => new Class('').code === data.code)
  return Known === undefined
    ? new Error(data.message)
    : new Known(data.message, { hint: data.hint })
}
