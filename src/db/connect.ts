/**
 * Connections to PostgreSQL, as Leasehold needs them.
 *
 * Guarantees: every call ends within its own time limit; a pool or client never crashes the process by an `error` event; a
 * server that takes no writes is never used (it counts as down); several hosts in the URL are tried in turn; nothing here
 * needs session state, so a transaction-mode pooler may stand in between. What fails comes back as one of our errors, with
 * the operation's name and the server's error as its cause.
 */
import pg from 'pg'
import {
  DatabaseCopiedError,
  DatabaseReadOnlyError,
  DatabaseUnreachableError,
  DatabaseUnsafeError,
  EventsDroppedError,
  InputTooLargeError,
  LeaseholdError,
  NotFoundError,
  PermissionDeniedError,
  RunTerminalError,
  SchemaOutdatedError,
  UsageError,
  ValueUnstorableError,
} from '../errors.ts'

/** Anything that runs one statement: a pool, a client, or an adapter around the caller's own transaction. */
export interface Executor {
  query(text: string, values: unknown[]): Promise<{ rows: Record<string, unknown>[] }>
}

export interface Database extends Executor {
  /** The quoted name of the schema that holds Leasehold's functions. */
  readonly schema: string
  /** `limitMs`: a time limit of this call's own, where the connection is ours. */
  query(
    text: string,
    values: unknown[],
    limitMs?: number,
  ): Promise<{ rows: Record<string, unknown>[] }>
  close(): Promise<void>
}

export interface ConnectOptions {
  /** `postgres://user:password@host:port/database`; several `host:port`, separated by commas, for failover. */
  readonly databaseUrl: string
  /** Schema of Leasehold's functions. Default `leasehold`. */
  readonly schema?: string
  /** Connections at most. Default 4. */
  readonly connectionsMax?: number
  /** Time limit of one call, in milliseconds. Default 30,000. */
  readonly callTimeoutMs?: number
  readonly applicationName?: string
}

export const CONNECT_DEFAULTS: Readonly<{
  schema: string
  connectionsMax: number
  callTimeoutMs: number
  connectTimeoutMs: number
  keepAliveMs: number
}> = Object.freeze({
  schema: 'leasehold',
  connectionsMax: 4,
  callTimeoutMs: 30_000,
  connectTimeoutMs: 5_000,
  keepAliveMs: 10_000,
})

export interface HostAddress {
  readonly host: string
  readonly port: number
}

/** Takes a URL apart into its hosts and what they share. @throws {UsageError} when it is not a PostgreSQL URL. */
export function parseDatabaseUrl(databaseUrl: string): {
  hosts: HostAddress[]
  config: pg.ClientConfig
} {
  const match = /^(postgres(?:ql)?:\/\/)((?:[^@/]*@)?)([^/?]*)(.*)$/.exec(databaseUrl)
  if (match === null) {
    throw new UsageError(`"${redactUrl(databaseUrl)}" is not a PostgreSQL URL.`, {
      hint: 'It looks like postgres://user:password@host:5432/database',
    })
  }
  const [, protocol = '', credentials = '', hostList = '', rest = ''] = match
  let url: URL
  try {
    url = new URL(`${protocol}${credentials}placeholder${rest}`)
  } catch (cause) {
    throw new UsageError(`"${redactUrl(databaseUrl)}" is not a PostgreSQL URL.`, { cause })
  }
  const hosts = hostList.split(',').map((entry) => {
    const host = /^(.*?)(?::(\d+))?$/.exec(entry)
    return {
      host: decodeURIComponent(host?.[1] ?? '').replace(/^\[|\]$/g, '') || 'localhost',
      port: Number(host?.[2] ?? 5432),
    }
  })
  const sslMode = url.searchParams.get('sslmode')
  return {
    hosts,
    config: {
      user: decodeURIComponent(url.username) || (process.env['USER'] ?? 'postgres'),
      password: decodeURIComponent(url.password),
      database: decodeURIComponent(url.pathname.slice(1)) || 'postgres',
      ...(sslMode === null || sslMode === 'disable'
        ? {}
        : { ssl: { rejectUnauthorized: sslMode.startsWith('verify') } }),
    },
  }
}

/** A URL that may be shown: without its password. */
export function redactUrl(databaseUrl: string): string {
  return databaseUrl.replace(/\/\/([^:@/]*):[^@/]*@/, '//$1:…@')
}

const LOOK = `select pg_is_in_recovery() or current_setting('default_transaction_read_only') = 'on' as read_only, pg_backend_pid() as pid`

/** Names of prepared statements, by their texts: as many as the program has statements with values. */
const names = new Map<string, string>()

function nameOf(text: string): string {
  const name = names.get(text) ?? `leasehold_${names.size + 1}`
  names.set(text, name)
  return name
}

/**
 * Arrays of texts, on their way to PostgreSQL and back. Ids and words need no backslash, and for them both ways are one pass of the
 * engine's own, where the driver goes through them one by one, and through an answer letter by letter. The rest is left to it.
 */
function arrayOf(value: unknown): unknown {
  return Array.isArray(value) &&
    value.length > 0 &&
    value.every((item) => typeof item === 'string' && !/["\\]/.test(item))
    ? `{"${value.join('","')}"}`
    : value
}

function textsOf(array: string): unknown {
  return /^\{[^"\\{]+\}$/.test(array) && !array.includes('NULL')
    ? array.slice(1, -1).split(',')
    : pg.types.getTypeParser(TEXT_ARRAY)(array)
}

const TEXT_ARRAY: number = 1009
const UUID_ARRAY: number = 2951
const ARRAYS_OF_TEXTS: readonly number[] = [TEXT_ARRAY, UUID_ARRAY]

const types: pg.CustomTypesConfig = {
  getTypeParser: (type, format) =>
    ARRAYS_OF_TEXTS.includes(type) ? textsOf : pg.types.getTypeParser(type, format),
}

/** Whether the session is this connection's own. Behind a pooler the start-up shows a process id that is not that of who answers. */
export function isDirect(client: pg.Client): boolean {
  return (client as Client).direct === true
}

type Client = pg.Client & { readonly direct?: boolean }

/**
 * A client class that tries the hosts in turn and refuses a server that takes no writes. A statement with values is prepared once for
 * a session that is our own, as to parse and plan a call costs as much as a fifth of what the call does.
 */
function failoverClient(hosts: HostAddress[]): typeof pg.Client {
  let next = 0
  return class extends pg.Client {
    direct = false

    constructor(config: pg.ClientConfig) {
      const address = hosts[next % hosts.length]
      const { password } = config
      super({ ...config, password, host: address?.host, port: address?.port, types })
      this.on('error', () => undefined)
    }

    /** As the driver's own, of which only these forms are used: a text with its values, or an object with both. */
    override query(asked: string | pg.QueryConfig, ...rest: unknown[]): never {
      const statement = typeof asked === 'string' ? { text: asked, values: rest[0] } : asked
      const { text, values } = statement
      if (!Array.isArray(values) || values.length === 0)
        return super.query(asked as string, ...(rest as [])) as never
      const sent = {
        ...statement,
        values: values.map(arrayOf),
        ...(this.direct ? { name: nameOf(text) } : {}),
      }
      const others = typeof asked === 'string' ? rest.slice(1) : rest
      return super.query(sent as pg.QueryConfig, ...(others as [])) as never
    }

    override connect(callback?: unknown): Promise<void> & Promise<pg.Client> {
      const connected = this.#connectWritable()
      if (typeof callback === 'function') {
        connected.then(
          () => callback(null, this) as unknown,
          (error: unknown) => callback(error) as unknown,
        )
      }
      return connected as Promise<void> & Promise<pg.Client>
    }

    async #connectWritable(): Promise<pg.Client> {
      try {
        await super.connect()
        const { rows } = await super.query<{ read_only: boolean; pid: number }>(LOOK)
        this.direct = rows[0]?.pid === (this as unknown as { processID: number }).processID
        if (rows[0]?.read_only === true) {
          throw new DatabaseReadOnlyError(
            `the database at ${this.host}:${this.port} takes no writes: it is a standby, or read-only by its settings.`,
            {
              hint: 'Name the primary, or all hosts: postgres://user@host1:5432,host2:5432/database',
            },
          )
        }
        return this
      } catch (error) {
        next += 1
        this.end().catch(() => undefined)
        throw error
      }
    }
  }
}

/** Opens one connection of our own, outside any pool. Rejects when no host takes writes. */
export async function connectOne(options: ConnectOptions): Promise<pg.Client> {
  const { hosts, config } = parseDatabaseUrl(options.databaseUrl)
  const Client = failoverClient(hosts)
  const failures: unknown[] = []
  for (const _ of hosts) {
    const client = new Client({
      ...config,
      application_name: options.applicationName ?? 'leasehold',
      connectionTimeoutMillis: CONNECT_DEFAULTS.connectTimeoutMs,
      query_timeout: options.callTimeoutMs ?? CONNECT_DEFAULTS.callTimeoutMs,
      keepAlive: true,
      // A host that is gone without a word is noticed within half a minute, at no cost to the database.
      keepAliveInitialDelayMillis: CONNECT_DEFAULTS.keepAliveMs,
    })
    try {
      await client.connect()
      return client
    } catch (error) {
      failures.push(error)
    }
  }
  // Down is what every address says; one that says anything else leaves it open.
  throw failures.find((error) => !provesDown(error)) ?? failures.at(-1)
}

/** Opens a pool. Connects on first use. */
export function openDatabase(options: ConnectOptions): Database {
  const { hosts, config } = parseDatabaseUrl(options.databaseUrl)
  const pool = new pg.Pool({
    ...config,
    Client: failoverClient(hosts),
    application_name: options.applicationName ?? 'leasehold',
    max: options.connectionsMax ?? CONNECT_DEFAULTS.connectionsMax,
    connectionTimeoutMillis: CONNECT_DEFAULTS.connectTimeoutMs,
    query_timeout: options.callTimeoutMs ?? CONNECT_DEFAULTS.callTimeoutMs,
    idleTimeoutMillis: 60_000,
    keepAlive: true,
    allowExitOnIdle: false,
  })
  pool.on('error', () => undefined)
  const ended = new Set<Promise<void>>()
  pool.on('connect', (client) => {
    const end = new Promise<void>((resolve) => client.once('end', () => resolve()))
    ended.add(end)
    void end.then(() => ended.delete(end))
  })
  let closed: Promise<void> | undefined
  return {
    schema: quoteIdentifier(options.schema ?? CONNECT_DEFAULTS.schema),
    // @types/pg does not know of a query's own limit.
    query: (text, values, limitMs) =>
      limitMs === undefined
        ? pool.query(text, values)
        : pool.query({ text, values, query_timeout: limitMs } as pg.QueryConfig),
    // pool.end() resolves before its sockets are closed; whoever closes wants to see none.
    close: () =>
      (closed ??= pool
        .end()
        .then(() => Promise.all(ended))
        .then(() => undefined)),
  }
}

/** Wraps a pool, client or transaction of the caller's, whatever its library. */
export function useExecutor(
  executor: Executor,
  schema: string = CONNECT_DEFAULTS.schema,
): Database {
  return {
    schema: quoteIdentifier(schema),
    query: (text, values) => executor.query(text, values),
    close: () => Promise.resolve(),
  }
}

export function quoteIdentifier(name: string): string {
  return `"${name.replaceAll('"', '""')}"`
}

/**
 * What an error says about the call that failed.
 * - `unknown`: the call may or may not have been applied; ask again with the same token (classes 08, 40, 53, 57, a network
 *   error, our own time-out, a read-only server).
 * - `value`: the database refuses the values for their own sake (classes 22 and 23): sending them again can't help.
 * - `other`: a mistake of ours or of the set-up; it propagates.
 */
export function classifyFailure(error: unknown): 'unknown' | 'value' | 'other' {
  const cause = causeOf(error)
  if (cause instanceof DatabaseReadOnlyError || cause instanceof DatabaseUnreachableError)
    return 'unknown'
  const code = codeOf(cause)
  if (code !== null) {
    if (/^(08|40|53|57)/.test(code) || code === '25006' || NETWORK_CODES.has(code)) return 'unknown'
    if (/^(22|23)/.test(code) || code === '54000') return 'value'
    return 'other'
  }
  return cause instanceof Error && NETWORK_MESSAGE.test(cause.message) ? 'unknown' : 'other'
}

/** Whether somebody else held what was asked for, and longer than a call waits: nothing was changed, and it may be asked again. */
export function isHeldByOther(error: unknown): boolean {
  return codeOf(error) === '55P03'
}

/** Whether the server answers and has no room: connections, memory, disk. */
export function lacksResources(error: unknown): boolean {
  return codeOf(error)?.startsWith('53') === true
}

/** Whether what was asked for at once was more than the server can hold or say: asked for in parts it may do. */
export function isTooLarge(error: unknown): boolean {
  const code = codeOf(error)
  // An allocation of more than 1 GiB is refused as an internal error.
  const refusesAllocation =
    code === 'XX000' && /invalid memory alloc/.test((error as Error).message)
  return code?.startsWith('54') === true || code === '53200' || refusesAllocation
}

/** Whether a connection attempt proved that the server is down or out of service, rather than out of reach. */
export function provesDown(error: unknown): boolean {
  const code = codeOf(error)
  return code === 'ECONNREFUSED' || code === '57P01' || code === '57P02' || code === '57P03'
}

/**
 * Whether a call ended because nothing came back in time: by our own time limit, or by one of the server's that cut it while it
 * waited. A pool that is empty is not meant: its connections are in use, each within its own limit.
 */
export function wentUnanswered(error: unknown): boolean {
  const cause = causeOf(error)
  const code = codeOf(cause)
  if (code !== null) return code === 'ETIMEDOUT' || code === '57014' || code === '55P03'
  return (
    cause instanceof Error && /read timeout|connection timeout|timeout expired/i.test(cause.message)
  )
}

/** What the driver or the system said, under our own words for it. */
function causeOf(error: unknown): unknown {
  return error instanceof LeaseholdError && error.cause !== undefined ? error.cause : error
}

/** Its SQLSTATE or system code, or null. */
function codeOf(error: unknown): string | null {
  const code = (causeOf(error) as { code?: unknown } | null)?.code
  return typeof code === 'string' ? code : null
}

const NETWORK_CODES = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'EPIPE',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENOTFOUND',
  'EAI_AGAIN',
])
const NETWORK_MESSAGE =
  /timeout|timed out|connection terminated|connection ended|not queryable|cannot use a pool after/i

/** Turns what a driver threw into one of our errors, with the operation's name. */
export function explainFailure(error: unknown, operation: string): Error {
  if (error instanceof LeaseholdError) return error
  const { code, message, hint } = error as { code?: string; message: string; hint?: string }
  if (code === 'LH001') return new DatabaseUnsafeError(message, { hint, cause: error })
  if (code === 'LH008') return new DatabaseCopiedError(`${message}.`, { hint, cause: error })
  if (code === 'LH003' || code === 'LH005') return new UsageError(message, { cause: error })
  if (code === 'LH009') return new EventsDroppedError(message, { hint, cause: error })
  if (code === 'LH004') return new InputTooLargeError(message, { cause: error })
  if (code === 'LH006') {
    return new NotFoundError(`${message}.`, { hint: 'See: leasehold runs list', cause: error })
  }
  if (code === 'LH007') return new RunTerminalError(`${message}.`, { cause: error })
  if (code === '28000' || code === '28P01' || code === '3D000') {
    return new DatabaseUnreachableError(`${operation}: the server refuses the login: ${message}`, {
      hint: 'Look at user, password and database name in DATABASE_URL or --database.',
      cause: error,
    })
  }
  if (code === '42501') {
    return new PermissionDeniedError(`${operation}: ${message}`, {
      hint: 'Grant the role one of leasehold_client, leasehold_worker, leasehold_admin.',
      cause: error,
    })
  }
  if (code === '42883' || code === '3F000' || code === '42P01') {
    return new SchemaOutdatedError(
      'this database has no Leasehold schema, or an older one than this program.',
      {
        hint: 'Bring it up to date: leasehold migrate',
        cause: error,
      },
    )
  }
  if (code === '25006') {
    return new DatabaseReadOnlyError(`${operation}: the database takes no writes.`, {
      cause: error,
    })
  }
  switch (classifyFailure(error)) {
    case 'unknown':
      return new DatabaseUnreachableError(
        `${operation}: ${message || code || 'the database does not answer'}`,
        {
          hint: 'Look at the server, or name another: --database URL',
          cause: error,
        },
      )
    case 'value':
      return new ValueUnstorableError(`${operation}: the database refuses the value: ${message}`, {
        cause: error,
      })
    default:
      return error as Error
  }
}
