/**
 * The connection on which a worker claims, and on which it is told that there is something to claim.
 *
 *     away ── first claim, or a while after a loss ──▶ connected, listening ── an error, or a claim without an answer ──▶ away
 *
 * One connection for both, in the main thread: the server process that hands over the hint is the one that the claim goes to a moment
 * later, still awake and with everything it needs in its caches, and no other thread passes the hint on. On an idle queue that is a
 * fifth of the way from enqueue to start. And it is the only one of the worker that listens, as each that does is woken by every hint.
 *
 * It subscribes before the claim that opened it, so no job is missed between the two. What others have claimed and not yet committed
 * then neither the claim tells nor a hint: `subscribed` is called, and a look a little later finds it. Whoever has lost it looks again:
 * `lost` is called. The next claim opens another, or, as a worker with no free slot has none to make and must hear of a cancel all the same, it
 * opens itself. A connection that died in silence is found out by the claim's own limit.
 */
import type pg from 'pg'
import { Pauses } from '../clock.ts'
import {
  CONNECT_DEFAULTS,
  type ConnectOptions,
  connectOne,
  isReported,
  type Database,
  quoteIdentifier,
  useExecutor,
} from '../db/connect.ts'
import { listenTo } from '../sql/listen.ts'

export interface PickUpEvents {
  /** Jobs may wait in this queue; `*` for any. */
  hint(queue: string): void
  /** This run has ended. */
  runEnded(runId: string): void
  /** This incarnation should renew: something has been asked of it or its jobs. */
  asked(incarnation: string): void
  /** Something is leased again, or has to be looked after. */
  watch(): void
  /** Hints arrive from now on; those before are missed. */
  subscribed(): void
  /** The connection is gone, and hints with it. */
  lost(): void
}

const REOPEN = { minMs: 100, maxMs: 5_000 }

export class PickUpConnection implements Database {
  readonly schema: string
  /** Whether to subscribe to hints: not through a pooler, where a subscription would go to somebody else's session. */
  listen = false
  readonly #options: ConnectOptions
  readonly #namespace: string
  readonly #events: PickUpEvents
  readonly #pauses = new Pauses(REOPEN)
  #client: pg.Client | null = null
  #connecting: Promise<pg.Client> | null = null
  #reopen: NodeJS.Timeout | null = null
  #listening = false
  #closed = false

  constructor(options: ConnectOptions, namespace: string, events: PickUpEvents) {
    this.#options = options
    this.#namespace = namespace
    this.#events = events
    this.schema = quoteIdentifier(options.schema ?? CONNECT_DEFAULTS.schema)
  }

  /** Whether hints arrive now. */
  get listening(): boolean {
    return this.#listening
  }

  async query(
    text: string,
    values: unknown[],
    limitMs?: number,
  ): Promise<{ rows: Record<string, unknown>[] }> {
    const client = this.#client ?? (await this.#open())
    try {
      // @types/pg does not know of a query's own limit.
      return await client.query({ text, values, query_timeout: limitMs } as pg.QueryConfig)
    } catch (error) {
      if (!isReported(error)) this.#drop(client)
      throw error
    }
  }

  async close(): Promise<void> {
    this.#closed = true
    if (this.#reopen !== null) clearTimeout(this.#reopen)
    const client = this.#client
    this.#client = null
    this.#listening = false
    await client?.end().catch(() => undefined)
  }

  #open(): Promise<pg.Client> {
    this.#connecting ??= this.#connect().finally(() => {
      this.#connecting = null
    })
    return this.#connecting
  }

  async #connect(): Promise<pg.Client> {
    const client = await connectOne({ ...this.#options, applicationName: 'leasehold worker' })
    client.on('error', () => this.#drop(client))
    client.on('end', () => this.#drop(client))
    client.on('notification', ({ payload = '' }) => this.#heard(payload))
    try {
      const db = useExecutor(client, this.#options.schema)
      if (this.listen) await listenTo(db, this.#namespace)
      if (this.#closed) throw new Error('the connection was closed while it was opened')
    } catch (error) {
      client.end().catch(() => undefined)
      throw error
    }
    this.#client = client
    this.#listening = this.listen
    this.#pauses.reset()
    if (this.#listening) this.#events.subscribed()
    return client
  }

  #heard(payload: string): void {
    const [kind, detail = ''] = payload.split(/:(.*)/s)
    if (kind === 'pending') this.#events.hint(detail)
    else if (kind === 'run') this.#events.runEnded(detail)
    else if (kind === 'renew') this.#events.asked(detail)
    else if (kind === 'watch') this.#events.watch()
  }

  #drop(client: pg.Client): void {
    if (this.#client !== client) return
    this.#client = null
    this.#listening = false
    client.end().catch(() => undefined)
    this.#events.lost()
    this.#reopenLater()
  }

  /** Where nothing is heard nothing need be open. */
  #reopenLater(): void {
    if (!this.listen || this.#closed || this.#reopen !== null) return
    this.#reopen = setTimeout(() => {
      this.#reopen = null
      if (this.#client !== null || this.#closed) return
      this.#open().then(
        () => this.#events.hint('*'),
        () => this.#reopenLater(),
      )
    }, this.#pauses.next())
  }
}
