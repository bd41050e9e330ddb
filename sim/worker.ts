/**
 * A simulated worker process: the worker's side of the protocol as a state machine over virtual time.
 *
 *   boot ─▶ register ─▶ claim, run, settle, renew, sweep ─┬─ fence (send + L − m) or lease_lost ─▶ fresh incarnation
 *                                                         ├─ shutdown ─▶ drain, release, last statement, exit
 *                                                         └─ killed, uncaught error, deaf past send + L ─▶ gone
 *
 * It shares no code with the product's worker: it is a second reading of the protocol. `rules` breaks it on purpose.
 */
import type { Link, Network } from './network.ts'
import type { Random } from './random.ts'
import type { Schedule } from './schedule.ts'

export interface Timing {
  readonly leaseMs: number
  readonly renewMs: number
  readonly idleBeatMs: number
  /** The fence falls this much before the lease can lapse. */
  readonly marginMs: number
  readonly callTimeoutMs: number
  readonly pollMs: number
  readonly graceMs: number
  readonly outageMode: 'abort' | 'continue'
}

export interface WorkerRules {
  /** What the self-fence counts from. */
  readonly fence: 'send' | 'reply' | 'never'
  /** Whether a renewal's answer is compared with what the worker knows. */
  readonly reconcile: boolean
}

/** How the handler of a job behaves, whatever worker runs it. */
export interface JobNature {
  readonly label: string
  readonly durationMs: number
  readonly ends: 'completes' | 'flaky' | 'fails' | 'fails finally' | 'kills' | 'throws outside'
  readonly checkpointEveryMs: number | null
  /** Ignores its abort signal. */
  readonly deaf: boolean
}

/** What the world is told, for the checkers. Nothing here comes back to the worker. */
export interface Reports {
  processStarted(process: string): void
  processFrozen(process: string): void
  processThawed(process: string): void
  /** After a thaw: the renewal thread has looked at the clock. */
  processChecked(process: string): void
  processEnded(process: string): void
  incarnationBegan(process: string, incarnation: string): void
  incarnationOver(incarnation: string): void
  handlerStarted(handler: {
    process: string
    incarnation: string
    job: string
    attempt: number
    token: string
    checkpoint: unknown
  }): void
  handlerStopped(token: string): void
  outcomeProduced(token: string, outcome: string): void
  outcomeAcknowledged(token: string, outcome: string, answer: string): void
}

export interface WorkerWorld {
  readonly schedule: Schedule
  readonly network: Network
  readonly random: Random
  readonly timing: Timing
  readonly rules: WorkerRules
  readonly namespace: string
  readonly queues: readonly string[]
  readonly types: readonly string[]
  readonly reports: Reports
  natureOf(job: string): JobNature
  readonly trace: (text: string) => void
  /** Opens a reserved connection and returns its backend's pid. */
  connect(): number
  disconnect(backendPid: number): void
  ended(process: WorkerProcess, how: string): void
}

export interface Machine {
  readonly id: string
  readonly bootId: string
  readonly hostname: string
}

/** What outlives a process: its place under the supervisor, and its spool on disk. */
export interface Slot {
  readonly label: string
  readonly machine: Machine
  readonly concurrency: number
  readonly spool: SpoolEntry[]
}

export interface SpoolEntry {
  readonly job: string
  readonly token: string
  readonly outcome: Outcome
  readonly value: string | null
  readonly delayMs: number
  acknowledgedMs: number | null
  underWay: boolean
}

type Outcome = 'completed' | 'failed' | 'failed_finally' | 'cancelled' | 'released' | 'interrupted'
type AbortReason = 'lease_lost' | 'cancel' | 'shutdown'

interface ClaimedJob {
  readonly id: string
  readonly token: string
  readonly attempt: number
  readonly resume: { readonly checkpoint: unknown } | null
}

interface ClaimAnswer {
  readonly outcome: 'claimed' | 'lease_lost'
  readonly drain: boolean
  readonly running: boolean
  readonly nextDueMs: number | null
  readonly jobs: readonly ClaimedJob[]
}

interface RenewAnswer {
  readonly outcome: 'renewed' | 'lease_lost'
  readonly drain: boolean
  readonly running: boolean
  readonly held: readonly {
    readonly job: string
    readonly token: string
    readonly cancel: boolean
  }[]
}

interface Handler {
  readonly job: string
  readonly token: string
  readonly incarnation: Incarnation
  readonly nature: JobNature
  readonly startedMs: number
  checkpoints: number
  aborting: AbortReason | null
  stopped: boolean
}

interface Incarnation {
  readonly id: string
  readonly label: string
  registered: boolean
  /** Fenced, told that its lease is lost, or given up: it renews and claims no more. */
  over: 'self_fenced' | 'lease_lost' | 'given up' | null
  /** When the last accepted renewal or claim was sent. */
  trustMs: number
  sendNumber: number
  renewUnderWay: boolean
  claimUnderWay: string | null
  /** Its last renewal's answer named jobs. */
  holdsSomething: boolean
  claimTimer: number
  renewTimer: number
  drainAsked: boolean
  somethingRuns: boolean
  /** When the server last refused a connection, and when a call last timed out. */
  refusedMs: number
  timedOutMs: number
  refusedSinceMs: number
}

const SWEEP_MS = 1_000
const KEEP_ACKNOWLEDGED_MS = 600_000
const CONTINUE_MS_MAX = 600_000

export class WorkerProcess {
  readonly label: string
  readonly slot: Slot
  readonly link: Link
  readonly pid: number
  readonly processStarted: string
  state: 'live' | 'frozen' | 'gone' = 'live'
  incarnation: Incarnation | null = null
  role = 'none'
  draining = false
  backendPid: number | null = null
  readonly handlers = new Map<string, Handler>()
  #world: WorkerWorld
  #backlog: (() => void)[] = []
  #incarnations = 0

  constructor(world: WorkerWorld, setting: { label: string; slot: Slot; link: Link; pid: number }) {
    this.#world = world
    this.label = setting.label
    this.slot = setting.slot
    this.link = setting.link
    this.pid = setting.pid
    this.processStarted = setting.label
    world.reports.processStarted(this.label)
    world.trace(`${this.label} starts`)
    this.backendPid = world.connect()
    this.#begin()
    this.#sweepLoop()
    this.#flushLoop()
  }

  // ---- time and state of the process

  /** Runs something in this process: after the thaw if it is stopped then, never if it has ended. */
  #at = (atMs: number, run: () => void): void => {
    this.#world.schedule.at(atMs, () => {
      if (this.state === 'live') run()
      else if (this.state === 'frozen') this.#backlog.push(run)
    })
  }

  #after(delayMs: number, run: () => void): void {
    this.#at(this.#world.schedule.nowMs + delayMs, run)
  }

  freeze(): void {
    if (this.state !== 'live') return
    this.state = 'frozen'
    this.#world.trace(`${this.label} freezes`)
    this.#world.reports.processFrozen(this.label)
  }

  thaw(): void {
    if (this.state !== 'frozen') return
    const { schedule, random, reports, trace } = this.#world
    trace(`${this.label} thaws`)
    reports.processThawed(this.label)
    // Its code runs on from here; nothing of it acts before the check.
    schedule.after(random.int(0, 20), () => {
      if (this.state !== 'frozen') return
      this.state = 'live'
      this.#checkFence()
      const backlog = this.#backlog
      this.#backlog = []
      for (const run of backlog) this.#at(schedule.nowMs, run)
      // After the end by force, if that is due: it is in the backlog when it fell into the freeze.
      schedule.after(0, () => reports.processChecked(this.label))
    })
  }

  /** Ends at once: nothing more is done or sent. */
  end(how: string, connection: 'closed' | 'left open' = 'closed'): void {
    if (this.state === 'gone') return
    this.state = 'gone'
    this.#backlog = []
    const { reports, trace } = this.#world
    trace(`${this.label} ends: ${how}`)
    for (const handler of this.handlers.values()) {
      handler.stopped = true
      reports.handlerStopped(handler.token)
    }
    this.handlers.clear()
    if (this.incarnation !== null) reports.incarnationOver(this.incarnation.id)
    reports.processEnded(this.label)
    if (this.backendPid !== null && connection === 'closed') this.#world.disconnect(this.backendPid)
    this.backendPid = null
    for (const entry of this.slot.spool) entry.underWay = false
    this.#world.ended(this, how)
  }

  /** The reserved connection drops and comes back after a while. */
  dropConnection(backMs: number): void {
    if (this.state === 'gone' || this.backendPid === null) return
    const { trace, network } = this.#world
    trace(`${this.label} loses its reserved connection for ${backMs} ms`)
    this.#world.disconnect(this.backendPid)
    this.backendPid = null
    const reconnect = (): void => {
      if (this.backendPid !== null) return
      if (network.databaseIsDown || this.link.cutUntilMs > this.#world.schedule.nowMs) {
        const incarnation = this.incarnation
        if (incarnation !== null && network.databaseIsDown) this.#refused(incarnation)
        else if (incarnation !== null) incarnation.timedOutMs = this.#world.schedule.nowMs
        this.#after(this.#retryMs(), reconnect)
        return
      }
      this.backendPid = this.#world.connect()
      if (this.incarnation !== null) this.#renewIn(this.incarnation, 0)
    }
    this.#after(backMs, reconnect)
  }

  /** A hint that the database may have news for this incarnation, or jobs for anybody. */
  hint(what: 'renew' | 'claim', incarnation: Incarnation): void {
    this.#after(0, () => {
      if (this.incarnation !== incarnation) return
      if (what === 'renew') this.#renewIn(incarnation, 0)
      else if (this.handlers.size < this.slot.concurrency) this.#claimIn(incarnation, 0)
    })
  }

  #retryMs(): number {
    const { timing, random } = this.#world
    return random.int(timing.leaseMs / 24, timing.leaseMs / 6)
  }

  // ---- one incarnation

  #begin(): void {
    const { random, schedule, reports, trace, namespace, timing, queues, types } = this.#world
    this.#incarnations += 1
    const incarnation: Incarnation = {
      id: random.uuid(),
      label: `${this.label}#${this.#incarnations}`,
      registered: false,
      over: null,
      trustMs: schedule.nowMs,
      sendNumber: 0,
      renewUnderWay: false,
      claimUnderWay: null,
      holdsSomething: false,
      claimTimer: 0,
      renewTimer: 0,
      drainAsked: false,
      somethingRuns: false,
      refusedMs: -1e9,
      timedOutMs: -1e9,
      refusedSinceMs: -1e9,
    }
    this.incarnation = incarnation
    if (this.draining) return
    const again = (): void => {
      // It may have been applied: a second insert of the same row would fail, so the next try is a fresh incarnation.
      incarnation.over = 'given up'
      this.#after(this.#retryMs(), () => {
        if (this.incarnation === incarnation && !this.draining) this.#begin()
      })
    }
    if (this.backendPid === null) {
      again()
      return
    }
    this.#send({
      name: 'register',
      values: [
        namespace,
        JSON.stringify({
          incarnation: incarnation.id,
          machineId: this.slot.machine.id,
          hostname: this.slot.machine.hostname,
          bootId: this.slot.machine.bootId,
          pidNamespace: 'ns',
          processStarted: this.processStarted,
          pid: this.pid,
          version: '0',
          concurrency: this.slot.concurrency,
          queues,
          types,
          direct: true,
          leaseMs: timing.leaseMs,
          renewMs: timing.renewMs,
          idleBeatMs: timing.idleBeatMs,
        }),
      ],
      note: incarnation.label,
      answered: () => {
        if (incarnation.over !== null) return
        incarnation.registered = true
        trace(`${incarnation.label} is registered`)
        reports.incarnationBegan(this.label, incarnation.id)
        this.#renewIn(incarnation, timing.idleBeatMs)
        this.#claimIn(incarnation, 0)
      },
      unknown: again,
    })
  }

  /** Fenced, or told: this incarnation renews and claims no more; the process goes on as a fresh one. */
  #retire(incarnation: Incarnation, why: 'self_fenced' | 'lease_lost'): void {
    if (incarnation.over !== null) return
    const { schedule, timing, reports, trace } = this.#world
    incarnation.over = why
    incarnation.claimUnderWay = null
    trace(`${incarnation.label} is over: ${why}`)
    reports.incarnationOver(incarnation.id)
    for (const handler of this.handlers.values()) {
      if (handler.incarnation === incarnation) this.#abort(handler, 'lease_lost')
    }
    // Past send + L at once; but not when it has gone on through an outage, and so has passed that in good faith.
    const endMs = incarnation.trustMs + timing.leaseMs
    const wentOn =
      timing.outageMode === 'continue' &&
      schedule.nowMs - incarnation.refusedMs <= timing.renewMs + timing.callTimeoutMs
    const goodFaithMs = wentOn ? schedule.nowMs + timing.marginMs : 0
    const forcedMs = Math.max(endMs, endMs <= schedule.nowMs ? goodFaithMs : 0, schedule.nowMs)
    this.#at(forcedMs, () => {
      for (const handler of this.handlers.values()) {
        if (handler.incarnation === incarnation) {
          this.end(`${handler.nature.label} ignores its signal`)
          return
        }
      }
    })
    this.#goOnWhenStopped(incarnation)
  }

  #goOnWhenStopped(incarnation: Incarnation): void {
    if (this.incarnation !== incarnation || incarnation.over === null) return
    for (const handler of this.handlers.values()) if (handler.incarnation === incarnation) return
    // Only now: the row protects a handler that still runs.
    if (incarnation.over === 'self_fenced') this.#endRow(incarnation, 'uncharged', 10)
    if (!this.draining) this.#begin()
  }

  #endRow(incarnation: Incarnation, charge: string, tries: number): void {
    this.#send({
      name: 'end_worker',
      values: [incarnation.id, charge, JSON.stringify({ code: 'self_fenced' })],
      note: `${incarnation.label} ${charge}`,
      answered: () => undefined,
      unknown: () => {
        if (tries > 0) {
          this.#after(this.#retryMs(), () => this.#endRow(incarnation, charge, tries - 1))
        }
      },
    })
  }

  #send(request: {
    name: string
    values: readonly unknown[]
    note: string
    answered: (answer: any) => void
    unknown: () => void
    refused?: () => void
  }): void {
    this.#world.network.send({
      ...request,
      link: this.link,
      backendPid: this.backendPid,
      timeoutMs: this.#world.timing.callTimeoutMs,
      deliver: this.#at,
    })
  }

  // ---- the fence

  #fenceMs(incarnation: Incarnation): number {
    const { timing, schedule, rules } = this.#world
    if (rules.fence === 'never') return Infinity
    const fenceMs = incarnation.trustMs + timing.leaseMs - timing.marginMs
    if (timing.outageMode === 'continue' && incarnation.timedOutMs < incarnation.refusedMs) {
      // Positively down: go on while the refusals are fresh, ten minutes at most.
      const freshMs = incarnation.refusedMs + timing.renewMs
      const longestMs = incarnation.refusedSinceMs + CONTINUE_MS_MAX
      if (freshMs >= schedule.nowMs) return Math.max(fenceMs, Math.min(freshMs, longestMs) + 1)
    }
    return fenceMs
  }

  #refused(incarnation: Incarnation): void {
    const { schedule, timing } = this.#world
    if (schedule.nowMs - incarnation.refusedMs > timing.renewMs) {
      incarnation.refusedSinceMs = schedule.nowMs
    }
    incarnation.refusedMs = schedule.nowMs
    this.#armFence(incarnation)
  }

  #armFence(incarnation: Incarnation): void {
    const fenceMs = this.#fenceMs(incarnation)
    if (fenceMs === Infinity) return
    this.#at(fenceMs, () => {
      if (this.incarnation === incarnation) this.#checkFence()
    })
  }

  /** True when this incarnation may act; fences it when it may no longer. */
  #checkFence(): boolean {
    const incarnation = this.incarnation
    if (incarnation === null || incarnation.over !== null) return false
    if (this.#world.schedule.nowMs < this.#fenceMs(incarnation)) return true
    for (const handler of this.handlers.values()) {
      if (handler.incarnation === incarnation) {
        this.#world.trace(`${incarnation.label} fences itself`)
        this.#retire(incarnation, 'self_fenced')
        return false
      }
    }
    return true
  }

  #trust(incarnation: Incarnation, sentMs: number): void {
    const { rules, schedule } = this.#world
    const fromMs = rules.fence === 'reply' ? schedule.nowMs : sentMs
    incarnation.trustMs = Math.max(incarnation.trustMs, fromMs)
    this.#armFence(incarnation)
  }

  // ---- renewals

  #renewIn(incarnation: Incarnation, delayMs: number): void {
    const timer = (incarnation.renewTimer += 1)
    this.#after(delayMs, () => {
      if (incarnation.renewTimer === timer) this.#renew(incarnation)
    })
  }

  #renew(incarnation: Incarnation): void {
    const { schedule, timing, rules } = this.#world
    if (incarnation.over !== null || !incarnation.registered || incarnation.renewUnderWay) return
    if (this.backendPid === null) return // the reconnect renews
    const idle = !this.#busy(incarnation)
    const sentMs = schedule.nowMs
    const known = new Set(this.handlers.keys())
    const claimWasUnderWay = incarnation.claimUnderWay !== null
    incarnation.sendNumber += 1
    incarnation.renewUnderWay = true
    this.#send({
      name: 'renew',
      values: [
        incarnation.id,
        incarnation.sendNumber,
        idle ? timing.idleBeatMs : null,
        this.draining || incarnation.drainAsked,
        0,
        this.slot.spool.length,
        true,
      ],
      note: `${incarnation.label} n${incarnation.sendNumber}${idle ? ' idle' : ''}`,
      answered: (answer: RenewAnswer) => {
        incarnation.renewUnderWay = false
        if (incarnation.over !== null) return
        if (answer.outcome === 'lease_lost') {
          this.#retire(incarnation, 'lease_lost')
          return
        }
        this.#trust(incarnation, sentMs)
        incarnation.refusedMs = -1e9
        incarnation.somethingRuns = answer.running
        incarnation.drainAsked = answer.drain
        if (rules.reconcile) this.#reconcile(incarnation, answer, known, claimWasUnderWay)
        else this.#noticeCancels(answer)
        incarnation.holdsSomething = answer.held.length > 0
        this.#renewIn(incarnation, this.#busy(incarnation) ? timing.renewMs : timing.idleBeatMs)
      },
      unknown: () => {
        incarnation.renewUnderWay = false
        incarnation.timedOutMs = schedule.nowMs
        this.#renewIn(incarnation, this.#retryMs())
      },
      refused: () => {
        incarnation.renewUnderWay = false
        this.#refused(incarnation)
        this.#renewIn(incarnation, this.#retryMs())
      },
    })
  }

  /** Also while a claim is under way: it may have got jobs, and with them a short lease. */
  #busy(incarnation: Incarnation): boolean {
    return (
      this.handlers.size > 0 || incarnation.claimUnderWay !== null || incarnation.holdsSomething
    )
  }

  #noticeCancels(answer: RenewAnswer): void {
    for (const held of answer.held) {
      const handler = this.handlers.get(held.token)
      if (held.cancel && handler !== undefined) this.#abort(handler, 'cancel')
    }
  }

  /** What the database holds for this worker against what it runs; only what it knew when it sent, with no claim in flight. */
  #reconcile(
    incarnation: Incarnation,
    answer: RenewAnswer,
    known: ReadonlySet<string>,
    claimWasUnderWay: boolean,
  ): void {
    const held = new Set(answer.held.map((entry) => entry.token))
    for (const token of known) {
      const handler = this.handlers.get(token)
      if (handler !== undefined && handler.incarnation === incarnation && !held.has(token)) {
        this.#world.trace(
          `${incarnation.label} learns that ${handler.nature.label} was taken from it`,
        )
        this.#abort(handler, 'lease_lost')
      }
    }
    this.#noticeCancels(answer)
    for (const { job, token } of answer.held) {
      if (this.handlers.has(token)) continue
      const entry = this.slot.spool.find((candidate) => candidate.token === token)
      if (entry !== undefined) {
        if (entry.acknowledgedMs !== null) this.#deliver([entry])
        continue
      }
      if (claimWasUnderWay || incarnation.claimUnderWay !== null) continue
      this.#world.trace(
        `${incarnation.label} gives back ${this.#world.natureOf(job).label}, which it does not know`,
      )
      this.#send({
        name: 'release',
        values: [[job], [token], null],
        note: `${this.#world.natureOf(job).label} unknown here`,
        answered: () => undefined,
        unknown: () => undefined, // the next renewal shows it again
      })
    }
  }

  // ---- claims

  #claimIn(incarnation: Incarnation, delayMs: number): void {
    const timer = (incarnation.claimTimer += 1)
    this.#after(delayMs, () => {
      if (incarnation.claimTimer === timer) this.#claim(incarnation)
    })
  }

  #claim(incarnation: Incarnation): void {
    const { random, timing } = this.#world
    if (incarnation.over !== null || !incarnation.registered || incarnation.claimUnderWay !== null)
      return
    const free = this.slot.concurrency - this.handlers.size
    if (this.draining || free <= 0) return
    if (this.backendPid === null || incarnation.drainAsked) {
      this.#claimIn(incarnation, timing.pollMs)
      return
    }
    incarnation.claimUnderWay = random.uuid()
    this.#sendClaim(incarnation, incarnation.claimUnderWay, free)
  }

  #sendClaim(incarnation: Incarnation, claim: string, want: number): void {
    const { schedule, random, timing, queues, types } = this.#world
    const sentMs = schedule.nowMs
    this.#at(sentMs + timing.renewMs, () => {
      if (incarnation.claimUnderWay === claim) this.#renewIn(incarnation, 0)
    })
    this.#send({
      name: 'claim',
      values: [incarnation.id, claim, want, queues, types],
      note: `${incarnation.label} want ${want}`,
      answered: (answer: ClaimAnswer) => {
        if (incarnation.claimUnderWay !== claim) return
        this.#claimed(incarnation, answer, sentMs)
      },
      unknown: () => {
        if (incarnation.claimUnderWay !== claim) return
        if (this.draining || random.chance(0.4)) {
          // Given up: what it may have taken comes back by a renewal.
          incarnation.claimUnderWay = null
          this.#renewIn(incarnation, this.#retryMs())
          this.#claimIn(incarnation, this.#retryMs())
          return
        }
        this.#after(this.#retryMs(), () => {
          if (incarnation.claimUnderWay === claim) this.#sendClaim(incarnation, claim, want)
        })
      },
    })
  }

  #claimed(incarnation: Incarnation, answer: ClaimAnswer, sentMs: number): void {
    const { timing, schedule } = this.#world
    incarnation.claimUnderWay = null
    if (answer.outcome === 'lease_lost') {
      this.#retire(incarnation, 'lease_lost')
      return
    }
    this.#trust(incarnation, sentMs)
    incarnation.somethingRuns = answer.running
    if (answer.jobs.length > 0 && schedule.nowMs >= this.#fenceMs(incarnation)) {
      this.#world.trace(`${incarnation.label} is told of its claim too late`)
      this.#retire(incarnation, 'self_fenced')
      return
    }
    const wasIdle = this.handlers.size === 0
    for (const job of answer.jobs) {
      if (this.draining) this.#spool(job.id, job.token, 'released', null)
      else if (!this.#knows(job.token)) this.#start(incarnation, job)
    }
    if (wasIdle && this.handlers.size > 0) {
      this.#renewIn(incarnation, Math.max(0, sentMs + timing.renewMs - schedule.nowMs))
    }
    if (this.handlers.size < this.slot.concurrency) {
      this.#claimIn(incarnation, Math.min(timing.pollMs, answer.nextDueMs ?? timing.pollMs))
    }
  }

  #knows(token: string): boolean {
    return this.handlers.has(token) || this.slot.spool.some((entry) => entry.token === token)
  }

  // ---- handlers

  #start(incarnation: Incarnation, job: ClaimedJob): void {
    const { schedule, random, reports, trace } = this.#world
    const nature = this.#world.natureOf(job.id)
    const handler: Handler = {
      job: job.id,
      token: job.token,
      incarnation,
      nature,
      startedMs: schedule.nowMs,
      checkpoints: typeof job.resume?.checkpoint === 'number' ? job.resume.checkpoint : 0,
      aborting: null,
      stopped: false,
    }
    this.handlers.set(job.token, handler)
    trace(`${incarnation.label} runs ${nature.label} attempt ${job.attempt}`)
    reports.handlerStarted({
      process: this.label,
      incarnation: incarnation.id,
      job: job.id,
      attempt: job.attempt,
      token: job.token,
      checkpoint: job.resume?.checkpoint ?? null,
    })
    this.#armFence(incarnation)
    if (nature.checkpointEveryMs !== null) this.#checkpointLoop(handler, nature.checkpointEveryMs)
    const workMs = Math.max(
      50,
      nature.durationMs - handler.checkpoints * (nature.checkpointEveryMs ?? 0),
    )
    this.#after(random.int(0.7 * workMs, workMs), () => this.#work(handler))
  }

  /** The handler has come to its end. */
  #work(handler: Handler): void {
    if (handler.stopped) return
    const { random } = this.#world
    if (handler.incarnation.over === null && !this.#checkFence()) {
      if (!handler.nature.deaf) return
    }
    switch (handler.nature.ends) {
      case 'kills':
        this.end(`killed by ${handler.nature.label}`)
        return
      case 'throws outside':
        this.uncaught(handler)
        return
      case 'fails':
        this.#finish(handler, 'failed')
        return
      case 'fails finally':
        this.#finish(handler, 'failed_finally')
        return
      case 'flaky':
        this.#finish(handler, random.chance(0.5) ? 'failed' : 'completed')
        return
      case 'completes':
        this.#finish(handler, 'completed')
    }
  }

  #checkpointLoop(handler: Handler, everyMs: number): void {
    this.#after(everyMs, () => {
      if (handler.stopped || handler.aborting !== null || !this.#checkFence()) return
      handler.checkpoints += 1
      const asProgress = this.#world.random.chance(0.3)
      const note = `${handler.nature.label} ${handler.checkpoints}`
      const answered = (answers: readonly string[]): void => {
        if (handler.stopped) return
        if (answers[0] === 'lease_lost') this.#abort(handler, 'lease_lost')
        if (answers[0] === 'cancelling') this.#abort(handler, 'cancel')
      }
      if (asProgress) {
        this.#send({
          name: 'progress',
          values: [[handler.job], [handler.token], [handler.checkpoints], [null], [null]],
          note,
          answered,
          unknown: () => undefined,
        })
      } else {
        this.#send({
          name: 'checkpoint',
          values: [[handler.job], [handler.token], [String(handler.checkpoints)]],
          note,
          answered,
          unknown: () => undefined,
        })
      }
      this.#checkpointLoop(handler, everyMs)
    })
  }

  #abort(handler: Handler, reason: AbortReason): void {
    if (handler.stopped || (handler.aborting !== null && reason !== 'lease_lost')) return
    if (handler.aborting === 'lease_lost') return
    handler.aborting = reason
    if (handler.nature.deaf) return
    const { random, timing } = this.#world
    this.#after(random.int(0, Math.min(300, timing.marginMs / 2)), () => {
      if (handler.stopped) return
      if (random.chance(0.2)) this.#finish(handler, 'completed')
      else if (handler.aborting === 'cancel') this.#finish(handler, 'cancelled')
      else if (handler.aborting === 'shutdown') this.#finish(handler, 'interrupted')
      else this.#stop(handler)
    })
  }

  #finish(handler: Handler, outcome: Outcome): void {
    const value =
      outcome === 'completed'
        ? JSON.stringify({ by: handler.token.slice(0, 4) })
        : JSON.stringify({ code: outcome, message: 'simulated' })
    this.#stop(handler)
    this.#spool(handler.job, handler.token, outcome, value)
  }

  #stop(handler: Handler): void {
    handler.stopped = true
    this.handlers.delete(handler.token)
    this.#world.reports.handlerStopped(handler.token)
    if (handler.incarnation.over !== null) this.#goOnWhenStopped(handler.incarnation)
    else this.#claimIn(handler.incarnation, this.#world.random.int(0, 50))
    if (this.draining) this.#after(0, () => this.#leaveWhenEmpty())
  }

  // ---- the spool

  #spool(job: string, token: string, outcome: Outcome, value: string | null): void {
    const { random, reports } = this.#world
    reports.outcomeProduced(token, outcome)
    const entry: SpoolEntry = {
      job,
      token,
      outcome,
      value,
      delayMs: outcome === 'failed' ? random.int(0, 4_000) : 0,
      acknowledgedMs: null,
      underWay: false,
    }
    this.slot.spool.push(entry)
    this.#deliver([entry])
  }

  #deliver(entries: readonly SpoolEntry[]): void {
    const { schedule, reports } = this.#world
    const sent = entries.filter((entry) => !entry.underWay)
    if (sent.length === 0) return
    for (const entry of sent) entry.underWay = true
    this.#send({
      name: 'settle',
      values: [
        sent.map((entry) => entry.job),
        sent.map((entry) => entry.token),
        sent.map((entry) => entry.outcome),
        sent.map((entry) => entry.value),
        sent.map((entry) => entry.delayMs),
      ],
      note: sent
        .map((entry) => `${this.#world.natureOf(entry.job).label} ${entry.outcome}`)
        .join(', '),
      answered: (answers: readonly string[]) => {
        for (const [index, entry] of sent.entries()) {
          entry.underWay = false
          entry.acknowledgedMs = schedule.nowMs
          reports.outcomeAcknowledged(entry.token, entry.outcome, answers[index] ?? 'none')
        }
      },
      unknown: () => {
        for (const entry of sent) entry.underWay = false
      },
    })
  }

  #flushLoop(): void {
    const { schedule, random } = this.#world
    const { spool } = this.slot
    for (let index = spool.length - 1; index >= 0; index -= 1) {
      const doneMs = spool[index]?.acknowledgedMs ?? null
      if (doneMs !== null && schedule.nowMs - doneMs > KEEP_ACKNOWLEDGED_MS) spool.splice(index, 1)
    }
    const open = spool.filter((entry) => entry.acknowledgedMs === null && !entry.underWay)
    if (open.length > 0 && this.backendPid !== null) this.#deliver(open)
    this.#after(random.int(500, this.#world.timing.leaseMs / 6), () => this.#flushLoop())
  }

  /** A restart reads the spool and does not know what was acknowledged. */
  replaySpool(): void {
    if (this.state === 'live') this.#deliver(this.slot.spool)
  }

  // ---- sweeping

  #sweepLoop(): void {
    const { random } = this.#world
    this.#after(this.role === 'none' ? random.int(3_000, 5_000) : SWEEP_MS, () => {
      const incarnation = this.incarnation
      if (
        incarnation !== null &&
        incarnation.registered &&
        incarnation.over === null &&
        incarnation.somethingRuns &&
        this.backendPid !== null
      ) {
        this.#send({
          name: 'sweep',
          values: [this.#world.namespace, incarnation.id],
          note: incarnation.label,
          answered: (answer: { role: string; running: boolean }) => {
            if (answer.role !== this.role)
              this.#world.trace(`${this.label} is ${answer.role} of the sweep`)
            this.role = answer.role
            incarnation.somethingRuns = answer.running
          },
          unknown: () => undefined,
        })
      }
      this.#sweepLoop()
    })
  }

  // ---- ends that the process brings about itself

  /** SIGTERM, SIGINT. */
  shutdown(options: { twice: boolean }): void {
    if (this.state !== 'live' || this.draining) return
    const { timing, trace } = this.#world
    trace(`${this.label} is told to stop${options.twice ? ', twice' : ''}`)
    this.draining = true
    if (this.incarnation !== null) this.#renewIn(this.incarnation, 0)
    if (options.twice) {
      this.#after(100, () => this.#lastStatement('second signal'))
      return
    }
    this.#leaveWhenEmpty()
    this.#after(timing.graceMs, () => {
      for (const handler of this.handlers.values()) this.#abort(handler, 'shutdown')
      this.#leaveWhenEmpty()
      this.#after(1_500, () => this.#lastStatement('grace is over'))
    })
  }

  #leaveWhenEmpty(): void {
    if (this.handlers.size > 0 || this.slot.spool.some((entry) => entry.acknowledgedMs === null)) {
      if (this.handlers.size === 0) this.#after(200, () => this.#leaveWhenEmpty())
      return
    }
    this.#lastStatement('nothing is left to do')
  }

  /** The release and the end of the row go out last, awaiting nothing: the process exits in the same moment. */
  #lastStatement(why: string): void {
    const incarnation = this.incarnation
    if (incarnation?.registered === true && incarnation.over !== 'lease_lost') {
      this.#endRow(incarnation, incarnation.over === 'self_fenced' ? 'uncharged' : 'interrupted', 0)
    }
    this.end(`exit, ${why}`)
  }

  /** An uncaught error; of a handler, if one is to blame. */
  uncaught(culprit: Handler | null): void {
    if (this.state !== 'live' || this.draining) return
    const { trace } = this.#world
    trace(
      `${this.label} has an uncaught error${culprit === null ? '' : ` of ${culprit.nature.label}`}`,
    )
    this.draining = true
    const incarnation = this.incarnation
    const leave = (): void => {
      if (incarnation?.registered === true && incarnation.over === null) {
        this.#endRow(incarnation, culprit === null ? 'lost' : 'released', 0)
      }
      this.end('exit 1')
    }
    if (culprit === null) {
      leave()
      return
    }
    this.#finish(culprit, 'failed')
    this.#after(1_000, leave)
  }
}
