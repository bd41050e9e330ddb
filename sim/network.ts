/**
 * Calls between simulated processes and the database. A call is sent, perhaps applied later, perhaps answered later still;
 * it can get lost on either way, arrive twice, or arrive long after its sender has given it up.
 */
import type { Random } from './random.ts'
import type { Schedule } from './schedule.ts'

/** How often a message suffers what. */
export interface Weather {
  readonly lostRequest: number
  readonly lostReply: number
  readonly late: number
  readonly duplicate: number
}

export const CALM: Weather = Object.freeze({ lostRequest: 0, lostReply: 0, late: 0, duplicate: 0 })

/** One process's way to the database. */
export interface Link {
  readonly label: string
  cutUntilMs: number
  /** The next renewal of a busy worker is answered this much later, and the link is cut right after it was applied. */
  brownoutMs: number | null
  /** The answer to the next claim that gets jobs is lost. */
  claimLost: boolean
}

export interface Request {
  readonly link: Link
  readonly name: string
  readonly values: readonly unknown[]
  readonly backendPid: number | null
  /** Shown in the trace. */
  readonly note: string
  readonly timeoutMs: number
  /** Runs something in the sender's process: later when that is stopped, never when it has ended. */
  readonly deliver: (atMs: number, run: () => void) => void
  /** The answer is as the function returned it: its shape is between the SQL and the caller. */
  readonly answered: (answer: any) => void
  /** Neither accepted nor refused, as far as the sender can know. */
  readonly unknown: () => void
  /** The server positively refused: it is down. */
  readonly refused?: () => void
}

export interface NetworkSetting {
  readonly schedule: Schedule
  readonly random: Random
  readonly leaseMs: number
  readonly apply: (request: Request, repeated: boolean) => Promise<unknown>
  readonly trace: (text: string) => void
  /** A renewal or claim of this link did not go through as it should. */
  readonly disturbed: (link: Link) => void
}

const LATENCY_MS_MAX = 40

export class Network {
  weather: Weather = CALM
  databaseIsDown = false
  #set: NetworkSetting

  constructor(setting: NetworkSetting) {
    this.#set = setting
  }

  send(request: Request): void {
    const { schedule, random, leaseMs, trace, disturbed } = this.#set
    const { link } = request
    let settled = false
    const settle = (run: () => void): void => {
      if (settled) return
      settled = true
      run()
    }
    request.deliver(schedule.nowMs + request.timeoutMs, () =>
      settle(() => {
        // Until now it has waited for what will not come: that lasted as long.
        disturbed(link)
        trace(`${link.label} gives up waiting for ${request.name} ${request.note}`)
        request.unknown()
      }),
    )
    const isLate = random.chance(this.weather.late)
    const lateMs = isLate ? random.int(200, 1.5 * leaseMs) : 0
    const lateBack = isLate && random.chance(0.5)
    const requestMs = random.int(1, LATENCY_MS_MAX) + (lateBack ? 0 : lateMs)
    const replyMs = random.int(1, LATENCY_MS_MAX) + (lateBack ? lateMs : 0)
    const requestLost = random.chance(this.weather.lostRequest)
    const replyLost = random.chance(this.weather.lostReply)
    if (isLate || requestLost || replyLost) disturbed(link)
    if (requestLost) {
      trace(`${link.label} sends ${request.name} ${request.note} ✗ request lost`)
    } else {
      this.#arrive(
        request,
        requestMs,
        false,
        (answer) => {
          const brownoutMs =
            request.name === 'renew' && request.values[2] === null ? link.brownoutMs : null
          if (brownoutMs !== null) {
            link.brownoutMs = null
            link.cutUntilMs = schedule.nowMs + random.int(1.5 * leaseMs, 3 * leaseMs)
            disturbed(link)
            trace(`${link.label} is cut off; the answer to ${request.note} is still under way`)
          }
          const claimLost = link.claimLost && request.name === 'claim' && gotJobs(answer)
          if (claimLost) {
            link.claimLost = false
            disturbed(link)
          }
          if ((replyLost || claimLost) && brownoutMs === null) {
            trace(`${link.label} ${request.name} ${request.note} ✗ reply lost`)
            return
          }
          const backMs = schedule.nowMs + (brownoutMs ?? replyMs)
          request.deliver(backMs, () => {
            if (brownoutMs === null && link.cutUntilMs > schedule.nowMs) disturbed(link)
            else settle(() => request.answered(answer))
          })
        },
        () => request.deliver(schedule.nowMs + 2, () => settle(request.refused ?? request.unknown)),
      )
    }
    if (random.chance(this.weather.duplicate)) {
      const againMs = requestMs + random.int(1, random.chance(0.5) ? 100 : 1.5 * leaseMs)
      this.#arrive(
        request,
        againMs,
        true,
        () => undefined,
        () => undefined,
      )
    }
  }

  #arrive(
    request: Request,
    delayMs: number,
    repeated: boolean,
    reply: (answer: unknown) => void,
    refuse: () => void,
  ): void {
    const { schedule, random, leaseMs, trace, disturbed, apply } = this.#set
    const { link } = request
    schedule.after(delayMs, async () => {
      if (link.cutUntilMs > schedule.nowMs) {
        disturbed(link)
        if (random.chance(0.3)) {
          // The kernel sends it again and again; it arrives some time after the link is back.
          const backMs = link.cutUntilMs - schedule.nowMs + random.int(1, leaseMs)
          this.#arrive(request, backMs, repeated, reply, refuse)
        } else {
          trace(`${link.label} ${request.name} ${request.note} ✗ cut off`)
        }
        return
      }
      if (this.databaseIsDown) {
        refuse()
        return
      }
      reply(await apply(request, repeated))
    })
  }
}

function gotJobs(answer: unknown): boolean {
  if (typeof answer !== 'object' || answer === null || !('jobs' in answer)) return false
  return Array.isArray(answer.jobs) && answer.jobs.length > 0
}
