/**
 * Settings of the program: flags, then environment, then defaults. The only place that reads the environment; everything below
 * gets plain values.
 *
 *     DATABASE_URL            the server; without it the embedded one of the working directory, `.leasehold/pg`
 *     LEASEHOLD_SCHEMA        the schema of Leasehold's functions, default `leasehold`
 *     LEASEHOLD_NAMESPACE     default `default`
 *     LEASEHOLD_MACHINE_ID    instead of the machine's own id
 *     RUN_FILTER_ID           the run that a worker is aimed at
 *     LEASEHOLD_LOG_LEVEL     trace, debug, info (default), warn, error, fatal or silent
 *     HEARTBEAT_INTERVAL      pause between renewals, in seconds
 *     LEASE_DURATION          the lease, in seconds
 */
import path from 'node:path'
import type { SettingWords, WorkerSettings } from '../config.ts'
import { UsageError } from '../errors.ts'
import { oneOf, wholeNumber } from './arguments.ts'

export type Environment = Readonly<Record<string, string | undefined>>

/** Flags of every command. */
export interface CommonFlags {
  readonly json?: boolean
  readonly database?: string
  readonly namespace?: string
}

/** Where a command works. */
export interface Target {
  /** `null`: the embedded database in `dataDir`. */
  readonly databaseUrl: string | null
  readonly dataDir: string
  readonly schema: string
  readonly namespace: string
}

/** The embedded database of a working directory. */
export function embeddedDir(workingDirectory: string = process.cwd()): string {
  return path.join(workingDirectory, '.leasehold', 'pg')
}

/** @throws {UsageError} for an empty name or URL. */
export function resolveTarget(flags: CommonFlags, env: Environment = process.env): Target {
  if (flags.database?.trim() === '') throw new UsageError('--database is empty.')
  if (flags.namespace?.trim() === '') throw new UsageError('--namespace is empty.')
  if (flags.database === undefined && env['DATABASE_URL']?.trim() === '') {
    throw new UsageError('DATABASE_URL is set and empty.', {
      hint: 'Give it the URL of a server, or unset it for the embedded database of this directory.',
    })
  }
  return {
    databaseUrl: flags.database ?? (env['DATABASE_URL'] || null),
    dataDir: embeddedDir(),
    schema: resolveSchema(env),
    namespace: flags.namespace ?? (env['LEASEHOLD_NAMESPACE'] || 'default'),
  }
}

/** What PostgreSQL would cut (63 bytes), keep for itself (`pg_`), or what is a slip of the shell rather than a name. */
function resolveSchema(env: Environment): string {
  const name = env['LEASEHOLD_SCHEMA'] || 'leasehold'
  if (/^(?!pg_)[\p{L}_][\p{L}\p{N}_$.-]*$/u.test(name) && Buffer.byteLength(name) <= 63) return name
  throw new UsageError(
    `LEASEHOLD_SCHEMA is the name of a schema, letters, digits, and _ - . $ at most 63 bytes long, got "${name}".`,
  )
}

/** `null`: the machine's own id. */
export function resolveMachineId(env: Environment = process.env): string | null {
  return env['LEASEHOLD_MACHINE_ID'] || null
}

/** `null`: a worker takes the jobs of any run and of none. */
export function resolveRunFilter(env: Environment = process.env): string | null {
  return env['RUN_FILTER_ID'] || null
}

const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const
export type LogLevel = (typeof LOG_LEVELS)[number]

/** @throws {UsageError} when LEASEHOLD_LOG_LEVEL is no level. */
export function resolveLogLevel(env: Environment = process.env): LogLevel {
  const level = env['LEASEHOLD_LOG_LEVEL'] || 'info'
  return oneOf('LEASEHOLD_LOG_LEVEL', LOG_LEVELS)(level)
}

/** `null`: no bound. @throws {UsageError} */
export function resolveMaxLoops(env: Environment = process.env): number | null {
  const text = env['WORKER_MAX_LOOPS']
  return text ? wholeNumber('WORKER_MAX_LOOPS', COUNT_RANGE)(text) : null
}

/** What `--max-loops` and its like may be. */
export const COUNT_RANGE: { min: number; max: number } = { min: 1, max: 1_000_000_000 }

/** The lease and its renewal as the environment sets them, unchecked against each other. @throws {UsageError} */
export function resolveLease(
  env: Environment = process.env,
): Partial<Pick<WorkerSettings, 'leaseMs' | 'renewMs'>> {
  const leaseMs = secondsOf('LEASE_DURATION', env)
  const renewMs = secondsOf('HEARTBEAT_INTERVAL', env)
  return {
    ...(leaseMs === undefined ? {} : { leaseMs }),
    ...(renewMs === undefined ? {} : { renewMs }),
  }
}

const SETTING_NAMES: Partial<Record<keyof WorkerSettings, string>> = {
  leaseMs: 'LEASE_DURATION',
  renewMs: 'HEARTBEAT_INTERVAL',
  concurrency: '--concurrency',
  shutdownGraceMs: '--shutdown-grace',
  maxLoops: '--max-loops',
  maxJobs: '--max-jobs',
  maxLifetimeMs: '--max-lifetime',
  healthPort: '--health-port',
  healthHost: '--health-host',
}

/** Settings of a worker by the variables and flags that set them here. */
export const PROGRAM_WORDS: SettingWords = {
  nameOf: (setting) => SETTING_NAMES[setting] ?? `\`${setting}\``,
  setTo: (setting, ms) => `${PROGRAM_WORDS.nameOf(setting)}=${ms / 1_000}`,
}

function secondsOf(name: string, env: Environment): number | undefined {
  const text = env[name]
  if (text === undefined || text === '') return undefined
  if (/^\d+(\.\d+)?$/.test(text)) return Math.round(Number(text) * 1_000)
  throw new UsageError(`${name} is a number of seconds, got "${text}".`)
}
