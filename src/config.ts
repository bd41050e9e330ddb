/**
 * Settings of a worker: one primary knob, the lease; the rest derive from it. `resolveSettings` reports every problem at once and
 * refuses what could lose or double work, with the reason. The result is frozen.
 */
import { ConfigUnsafeError } from './errors.ts'

export interface WorkerSettings {
  /** How long a job stays with a worker that gives no sign of life, in milliseconds. Default 30,000, at least 6,000. */
  readonly leaseMs: number
  /** Pause between renewals, in milliseconds. Default a third of the lease, at most that. */
  readonly renewMs: number
  /** Pause between the beats of an idle worker, each of which also looks for work, in milliseconds. Default 30,000. */
  readonly idleBeatMs: number
  /** How often to look for work where LISTEN is not there to tell, in milliseconds. Default 1,000. */
  readonly pollMs: number
  /** Jobs at once. Default 10. */
  readonly concurrency: number
  /** How long a shutdown waits for handlers before it aborts them, in milliseconds. Default 25,000. */
  readonly shutdownGraceMs: number
  /** When a shutdown that hangs is cut, in milliseconds from its start. Default the grace and 5,000. */
  readonly hardExitMs: number
  /** Whether to LISTEN for hints. Default true; switched off by itself behind a transaction-mode pooler. */
  readonly listen: boolean
  /**
   * Where outcomes that the database can't take are kept until it can; made when it is first needed. Default `.leasehold/spool`
   * under the working directory. Give it a disk that outlives the process.
   */
  readonly spoolDir: string
  /** Answer so many claims' worth of work, then stop when it is done. Default null: no bound. */
  readonly maxLoops: number | null
  /** Begin so many jobs, then stop when they are done. Default null: no bound. */
  readonly maxJobs: number | null
  /** Stop when nothing is due and nothing runs here. Default false. */
  readonly exitWhenIdle: boolean
  /** Stop so long after it has registered, in milliseconds; handlers have the shutdown grace. Default null: no bound. */
  readonly maxLifetimeMs: number | null
  /** Port of `/livez`, `/readyz` and `/metrics`; 0 takes a free one. Default null: none. */
  readonly healthPort: number | null
  /** Address that they are served on. Default the loopback: a container's probes need `0.0.0.0`. */
  readonly healthHost: string
}

export const WORKER_DEFAULTS: WorkerSettings = Object.freeze({
  leaseMs: 30_000,
  renewMs: 10_000,
  idleBeatMs: 30_000,
  pollMs: 1_000,
  concurrency: 10,
  shutdownGraceMs: 25_000,
  hardExitMs: 30_000,
  listen: true,
  spoolDir: '.leasehold/spool',
  maxLoops: null,
  maxJobs: null,
  exitWhenIdle: false,
  maxLifetimeMs: null,
  healthPort: null,
  healthHost: '127.0.0.1',
})

/** Whether a worker with these settings comes to an end by itself. */
export function isBounded(settings: WorkerSettings): boolean {
  const { maxLoops, maxJobs, exitWhenIdle, maxLifetimeMs } = settings
  return exitWhenIdle || [maxLoops, maxJobs, maxLifetimeMs].some((bound) => bound !== null)
}

/** Below this the margin of at least 2 s would leave no room for two renewals. */
export const LEASE_MS_MIN = 6_000

/** A worker stops trusting its lease this long before the database does: max(L/6, 2 s). */
export function fenceMarginMs(leaseMs: number): number {
  return Math.max(leaseMs / 6, 2_000)
}

export const PORT_MAX = 65_535

/** Limits of values that jobs store, in bytes. Both are enforced by the database too. */
export const INPUT_BYTES_MAX = 1_048_576
export const VALUE_BYTES_MAX = 1_048_576

/** Fills in defaults and derived values. @throws {ConfigUnsafeError} naming every unsafe or unknown setting. */
export function resolveSettings(given: Partial<WorkerSettings>): WorkerSettings {
  const problems: string[] = []
  for (const name of Object.keys(given)) {
    if (!(name in WORKER_DEFAULTS)) problems.push(`\`${name}\` is not a setting`)
  }
  const leaseMs = given.leaseMs ?? WORKER_DEFAULTS.leaseMs
  const renewMs = given.renewMs ?? Math.floor(leaseMs / 3)
  const shutdownGraceMs = given.shutdownGraceMs ?? WORKER_DEFAULTS.shutdownGraceMs
  const settings: WorkerSettings = {
    leaseMs,
    renewMs,
    idleBeatMs: given.idleBeatMs ?? WORKER_DEFAULTS.idleBeatMs,
    pollMs: given.pollMs ?? WORKER_DEFAULTS.pollMs,
    concurrency: given.concurrency ?? WORKER_DEFAULTS.concurrency,
    shutdownGraceMs,
    hardExitMs: given.hardExitMs ?? shutdownGraceMs + 5_000,
    listen: given.listen ?? WORKER_DEFAULTS.listen,
    spoolDir: given.spoolDir ?? WORKER_DEFAULTS.spoolDir,
    maxLoops: given.maxLoops ?? WORKER_DEFAULTS.maxLoops,
    maxJobs: given.maxJobs ?? WORKER_DEFAULTS.maxJobs,
    exitWhenIdle: given.exitWhenIdle ?? WORKER_DEFAULTS.exitWhenIdle,
    maxLifetimeMs: given.maxLifetimeMs ?? WORKER_DEFAULTS.maxLifetimeMs,
    healthPort: given.healthPort ?? WORKER_DEFAULTS.healthPort,
    healthHost: given.healthHost ?? WORKER_DEFAULTS.healthHost,
  }
  for (const [name, value] of Object.entries(settings)) {
    if (typeof WORKER_DEFAULTS[name as keyof WorkerSettings] !== 'number') continue
    if (!(Number.isFinite(value) && (value as number) >= 0))
      problems.push(`\`${name}\` must be a number of at least 0, got ${String(value)}`)
  }
  for (const name of ['maxLoops', 'maxJobs', 'maxLifetimeMs'] as const) {
    const bound = settings[name]
    if (bound !== null && !(Number.isSafeInteger(bound) && bound >= 1))
      problems.push(`\`${name}\` must be a whole number of at least 1, got ${String(bound)}`)
  }
  const { healthPort, healthHost } = settings
  if (
    healthPort !== null &&
    !(Number.isInteger(healthPort) && healthPort >= 0 && healthPort <= PORT_MAX)
  )
    problems.push(`\`healthPort\` must be a port from 0 to ${PORT_MAX}, got ${String(healthPort)}`)
  if (typeof healthHost !== 'string' || healthHost === '')
    problems.push('`healthHost` must be an address or a host name')
  if (leaseMs < LEASE_MS_MIN) {
    problems.push(
      `the lease is ${seconds(leaseMs)}, but must be at least ${seconds(LEASE_MS_MIN)}: a worker fences itself 2 s before the end and must have two renewals until then`,
    )
  }
  if (renewMs * 3 > leaseMs) {
    problems.push(
      `HEARTBEAT_INTERVAL is ${seconds(renewMs)}, but it can be at most a third of the lease (LEASE_DURATION ${seconds(leaseMs)}, so ${seconds(leaseMs / 3)}). A lease must survive two missed renewals`,
    )
  }
  if (renewMs < 500) {
    problems.push(
      `a renewal every ${renewMs} ms is more than the database should be asked; at least 500 ms`,
    )
  }
  if (
    !Number.isInteger(settings.concurrency) ||
    settings.concurrency < 1 ||
    settings.concurrency > 1_000
  ) {
    problems.push(
      `\`concurrency\` must be a whole number from 1 to 1000, got ${settings.concurrency}`,
    )
  }
  if (typeof settings.spoolDir !== 'string' || settings.spoolDir === '') {
    problems.push('`spoolDir` must be the path of a directory')
  }
  if (settings.hardExitMs < shutdownGraceMs) {
    problems.push(
      `\`hardExitMs\` (${seconds(settings.hardExitMs)}) must not come before the shutdown grace (${seconds(shutdownGraceMs)})`,
    )
  }
  if (problems.length > 0) {
    throw new ConfigUnsafeError(`${problems.join('.\n')}.`, {
      hint:
        renewMs * 3 > leaseMs
          ? `Set HEARTBEAT_INTERVAL=${Math.floor(leaseMs / 3_000)}, or LEASE_DURATION=${Math.ceil((renewMs * 3) / 1_000)}.`
          : undefined,
    })
  }
  return Object.freeze(settings)
}

function seconds(ms: number): string {
  return `${Number((ms / 1_000).toFixed(3))} s`
}
