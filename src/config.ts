/**
 * Settings of a worker: one primary knob, the lease; the rest derive from it. `resolveSettings` reports every problem at once and
 * refuses what could lose or double work, with the reason. The result is frozen.
 */
import { ConfigUnsafeError } from './errors.ts'

export interface WorkerSettings {
  /** How long a job stays with a worker that gives no sign of life, in milliseconds. Default 30,000, at least 6,000, at most 2,147,483,647. */
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

/** Those that derive from no other. */
const PRIMARY_DEFAULTS: Omit<WorkerSettings, 'renewMs' | 'hardExitMs'> = {
  leaseMs: 30_000,
  idleBeatMs: 30_000,
  pollMs: 1_000,
  concurrency: 10,
  shutdownGraceMs: 25_000,
  listen: true,
  spoolDir: '.leasehold/spool',
  maxLoops: null,
  maxJobs: null,
  exitWhenIdle: false,
  maxLifetimeMs: null,
  healthPort: null,
  healthHost: '127.0.0.1',
}

/** A setting that is given as undefined or null is not given. */
function filledIn(given: Partial<WorkerSettings>): WorkerSettings {
  const own = Object.fromEntries(
    Object.entries(given).filter(([, value]) => value !== undefined && value !== null),
  )
  const primary = { ...PRIMARY_DEFAULTS, ...own }
  return {
    ...primary,
    renewMs: given.renewMs ?? Math.floor(primary.leaseMs / 3),
    hardExitMs: given.hardExitMs ?? primary.shutdownGraceMs + 5_000,
  }
}

export const WORKER_DEFAULTS: WorkerSettings = Object.freeze(filledIn({}))

/** Whether a worker with these settings comes to an end by itself. */
export function isBounded(settings: WorkerSettings): boolean {
  const { maxLoops, maxJobs, exitWhenIdle, maxLifetimeMs } = settings
  return exitWhenIdle || [maxLoops, maxJobs, maxLifetimeMs].some((bound) => bound !== null)
}

/** Below this the margin of at least 2 s would leave no room for two renewals. */
export const LEASE_MS_MIN = 6_000
const RENEW_MS_MIN = 500
/** Almost 25 days: the database keeps a lease, and timers a pause, as milliseconds in 32 bits. */
export const SETTING_MS_MAX = 2_147_483_647

/** A worker stops trusting its lease this long before the database does: max(L/6, 2 s). */
export function fenceMarginMs(leaseMs: number): number {
  return Math.max(leaseMs / 6, 2_000)
}

/** How often a worker looks whether a handler has done what it was told, in milliseconds: no grace can be shorter. */
export const HANDLER_CHECK_MS = 50

export const PORT_MAX = 65_535

/** Limits of values that jobs store, in bytes. Both are enforced by the database too. */
export const INPUT_BYTES_MAX = 1_048_576
export const VALUE_BYTES_MAX = 1_048_576

/** How settings are written where they were given, so that a refusal speaks of what its reader can change. */
export interface SettingWords {
  /** The name of a setting. */
  readonly nameOf: (setting: keyof WorkerSettings) => string
  /** What sets it to so many milliseconds. */
  readonly setTo: (setting: keyof WorkerSettings, ms: number) => string
}

/** Of `createWorker`. */
const OPTIONS: SettingWords = {
  nameOf: (setting) => `\`${setting}\``,
  setTo: (setting, ms) => `\`${setting}: ${ms}\``,
}

/** A setting, whether it fits, and what is said after its name where it does not. */
type Rule = readonly [
  setting: keyof WorkerSettings,
  fits: (settings: WorkerSettings) => boolean,
  says: (settings: WorkerSettings, words: SettingWords) => string,
]

function isAmount(value: unknown): boolean {
  return Number.isFinite(value) && (value as number) >= 0
}

function amount(setting: 'leaseMs' | 'renewMs' | 'idleBeatMs' | 'pollMs' | StopSetting): Rule[] {
  return [
    [
      setting,
      (settings) => isAmount(settings[setting]),
      (settings) => `must be a number of at least 0, got ${String(settings[setting])}`,
    ],
    [
      setting,
      (settings) => !(settings[setting] > SETTING_MS_MAX),
      (settings) =>
        `is ${seconds(settings[setting])}, but can be at most ${seconds(SETTING_MS_MAX)}, which is almost 25 days`,
    ],
  ]
}

type StopSetting = 'shutdownGraceMs' | 'hardExitMs'

function count(setting: 'maxLoops' | 'maxJobs' | 'maxLifetimeMs', unit = ''): Rule {
  return [
    setting,
    ({ [setting]: value }) => value === null || (Number.isSafeInteger(value) && value >= 1),
    (settings) => `must be a whole number of at least 1${unit}, got ${String(settings[setting])}`,
  ]
}

/** Of the rules of one setting, the first that it breaks is told. */
const RULES: readonly Rule[] = [
  ...amount('leaseMs'),
  [
    'leaseMs',
    ({ leaseMs }) => leaseMs >= LEASE_MS_MIN,
    ({ leaseMs }) =>
      `is ${seconds(leaseMs)}, but must be at least ${seconds(LEASE_MS_MIN)}: a worker fences itself 2 s before the end and must have two renewals until then`,
  ],
  ...amount('renewMs'),
  [
    'renewMs',
    outlivesRenewals,
    ({ renewMs, leaseMs }, { nameOf }) =>
      `is ${seconds(renewMs)}, but it can be at most a third of the lease (${nameOf('leaseMs')} ${seconds(leaseMs)}, so ${seconds(leaseMs / 3)}). A lease must survive two missed renewals`,
  ],
  [
    'renewMs',
    ({ renewMs }) => renewMs >= RENEW_MS_MIN,
    ({ renewMs }) =>
      `is ${renewMs} ms, which is more than the database should be asked; at least ${RENEW_MS_MIN} ms`,
  ],
  ...amount('idleBeatMs'),
  ...amount('pollMs'),
  [
    'concurrency',
    ({ concurrency }) => Number.isInteger(concurrency) && concurrency >= 1 && concurrency <= 1_000,
    ({ concurrency }) => `must be a whole number from 1 to 1000, got ${concurrency}`,
  ],
  ...amount('shutdownGraceMs'),
  ...amount('hardExitMs'),
  [
    'hardExitMs',
    ({ hardExitMs, shutdownGraceMs }) => !(hardExitMs < shutdownGraceMs),
    ({ hardExitMs, shutdownGraceMs }, { nameOf }) =>
      `is ${seconds(hardExitMs)}, but must not come before the shutdown grace (${nameOf('shutdownGraceMs')} ${seconds(shutdownGraceMs)}) is over`,
  ],
  [
    'spoolDir',
    ({ spoolDir }) => typeof spoolDir === 'string' && spoolDir !== '',
    () => 'must be the path of a directory',
  ],
  count('maxLoops'),
  count('maxJobs'),
  count('maxLifetimeMs', ' ms'),
  [
    'healthPort',
    ({ healthPort: port }) =>
      port === null || (Number.isInteger(port) && port >= 0 && port <= PORT_MAX),
    ({ healthPort }) => `must be a port from 0 to ${PORT_MAX}, got ${String(healthPort)}`,
  ],
  [
    'healthHost',
    ({ healthHost }) => typeof healthHost === 'string' && healthHost !== '',
    () => 'must be an address or a host name',
  ],
]

/** With a lease that is no number, there is nothing to say of the renewals. */
function outlivesRenewals({ leaseMs, renewMs }: WorkerSettings): boolean {
  return !(renewMs * 3 > leaseMs)
}

/**
 * Fills in defaults and derived values.
 *
 * @param words How the settings are written where they come from.
 * @throws {ConfigUnsafeError} naming every unsafe or unknown setting.
 */
export function resolveSettings(
  given: Partial<WorkerSettings>,
  words: SettingWords = OPTIONS,
): WorkerSettings {
  const settings = filledIn(given)
  const problems = Object.keys(given)
    .filter((name) => !(name in WORKER_DEFAULTS))
    .map((name) => `\`${name}\` is not a setting`)
  const told = new Set<string>()
  for (const [setting, fits, says] of RULES) {
    // A default fits, and what is derived is as right as what was given.
    const isGiven = (given[setting] ?? null) !== null
    if (!isGiven || told.has(setting) || fits(settings)) continue
    told.add(setting)
    problems.push(`${words.nameOf(setting)} ${says(settings, words)}`)
  }
  if (problems.length === 0) return Object.freeze(settings)
  throw new ConfigUnsafeError(`${problems.join('.\n')}.`, {
    hint: outlivesRenewals(settings) ? undefined : slowerOrLonger(settings, words),
  })
}

function slowerOrLonger({ leaseMs, renewMs }: WorkerSettings, { setTo }: SettingWords): string {
  const renewMsMax = Math.floor(Math.max(leaseMs, LEASE_MS_MIN) / 3)
  return `Set ${setTo('renewMs', renewMsMax)}, or ${setTo('leaseMs', Math.max(renewMs * 3, LEASE_MS_MIN))}.`
}

function seconds(ms: number): string {
  return `${Number((ms / 1_000).toFixed(3))} s`
}
