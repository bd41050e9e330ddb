/**
 * What must hold, judged from outside: from the tables as they are read after each call, from each call with its answer, and
 * from what the simulated processes are seen to do. Shares no code with the workers, and no function with the SQL.
 *
 *   one-handler     no two live handlers of one job, but for the admitted cases, each within its bound
 *   stale-write     a write is accepted only from the token that holds the job at that moment
 *   terminal        an ended job changes only by retry; `cancelling` was answered ⇒ it ends cancelled
 *   acknowledged    what was acknowledged stays, and no produced outcome goes without an answer for ever
 *   one-attempt     running ⇔ token; attempt numbers only grow; one attempt row for each claim; tokens are never reused
 *   innocent        layer 4 judges nobody who renewed within a lease, and after an outage nobody who was not at fault
 *   budgets         `lost` counts each attempt once, poison comes exactly at the limit, the last chance is taken alone
 *   protected       an ended row stays ended; a job is never protected for longer than a lease
 *   truth           a job is shown running iff its lease holds
 *   invariants      the schema's own
 *   liveness        once faults stop, nothing is orphaned and every job ends or is held, within a bound
 */
import type { AttemptRow, JobRow, Snapshot, WorkerRow } from './database.ts'

export interface AppliedCall {
  readonly name: string
  readonly values: readonly unknown[]
  /** A copy of a call that has been delivered before. */
  readonly repeated: boolean
}

export class Violation extends Error {
  readonly rule: string
  constructor(rule: string, message: string) {
    super(`${rule}: ${message}`)
    this.name = 'Violation'
    this.rule = rule
  }
}

interface LiveHandler {
  readonly process: string
  readonly incarnation: string
  readonly job: string
  readonly attempt: number
  readonly token: string
}

interface ProcessView {
  state: 'live' | 'frozen' | 'thawing' | 'gone'
  disturbedMs: number
}

const TERMINAL = new Set(['completed', 'failed', 'cancelled'])
const SETTLED = new Set(['completed', 'failed', 'retrying', 'released', 'cancelled', 'held'])
const SETTLE_NAMES = new Map([
  ['complete', 'completed'],
  ['fail', 'failed'],
  ['release', 'released'],
  ['interrupt', 'interrupted'],
  ['acknowledge_cancel', 'cancelled'],
])
const EMPTY: Snapshot = { jobs: [], attempts: [], workers: [] }

/** From when a hint is wrong until its worker acts on it: the lease, and the time that a message takes. */
const SLACK_MS = 100

export class Checkers {
  readonly counts = {
    applied: 0,
    accepted: 0,
    lateKept: 0,
    adopted: 0,
    lost: 0,
    admittedOverlaps: 0,
    poisoned: 0,
  }
  #leaseMs: number
  #idleSpanMs: number
  #goesOn: boolean
  #labelOf: (job: string) => string
  #nowMs = 0
  #before: Snapshot = EMPTY
  #jobs = new Map<string, JobRow>()
  #attempts = new Map<string, AttemptRow>()
  #workers = new Map<string, WorkerRow>()
  #processes = new Map<string, ProcessView>()
  #processOf = new Map<string, string>()
  #over = new Set<string>()
  #live = new Map<string, LiveHandler>()
  #tokenJob = new Map<string, string>()
  #acceptedRenewalMs = new Map<string, number>()
  #earlyEndMs = new Map<string, number>()
  #takenMs = new Map<string, number>()
  #accepted = new Map<string, { outcome: string; value: string }>()
  #acknowledged = new Map<string, { outcome: string; answer: string }>()
  #openOutcomes = new Map<string, string>()
  #cancelPromised = new Set<string>()
  #streaks = new Map<string, Set<number>>()
  #heardAgain = new Set<string>()
  #overlapsCounted = new Set<string>()
  #outages: { fromMs: number; toMs: number }[] = []
  #quietSinceMs = Infinity

  constructor(setting: {
    leaseMs: number
    idleSpanMs: number
    /** Workers go on past their fence while the database is positively down. */
    goesOn: boolean
    labelOf: (job: string) => string
  }) {
    this.#leaseMs = setting.leaseMs
    this.#idleSpanMs = setting.idleSpanMs
    this.#goesOn = setting.goesOn
    this.#labelOf = setting.labelOf
  }

  // ---- what processes are seen to do

  processStarted(process: string): void {
    this.#processes.set(process, { state: 'live', disturbedMs: this.#nowMs })
  }

  processFrozen(process: string): void {
    this.#setState(process, 'frozen')
  }

  processThawed(process: string): void {
    this.#setState(process, 'thawing')
    this.#checkHandlers()
  }

  processChecked(process: string): void {
    if (this.#processes.get(process)?.state !== 'thawing') return
    this.#setState(process, 'live')
    this.#checkHandlers()
  }

  processEnded(process: string): void {
    this.#setState(process, 'gone')
  }

  processDisturbed(process: string): void {
    const view = this.#processes.get(process)
    if (view !== undefined) view.disturbedMs = this.#nowMs
  }

  #setState(process: string, state: ProcessView['state']): void {
    const view = this.#processes.get(process)
    if (view === undefined) return
    view.state = state
    view.disturbedMs = this.#nowMs
  }

  incarnationBegan(process: string, incarnation: string): void {
    this.#processOf.set(incarnation, process)
  }

  incarnationOver(incarnation: string): void {
    this.#over.add(incarnation)
  }

  handlerStarted(handler: LiveHandler & { checkpoint: unknown }): void {
    if (this.#tokenJob.get(handler.token) !== handler.job) {
      throw new Violation(
        'one-handler',
        `${this.#labelOf(handler.job)} is run with a token that no claim gave out`,
      )
    }
    this.#live.set(handler.token, handler)
    this.#checkHandlers()
  }

  handlerStopped(token: string): void {
    this.#live.delete(token)
  }

  outcomeProduced(token: string, outcome: string): void {
    this.#openOutcomes.set(token, outcome)
  }

  outcomeAcknowledged(token: string, outcome: string, answer: string): void {
    this.#openOutcomes.delete(token)
    if (answer === 'lease_lost' || answer === 'accepted before') return
    this.#acknowledged.set(token, { outcome, answer })
    this.#checkAcknowledged(token)
  }

  outage(down: boolean): void {
    if (down) this.#outages.push({ fromMs: this.#nowMs, toMs: Infinity })
    else for (const outage of this.#outages) outage.toMs = Math.min(outage.toMs, this.#nowMs)
  }

  faultsStopped(): void {
    this.#quietSinceMs = this.#nowMs
  }

  time(nowMs: number): void {
    this.#nowMs = nowMs
  }

  // ---- one-handler

  #checkHandlers(): void {
    const byJob = new Map<string, LiveHandler[]>()
    for (const handler of this.#live.values()) {
      const state = this.#processes.get(handler.process)?.state
      if (state === 'frozen' || state === 'gone') continue
      byJob.set(handler.job, [...(byJob.get(handler.job) ?? []), handler])
    }
    for (const [job, handlers] of byJob) {
      if (handlers.length < 2) continue
      handlers.sort((a, b) => a.attempt - b.attempt)
      const newest = handlers.at(-1)
      for (const handler of handlers) {
        if (handler === newest) continue
        const why = this.#admitted(handler)
        if (why === null) {
          throw new Violation(
            'one-handler',
            `${this.#labelOf(job)}: attempt ${handler.attempt} on ${handler.process} still runs beside attempt ${newest?.attempt} on ${newest?.process}`,
          )
        }
        if (!this.#overlapsCounted.has(handler.token)) {
          this.#overlapsCounted.add(handler.token)
          this.counts.admittedOverlaps += 1
        }
      }
    }
  }

  /** Why this handler may still run beside its successor: the list in the protocol's own words, or null. */
  #admitted(handler: LiveHandler): string | null {
    if (this.#processes.get(handler.process)?.state === 'thawing')
      return 'frozen, until its first check'
    const within = (sinceMs: number | undefined): boolean => {
      if (sinceMs === undefined) return false
      let untilMs = sinceMs + this.#leaseMs + SLACK_MS
      // Who goes on through an outage can be told when it is over.
      for (const { fromMs, toMs } of this.#goesOn ? this.#outages : []) {
        if (fromMs < untilMs && toMs > sinceMs) untilMs = toMs + this.#leaseMs + SLACK_MS
      }
      return this.#nowMs <= untilMs
    }
    if (within(this.#earlyEndMs.get(handler.incarnation)))
      return 'a wrong early hint or an eviction, until it is told'
    if (within(this.#takenMs.get(handler.token)))
      return 'an operator took the job, until it is told'
    return null
  }

  // ---- after each call

  /** @param after The tables now, or null when nothing in them has changed. */
  applied(call: AppliedCall, answer: unknown, after: Snapshot | null): void {
    this.counts.applied += 1
    const afterOrSame = after ?? this.#before
    const jobsAfter = new Map(afterOrSame.jobs.map((job) => [job.id, job]))
    const attemptsAfter = new Map(
      afterOrSame.attempts.map((row) => [`${row.job} ${row.attempt}`, row]),
    )
    const workersAfter = new Map(afterOrSame.workers.map((row) => [row.incarnation, row]))
    const own = this.#judgeAnswer(call, answer, jobsAfter)
    if (after === null) return
    for (const [incarnation, row] of workersAfter) this.#judgeWorker(incarnation, row, call)
    for (const [incarnation] of this.#workers) {
      if (!workersAfter.has(incarnation)) throw new Violation('protected', 'a worker row vanished')
    }
    for (const [id, job] of jobsAfter) {
      this.#judgeJob(this.#jobs.get(id), job, { call, own, attemptsAfter, workersAfter })
    }
    for (const [key, row] of this.#attempts) {
      const now = attemptsAfter.get(key)
      if (now === undefined)
        throw new Violation('one-attempt', `${this.#labelOf(row.job)}: an attempt row vanished`)
      if (
        now.endedAs !== row.endedAs &&
        !(now.endedAs === 'completed' && own.adopted.has(row.token))
      ) {
        throw new Violation(
          'one-attempt',
          `${this.#labelOf(row.job)}: attempt ${row.attempt} was ${row.endedAs} and is ${now.endedAs}`,
        )
      }
      if (row.late === null && now.late !== null) this.counts.lateKept += 1
    }
    for (const id of this.#jobs.keys()) {
      if (!jobsAfter.has(id)) throw new Violation('terminal', `${this.#labelOf(id)} vanished`)
    }
    this.#before = after
    this.#jobs = jobsAfter
    this.#attempts = attemptsAfter
    this.#workers = workersAfter
    this.#judgeLastChances()
    for (const token of this.#acknowledged.keys()) this.#checkAcknowledged(token)
    this.#checkHandlers()
  }

  /** The schema's own invariants, and what people are shown. */
  audited(snapshot: Snapshot, broken: readonly string[]): void {
    if (broken.length > 0) throw new Violation('invariants', broken.join('; '))
    const workers = new Map(snapshot.workers.map((row) => [row.incarnation, row]))
    for (const job of snapshot.jobs) {
      const worker = job.worker === null ? undefined : workers.get(job.worker)
      const holds = worker !== undefined && !worker.ended && worker.untilMs > this.#nowMs
      const shown = job.shown === 'running' || job.shown === 'cancelling' || job.shown === 'stalled'
      if (job.status === 'running' && shown !== holds) {
        throw new Violation(
          'truth',
          `${this.#labelOf(job.id)} is shown ${job.shown}, and its lease ${holds ? 'holds' : 'has lapsed'}`,
        )
      }
      if (job.status === 'running' && holds && worker.untilMs > this.#nowMs + worker.leaseMs + 1) {
        throw new Violation(
          'protected',
          `${this.#labelOf(job.id)} is protected for ${worker.untilMs - this.#nowMs} ms by a lease of ${worker.leaseMs} ms`,
        )
      }
    }
    this.#checkHandlers()
  }

  // ---- answers

  #judgeAnswer(call: AppliedCall, answer: unknown, after: ReadonlyMap<string, JobRow>): OwnEffects {
    const own: OwnEffects = {
      settled: new Map(),
      adopted: new Set(),
      retried: new Set(),
      taken: new Set(),
      resumed: new Set(),
    }
    const outcomes = outcomesOf(call)
    if (outcomes !== null) this.#judgeSettle(call, outcomes, own, strings(answer))
    switch (call.name) {
      case 'checkpoint':
      case 'progress': {
        const jobs = strings(call.values[0])
        const tokens = strings(call.values[1])
        for (const [index, said] of strings(answer).entries()) {
          const job = this.#jobs.get(jobs[index] ?? '')
          const holds = job?.status === 'running' && job.token === tokens[index]
          if ((said !== 'lease_lost') !== holds) {
            throw new Violation(
              'stale-write',
              `${call.name} of ${this.#labelOf(jobs[index] ?? '')} by a token that ${holds ? 'holds' : 'does not hold'} it: ${said}`,
            )
          }
        }
        break
      }
      case 'cancel':
        for (const [index, said] of strings(answer).entries()) {
          const id = strings(call.values[1])[index] ?? ''
          if (said === 'cancelling' || said === 'cancelled') this.#cancelPromised.add(id)
          if (said === 'cancelled' && after.get(id)?.status !== 'cancelled') {
            throw new Violation(
              'terminal',
              `${this.#labelOf(id)}: cancel said cancelled, it is ${after.get(id)?.status}`,
            )
          }
        }
        break
      case 'retry':
      case 'resume':
        for (const [index, said] of strings(answer).entries()) {
          const id = strings(call.values[1])[index] ?? ''
          const was = this.#jobs.get(id)?.status ?? ''
          const starts =
            said === (call.name === 'retry' ? 'retried' : 'resumed') &&
            (was === 'held' || (call.name === 'retry' && TERMINAL.has(was)))
          if (!starts) continue
          this.#streaks.get(id)?.clear()
          if (call.name === 'retry') this.#cancelPromised.delete(id)
          own.retried.add(id)
        }
        break
      case 'release_jobs':
        for (const id of strings(call.values[1])) {
          const token = this.#jobs.get(id)?.token
          if (token === null || token === undefined) continue
          own.taken.add(id)
          this.#takenMs.set(token, this.#nowMs)
        }
        break
      case 'claim':
        if (isClaimAnswer(answer)) this.#judgeClaim(call, answer)
        else this.#hear(call)
        break
      case 'renew':
        this.#judgeRenew(call, answer)
        break
      case 'end_worker':
        this.#hear(call)
        break
      default:
    }
    return own
  }

  #judgeSettle(
    call: AppliedCall,
    outcomes: readonly string[],
    own: OwnEffects,
    answers: readonly string[],
  ): void {
    const jobs = strings(call.values[0])
    const tokens = strings(call.values[1])
    const given = call.name === 'settle' ? call.values[3] : call.values[2]
    const values = Array.isArray(given) ? given : []
    for (const [index, id] of jobs.entries()) {
      const token = tokens[index] ?? ''
      const outcome = outcomes[index] ?? ''
      const said = answers[index] ?? 'nothing'
      const job = this.#jobs.get(id)
      const holds = job?.status === 'running' && job.token === token
      const name = `${outcome} of ${this.#labelOf(id)}`
      if (SETTLED.has(said)) {
        if (!holds)
          throw new Violation('stale-write', `${name} by a token that does not hold it: ${said}`)
        this.counts.accepted += 1
        this.#accepted.set(token, { outcome, value: textOf(values[index]) })
        own.settled.set(id, outcome)
      } else if (holds) {
        throw new Violation('acknowledged', `${name} by the token that holds it: ${said}`)
      } else if (said === 'adopted') {
        const row = this.#attempts.get(`${id} ${job?.attempt}`)
        const may =
          job?.status === 'pending' &&
          !job.cancel &&
          row?.token === token &&
          outcome === 'completed'
        if (!may)
          throw new Violation('stale-write', `${name} was adopted, and the job is ${job?.status}`)
        this.counts.adopted += 1
        this.#accepted.set(token, { outcome, value: textOf(values[index]) })
        own.adopted.add(token)
        own.settled.set(id, 'adopted')
      } else {
        const earlier = this.#accepted.get(token)
        const same = earlier?.outcome === outcome && earlier.value === textOf(values[index])
        if (said === 'accepted before' && earlier === undefined) {
          throw new Violation('stale-write', `${name}: accepted before, and it was not`)
        }
        if (said === 'lease_lost' && same) {
          throw new Violation('acknowledged', `${name} again: ${said}, and it had been accepted`)
        }
      }
    }
  }

  #judgeClaim(call: AppliedCall, answer: ClaimAnswer): void {
    const incarnation = String(call.values[0])
    this.#acceptedRenewalMs.set(incarnation, this.#nowMs)
    if (this.#workers.get(incarnation)?.ended === true) {
      throw new Violation('protected', 'a worker claimed whose row has ended')
    }
    for (const claimed of answer.jobs) {
      const owner = this.#tokenJob.get(claimed.token)
      const job = this.#jobs.get(claimed.id)
      if (owner !== undefined && !(owner === claimed.id && job?.token === claimed.token)) {
        throw new Violation(
          'one-attempt',
          `${this.#labelOf(claimed.id)}: a token was given out twice`,
        )
      }
      this.#tokenJob.set(claimed.token, claimed.id)
      const kept = job?.checkpoint ?? null
      const given = claimed.resume?.checkpoint ?? null
      if (claimed.attempt > 1 && JSON.stringify(kept) !== JSON.stringify(given)) {
        throw new Violation(
          'acknowledged',
          `${this.#labelOf(claimed.id)} resumes from ${JSON.stringify(given)}, kept was ${JSON.stringify(kept)}`,
        )
      }
    }
  }

  #judgeRenew(call: AppliedCall, answer: unknown): void {
    const incarnation = String(call.values[0])
    if (!hasOutcome(answer) || answer.outcome !== 'renewed') {
      this.#hear(call)
      return
    }
    if (this.#workers.get(incarnation)?.ended === true) {
      throw new Violation('protected', 'a renewal was accepted for a worker whose row has ended')
    }
    this.#acceptedRenewalMs.set(incarnation, this.#nowMs)
  }

  /** A worker speaks whose row has ended: a provisional loss is taken back, once. */
  #hear(call: AppliedCall): void {
    const incarnation = String(call.values[0])
    const row = this.#workers.get(incarnation)
    if (row?.ended !== true || this.#heardAgain.has(incarnation)) return
    const fenced = call.name === 'end_worker' && String(call.values[2]).includes('self_fenced')
    if (row.layer !== 3 && !(row.layer === 4 && fenced)) return
    this.#heardAgain.add(incarnation)
    for (const attempt of this.#attempts.values()) {
      if (attempt.worker !== incarnation || attempt.endedAs !== 'lost') continue
      const status = this.#jobs.get(attempt.job)?.status ?? ''
      if (!TERMINAL.has(status)) this.#streaks.get(attempt.job)?.delete(attempt.attempt)
    }
  }

  // ---- transitions

  #judgeWorker(incarnation: string, row: WorkerRow, call: AppliedCall): void {
    const was = this.#workers.get(incarnation)
    if (was?.ended === true && !row.ended)
      throw new Violation('protected', 'a worker row that had ended came back')
    if (was === undefined || was.ended || !row.ended) return
    const process = this.#processOf.get(incarnation)
    const view = process === undefined ? undefined : this.#processes.get(process)
    // Known: a renewal that arrives after two later ones looks like a clone's, and ends its own innocent worker.
    if (row.layer !== 4 && call.name !== 'end_worker') {
      this.#earlyEndMs.set(incarnation, this.#nowMs)
    }
    if (row.charge === 'lost') this.counts.lost += 1
    if (row.layer !== 4) return
    const heardMs = this.#acceptedRenewalMs.get(incarnation) ?? -Infinity
    if (this.#nowMs < heardMs + this.#leaseMs) {
      throw new Violation(
        'innocent',
        `${process} was judged lost by layer 4 (${row.code}) ${this.#nowMs - heardMs} ms after a renewal was accepted`,
      )
    }
    // Whatever befell it is over when a later renewal was accepted: what came since was not its own.
    const disturbed = view === undefined || view.disturbedMs >= heardMs
    if (view?.state === 'live' && !this.#over.has(incarnation) && !disturbed) {
      throw new Violation(
        'innocent',
        `${process} lives, was never disturbed, and was judged lost by layer 4; ${this.#describeOutage()}`,
      )
    }
  }

  #describeOutage(): string {
    const last = this.#outages.at(-1)
    if (last === undefined) return 'there was no outage'
    return last.toMs === Infinity
      ? 'the database is down'
      : `the database is back for ${this.#nowMs - last.toMs} ms`
  }

  #judgeJob(was: JobRow | undefined, now: JobRow, context: JudgeContext): void {
    const name = this.#labelOf(now.id)
    const { call, own } = context
    if ((now.status === 'running') !== (now.token !== null)) {
      throw new Violation(
        'one-attempt',
        `${name} is ${now.status} with${now.token === null ? 'out' : ''} a token`,
      )
    }
    const rows = [...context.attemptsAfter.values()].filter((row) => row.job === now.id)
    const ended = now.attempt - (now.status === 'running' ? 1 : 0)
    if (rows.length !== ended || rows.some((row) => row.attempt > ended)) {
      throw new Violation(
        'one-attempt',
        `${name} has ${rows.length} ended attempts, and attempt ${now.attempt} is ${now.status}`,
      )
    }
    const attemptWas = was?.attempt ?? 0
    if (now.attempt !== attemptWas && !(call.name === 'claim' && now.attempt === attemptWas + 1)) {
      throw new Violation(
        'one-attempt',
        `${name}: attempt ${attemptWas} became ${now.attempt} by ${call.name}`,
      )
    }
    if (was !== undefined && TERMINAL.has(was.status) && !own.retried.has(now.id)) {
      if (now.status !== was.status || now.finishedAt !== was.finishedAt) {
        throw new Violation(
          'terminal',
          `${name} was ${was.status} and is ${now.status} by ${call.name}`,
        )
      }
    }
    if (
      this.#cancelPromised.has(now.id) &&
      now.status !== 'running' &&
      now.status !== 'cancelled'
    ) {
      throw new Violation(
        'terminal',
        `${name}: cancel was promised, and it is ${now.status} by ${call.name}`,
      )
    }
    if (was !== undefined && was.status === 'running' && now.token !== was.token) {
      this.#judgeEnd(was, now, context, rows)
    }
    const streak = this.#streaks.get(now.id)?.size ?? 0
    if (!TERMINAL.has(now.status) && now.lost !== streak) {
      throw new Violation(
        'budgets',
        `${name} counts ${now.lost} lost workers in a row, and there were ${streak}; by ${call.name}`,
      )
    }
    if (now.failures > now.maxAttempts)
      throw new Violation('budgets', `${name} has failed ${now.failures} times`)
    if (now.status === 'pending' && now.failures >= now.maxAttempts) {
      throw new Violation(
        'budgets',
        `${name} waits after ${now.failures} failures of ${now.maxAttempts}`,
      )
    }
  }

  #judgeEnd(was: JobRow, now: JobRow, context: JudgeContext, rows: readonly AttemptRow[]): void {
    const name = this.#labelOf(now.id)
    const { call, own } = context
    const row = rows.find((candidate) => candidate.attempt === was.attempt)
    if (row === undefined || row.token !== was.token) {
      throw new Violation(
        'one-attempt',
        `${name}: attempt ${was.attempt} ended without a row of its token`,
      )
    }
    const streak = this.#streaks.get(now.id) ?? new Set<number>()
    this.#streaks.set(now.id, streak)
    const progressed = was.checkpointAttempt === was.attempt || was.progressAttempt === was.attempt
    const settledAs = own.settled.get(now.id)
    if (settledAs !== undefined) {
      if (progressed || (settledAs !== 'released' && settledAs !== 'interrupted')) streak.clear()
      return
    }
    if (own.taken.has(now.id)) {
      if (progressed) streak.clear()
      return
    }
    const worker = context.workersAfter.get(was.worker ?? '')
    if (worker?.ended !== true) {
      throw new Violation(
        'stale-write',
        `${name} was taken by ${call.name} from a worker whose row has not ended`,
      )
    }
    if (progressed) streak.clear()
    if (worker.charge === 'lost') streak.add(was.attempt)
    const poisoned = now.status === 'failed' && now.code === 'poison'
    if (poisoned) this.counts.poisoned += 1
    const spent = worker.charge === 'lost' && streak.size >= now.maxLost
    const asked = this.#cancelPromised.has(now.id) || was.policy !== 'retry'
    if (poisoned !== (spent && !asked)) {
      throw new Violation(
        'budgets',
        `${name} is ${now.status} (${now.code}) after ${streak.size} losses in a row of ${now.maxLost}`,
      )
    }
    if (poisoned && worker.layer === 3) {
      throw new Violation('budgets', `${name} was poisoned on the word of layer 3 alone`)
    }
  }

  #judgeLastChances(): void {
    const byWorker = new Map<string, JobRow[]>()
    for (const job of this.#jobs.values()) {
      if (job.status !== 'running' || job.worker === null) continue
      byWorker.set(job.worker, [...(byWorker.get(job.worker) ?? []), job])
    }
    for (const jobs of byWorker.values()) {
      if (jobs.length < 2) continue
      for (const job of jobs) {
        const progressed =
          job.checkpointAttempt === job.attempt || job.progressAttempt === job.attempt
        if (job.lost >= job.maxLost - 1 && !progressed) {
          throw new Violation(
            'budgets',
            `${this.#labelOf(job.id)} shares a worker on its last chance`,
          )
        }
      }
    }
  }

  #checkAcknowledged(token: string): void {
    const said = this.#acknowledged.get(token)
    const job = this.#tokenJob.get(token)
    if (said === undefined || job === undefined) return
    const row = [...this.#attempts.values()].find((attempt) => attempt.token === token)
    const expected =
      said.answer === 'adopted'
        ? 'completed'
        : said.answer === 'cancelled'
          ? 'cancelled'
          : said.outcome === 'failed_finally'
            ? 'failed'
            : said.outcome
    if (row?.endedAs !== expected) {
      throw new Violation(
        'acknowledged',
        `${this.#labelOf(job)}: ${said.outcome} was answered ${said.answer}, and the attempt is ${row?.endedAs ?? 'open'}`,
      )
    }
  }

  // ---- liveness

  /** While nothing fails any more: whoever is `running` is run by somebody, once every lease and amnesty is over. */
  quiet(): void {
    const dueMs = this.#quietSinceMs + 3 * Math.max(this.#leaseMs, this.#idleSpanMs) + 15_000
    if (this.#nowMs < dueMs) return
    for (const job of this.#jobs.values()) {
      if (job.status !== 'running' || job.token === null) continue
      if (this.#live.has(job.token) || this.#openOutcomes.has(job.token)) continue
      const sinceMs = this.#orphanSinceMs.get(job.token) ?? this.#nowMs
      this.#orphanSinceMs.set(job.token, sinceMs)
      if (this.#nowMs - sinceMs > 2 * this.#leaseMs + 15_000) {
        throw new Violation(
          'liveness',
          `${this.#labelOf(job.id)} is running, and nobody has run it for ${this.#nowMs - sinceMs} ms`,
        )
      }
    }
  }

  #orphanSinceMs = new Map<string, number>()

  /** Whether all is done: every job ended or held, every outcome answered. */
  isSettled(): boolean {
    if (this.#openOutcomes.size > 0) return false
    return [...this.#jobs.values()].every(
      (job) => TERMINAL.has(job.status) || job.status === 'held',
    )
  }

  unsettled(): string {
    const jobs = [...this.#jobs.values()].filter(
      (job) => !TERMINAL.has(job.status) && job.status !== 'held',
    )
    return [
      ...jobs.map((job) => `${this.#labelOf(job.id)} is ${job.status}`),
      ...[...this.#openOutcomes].map(
        ([token, outcome]) =>
          `${outcome} of ${this.#labelOf(this.#tokenJob.get(token) ?? '')} has no answer`,
      ),
    ].join(', ')
  }
}

interface OwnEffects {
  /** Jobs whose attempt ended by its own outcome. */
  readonly settled: Map<string, string>
  readonly adopted: Set<string>
  readonly retried: Set<string>
  readonly taken: Set<string>
  readonly resumed: Set<string>
}

interface JudgeContext {
  readonly call: AppliedCall
  readonly own: OwnEffects
  readonly attemptsAfter: ReadonlyMap<string, AttemptRow>
  readonly workersAfter: ReadonlyMap<string, WorkerRow>
}

interface ClaimAnswer {
  readonly outcome: string
  readonly jobs: readonly {
    readonly id: string
    readonly token: string
    readonly attempt: number
    readonly resume: { readonly checkpoint: unknown } | null
  }[]
}

function outcomesOf(call: AppliedCall): readonly string[] | null {
  if (call.name === 'settle') return strings(call.values[2])
  const outcome = SETTLE_NAMES.get(call.name)
  return outcome === undefined ? null : strings(call.values[0]).map(() => outcome)
}

function strings(value: unknown): string[] {
  if (!Array.isArray(value))
    throw new Violation('answers', `${JSON.stringify(value)} is not a list`)
  return value.map(String)
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : 'null'
}

function hasOutcome(answer: unknown): answer is { readonly outcome: string } {
  return typeof answer === 'object' && answer !== null && 'outcome' in answer
}

function isClaimAnswer(answer: unknown): answer is ClaimAnswer {
  return hasOutcome(answer) && answer.outcome === 'claimed'
}
