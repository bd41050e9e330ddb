/**
 * Connections to PostgreSQL, as Leasehold needs them.
 *
 * Guarantees: every call ends within its own time limit; a pool or client never crashes the process by an `error` event; a
 * server that takes no writes is never used (it counts as down); several hosts in the URL are tried in turn; nothing here
 * needs session state, so a transaction-mode pooler may stand in between. What fails comes back as one of our errors, with
 * the operation's name and the server's error as its cause.
 *
 * What speaks of the driver's own types is marked `@internal` and left out of the declarations that are published: whoever uses the
 * package need not have those of `pg`.
 */
import type { Socket } from 'node:net'
import pg from 'pg'
import { PORT_MAX } from '../config.ts'
import { shown } from '../domain/shown.ts'
import {
  DatabaseCopiedError,
  DatabaseReadOnlyError,
  DatabaseUnreachableError,
  DatabaseUnsafeError,
  type ErrorDetails,
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
  /** Whether connections that are idle let the process end. Default false. */
  readonly idleLetsExit?: boolean
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

/** Takes a URL apart into its hosts and what they share. @throws {UsageError} when it is not a PostgreSQL URL. @internal */
export function parseDatabaseUrl(databaseUrl: string): {
  hosts: HostAddress[]
  config: pg.ClientConfig
} {
  if (typeof databaseUrl !== 'string') {
    throw new UsageError(
      `\`databaseUrl\` must be the URL of a database, got ${shown(databaseUrl)}.`,
      {
        hint: 'It looks like postgres://user:password@host:5432/database. If it comes from the environment, that is not set.',
      },
    )
  }
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
    const port = Number(host?.[2] ?? 5432)
    if (port < 1 || port > PORT_MAX) {
      throw new UsageError(
        `"${redactUrl(databaseUrl)}" names port ${port}; a port is a number from 1 to ${PORT_MAX}.`,
      )
    }
    return {
      host: decodeURIComponent(host?.[1] ?? '').replace(/^\[|\]$/g, '') || 'localhost',
      port,
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

/** The other end of a connection hangs up within milliseconds, or is not there. */
const END_MS_MAX = 1_000

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

/** Whether the session is this connection's own. Behind a pooler the start-up shows a process id that is not that of who answers. @internal */
export function isDirect(client: pg.Client): boolean {
  return (client as Client).direct === true
}

type Client = pg.Client & { readonly direct?: boolean }

/** Closes its socket, whatever is under way on it. */
function hangUp(client: pg.ClientBase): void {
  ;(client as unknown as { connection: { stream: Socket } }).connection.stream.destroy()
}

/** Whether the server itself reported this error: its connection is well. After any other, nobody knows what goes over it. */
export function isReported(error: unknown): boolean {
  return (causeOf(error) as { severity?: unknown } | null)?.severity !== undefined
}

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

    override end(): Promise<void>
    override end(callback: (error: Error) => void): void
    /** Waits for the other end to hang up too, but not for one that is frozen or out of reach. */
    override end(...rest: [] | [(error: Error) => void]): Promise<void> | void {
      const timer = setTimeout(() => hangUp(this), END_MS_MAX).unref()
      this.once('end', () => clearTimeout(timer))
      return super.end(...(rest as []))
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

/** Opens one connection of our own, outside any pool. Rejects when no host takes writes. @internal */
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
    allowExitOnIdle: options.idleLetsExit ?? false,
  })
  pool.on('error', () => undefined)
  const open = new Map<pg.ClientBase, Promise<void>>()
  pool.on('connect', (client) => {
    const ended = new Promise<void>((resolve) => client.once('end', () => resolve()))
    open.set(client, ended)
    void ended.then(() => open.delete(client))
  })
  const close = async (): Promise<void> => {
    const limit = setTimeout(() => [...open.keys()].forEach(hangUp), END_MS_MAX)
    await pool.end()
    // That resolves before its sockets are closed; whoever closes wants to see none.
    await Promise.all(open.values())
    clearTimeout(limit)
  }
  let closed: Promise<void> | undefined
  return {
    schema: quoteIdentifier(options.schema ?? CONNECT_DEFAULTS.schema),
    // @types/pg does not know of a query's own limit.
    query: (text, values, limitMs) =>
      limitMs === undefined
        ? pool.query(text, values)
        : pool.query({ text, values, query_timeout: limitMs } as pg.QueryConfig),
    close: () => (closed ??= close()),
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

type FailureKind = 'unknown' | 'value' | 'other'

/** What a code of the server, of Leasehold's functions or of the operating system means. */
interface Failure {
  readonly Class: new (message: string, details: ErrorDetails) => LeaseholdError
  /** As `classifyFailure` answers. Default `other`. */
  readonly kind?: FailureKind
  /** Default the operation, and what the server said. */
  readonly says?: (operation: string, message: string) => string
  /** What to do, where the server does not say it. */
  readonly hint?: string
  /** What the server does, in words that follow its name. Default that it does not answer. */
  readonly server?: (message: string) => string
  /** What is wrong with the URL, where it is that. */
  readonly refuses?: 'login' | 'database'
}

/** Raised by a function of Leasehold's: its words are meant for whoever called it. */
const ownWords = (_operation: string, message: string): string => message.replace(/\.?$/, '.')

const noAnswer = {
  Class: DatabaseUnreachableError,
  kind: 'unknown',
  hint: 'Look at the server, or give the URL of another one.',
} as const
const hasEnded = { ...noAnswer, server: () => 'ended the connection' }
const isLate = { ...noAnswer, server: () => 'does not answer in time' }
const hostUnknown = { ...noAnswer, server: () => 'has a host name that is not known here' }
const loginRefused = {
  Class: DatabaseUnreachableError,
  says: (operation: string, message: string) =>
    `${operation}: the server refuses the login: ${message}`,
  hint: 'Look at the user and the password in the URL of the database.',
  server: (message: string) => `refuses the login: ${message}`,
  refuses: 'login',
} as const
const schemaOutdated = {
  Class: SchemaOutdatedError,
  says: () => 'this database has no Leasehold schema, or an older one than this program.',
  hint: 'Bring it up to date: leasehold migrate',
}
const valueRefused = {
  Class: ValueUnstorableError,
  kind: 'value',
  says: (operation: string, message: string) =>
    `${operation}: the database refuses the value: ${message}`,
} as const

/** By the whole code, or else by its first two characters, the class of a SQLSTATE. What is not here is nobody's in particular. */
const FAILURES: ReadonlyMap<string, Failure> = new Map<string, Failure>([
  // What Leasehold's own functions raise.
  ['LH001', { Class: DatabaseUnsafeError, says: ownWords }],
  ['LH003', { Class: UsageError, says: ownWords }],
  ['LH004', { Class: InputTooLargeError, says: ownWords }],
  ['LH005', { Class: UsageError, says: ownWords }],
  ['LH006', { Class: NotFoundError, says: ownWords, hint: 'See: leasehold runs list' }],
  ['LH007', { Class: RunTerminalError, says: ownWords }],
  ['LH008', { Class: DatabaseCopiedError, says: ownWords }],
  ['LH009', { Class: EventsDroppedError, says: ownWords }],
  // invalid_authorization_specification, invalid_password, invalid_catalog_name
  ['28000', loginRefused],
  ['28P01', loginRefused],
  [
    '3D000',
    {
      ...loginRefused,
      refuses: 'database',
      hint: 'Create it, or give the URL of another database.',
    },
  ],
  // insufficient_privilege
  [
    '42501',
    {
      Class: PermissionDeniedError,
      hint: 'Grant the role one of leasehold_client, leasehold_worker, leasehold_admin.',
    },
  ],
  // undefined_function, invalid_schema_name, undefined_table
  ['42883', schemaOutdated],
  ['3F000', schemaOutdated],
  ['42P01', schemaOutdated],
  // read_only_sql_transaction
  [
    '25006',
    {
      Class: DatabaseReadOnlyError,
      kind: 'unknown',
      says: (operation) => `${operation}: the database takes no writes.`,
    },
  ],
  // connection exceptions, transaction rollbacks, insufficient resources, operator interventions
  ['08', noAnswer],
  ['40', noAnswer],
  ['53', noAnswer],
  ['57', noAnswer],
  // query_canceled, cannot_connect_now, idle_session_timeout
  ['57014', isLate],
  ['57P03', { ...noAnswer, server: (message) => `takes no connections now: ${message}` }],
  ['57P05', hasEnded],
  // data exceptions, violated constraints, program_limit_exceeded
  ['22', valueRefused],
  ['23', valueRefused],
  ['54000', valueRefused],
  // The operating system's.
  ['ECONNREFUSED', { ...noAnswer, server: () => 'refuses connections' }],
  ['ECONNRESET', hasEnded],
  ['EPIPE', hasEnded],
  ['ETIMEDOUT', isLate],
  ['EHOSTUNREACH', noAnswer],
  ['ENETUNREACH', noAnswer],
  ['ENOTFOUND', hostUnknown],
  ['EAI_AGAIN', hostUnknown],
])

/** What the driver says of its own accord has no code. Of a connection that was given up for its time limit it says both. */
const NETWORK_MESSAGES: readonly (readonly [RegExp, Failure])[] = [
  [
    /^SASL: .*password must be/,
    { ...loginRefused, server: () => 'wants a password, and none was given' },
  ],
  [/timeout|timed out/i, isLate],
  [/connection terminated|connection ended|not queryable|cannot use a pool after/i, hasEnded],
]

function failureOf(error: unknown): Failure | undefined {
  const code = codeOf(error)
  if (code !== null) return FAILURES.get(code) ?? FAILURES.get(code.slice(0, 2))
  const cause = causeOf(error)
  if (!(cause instanceof Error)) return undefined
  return NETWORK_MESSAGES.find(([pattern]) => pattern.test(cause.message))?.[1]
}

/**
 * What an error says about the call that failed.
 * - `unknown`: the call may or may not have been applied; ask again with the same token (classes 08, 40, 53, 57, a network
 *   error, our own time-out, a read-only server).
 * - `value`: the database refuses the values for their own sake (classes 22 and 23): sending them again can't help.
 * - `other`: a mistake of ours or of the set-up; it propagates.
 */
export function classifyFailure(error: unknown): FailureKind {
  const cause = causeOf(error)
  if (cause instanceof DatabaseReadOnlyError || cause instanceof DatabaseUnreachableError)
    return 'unknown'
  return failureOf(cause)?.kind ?? 'other'
}

/** Whether the database was away, and the same call may be answered yet: not on a pool or client that was ended. */
export function mayAnswerAgain(error: unknown): boolean {
  return classifyFailure(error) === 'unknown' && !ENDED_MESSAGE.test((error as Error).message)
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

/** What the driver says of a pool or client that will never answer. */
const ENDED_MESSAGE = /not queryable|cannot use a pool after/i

/** Turns what a driver threw into one of our errors, with the operation's name. */
export function explainFailure(error: unknown, operation: string): Error {
  if (error instanceof LeaseholdError) return error
  const failure = failureOf(error)
  if (failure === undefined) return error as Error
  const { Class, says, hint } = failure
  const given = error as { code?: string; message: string; hint?: string }
  const message = given.message || given.code || 'the database does not answer'
  return new Class(says?.(operation, message) ?? `${operation}: ${message}`, {
    hint: given.hint ?? hint,
    cause: error,
  })
}

/** What a server does that can't be worked with, in words that follow its name, and what is wrong with the URL, if it is that. */
export function describeUnreachable(error: DatabaseUnreachableError): {
  says: string
  refuses: 'login' | 'database' | null
} {
  const { code = '', message = '' } = causeOf(error) as { code?: string; message?: string }
  const { server, refuses = null } = failureOf(error) ?? {}
  const reason = message.replace(/\.$/, '') || code || 'no reason given'
  return { says: server?.(reason) ?? `does not answer: ${reason}`, refuses }
}
