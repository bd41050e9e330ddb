/**
 * What a worker says of itself: past facts with typed fields, one stable name each, for listeners and for the log alike. A
 * listener or logger that throws is reported as a process warning and hurts neither the worker nor the other listeners.
 */

import type { RunStatus } from '../domain/states.ts'
import type { SweepPart } from '../sweep/failures.ts'
import type { ShutdownReport } from './shutdown-report.ts'

export interface WorkerEvents {
  'worker.started': {
    workerId: string
    queues: readonly string[]
    types: readonly string[]
    concurrency: number
    listening: boolean
  }
  'worker.draining': { workerId: string; reason: string; running: number; graceMs: number | null }
  'worker.signal': { signal: string; count: number }
  'worker.phase': { phase: string; durationMs: number }
  'worker.bound_reached': { bound: string; reason: string }
  'worker.stopped': {
    workerId: string
    reason: string
    durationMs: number
    released: number
    report: ShutdownReport
  }
  'worker.offline': { workerIds: readonly string[]; layer: number | null }
  'worker.degraded': { reason: string }
  'worker.stood_still': { forMs: number }
  'worker.stuck': { part: 'claims' | 'event_loop'; forMs: number }
  'run.ended': { runId: string; status: RunStatus | 'not_found'; running: number }
  'job.picked_up': { jobId: string; type: string; queue: string; attempt: number }
  'job.completed': {
    jobId: string
    type: string
    attempt: number
    durationMs: number
    late: boolean
  }
  'job.failed': {
    jobId: string
    type: string
    attempt: number
    durationMs: number
    code: string
    message: string
    /** Null: it was accepted before, and the answer that said so was lost. */
    retrying: boolean | null
  }
  'job.cancelled': { jobId: string; type: string; attempt: number; durationMs: number }
  'job.unresponsive': {
    jobId: string
    type: string
    attempt: number
    reason: string
    forMs: number
  }
  'jobs.released': { jobIds: readonly string[]; reason: string }
  'jobs.recovered': {
    jobIds: readonly string[]
    layer: number | null
    workerIds: readonly string[]
  }
  'job.poisoned': { jobId: string }
  'sweep.failed': { part: SweepPart; error: string }
  'lease.lost': { jobIds: readonly string[]; code: string; message: string }
  'lease.renewal_failed': { error: string; trustedForMs: number }
  'spool.buffered': { depth: number; onDisk: number; error: string }
  'spool.flushed': { count: number; answers: Readonly<Record<string, number>> }
  'spool.taken_over': { pid: number; count: number; unreadable: number }
  'spool.degraded': { directory: string; reason: string }
  'listen.degraded': { reason: string }
  'jobs.dropped': { count: number }
  'retention.failed': { error: string; retryMs: number }
  'event_loop.blocked': { forMs: number; jobIds: readonly string[]; types: readonly string[] }
  'health.listening': { host: string; port: number }
  'session.closed': { name: string; durationMs: number }
  'session.failed': { name: string; step: string; outcome: string; error: string }
  'hook.failed': { name: string; phase: string; outcome: string; error: string }
  'shutdown.timeout': { phase: string; afterMs: number }
  no_worker_for_type: { type: string; queue: string; jobIds: readonly string[] }
  'alert.raised': {
    alertId: string
    rule: string
    subject: string
    message: string
    data: Readonly<Record<string, unknown>>
  }
  'alert.resolved': {
    alertId: string
    rule: string
    subject: string
    message: string
    data: Readonly<Record<string, unknown>>
  }
}

export type WorkerEventName = keyof WorkerEvents

/** How loud each is in a log. */
export const EVENT_LEVELS: Readonly<Record<WorkerEventName, 'debug' | 'info' | 'warn' | 'error'>> =
  Object.freeze({
    'worker.started': 'info',
    'worker.draining': 'info',
    'worker.signal': 'info',
    'worker.phase': 'info',
    'worker.bound_reached': 'info',
    'worker.stopped': 'info',
    'worker.offline': 'warn',
    'worker.degraded': 'warn',
    'worker.stood_still': 'warn',
    'worker.stuck': 'error',
    'run.ended': 'info',
    'job.picked_up': 'info',
    'job.completed': 'info',
    'job.failed': 'warn',
    'job.cancelled': 'info',
    'job.unresponsive': 'warn',
    'jobs.released': 'info',
    'jobs.recovered': 'warn',
    'job.poisoned': 'error',
    'sweep.failed': 'error',
    'lease.lost': 'error',
    'lease.renewal_failed': 'warn',
    'spool.buffered': 'warn',
    'spool.flushed': 'info',
    'spool.taken_over': 'warn',
    'spool.degraded': 'warn',
    'listen.degraded': 'warn',
    'jobs.dropped': 'info',
    'retention.failed': 'warn',
    'event_loop.blocked': 'warn',
    'health.listening': 'info',
    'session.closed': 'debug',
    'session.failed': 'warn',
    'hook.failed': 'warn',
    'shutdown.timeout': 'error',
    no_worker_for_type: 'warn',
    'alert.raised': 'error',
    'alert.resolved': 'info',
  })

/** The part of pino's interface that is used: constant message, data in fields. */
export interface Logger {
  debug(fields: object, message: string): void
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
  error(fields: object, message: string): void
}

type Listener = (name: WorkerEventName, fields: WorkerEvents[WorkerEventName]) => void

export class WorkerEventBus {
  readonly #listeners = new Map<WorkerEventName | '*', Set<Listener>>()
  readonly #logger: Logger | undefined

  constructor(logger: Logger | undefined) {
    this.#logger = logger
  }

  on<Name extends WorkerEventName>(
    name: Name,
    listener: (fields: WorkerEvents[Name]) => void,
  ): () => void {
    return this.#add(name, (_, fields) => listener(fields as WorkerEvents[Name]))
  }

  onEvery(listener: Listener): () => void {
    return this.#add('*', listener)
  }

  /** Whether anybody would hear it: building fields for nobody costs more than asking. */
  heard(name: WorkerEventName): boolean {
    return this.#logger !== undefined || this.#listeners.has(name) || this.#listeners.has('*')
  }

  emit<Name extends WorkerEventName>(name: Name, fields: WorkerEvents[Name]): void {
    this.#unhurt(() => this.#logger?.[EVENT_LEVELS[name]]({ event: name, ...fields }, name))
    for (const key of [name, '*'] as const) {
      for (const listener of this.#listeners.get(key) ?? [])
        this.#unhurt(() => listener(name, fields))
    }
  }

  #unhurt(tell: () => void): void {
    try {
      tell()
    } catch (error) {
      queueMicrotask(() => process.emitWarning(error as Error))
    }
  }

  #add(key: WorkerEventName | '*', listener: Listener): () => void {
    const listeners = this.#listeners.get(key) ?? new Set()
    listeners.add(listener)
    this.#listeners.set(key, listeners)
    return () => {
      listeners.delete(listener)
      if (listeners.size === 0) this.#listeners.delete(key)
    }
  }
}
