/**
 * Runs, as a client sees them: named batches of jobs with a life of their own.
 *
 *     active ── a rule says so, or a person ──▶ completed | error | archived
 *
 * The database decides when a run ends; `wait` asks it to look, so a run also ends where no worker is left that would.
 */
import type { Database } from '../db/connect.ts'
import { RunTerminalError } from '../errors.ts'
import { RUN_STATUSES, type RunStatus } from '../domain/states.ts'
import * as sql from '../sql/runs.ts'
import {
  ANY_TEXT,
  ANYTHING,
  checkOptions,
  FLAG,
  ID,
  LIMIT_MS,
  oneOf,
  PAGE_SIZE,
  type Rules,
  SIGNAL,
  someOf,
  wholeNumber,
} from './check-options.ts'
import type { Page, RunDocument } from './documents.ts'
import type { EventFeed } from './event-feed.ts'
import { checkedName, onlyOne } from './only-one.ts'
import { storableJson } from './storable-json.ts'
import { waitFor } from './wait-for.ts'

export interface NewRunOptions {
  readonly name: string
  /** Anything that says what the run is about. JSON. */
  readonly criteria?: unknown
  readonly stage?: string
  /** So many completed jobs complete the run; it holds no more than these as far as it is concerned. Default none. */
  readonly target?: number
  /** One failed job more ends it as `error`. Default none: failures are judged when all its jobs have ended, and then allowed are 0. */
  readonly maxFailed?: number
  /** What its jobs may cost, by what they report with `ctx.cost`; at either number the run ends as `error`. */
  readonly budget?: { readonly tokens?: number; readonly usd?: number }
  /**
   * A run without a target has all its jobs once the last was put in so long ago, in milliseconds, or `update` has said that it is
   * filled. Default 30,000.
   */
  readonly fillGraceMs?: number
  /** What becomes of jobs that are left when it ends. Default `cancel`. */
  readonly rest?: 'cancel' | 'keep'
}

export interface RunListOptions {
  readonly statuses?: readonly RunStatus[]
  readonly after?: string
  /** 1 to 500. Default 50. */
  readonly limit?: number
}

export interface EndRunOptions {
  /** What becomes of jobs that are left. Default what the run's rules say. */
  readonly rest?: 'cancel' | 'keep'
  readonly reason?: string
}

export interface Runs {
  create(options: NewRunOptions): Promise<RunDocument>
  /** The newest first. */
  list(options?: RunListOptions): Promise<Page<RunDocument>>
  /** By id, a unique ending of it (4 or more characters), or a name that one run has. @throws {NotFoundError} @throws {IdAmbiguousError} */
  get(run: string): Promise<RunDocument>
  /** Says which stage it is in, or that it is filled: then it is over as soon as its jobs are. @throws {RunTerminalError} */
  update(run: string, changes: { stage?: string; filled?: true }): Promise<RunDocument>
  /** Ends it by hand. Safe to repeat. @throws {RunTerminalError} when it has ended otherwise. */
  complete(run: string, options?: EndRunOptions): Promise<RunDocument>
  /** The same, as `error`. */
  fail(run: string, options?: EndRunOptions): Promise<RunDocument>
  /** The same, as `archived`. */
  archive(run: string, options?: EndRunOptions): Promise<RunDocument>
  /**
   * Resolves once it has ended, whatever as. Waits through an outage of the database; any other failure ends it.
   * @throws {WaitTimeoutError} @throws {StateRefusedError} when the client is closed meanwhile.
   */
  wait(run: string, options?: { timeoutMs?: number; signal?: AbortSignal }): Promise<RunDocument>
}

const RESTS = ['cancel', 'keep'] as const

const BUDGET_RULES: Rules<NonNullable<NewRunOptions['budget']>> = {
  tokens: wholeNumber(1),
  usd: {
    fits: (value) => Number.isFinite(value) && (value as number) > 0,
    must: 'must be a number above 0',
  },
}

const NEW_RUN_RULES: Rules<NewRunOptions> = {
  name: ANY_TEXT,
  criteria: ANYTHING,
  stage: ANY_TEXT,
  target: wholeNumber(1),
  maxFailed: wholeNumber(0),
  // What is wrong inside is told with its own name.
  budget: ANYTHING,
  fillGraceMs: wholeNumber(0),
  rest: oneOf(RESTS),
}

const LIST_RULES: Rules<RunListOptions> = {
  statuses: someOf(RUN_STATUSES),
  after: ID,
  limit: PAGE_SIZE,
}

const CHANGE_RULES: Rules<{ stage?: string; filled?: true }> = { stage: ANY_TEXT, filled: FLAG }
const END_RULES: Rules<EndRunOptions> = { rest: oneOf(RESTS), reason: ANY_TEXT }
const WAIT_RULES: Rules<{ timeoutMs?: number; signal?: AbortSignal }> = {
  timeoutMs: LIMIT_MS,
  signal: SIGNAL,
}

export function openRuns(
  db: Database,
  namespace: string,
  { feed, closed }: { feed: EventFeed; closed: AbortSignal },
): Runs {
  return new DatabaseRuns(db, namespace, feed, closed)
}

class DatabaseRuns implements Runs {
  readonly #db: Database
  readonly #namespace: string
  readonly #feed: EventFeed
  readonly #closed: AbortSignal

  constructor(db: Database, namespace: string, feed: EventFeed, closed: AbortSignal) {
    this.#db = db
    this.#namespace = namespace
    this.#feed = feed
    this.#closed = closed
  }

  async create(given: NewRunOptions): Promise<RunDocument> {
    checkOptions('runs.create', given ?? null, NEW_RUN_RULES)
    if (given.budget !== undefined)
      checkOptions('runs.create', given.budget, BUDGET_RULES, 'budget')
    const { name, criteria = {}, ...options } = given
    storableJson(criteria, `the criteria of run ${name}`)
    return sql.createRun(this.#db, this.#namespace, { name, criteria, options })
  }

  async list(options: RunListOptions = {}): Promise<Page<RunDocument>> {
    checkOptions('runs.list', options, LIST_RULES)
    const { limit = 50 } = options
    const found = await sql.listRuns<RunDocument>(this.#db, this.#namespace, {
      statuses: options.statuses,
      after: options.after,
      limit: limit + 1,
    })
    const items = found.slice(0, limit)
    return { items, nextCursor: found.length > limit ? (items.at(-1)?.id ?? null) : null }
  }

  async get(run: string): Promise<RunDocument> {
    const text = checkedName('run', run)
    return onlyOne(await sql.findRuns<RunDocument>(this.#db, this.#namespace, text), {
      what: 'run',
      text: run,
      namespace: this.#namespace,
      hint: 'See: leasehold runs list',
    })
  }

  async update(run: string, changes: { stage?: string; filled?: true }): Promise<RunDocument> {
    checkOptions('runs.update', changes ?? null, CHANGE_RULES)
    const before = await this.get(run)
    if (before.status !== 'active') throw ended(before, 'changed')
    await sql.updateRun(this.#db, this.#namespace, before.id, changes)
    return this.get(before.id)
  }

  complete(run: string, options: EndRunOptions = {}): Promise<RunDocument> {
    return this.#end(run, 'completed', options)
  }

  fail(run: string, options: EndRunOptions = {}): Promise<RunDocument> {
    return this.#end(run, 'error', options)
  }

  archive(run: string, options: EndRunOptions = {}): Promise<RunDocument> {
    return this.#end(run, 'archived', options)
  }

  async wait(
    run: string,
    options: { timeoutMs?: number; signal?: AbortSignal } = {},
  ): Promise<RunDocument> {
    checkOptions('runs.wait', options, WAIT_RULES)
    let id: string | null = null
    return waitFor({
      what: `run ${run}`,
      look: async () => {
        id ??= (await this.get(run)).id
        const [status] = await sql.judgeRuns(this.#db, this.#namespace, [id])
        return status === 'active' ? { state: status } : { end: await this.get(id) }
      },
      onHint: (hurry) =>
        this.#feed.onAny(['run.completed', 'run.error', 'run.archived'], ({ data }) => {
          if (data?.['runId'] === id) hurry()
        }),
      timeoutMs: options.timeoutMs,
      signals: [this.#closed, options.signal],
    })
  }

  async #end(run: string, status: RunStatus, options: EndRunOptions): Promise<RunDocument> {
    checkOptions('runs', options, END_RULES)
    const { id } = await this.get(run)
    const answer = await sql.endRun(this.#db, this.#namespace, id, {
      status,
      rest: options.rest ?? null,
      reason: options.reason === undefined ? {} : { message: options.reason },
    })
    const after = await this.get(id)
    if (answer !== status) throw ended(after, status === 'error' ? 'failed' : status)
    return after
  }
}

function ended(run: RunDocument, what: string): RunTerminalError {
  return new RunTerminalError(
    `run ${run.name} (${run.id}) ended as ${run.status}, and can't be ${what}: ${run.endReason?.message ?? 'it has ended'}.`,
  )
}
