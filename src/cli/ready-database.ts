/**
 * From a target to a database that this program may work with: the embedded server is started when it is needed and does not
 * run (and is left running), and the schema is brought up to date.
 *
 * What goes wrong on the way names the server that was asked, never its password.
 */
import type { ConnectOptions } from '../db/connect.ts'
import { DatabaseUnreachableError, PermissionDeniedError } from '../errors.ts'
import type { Target } from './resolve.ts'
import { formatDuration } from './terminal/format.ts'

/** A target whose server is known and answers. */
export interface ReadyTarget extends Target {
  readonly databaseUrl: string
}

/** Makes sure that the server runs, if it is the embedded one. `note` takes lines for a person at a terminal. */
export async function reachServer(
  target: Target,
  note: (text: string) => void,
): Promise<ReadyTarget> {
  if (target.databaseUrl !== null) return { ...target, databaseUrl: target.databaseUrl }
  const { findEmbedded, startEmbedded } = await import('../db/embedded.ts')
  const running = await findEmbedded(target.dataDir)
  if (running !== null) return { ...target, databaseUrl: running.url }
  const startedMs = performance.now()
  note('Starting the embedded database of this directory, .leasehold/pg …')
  const server = await startEmbedded({ dataDir: target.dataDir })
  const took = formatDuration(performance.now() - startedMs)
  note(
    `PostgreSQL ${server.version} is ready after ${took} and keeps running. To end it: leasehold db stop`,
  )
  return { ...target, databaseUrl: server.url }
}

/**
 * Reaches the server and brings its schema up to date. Whoever only `reads` sets none up on a server that was named; the embedded
 * database is nobody else's.
 */
export async function readyDatabase(
  target: Target,
  note: (text: string) => void,
  { reads = false }: { reads?: boolean } = {},
): Promise<ReadyTarget> {
  const ready = await reachServer(target, note)
  const { ensureSchema } = await import('../db/migrate.ts')
  try {
    await ensureSchema(connectOptions(ready), { creates: !reads || target.databaseUrl === null })
  } catch (error) {
    // A role that has only functions granted may not see what is installed. The functions answer for themselves.
    if (!(error instanceof PermissionDeniedError)) throw await namedFailure(error, ready)
  }
  return ready
}

export function connectOptions(target: ReadyTarget): ConnectOptions {
  return { databaseUrl: target.databaseUrl, schema: target.schema }
}

/** The failure with the server's name in it, when it is about the connection; any other as it is. */
export async function namedFailure(error: unknown, target: ReadyTarget): Promise<unknown> {
  if (!(error instanceof DatabaseUnreachableError)) return error
  const { describeUnreachable, parseDatabaseUrl } = await import('../db/connect.ts')
  const { says, refuses } = describeUnreachable(error)
  const { hosts, config } = parseDatabaseUrl(target.databaseUrl)
  const where = hosts.map(({ host, port }) => `${host}:${port}`).join(', ')
  const hints = {
    database: `Create it (createdb ${config.database}), or name another: --database URL`,
    login: 'Look at user and password in DATABASE_URL or --database.',
    nothing:
      'Workers keep running what they hold, up to their limit.\n' +
      'Look at the server, or name another: --database URL',
  }
  return new DatabaseUnreachableError(`the database at ${where} ${says}.`, {
    hint: hints[refuses ?? 'nothing'],
    cause: error,
  })
}
