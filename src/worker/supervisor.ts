/**
 * A supervisor: keeps worker processes on a machine, and is layer 1: it sees a child exit within milliseconds, with its code or
 * signal, and tells the database, so that the child's jobs go elsewhere at once.
 *
 *     child exits ── nobody had asked it to ─▶ report (layer 1): nothing new where it has said so itself
 *                                           └▶ a new one after a back-off; counted, and the next back-off doubled (0.5 s to 30 s, anew after
 *                                              a minute of life), unless it stopped cleanly: somebody else had asked it to
 *     roll        ── for each child that started before the last request: a new one ready ─▶ the old one stops ─▶ the next
 *     autoscale   ── between the least and the most processes, see autoscale.ts
 *     done        ── a child that left for good, as its run has ended or a bound is reached, is not followed; when all have, onDone is called
 *     place lost  ── every child stops gracefully, and none is started any more
 *
 * One supervisor has a place (supervisor-place.ts), and no child is started unless that place is certainly held. A child is *kept*
 * when another is to follow should it end: one that was told to go is not, nor one of a roll before it is ready.
 *
 * Children run in sessions of their own, so a terminal's Ctrl-C reaches them once, through here. A child whose supervisor is gone (its
 * IPC channel closes, also by SIGKILL) stops gracefully by itself. Reports that the database can't take are tried for a while; layers
 * 2 to 4 notice anyway.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { atMost, elapsedMs, Pauses, sleep } from '../clock.ts'
import { type Database, openDatabase } from '../db/connect.ts'
import { reportDeath } from '../sql/protocol.ts'
import { backlogAge } from '../sql/supervisors.ts'
import { isBacklog, type Load, LOOK_EVERY_MS, mayNeedMore, surplus } from './autoscale.ts'
import { SupervisorPlace } from './supervisor-place.ts'

export interface SupervisorOptions {
  readonly databaseUrl: string
  readonly schema?: string
  readonly namespace: string
  readonly machineId: string
  /** What tells this supervisor from others on the machine. */
  readonly name: string
  /** The run that its workers are aimed at. */
  readonly run: string | null
  /** Worker processes to keep: so many at least, and at most. */
  readonly processes: { readonly min: number; readonly max: number }
  /** Program and arguments of one worker process. */
  readonly command: readonly [string, ...string[]]
  readonly env: NodeJS.ProcessEnv
  /** How long a stop may take before children are killed, in milliseconds. */
  readonly hardExitMs: number
  /** How long a child may have nothing to do while there are more than the least, in milliseconds. */
  readonly idleForMs: number
  /** Every child has left for good. */
  readonly onDone: () => void
  readonly onEvent?: (event: SupervisorEvent) => void
}

export type SupervisorEvent =
  | { readonly kind: 'supervisor.started'; readonly name: string; readonly restarts: number }
  | {
      readonly kind: 'supervisor.waiting'
      readonly name: string
      readonly holder: string
      readonly leftMs: number
    }
  | { readonly kind: 'supervisor.overtaken'; readonly name: string }
  | { readonly kind: 'supervisor.unanswered'; readonly error: string }
  | { readonly kind: 'child.started'; readonly slot: number; readonly pid: number }
  | {
      readonly kind: 'child.ready'
      readonly slot: number
      readonly pid: number
      readonly workerId: string
    }
  | {
      readonly kind: 'child.retired'
      readonly slot: number
      readonly pid: number
      readonly reason: 'rolled' | 'idle'
    }
  | {
      readonly kind: 'child.exited'
      readonly slot: number
      readonly pid: number
      readonly exitCode: number | null
      readonly signal: string | null
      readonly clean: boolean
      readonly restartInMs: number | null
    }
  | { readonly kind: 'child.failed'; readonly slot: number | null; readonly error: string }
  | {
      readonly kind: 'jobs.recovered'
      readonly jobIds: readonly string[]
      readonly workerIds: readonly string[]
      readonly layer: 1
    }
  | { readonly kind: 'job.poisoned'; readonly jobId: string }
  | { readonly kind: 'report.failed'; readonly error: string }
  | { readonly kind: 'roll.started'; readonly processes: number }
  | { readonly kind: 'roll.done'; readonly replaced: number }
  | { readonly kind: 'roll.failed'; readonly replaced: number; readonly reason: string }
  | {
      readonly kind: 'processes.scaled'
      readonly from: number
      readonly to: number
      readonly waitedMs: number | null
    }

/** What a worker process tells its supervisor. */
export type ChildMessage =
  | {
      readonly type: 'registered'
      readonly incarnation: string
      readonly id: string
      readonly queues: readonly string[]
      readonly types: readonly string[]
    }
  | ({ readonly type: 'load' } & Load)
  /** It had nothing to do when it was asked to go, and goes. */
  | { readonly type: 'leaving' }
  /** `done`: for good, as what it was started for is over, so that nobody is to follow it. */
  | { readonly type: 'stopped'; readonly done: boolean }

/** What a supervisor asks of a worker process. */
export type ParentMessage = { readonly type: 'leave_if_idle' }

interface Child {
  readonly slot: number
  readonly process: ChildProcess
  readonly startedMs: number
  readonly incarnations: Set<string>
  /** Resolves when its process has ended. */
  readonly gone: Promise<void>
  /** Resolves to whether it registered before it ended. */
  readonly settled: Promise<boolean>
  workerId: string | null
  takes: { readonly queues: readonly string[]; readonly types: readonly string[] } | null
  /** Whether another is to follow should it end. */
  kept: boolean
  ready: boolean
  clean: boolean
  done: boolean
  load: Load | null
  idleSinceMs: number | null
  kill: NodeJS.Timeout | null
}

const BACKOFF_MS_MIN = 500
const BACKOFF_MS_MAX = 30_000
/** Living so long proves that a start works, so the next failure is a new one. */
const STABLE_MS = 60_000
const REPORT_TRIES = 20
const SPAWN_AGAIN_MS = 5_000
/** A process of a roll that is not ready by then never will be: the old ones go on. */
const ROLL_READY_MS_MAX = 60_000
/** What a child said last may arrive behind the news of its exit. */
const LAST_WORDS_MS = 200

export class Supervisor {
  readonly #options: SupervisorOptions
  readonly #db: Database
  readonly #place: SupervisorPlace
  readonly #children = new Set<Child>()
  readonly #failures = new Map<number, number>()
  readonly #ends = new Set<Promise<void>>()
  readonly #stopped = new AbortController()
  #wanted: number
  /** Some have left for good: the others go on, and no more are added. */
  #finishing = false
  #startTookMs = 0
  #rollBeforeMs = -Infinity
  #rolling: Promise<void> | null = null
  #overtaken = false
  #beating: NodeJS.Timeout | null = null
  #looking: NodeJS.Timeout | null = null
  #stopping: Promise<void> | null = null

  constructor(options: SupervisorOptions) {
    this.#options = options
    this.#wanted = options.processes.min
    this.#db = openDatabase({
      databaseUrl: options.databaseUrl,
      ...(options.schema === undefined ? {} : { schema: options.schema }),
      connectionsMax: 1,
      callTimeoutMs: 5_000,
      applicationName: 'leasehold supervisor',
    })
    this.#place = new SupervisorPlace(this.#db, {
      namespace: options.namespace,
      machineId: options.machineId,
      name: options.name,
      command: options.command.join(' '),
      processesMin: options.processes.min,
      processesMax: options.processes.max,
    })
  }

  /** Takes the place and starts the children. @throws {StateRefusedError} when another supervisor has it. */
  async start(): Promise<void> {
    const { name, processes } = this.#options
    try {
      const taken = await this.#place.take(this.#stopped.signal, (holder, leftMs) =>
        this.#emit({ kind: 'supervisor.waiting', name, holder, leftMs }),
      )
      if (!taken) return
    } catch (error) {
      await this.stop()
      throw error
    }
    this.#emit({ kind: 'supervisor.started', name, restarts: this.#place.restarts })
    this.#planBeat()
    if (processes.max > processes.min) {
      this.#looking = setInterval(() => void this.#look(), LOOK_EVERY_MS)
    }
    while (this.#keptCount() < this.#wanted && !this.#stopped.signal.aborted) await this.#fill()
  }

  /** Passes a signal on to every child. */
  signal(signal: NodeJS.Signals): void {
    for (const child of this.#children) child.process.kill(signal)
  }

  /**
   * Replaces every child that started before now, one after the other, none of which stops before its successor is ready. Asked
   * again meanwhile, the one roll goes on until none is left that started before the last request.
   */
  roll(): void {
    if (this.#stopped.signal.aborted) return
    this.#rollBeforeMs = elapsedMs()
    this.#rolling ??= this.#roll().finally(() => (this.#rolling = null))
  }

  /** Asks every child to stop, kills what is left at the hard exit, and leaves the place. Resolves when all of that is done. */
  stop(): Promise<void> {
    return (this.#stopping ??= this.#stop())
  }

  /** Whether another supervisor has taken the place. */
  get overtaken(): boolean {
    return this.#overtaken
  }

  async #stop(): Promise<void> {
    this.#stopped.abort()
    if (this.#beating !== null) clearTimeout(this.#beating)
    if (this.#looking !== null) clearInterval(this.#looking)
    for (const child of this.#children) this.#tellToStop(child)
    await this.#rolling
    while (this.#children.size > 0 || this.#ends.size > 0) {
      await Promise.all([...this.#ends, ...[...this.#children].map(({ gone }) => gone)])
    }
    try {
      await this.#place.leave()
    } catch (error) {
      // The lease says it too, only later, and so does this process, which will be gone.
      this.#unanswered(error as Error)
    }
    await this.#db.close()
  }

  // ── children ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

  #keptCount(): number {
    return [...this.#children].filter(({ kept }) => kept).length
  }

  /** Null where the system can't start a process now, as when it has no memory for one. */
  #trySpawn(kept: boolean): Child | null {
    try {
      return this.#spawn(kept)
    } catch (error) {
      this.#emit({ kind: 'child.failed', slot: null, error: (error as Error).message })
      return null
    }
  }

  #spawn(kept: boolean): Child {
    const [program, ...args] = this.#options.command
    const taken = new Set([...this.#children].map(({ slot }) => slot))
    let slot = 1
    while (taken.has(slot)) slot += 1
    const started = spawn(program, args, {
      env: { ...this.#options.env, LEASEHOLD_SUPERVISED: '1', LEASEHOLD_SLOT: String(slot) },
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      detached: true,
    })
    let settle: (registered: boolean) => void = () => undefined
    let leave: () => void = () => undefined
    const child: Child = {
      slot,
      process: started,
      startedMs: elapsedMs(),
      incarnations: new Set(),
      gone: new Promise((resolve) => (leave = resolve)),
      settled: new Promise((resolve) => (settle = resolve)),
      workerId: null,
      takes: null,
      kept,
      ready: false,
      clean: false,
      done: false,
      load: null,
      idleSinceMs: null,
      kill: null,
    }
    this.#children.add(child)
    const pid = started.pid ?? 0
    if (started.pid !== undefined) this.#emit({ kind: 'child.started', slot, pid })
    started.on('message', (message: ChildMessage) => {
      this.#told(child, message)
      if (message.type === 'registered') settle(true)
    })
    const ended = (exitCode: number | null, signal: NodeJS.Signals | null): void => {
      if (!this.#children.delete(child)) return
      if (child.kill !== null) clearTimeout(child.kill)
      settle(false)
      leave()
      const end = this.#exited(child, exitCode, signal).finally(() => this.#ends.delete(end))
      this.#ends.add(end)
    }
    started.once('exit', ended)
    started.on('error', (error) => {
      this.#emit({ kind: 'child.failed', slot, error: error.message })
      // A process that could not be started has no exit.
      if (started.pid === undefined) ended(null, null)
    })
    return child
  }

  #told(child: Child, message: ChildMessage): void {
    switch (message.type) {
      case 'registered':
        child.incarnations.add(message.incarnation)
        child.workerId = message.id
        child.takes = message
        if (!child.ready) this.#startTookMs = elapsedMs() - child.startedMs
        child.ready = true
        this.#emit({
          kind: 'child.ready',
          slot: child.slot,
          pid: child.process.pid ?? 0,
          workerId: message.id,
        })
        break
      case 'load':
        child.load = message
        child.idleSinceMs =
          message.running > 0 || message.peak > 0 ? null : (child.idleSinceMs ?? elapsedMs())
        break
      case 'leaving': {
        // Replaced or told to stop meanwhile, it is counted already.
        if (!child.kept) break
        const from = this.#keptCount()
        this.#wanted = Math.max(this.#options.processes.min, this.#wanted - 1)
        this.#retire(child, 'idle')
        this.#emit({ kind: 'processes.scaled', from, to: this.#wanted, waitedMs: null })
        // Two that were asked may both go.
        if (this.#keptCount() < this.#wanted) void this.#fill()
        break
      }
      case 'stopped':
        child.clean = true
        child.done = message.done
    }
  }

  /** It goes, and nobody follows it. */
  #retire(child: Child, reason: 'rolled' | 'idle'): void {
    child.kept = false
    const pid = child.process.pid ?? 0
    this.#emit({ kind: 'child.retired', slot: child.slot, pid, reason })
    if (reason === 'rolled') this.#tellToStop(child)
    else this.#killLater(child)
  }

  #tellToStop(child: Child): void {
    child.process.kill('SIGTERM')
    this.#killLater(child)
  }

  #killLater(child: Child): void {
    child.kill ??= setTimeout(() => child.process.kill('SIGKILL'), this.#options.hardExitMs + 1_000)
  }

  async #exited(
    child: Child,
    exitCode: number | null,
    signal: NodeJS.Signals | null,
  ): Promise<void> {
    const exitedMs = elapsedMs()
    if (child.process.connected) {
      await atMost(
        new Promise((resolve) => child.process.once('disconnect', resolve)),
        LAST_WORDS_MS,
      )
    }
    const { slot } = child
    const pid = child.process.pid ?? 0
    if (child.done && child.kept) {
      this.#finishing = true
      this.#wanted -= 1
    }
    const follows = child.kept && !child.done && !this.#stopped.signal.aborted
    const failures = exitedMs - child.startedMs > STABLE_MS ? 0 : (this.#failures.get(slot) ?? 0)
    const failed = !child.clean || exitCode !== 0
    if (follows) this.#failures.set(slot, failures + (failed ? 1 : 0))
    const restartInMs = follows ? Math.min(BACKOFF_MS_MAX, BACKOFF_MS_MIN * 2 ** failures) : null
    this.#emit({
      kind: 'child.exited',
      slot,
      pid,
      exitCode,
      signal,
      clean: child.clean,
      restartInMs,
    })
    const reported = this.#report(child, exitedMs, exitCode, signal)
    if (restartInMs !== null) {
      if (failed) {
        this.#place.count({ pid, workerId: child.workerId, exitCode, signal })
        this.#planBeat(0)
      }
      await sleep(restartInMs, this.#stopped.signal)
      await this.#fill()
    }
    await reported
    if (this.#finishing && this.#wanted === 0 && this.#children.size === 0) this.#options.onDone()
  }

  /** Starts what is missing, in a place that is certainly held. */
  async #fill(): Promise<void> {
    const held = await this.#place.held(this.#stopped.signal, (error) => this.#unanswered(error))
    if (this.#stopped.signal.aborted) return
    if (!held) {
      this.#lose()
    } else if (this.#keptCount() < this.#wanted && this.#trySpawn(true) === null) {
      await sleep(SPAWN_AGAIN_MS, this.#stopped.signal)
      await this.#fill()
    }
  }

  async #report(
    child: Child,
    exitedMs: number,
    exitCode: number | null,
    signal: string | null,
  ): Promise<void> {
    const pauses = new Pauses({ minMs: 100, maxMs: 2_000 })
    for (let tries = 0; tries < REPORT_TRIES && child.incarnations.size > 0; tries += 1) {
      try {
        const { ended, recovered } = await reportDeath(this.#db, {
          namespace: this.#options.namespace,
          reporter: {
            id: `supervisor-${process.pid}`,
            machineId: this.#options.machineId,
            bootId: null,
            pidNamespace: null,
          },
          layer: 1,
          incarnations: [...child.incarnations],
          evidence: {
            exitCode,
            signal,
            detectedAfterMs: Math.round(elapsedMs() - exitedMs),
            message: child.clean
              ? 'it stopped, and could not tell the database'
              : signal === null
                ? `its process exited with code ${exitCode}`
                : `its process was killed by ${signal}`,
          },
        })
        if (ended.length > 0) {
          this.#emit({
            kind: 'jobs.recovered',
            jobIds: recovered.map((job) => job.job),
            workerIds: ended,
            layer: 1,
          })
        }
        for (const { job, code } of recovered) {
          if (code === 'poison') this.#emit({ kind: 'job.poisoned', jobId: job })
        }
        return
      } catch (error) {
        this.#emit({ kind: 'report.failed', error: (error as Error).message })
        await sleep(pauses.next())
        // One that stopped cleanly had its own tries.
        if (this.#stopped.signal.aborted && (child.clean || tries >= 3)) return
      }
    }
  }

  // ── the place ────────────────────────────────────────────────────────────────────────────────────────────────────────────

  #planBeat(inMs: number = Math.max(0, this.#place.beatDueMs - elapsedMs())): void {
    if (this.#stopped.signal.aborted) return
    if (this.#beating !== null) clearTimeout(this.#beating)
    this.#beating = setTimeout(() => void this.#beat(), inMs)
  }

  async #beat(): Promise<void> {
    let retryMs: number | undefined
    try {
      if ((await this.#place.beat()) === 'lost') this.#lose()
    } catch (error) {
      this.#unanswered(error as Error)
      retryMs = BACKOFF_MS_MAX / 6
    }
    this.#planBeat(retryMs)
  }

  #lose(): void {
    if (this.#overtaken) return
    this.#overtaken = true
    this.#emit({ kind: 'supervisor.overtaken', name: this.#options.name })
    void this.stop()
  }

  #unanswered(error: Error): void {
    this.#emit({ kind: 'supervisor.unanswered', error: error.message })
  }

  // ── a roll ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

  async #roll(): Promise<void> {
    const stopped = this.#stopped.signal
    const old = (): Child | undefined =>
      [...this.#children].find(({ kept, startedMs }) => kept && startedMs < this.#rollBeforeMs)
    this.#emit({ kind: 'roll.started', processes: this.#keptCount() })
    let replaced = 0
    for (let next = old(); next !== undefined && !stopped.aborted; next = old()) {
      const failure = await this.#replace(next)
      if (stopped.aborted) return
      if (failure !== null) {
        this.#emit({ kind: 'roll.failed', replaced, reason: failure })
        return
      }
      replaced += 1
    }
    if (!stopped.aborted) this.#emit({ kind: 'roll.done', replaced })
  }

  /** Why the old one goes on, or null when it is gone. */
  async #replace(old: Child): Promise<string | null> {
    const stopped = this.#stopped.signal
    if (!(await this.#place.held(stopped, (error) => this.#unanswered(error)))) {
      if (!stopped.aborted) this.#lose()
      return 'the place of this supervisor is not held'
    }
    const fresh = this.#trySpawn(false)
    if (fresh === null) return 'no process could be started'
    await atMost(fresh.settled, ROLL_READY_MS_MAX)
    if (stopped.aborted) return 'the supervisor stops'
    if (!this.#children.has(fresh)) return 'the new process ended before it was ready'
    if (!fresh.ready) {
      this.#tellToStop(fresh)
      return `the new process was not ready within ${ROLL_READY_MS_MAX / 1_000} s`
    }
    // Should the old one have ended by itself meanwhile, another may be there in its stead already; should it leave, none is wanted.
    const isKept = old.kept && this.#children.has(old)
    if (isKept || this.#keptCount() < this.#wanted) fresh.kept = true
    else this.#retire(fresh, 'rolled')
    if (isKept) this.#retire(old, 'rolled')
    await old.gone
    return null
  }

  // ── autoscale ────────────────────────────────────────────────────────────────────────────────────────────────────────────

  async #look(): Promise<void> {
    if (this.#rolling !== null || this.#finishing || this.#stopped.signal.aborted) return
    const { processes, namespace, idleForMs } = this.#options
    const children = [...this.#children].filter(({ kept }) => kept)
    const idle = surplus(children, processes.min, { nowMs: elapsedMs(), idleForMs })
    if (idle !== null) {
      const message: ParentMessage = { type: 'leave_if_idle' }
      // A channel that has closed says the same: it ends.
      if (idle.process.connected) idle.process.send(message, () => undefined)
      return
    }
    const [takes] = children.flatMap((child) => child.takes ?? [])
    if (takes === undefined || !mayNeedMore(children, processes.max)) return
    if (this.#keptCount() < this.#wanted) return
    try {
      const waitedMs = await backlogAge(this.#db, namespace, takes, this.#options.run)
      if (!isBacklog(waitedMs, this.#startTookMs)) return
      const from = this.#keptCount()
      if (this.#rolling !== null || from < this.#wanted || from >= processes.max) return
      this.#wanted = from + 1
      this.#emit({ kind: 'processes.scaled', from, to: this.#wanted, waitedMs })
      await this.#fill()
    } catch (error) {
      this.#unanswered(error as Error)
    }
  }

  #emit(event: SupervisorEvent): void {
    this.#options.onEvent?.(event)
  }
}
