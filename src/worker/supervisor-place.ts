/**
 * The place of a supervisor: at most one for each namespace, machine and name.
 *
 *     free, or its holder's process is gone ──▶ held ── a beat every 30 s ──▶ held
 *     its holder lives                      ──▶ refused, saying who it is
 *     its holder can't be seen from here    ──▶ wait: it renews (refused), or its lease lapses (held)
 *     held ── frozen for longer than the lease, and overtaken ──▶ lost, for good
 *
 * The place is a row with a lease on the database's clock. Nothing may be started in a place that is not certainly held: `held`
 * answers from the last beat for as long as nobody else can have taken the place since, and asks the database after that. An outage
 * of the database takes no place away: it is asked again until it answers.
 */
import { randomUUID } from 'node:crypto'
import { hostname } from 'node:os'
import { elapsedMs, Pauses, sleep } from '../clock.ts'
import type { Database } from '../db/connect.ts'
import { formatDuration } from '../domain/duration.ts'
import { StateRefusedError } from '../errors.ts'
import {
  keepSupervising,
  type LastExit,
  type Place,
  type PlaceHolder,
  stopSupervising,
  supervise,
} from '../sql/supervisors.ts'
import { PROGRAM_VERSION } from '../version.ts'
import { bootId, isGone, ownIdentity, pidNamespace } from './identity.ts'

/** As often as an idle worker: a supervisor of which nothing is wanted costs two statements a minute. */
const PLACE_BEAT_MS = 30_000
/** Two beats may be missed. */
const PLACE_LEASE_MS: number = 3 * PLACE_BEAT_MS
/** Trust ends before the lease: a process that is started must not find another supervisor's beside it. */
const TRUST_MS = PLACE_LEASE_MS - 5_000
/** How often a holder that can't be seen is looked at. */
const LOOK_EVERY_MS = 10_000
const RETRY_MS_MAX = 5_000

export interface PlaceOptions extends Place {
  readonly command: string
  readonly processesMin: number
  readonly processesMax: number
}

export class SupervisorPlace {
  readonly incarnation: string = randomUUID()
  readonly #db: Database
  readonly #options: PlaceOptions
  /** When the statement that last proved the place was sent. */
  #provedMs = -Infinity
  #lost = false
  #restarts = 0
  #lastExit: (Omit<LastExit, 'agoMs'> & { readonly atMs: number }) | null = null

  constructor(db: Database, options: PlaceOptions) {
    this.#db = db
    this.#options = options
  }

  /** Processes that ended without being asked to by anybody, counted over all who ever had this place. */
  get restarts(): number {
    return this.#restarts
  }

  /**
   * Takes the place, or resolves to false when `stopped` aborts.
   *
   * @param onWaiting Told once when the holder can be neither seen nor ruled out.
   * @throws {StateRefusedError} when another supervisor lives there.
   */
  async take(
    stopped: AbortSignal,
    onWaiting: (holder: string, leftMs: number) => void,
  ): Promise<boolean> {
    let dead: string | null = null
    let seen: PlaceHolder | null = null
    while (!stopped.aborted) {
      const sentMs = elapsedMs()
      const answer = await supervise(this.#db, this.#options, this.#identity(), dead)
      if (answer.outcome === 'held') {
        this.#provedMs = sentMs
        this.#restarts = answer.restarts
        return true
      }
      const { holder } = answer
      const same = seen !== null && seen.incarnation === holder.incarnation
      const sight = see(holder)
      if (sight === 'alive' || (same && seen?.seenAt !== holder.seenAt)) throw this.#refusal(holder)
      if (sight === 'gone' && dead !== holder.incarnation) {
        dead = holder.incarnation
        continue
      }
      if (!same) onWaiting(describe(holder), holder.leftMs)
      seen = holder
      await sleep(Math.min(LOOK_EVERY_MS, Math.max(0, holder.leftMs) + 50), stopped)
    }
    return false
  }

  /** Counts a process that ended without being asked to; stored with the next beat. */
  count(exit: Omit<LastExit, 'agoMs'>): void {
    this.#restarts += 1
    this.#lastExit = { ...exit, atMs: elapsedMs() }
  }

  /** Proves to the database that this supervisor lives. @throws when the database does not answer: then nothing is known. */
  async beat(): Promise<'held' | 'lost'> {
    if (this.#lost) return 'lost'
    const sentMs = elapsedMs()
    const exit = this.#lastExit
    const answer = await keepSupervising(this.#db, this.#options, {
      incarnation: this.incarnation,
      restarts: this.#restarts,
      lastExit:
        exit === null
          ? null
          : {
              pid: exit.pid,
              workerId: exit.workerId,
              exitCode: exit.exitCode,
              signal: exit.signal,
              agoMs: Math.round(sentMs - exit.atMs),
            },
    })
    if (answer === 'held') {
      this.#provedMs = Math.max(this.#provedMs, sentMs)
      if (this.#lastExit === exit) this.#lastExit = null
    } else {
      this.#lost = true
    }
    return answer
  }

  /** Whether the place is certainly held now; asks for as long as it takes to know, or until `stopped` aborts. */
  async held(stopped: AbortSignal, onUnanswered: (error: Error) => void): Promise<boolean> {
    const pauses = new Pauses({ minMs: 250, maxMs: RETRY_MS_MAX })
    while (!stopped.aborted) {
      if (this.#lost) return false
      if (elapsedMs() - this.#provedMs < TRUST_MS) return true
      try {
        await this.beat()
      } catch (error) {
        onUnanswered(error as Error)
        await sleep(pauses.next(), stopped)
      }
    }
    return false
  }

  /** When the next beat is due, as an `elapsedMs` reading. */
  get beatDueMs(): number {
    return this.#provedMs + PLACE_BEAT_MS
  }

  /** Nothing to do where it was never had. */
  async leave(): Promise<void> {
    if (this.#provedMs === -Infinity) return
    await stopSupervising(this.#db, this.#options, this.incarnation)
  }

  #identity(): Parameters<typeof supervise>[2] {
    const { command, processesMin, processesMax } = this.#options
    return {
      ...ownIdentity(this.incarnation),
      hostname: hostname(),
      version: PROGRAM_VERSION,
      command,
      processesMin,
      processesMax,
      leaseMs: PLACE_LEASE_MS,
    }
  }

  #refusal(holder: PlaceHolder): StateRefusedError {
    const { name, machineId, namespace } = this.#options
    return new StateRefusedError(
      `supervisor ${name} of namespace ${namespace} runs on machine ${machineId} already: ${describe(holder)}.`,
      {
        hint: `One of a name runs on a machine. To end that one: kill ${holder.pid}; to run both: --name NAME`,
      },
    )
  }
}

function describe({ pid, hostname: host, startedAt, seenAgoMs }: PlaceHolder): string {
  return `pid ${pid} on ${host}, since ${startedAt}, seen ${formatDuration(seenAgoMs)} ago`
}

/** What this process can see of another: pids mean nothing in another boot or pid namespace. */
function see(holder: PlaceHolder): 'alive' | 'gone' | 'hidden' {
  if (holder.bootId === null || holder.bootId !== bootId()) return 'hidden'
  if (holder.pidNamespace === null || holder.pidNamespace !== pidNamespace()) return 'hidden'
  return isGone(holder) ? 'gone' : 'alive'
}
