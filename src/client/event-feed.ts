/**
 * The feed of typed events: what happened, after it was committed, from any worker, in an order in which nothing appears behind the
 * reader. Reads only while somebody listens: at first quickly, then, while nothing happens, at most every second. An outage delays it;
 * what no outage explains (a grant that is missing) is a process warning, as a listener would wait for ever without a word.
 */
import { sleep } from '../clock.ts'
import { classifyFailure, type Database } from '../db/connect.ts'
import { didYouMean } from '../domain/nearest.ts'
import { shown } from '../domain/shown.ts'
import { EventsDroppedError, UsageError } from '../errors.ts'
import { eventsDropped, eventsEnd, type FeedEvent, readEvents } from '../sql/inspect.ts'

/** Names of events, as facts in the past. `job.*` carry `jobIds`; hot ones carry a whole batch. */
export const EVENT_NAMES = [
  'job.picked_up',
  'job.completed',
  'job.failed',
  'job.retrying',
  'job.cancelling',
  'job.cancelled',
  'job.recovered',
  'job.released',
  'job.interrupted',
  'job.poisoned',
  'job.held',
  'job.resumed',
  'job.retried',
  'job.stale_write',
  'job.untargeted',
  'run.created',
  'run.completed',
  'run.error',
  'run.archived',
  'worker.started',
  'worker.stuck',
  'worker.offline',
  'worker.false_alarm',
  'alert.raised',
  'alert.acknowledged',
  'alert.resolved',
  'events.dropped',
] as const
export type EventName = (typeof EVENT_NAMES)[number]

export interface ClientEvent<Name extends EventName = EventName> {
  readonly kind: Name
  readonly at: string
  readonly jobIds: readonly string[]
  readonly workerId: string | null
  /** Why, who noticed, which attempt: see docs/reference/events.md. */
  readonly data: Record<string, unknown> | null
}

export type EventListener<Name extends EventName> = (event: ClientEvent<Name>) => void

const PAUSE_MS_MIN = 20
const PAUSE_MS_MAX = 1_000

export class EventFeed {
  readonly #db: Database
  readonly #namespace: string
  readonly #listeners = new Set<{ names: readonly string[]; listener: EventListener<EventName> }>()
  #stop: AbortController | null = null
  /** Each message once: reading is tried again every second. */
  readonly #warned = new Set<string>()
  #reading: Promise<void> = Promise.resolve()

  constructor(db: Database, namespace: string) {
    this.#db = db
    this.#namespace = namespace
  }

  /** @throws {UsageError} for a name that no event has. */
  onAny(names: readonly EventName[], listener: EventListener<EventName>): () => void {
    for (const name of names) {
      if (EVENT_NAMES.includes(name)) continue
      throw new UsageError(`there is no event ${shown(name)}.${didYouMean(name, EVENT_NAMES)}`, {
        hint: 'EVENT_NAMES has those that there are.',
      })
    }
    if (typeof listener !== 'function')
      throw new UsageError(`a listener must be a function, got ${shown(listener)}.`)
    const entry = { names, listener }
    this.#listeners.add(entry)
    if (this.#stop === null) {
      const stop = new AbortController()
      this.#stop = stop
      this.#reading = this.#read(stop.signal)
    }
    return () => {
      this.#listeners.delete(entry)
      if (this.#listeners.size === 0) this.#end()
    }
  }

  async close(): Promise<void> {
    this.#listeners.clear()
    this.#end()
    await this.#reading
  }

  #end(): void {
    this.#stop?.abort()
    this.#stop = null
  }

  async #read(stop: AbortSignal): Promise<void> {
    let position: string | null = null
    let pauseMs = PAUSE_MS_MIN
    while (!stop.aborted) {
      let events: FeedEvent[] = []
      try {
        position ??= await eventsEnd(this.#db, this.#namespace)
        events = await readEvents(this.#db, this.#namespace, position, 500)
      } catch (error) {
        if (stop.aborted) return
        if (error instanceof EventsDroppedError && position !== null)
          position = await this.#skipDropped(position)
        else this.#warn(error as Error)
        // The position is kept, so nothing is skipped when the database is back.
        pauseMs = PAUSE_MS_MAX
      }
      for (const event of events) {
        position = event.position
        if (!stop.aborted) this.#deliver(event)
      }
      pauseMs = events.length > 0 ? PAUSE_MS_MIN : Math.min(PAUSE_MS_MAX, pauseMs * 2)
      if (events.length < 500) await sleep(pauseMs, stop)
    }
  }

  #warn(error: Error): void {
    if (classifyFailure(error) === 'unknown' || this.#warned.has(error.message)) return
    this.#warned.add(error.message)
    process.emitWarning(
      `Leasehold events of namespace ${this.#namespace} can't be read: ${error.message}`,
    )
  }

  /** Where to go on behind what was dropped while nobody read; listeners learn that they have missed something. */
  async #skipDropped(position: string): Promise<string> {
    let next: string
    try {
      next = await eventsDropped(this.#db, this.#namespace)
    } catch {
      return position
    }
    if ([...this.#listeners].some(({ names }) => names.includes('events.dropped'))) {
      const data = { after: position, until: next }
      const at = new Date().toISOString()
      this.#deliver({
        position: next,
        at,
        kind: 'events.dropped',
        jobIds: [],
        workerId: null,
        data,
      })
    } else {
      process.emitWarning(
        `Leasehold events of namespace ${this.#namespace} were dropped before they were read`,
      )
    }
    return next
  }

  #deliver(event: FeedEvent): void {
    for (const { names, listener } of this.#listeners) {
      if (!names.includes(event.kind)) continue
      try {
        listener({
          kind: event.kind as EventName,
          at: event.at,
          jobIds: event.jobIds,
          workerId: event.workerId,
          data: event.data,
        })
      } catch (error) {
        // A listener is somebody else's code; its mistake must not stop the others, nor pass unseen.
        queueMicrotask(() => process.emitWarning(error as Error))
      }
    }
  }
}
