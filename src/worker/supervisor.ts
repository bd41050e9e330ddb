/**
 * A supervisor: keeps N worker processes on a machine, and is layer 1: it sees a child exit within milliseconds, with its code or
 * signal, and tells the database, so that the child's jobs go elsewhere at once.
 *
 *     child exits ── it had stopped cleanly ──▶ nothing to report
 *          ├─────── it had reached a bound of its own ──▶ not restarted; the supervisor is done when all have
 *          └─────── else ─▶ report (layer 1) ─▶ restart after a back-off: 0.5 s, doubling to 30 s, anew after a minute of life
 *
 * Children run in sessions of their own, so a terminal's Ctrl-C reaches them once, through here. A child whose supervisor is gone (its
 * IPC channel closes, also by SIGKILL) stops gracefully by itself. Reports that the database can't take are tried for a while; layers
 * 2 to 4 notice anyway.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { elapsedMs, sleep } from '../clock.ts'
import { type Database, openDatabase } from '../db/connect.ts'
import { reportDeath } from '../sql/protocol.ts'

export interface SupervisorOptions {
  readonly databaseUrl: string
  readonly schema?: string
  readonly namespace: string
  readonly machineId: string
  /** Worker processes to keep. */
  readonly processes: number
  /** Program and arguments of one worker process. */
  readonly command: readonly [string, ...string[]]
  readonly env: NodeJS.ProcessEnv
  /** How long a stop may take before children are killed, in milliseconds. */
  readonly hardExitMs: number
  readonly onEvent?: (event: SupervisorEvent) => void
  /** Every child has reached a bound of its own. */
  readonly onDone: () => void
}

export type SupervisorEvent =
  | { readonly kind: 'child.started'; readonly slot: number; readonly pid: number }
  | {
      readonly kind: 'child.ready'
      readonly slot: number
      readonly pid: number
      readonly workerId: string
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
  | {
      readonly kind: 'jobs.recovered'
      readonly jobIds: readonly string[]
      readonly workerIds: readonly string[]
      readonly layer: 1
    }
  | { readonly kind: 'report.failed'; readonly error: string }

/** What a worker process tells its supervisor. */
export type ChildMessage =
  | { readonly type: 'registered'; readonly incarnation: string; readonly id: string }
  /** `done`: by a bound of its own, so nobody is to take its place. */
  | { readonly type: 'stopped'; readonly done: boolean }

interface Child {
  readonly slot: number
  readonly process: ChildProcess
  readonly startedMs: number
  readonly incarnations: Set<string>
  clean: boolean
  done: boolean
}

const BACKOFF_MS_MIN = 500
const BACKOFF_MS_MAX = 30_000
/** Living so long proves that a start works, so the next failure is a new one. */
const STABLE_MS = 60_000
const REPORT_TRIES = 20

export class Supervisor {
  readonly #options: SupervisorOptions
  readonly #db: Database
  readonly #children = new Map<number, Child>()
  readonly #failures = new Map<number, number>()
  readonly #done = new Set<number>()
  readonly #restarts = new Set<Promise<void>>()
  readonly #stopped = new AbortController()
  #kill: NodeJS.Timeout | null = null

  constructor(options: SupervisorOptions) {
    this.#options = options
    this.#db = openDatabase({
      databaseUrl: options.databaseUrl,
      ...(options.schema === undefined ? {} : { schema: options.schema }),
      connectionsMax: 1,
      callTimeoutMs: 5_000,
      applicationName: 'leasehold supervisor',
    })
  }

  start(): void {
    for (let slot = 1; slot <= this.#options.processes; slot += 1) this.#spawn(slot)
  }

  /** Passes a signal on to every child. */
  signal(signal: NodeJS.Signals): void {
    for (const child of this.#children.values()) child.process.kill(signal)
  }

  /** Asks every child to stop and resolves when all have; kills what is left at the hard exit. */
  async stop(): Promise<void> {
    this.#stopped.abort()
    this.signal('SIGTERM')
    this.#kill ??= setTimeout(() => this.signal('SIGKILL'), this.#options.hardExitMs + 1_000)
    while (this.#children.size > 0 || this.#restarts.size > 0) {
      await Promise.all([
        ...this.#restarts,
        ...[...this.#children.values()].map(
          (child) => new Promise((resolve) => child.process.once('exit', resolve)),
        ),
      ])
    }
    clearTimeout(this.#kill)
    await this.#db.close().catch(() => undefined)
  }

  #spawn(slot: number): void {
    const [program, ...args] = this.#options.command
    const child: Child = {
      slot,
      startedMs: elapsedMs(),
      incarnations: new Set(),
      clean: false,
      done: false,
      process: spawn(program, args, {
        env: { ...this.#options.env, LEASEHOLD_SUPERVISED: '1', LEASEHOLD_SLOT: String(slot) },
        stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
        detached: true,
      }),
    }
    this.#children.set(slot, child)
    const pid = child.process.pid ?? 0
    this.#emit({ kind: 'child.started', slot, pid })
    child.process.on('message', (message: ChildMessage) => {
      if (message.type === 'registered') {
        child.incarnations.add(message.incarnation)
        this.#emit({ kind: 'child.ready', slot, pid, workerId: message.id })
      } else {
        child.clean = true
        child.done = message.done
      }
    })
    child.process.on('error', () => undefined)
    child.process.once('exit', (exitCode, signal) => {
      const restart = this.#exited(child, exitCode, signal).finally(() =>
        this.#restarts.delete(restart),
      )
      this.#restarts.add(restart)
    })
  }

  async #exited(
    child: Child,
    exitCode: number | null,
    signal: NodeJS.Signals | null,
  ): Promise<void> {
    const exitedMs = elapsedMs()
    this.#children.delete(child.slot)
    const failures =
      exitedMs - child.startedMs > STABLE_MS ? 0 : (this.#failures.get(child.slot) ?? 0)
    this.#failures.set(child.slot, failures + 1)
    const stopping = this.#stopped.signal.aborted || child.done
    const restartInMs = stopping ? null : Math.min(BACKOFF_MS_MAX, BACKOFF_MS_MIN * 2 ** failures)
    this.#emit({
      kind: 'child.exited',
      slot: child.slot,
      pid: child.process.pid ?? 0,
      exitCode,
      signal,
      clean: child.clean,
      restartInMs,
    })
    const reported = child.clean
      ? Promise.resolve()
      : this.#report(child, exitedMs, exitCode, signal)
    if (restartInMs !== null) {
      await sleep(restartInMs, this.#stopped.signal)
      if (!this.#stopped.signal.aborted) this.#spawn(child.slot)
    }
    await reported
    if (child.done) this.#done.add(child.slot)
    if (this.#done.size === this.#options.processes) this.#options.onDone()
  }

  async #report(
    child: Child,
    exitedMs: number,
    exitCode: number | null,
    signal: string | null,
  ): Promise<void> {
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
            message:
              signal === null
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
        return
      } catch (error) {
        this.#emit({ kind: 'report.failed', error: (error as Error).message })
        await sleep(Math.min(2_000, 100 * 2 ** tries))
        if (this.#stopped.signal.aborted && tries >= 3) return
      }
    }
  }

  #emit(event: SupervisorEvent): void {
    this.#options.onEvent?.(event)
  }
}
