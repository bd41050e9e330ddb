/**
 * One simulation: a seed chooses the fleet, the jobs, the network's weather and every fault; the protocol's own SQL answers.
 *
 *   faults for a while ─▶ everything is healed ─▶ until every job has ended or is held, within a bound
 *
 * Each seed enables only some kinds of faults: with all of them at once no seed would be calm enough to show what one does.
 */
import { type AppliedCall, Checkers, Violation } from './checkers.ts'
import { SIM_NAMESPACE, type SimDatabase } from './database.ts'
import { CALM, type Link, Network, type Request } from './network.ts'
import { Random } from './random.ts'
import { Schedule } from './schedule.ts'
import {
  type JobNature,
  type Machine,
  type Slot,
  type Timing,
  WorkerProcess,
  type WorkerRules,
  type WorkerWorld,
} from './worker.ts'

export interface SimulateOptions {
  readonly seed: number
  readonly database: SimDatabase
  readonly rules?: Partial<WorkerRules>
  /** Only these kinds of faults, instead of those that the seed chooses. */
  readonly faults?: readonly Fault[]
  /** Ends the faults after so many applied calls. */
  readonly callsMax?: number
}

export interface SimulateResult {
  readonly seed: number
  readonly violation: Violation | null
  readonly trace: readonly string[]
  readonly setting: string
  readonly counts: Checkers['counts']
  readonly virtualMs: number
  readonly faults: Readonly<Record<string, number>>
}

const QUEUES = ['default', 'other']
const TYPES = ['work', 'extra']
export const FAULTS = [
  'crash',
  'power loss',
  'freeze',
  'cut',
  'cut machine',
  'brownout',
  'outage',
  'blip',
  'lost claim',
  'connection',
  'sweeper crash',
  'shutdown',
  'uncaught',
  'wrong evidence',
  'cancel',
  'retry',
  'operator',
  'replay',
] as const
export type Fault = (typeof FAULTS)[number]

interface Place {
  readonly slot: Slot
  readonly link: Link
  process: WorkerProcess | null
  boots: number
}

interface PlannedJob {
  readonly label: string
  readonly nature: JobNature
  readonly type: string
  readonly options: string
}

export async function simulate(options: SimulateOptions): Promise<SimulateResult> {
  const simulation = new Simulation(options)
  return simulation.run()
}

class Simulation {
  #options: SimulateOptions
  #random: Random
  #hints: Random
  #schedule = new Schedule()
  #network: Network
  #checkers: Checkers
  #timing: Timing
  #trace: string[] = []
  #labels = new Map<string, string>()
  #incarnations = new Map<string, string>()
  #natures = new Map<string, JobNature>()
  #planned: PlannedJob[] = []
  #slots: Place[] = []
  #connections = new Set<number>()
  #connectionsChanged = false
  #nextPid = 1_000
  #client: Link = { label: 'client', cutUntilMs: 0, brownoutMs: null, claimLost: false }
  #enabled: readonly Fault[]
  #faults: Record<string, number> = {}
  #faultsUntilMs: number
  #backMs = 0
  #quiet = false
  #violation: Violation | null = null
  #world: WorkerWorld

  constructor(options: SimulateOptions) {
    this.#options = options
    const random = new Random(options.seed)
    this.#random = random.fork()
    const leaseMs = random.pick([9_000, 12_000, 15_000])
    this.#timing = {
      leaseMs,
      renewMs: leaseMs / 3,
      idleBeatMs: random.pick([leaseMs / 3, leaseMs, 20_000]),
      marginMs: Math.max(leaseMs / 6, 2_000),
      callTimeoutMs: random.pick([leaseMs / 3, leaseMs / 2, leaseMs]),
      pollMs: random.pick([1_000, 2_000, 4_000]),
      graceMs: random.pick([1_000, 5_000]),
      outageMode: random.pick(['abort', 'continue']),
    }
    const timing = this.#timing
    this.#faultsUntilMs = random.int(4, 10) * leaseMs
    const some = FAULTS.filter(() => random.chance(0.35))
    this.#enabled = options.faults ?? (some.length > 0 ? some : ['crash'])
    this.#checkers = new Checkers({
      leaseMs,
      idleSpanMs: Math.max(leaseMs, 3 * timing.idleBeatMs),
      goesOn: timing.outageMode === 'continue',
      labelOf: (job) => this.#labels.get(job) ?? job,
    })
    this.#network = new Network({
      schedule: this.#schedule,
      random: random.fork(),
      leaseMs,
      apply: (request, repeated) => this.#apply(request, repeated),
      trace: (text) => this.#note(text),
      disturbed: (link) => this.#disturbed(link),
    })
    const rough = (most: number): number => (random.chance(0.5) ? 0 : random.next() * most)
    this.#network.weather = {
      lostRequest: rough(0.1),
      lostReply: rough(0.15),
      late: rough(0.1),
      duplicate: rough(0.1),
    }
    this.#world = this.#makeWorld(random.fork(), {
      fence: 'send',
      reconcile: true,
      ...options.rules,
    })
    this.#hints = random.fork()
    this.#planFleet(random)
    this.#planJobs(random)
  }

  async run(): Promise<SimulateResult> {
    const { database } = this.#options
    await database.reset()
    for (const [index, place] of this.#slots.entries()) {
      this.#schedule.at(index * 100, () => this.#boot(place))
    }
    for (const job of this.#planned) {
      this.#schedule.at(this.#random.int(0, 0.7 * this.#faultsUntilMs), () => this.#enqueue(job))
    }
    this.#faultLoop()
    this.#schedule.at(this.#faultsUntilMs, () => this.#heal())
    try {
      await this.#loop()
    } catch (error) {
      if (!(error instanceof Violation)) {
        throw new Error(`seed ${this.#options.seed} at ${this.#schedule.nowMs} ms`, {
          cause: error,
        })
      }
      this.#violation = error
      this.#note(`✗ ${error.message}`)
    }
    return {
      seed: this.#options.seed,
      violation: this.#violation,
      trace: this.#trace,
      setting: this.#describe(),
      counts: this.#checkers.counts,
      virtualMs: this.#schedule.nowMs,
      faults: this.#faults,
    }
  }

  async #loop(): Promise<void> {
    const { leaseMs } = this.#timing
    const boundMs = 40 * leaseMs + 600_000
    let auditMs = 0
    while (await this.#schedule.step()) {
      const { nowMs } = this.#schedule
      this.#checkers.time(nowMs)
      if (nowMs >= auditMs) {
        await this.#audit()
        auditMs = nowMs + 3_000
      }
      if (!this.#quiet) {
        const { callsMax } = this.#options
        if (callsMax !== undefined && this.#checkers.counts.applied >= callsMax) this.#heal()
        continue
      }
      this.#checkers.quiet()
      if (this.#planned.length === this.#labels.size && this.#checkers.isSettled()) {
        await this.#audit()
        return
      }
      if (nowMs > this.#faultsUntilMs + boundMs) {
        throw new Violation(
          'liveness',
          `${boundMs} ms after the last fault ${this.#checkers.unsettled()}`,
        )
      }
    }
  }

  async #audit(): Promise<void> {
    const { database } = this.#options
    const { nowMs } = this.#schedule
    this.#checkers.audited(await database.snapshot(nowMs), await database.invariants(nowMs))
  }

  // ---- the world

  #makeWorld(random: Random, rules: WorkerRules): WorkerWorld {
    return {
      schedule: this.#schedule,
      network: this.#network,
      random,
      timing: this.#timing,
      rules,
      namespace: SIM_NAMESPACE,
      queues: QUEUES,
      types: TYPES,
      reports: this.#checkers,
      natureOf: (job) => {
        const nature = this.#natures.get(job)
        if (nature === undefined) throw new Error(`job ${job} is unknown to the simulation`)
        return nature
      },
      trace: (text) => this.#note(text),
      connect: () => {
        this.#nextPid += 1
        this.#connections.add(this.#nextPid)
        this.#connectionsChanged = true
        return this.#nextPid
      },
      disconnect: (pid) => {
        this.#connections.delete(pid)
        this.#connectionsChanged = true
      },
      ended: (process, how) => this.#ended(process, how),
    }
  }

  #planFleet(random: Random): void {
    const machines = random.int(1, 3)
    for (let machine = 0; machine < machines; machine += 1) {
      const shared: Machine = {
        id: `m${machine}`,
        bootId: `boot${machine}`,
        hostname: `host${machine}`,
      }
      const workers = random.int(1, machines === 1 ? 3 : 2)
      for (let worker = 0; worker < workers; worker += 1) {
        const label = `m${machine}w${worker}`
        this.#slots.push({
          slot: { label, machine: shared, concurrency: random.int(1, 3), spool: [] },
          process: null,
          link: { label, cutUntilMs: 0, brownoutMs: null, claimLost: false },
          boots: 0,
        })
      }
    }
  }

  #planJobs(random: Random): void {
    const { leaseMs } = this.#timing
    const jobs = random.int(3, 9)
    for (let number = 1; number <= jobs; number += 1) {
      const durationMs = random.int(200, random.chance(0.6) ? 2.5 * leaseMs : 2_000)
      const ends = random.chance(0.65)
        ? 'completes'
        : random.pick(['flaky', 'fails', 'fails finally', 'kills', 'throws outside'] as const)
      const label = `job${number}`
      this.#planned.push({
        label,
        type: random.pick(TYPES),
        nature: {
          label,
          durationMs: ends === 'kills' ? Math.min(durationMs, 4_000) : durationMs,
          ends,
          checkpointEveryMs: random.chance(0.4) ? random.int(800, leaseMs) : null,
          deaf: random.chance(0.15),
        },
        options: JSON.stringify({
          key: label,
          queue: random.pick(QUEUES),
          priority: random.int(0, 2),
          maxAttempts: random.int(1, 4),
          maxLost: random.int(2, 3),
          onWorkerLost: random.chance(0.8) ? 'retry' : random.pick(['hold', 'fail']),
          delayMs: random.chance(0.2) ? random.int(0, leaseMs) : 0,
        }),
      })
    }
  }

  #boot(place: Place): void {
    if (place.process !== null && place.process.state !== 'gone') return
    place.boots += 1
    const samePid = place.boots > 1 && this.#random.chance(0.1)
    const pid =
      samePid && place.process !== null ? place.process.pid : this.#random.int(2, 4_000_000)
    place.process = new WorkerProcess(this.#world, {
      label: `${place.slot.label}p${place.boots}`,
      slot: place.slot,
      link: place.link,
      pid,
    })
    const { process } = place
    if (this.#random.chance(0.3)) this.#schedule.after(1_000, () => process.replaySpool())
  }

  #ended(process: WorkerProcess, how: string): void {
    const place = this.#slots.find((candidate) => candidate.process === process)
    if (place === undefined) return
    const { incarnation } = process
    const killed = how.startsWith('killed')
    if (killed && incarnation !== null && this.#random.chance(0.5)) {
      const layer = this.#random.pick([1, 2])
      this.#schedule.after(this.#random.int(1, 300), () =>
        this.#reportDeath(process, incarnation.id, layer),
      )
    }
    this.#schedule.after(this.#random.int(200, 4_000), () => this.#boot(place))
  }

  #disturbed(link: Link): void {
    for (const { process, link: own } of this.#slots) {
      if (own === link && process !== null) this.#checkers.processDisturbed(process.label)
    }
  }

  // ---- calls

  async #apply(request: Request, repeated: boolean): Promise<unknown> {
    const { database } = this.#options
    const { nowMs } = this.#schedule
    this.#checkers.time(nowMs)
    if (this.#connectionsChanged) {
      this.#connectionsChanged = false
      await database.setConnections([...this.#connections])
    }
    if (request.name === 'register') {
      const found = UUID.exec(String(request.values[1]))?.[0]
      if (found !== undefined) this.#incarnations.set(found, request.note)
    }
    let result: Awaited<ReturnType<SimDatabase['call']>>
    try {
      result = await database.call({ ...request, nowMs })
    } catch (error) {
      // A copy of a registration finds its row made already, and changes nothing.
      if (request.name === 'register' && codeOf(error) === '23505') return null
      throw error
    }
    const { answer, changed, hints } = result
    for (const hint of hints) this.#hint(hint)
    if (changed || !QUIET_CALLS.has(request.name)) {
      this.#note(
        `  ${request.link.label} ${request.name} ${request.note}${repeated ? ' (a copy)' : ''} ⇒ ${this.#brief(request.name, answer)}`,
      )
    }
    if (request.name === 'enqueue') this.#enqueued(request, answer)
    const after = changed ? await database.snapshot(nowMs) : null
    const call: AppliedCall = { name: request.name, values: request.values, repeated }
    this.#checkers.applied(call, answer, after)
    return answer
  }

  /** Who listens gets a hint soon, twice, or not at all. */
  #hint(payload: string): void {
    const [what, about = ''] = payload.split(':')
    if (what !== 'pending' && what !== 'renew') return
    for (const { process } of this.#slots) {
      const incarnation = process?.incarnation
      if (process === null || incarnation === null || incarnation === undefined) continue
      if (process.backendPid === null || (what === 'renew' && incarnation.id !== about)) continue
      for (const chance of [0.8, 0.1]) {
        if (!this.#hints.chance(chance)) continue
        this.#schedule.after(this.#hints.int(1, 50), () =>
          process.hint(what === 'renew' ? 'renew' : 'claim', incarnation),
        )
      }
    }
  }

  #brief(name: string, answer: unknown): string {
    const text =
      JSON.stringify(answer, (key, value: unknown) => (NOISE.has(key) ? undefined : value)) ?? ''
    if (name === 'register') return 'done'
    return text.replaceAll(
      new RegExp(UUID, 'g'),
      (id) => this.#labels.get(id) ?? this.#incarnationLabel(id),
    )
  }

  #incarnationLabel(id: string): string {
    return this.#incarnations.get(id) ?? id.slice(0, 8)
  }

  /** A call of a client or an operator: asked again until it is answered. */
  #ask(
    name: string,
    values: readonly unknown[],
    note: string,
    answered: (answer: any) => void,
    tries = 20,
  ): void {
    this.#network.send({
      link: this.#client,
      name,
      values,
      note,
      backendPid: null,
      timeoutMs: 3_000,
      deliver: (atMs, run) => this.#schedule.at(atMs, run),
      answered,
      unknown: () => {
        if (tries > 0) {
          this.#schedule.after(500, () => this.#ask(name, values, note, answered, tries - 1))
        }
      },
    })
  }

  #enqueue(job: PlannedJob): void {
    this.#ask(
      'enqueue',
      [SIM_NAMESPACE, [job.type], ['{}'], [job.options]],
      job.label,
      () => undefined,
      10_000,
    )
  }

  #enqueued(request: Request, ids: unknown): void {
    const id = Array.isArray(ids) ? String(ids[0]) : ''
    const job = this.#planned.find((candidate) => candidate.label === request.note)
    if (job === undefined) return
    const known = this.#labels.get(id)
    if (known !== undefined && known !== job.label)
      throw new Violation('acknowledged', `${job.label} got the id of ${known}`)
    for (const [other, label] of this.#labels) {
      if (label === job.label && other !== id)
        throw new Violation('acknowledged', `${label} was stored twice under one key`)
    }
    this.#labels.set(id, job.label)
    this.#natures.set(id, job.nature)
  }

  #reportDeath(process: WorkerProcess, incarnation: string, layer: number): void {
    const { machine } = process.slot
    const witness = this.#slots.find(
      (place) =>
        place.slot.machine === machine &&
        place.process !== process &&
        place.process?.state === 'live',
    )
    if (layer === 2 && witness === undefined) return
    const reporter = {
      machineId: machine.id,
      bootId: machine.bootId,
      pidNamespace: 'ns',
      id: witness?.slot.label ?? 'supervisor',
    }
    this.#ask(
      'report_death',
      [SIM_NAMESPACE, JSON.stringify(reporter), layer, [incarnation]],
      `${process.label} layer ${layer}`,
      () => undefined,
      2,
    )
  }

  // ---- faults

  #faultLoop(): void {
    this.#schedule.after(this.#random.int(300, this.#timing.leaseMs / 2), () => {
      if (this.#quiet) return
      const fault = this.#random.pick(this.#enabled)
      if (this.#inflict(fault)) this.#faults[fault] = (this.#faults[fault] ?? 0) + 1
      this.#faultLoop()
    })
  }

  #inflict(fault: Fault): boolean {
    const random = this.#random
    const { leaseMs } = this.#timing
    const { nowMs } = this.#schedule
    const place = random.pick(this.#slots)
    const process = place.process
    const alive = process !== null && process.state !== 'gone'
    switch (fault) {
      case 'crash':
        if (!alive) return false
        process.end('killed (SIGKILL)')
        return true
      case 'power loss':
        this.#note(`${place.slot.machine.id} loses power`)
        for (const other of this.#slots) {
          if (other.slot.machine === place.slot.machine)
            other.process?.end('power loss', 'left open')
        }
        return true
      case 'freeze': {
        if (!alive) return false
        process.freeze()
        this.#schedule.after(random.int(500, 3 * leaseMs), () => process.thaw())
        return true
      }
      case 'cut':
        place.link.cutUntilMs = nowMs + random.int(500, 3 * leaseMs)
        this.#note(`${place.slot.label} is cut off for ${place.link.cutUntilMs - nowMs} ms`)
        this.#disturbed(place.link)
        return true
      case 'cut machine': {
        const untilMs = nowMs + random.int(500, 2 * leaseMs)
        this.#note(`${place.slot.machine.id} is cut off for ${untilMs - nowMs} ms`)
        for (const other of this.#slots) {
          if (other.slot.machine !== place.slot.machine) continue
          other.link.cutUntilMs = untilMs
          this.#disturbed(other.link)
        }
        return true
      }
      case 'brownout':
        place.link.brownoutMs = random.int(
          0.4 * this.#timing.callTimeoutMs,
          this.#timing.callTimeoutMs - 100,
        )
        this.#disturbed(place.link)
        return true
      case 'lost claim':
        place.link.claimLost = true
        return true
      case 'outage':
        return this.#outage(random.int(leaseMs / 2, 4 * leaseMs))
      case 'blip':
        return this.#outage(random.int(200, 3_000))
      case 'connection':
        if (!alive) return false
        process.dropConnection(random.int(100, 5_000))
        this.#disturbed(place.link)
        return true
      case 'sweeper crash': {
        const leader = this.#slots.find(
          (other) => other.process?.state === 'live' && other.process.role === 'leader',
        )
        leader?.process?.end('killed (SIGKILL), the leader of the sweep')
        return leader !== undefined
      }
      case 'shutdown':
        if (!alive) return false
        process.shutdown({ twice: random.chance(0.25) })
        return true
      case 'uncaught':
        if (!alive) return false
        process.uncaught(null)
        return true
      case 'wrong evidence': {
        if (!alive || process.incarnation === null) return false
        this.#note(`wrong evidence that ${process.label} is gone`)
        this.#reportDeath(process, process.incarnation.id, random.pick([1, 2]))
        return true
      }
      case 'replay':
        process?.replaySpool()
        return alive
      case 'cancel':
      case 'retry':
        return this.#askAboutJob(fault)
      case 'operator':
      default:
        return this.#operate(place)
    }
  }

  #outage(lengthMs: number): boolean {
    // Blips without an end would be an outage that no gap shows: between two, whoever asks again gets through.
    const sinceMs = this.#schedule.nowMs - this.#backMs
    if (this.#network.databaseIsDown || sinceMs < this.#timing.leaseMs / 2) return false
    this.#network.databaseIsDown = true
    this.#note(`the database is down for ${lengthMs} ms`)
    this.#checkers.outage(true)
    for (const { process } of this.#slots) process?.dropConnection(this.#random.int(1, 500))
    this.#schedule.after(lengthMs, () => {
      this.#network.databaseIsDown = false
      this.#backMs = this.#schedule.nowMs
      this.#note('the database is back')
      this.#checkers.outage(false)
    })
    return true
  }

  #askAboutJob(name: string): boolean {
    const jobs = [...this.#labels.keys()]
    if (jobs.length === 0) return false
    const job = this.#random.pick(jobs)
    this.#ask(name, [SIM_NAMESPACE, [job]], this.#labels.get(job) ?? '', () => undefined, 3)
    return true
  }

  #operate(place: Place): boolean {
    const what = this.#random.pick(['release_jobs', 'hold', 'resume', 'evict', 'drain', 'stuck'])
    const incarnation = place.process?.incarnation
    if (what === 'stuck') {
      this.#ask('release_stuck', [SIM_NAMESPACE, this.#timing.leaseMs], '', () => undefined, 1)
      return true
    }
    if (what !== 'evict' && what !== 'drain') return this.#askAboutJob(what)
    if (incarnation === null || incarnation === undefined) return false
    const note = incarnation.label
    if (what === 'evict')
      this.#ask('evict_workers', [SIM_NAMESPACE, [incarnation.id]], note, () => undefined, 2)
    else {
      this.#ask('drain_workers', [SIM_NAMESPACE, [incarnation.id], true], note, () => undefined, 2)
      this.#schedule.after(this.#timing.leaseMs, () =>
        this.#ask(
          'drain_workers',
          [SIM_NAMESPACE, [incarnation.id], false],
          note,
          () => undefined,
          100,
        ),
      )
    }
    return true
  }

  /** No more faults, and everything that was broken works again. What a job does to its worker stays as it is. */
  #heal(): void {
    if (this.#quiet) return
    this.#quiet = true
    this.#faultsUntilMs = this.#schedule.nowMs
    this.#note('—— no more faults ——')
    this.#network.weather = CALM
    this.#network.databaseIsDown = false
    this.#checkers.outage(false)
    for (const place of this.#slots) {
      place.link.cutUntilMs = 0
      place.link.brownoutMs = null
      place.link.claimLost = false
      place.process?.thaw()
    }
    this.#checkers.faultsStopped()
  }

  // ---- the trace

  #note(text: string): void {
    this.#trace.push(`${(this.#schedule.nowMs / 1_000).toFixed(3).padStart(9)}  ${text}`)
  }

  #describe(): string {
    const timing = this.#timing
    return [
      `lease ${timing.leaseMs} ms, idle beat ${timing.idleBeatMs} ms, call time-out ${timing.callTimeoutMs} ms, onOutage ${timing.outageMode}`,
      `workers ${this.#slots.map(({ slot }) => `${slot.label}×${slot.concurrency}`).join(' ')}`,
      `faults ${this.#enabled.join(', ')}`,
      ...this.#planned.map(
        ({ label, nature, options }) =>
          `${label} ${nature.ends} after ${nature.durationMs} ms${nature.deaf ? ', deaf' : ''}${nature.checkpointEveryMs === null ? '' : `, checkpoint every ${nature.checkpointEveryMs} ms`} ${options}`,
      ),
    ].join('\n')
  }
}

const UUID = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/

/** Parts of answers that say nothing in a trace. */
const NOISE = new Set([
  'input',
  'token',
  'options',
  'queue',
  'type',
  'maxAttempts',
  'maxLost',
  'databaseMs',
  // Alerts have random ids, and are no part of the protocol.
  'alerts',
  'alertsMs',
  'deliver',
  'leftMs',
  'nextMs',
  'nextDueMs',
  'machines',
  'more',
  'lastSeenAt',
  'noticedBy',
  'message',
  'drain',
  'alone',
])

function codeOf(error: unknown): unknown {
  return typeof error === 'object' && error !== null && 'code' in error ? error.code : undefined
}

/** Too frequent to be worth a line when they change nothing. */
const QUIET_CALLS = new Set(['sweep', 'claim', 'renew'])
