/**
 * What the health endpoints of a worker say, computed from facts that the lifeline has without asking anybody.
 *
 *     /livez    503 when only a fresh process helps: claims or event loop are stuck, or nobody asks for work although slots are free.
 *               A handler that computes for six hours is alive, and so is a worker whose database is away.
 *     /readyz   503 while it takes no jobs: before it has registered, while it drains, while the last word of the database is not
 *               an accepted write.
 *     /metrics  the text format of Prometheus.
 */
import type { StuckPart } from '../sql/protocol.ts'
import { SETTLED_SLOTS, type SettledSlot } from './shared-numbers.ts'
import { SHUTDOWN_PHASES, type ShutdownPhase } from './shutdown-report.ts'

export interface HealthFacts {
  readonly workerId: string
  readonly machineId: string
  readonly namespace: string
  readonly version: string
  readonly registered: boolean
  readonly draining: boolean
  /** An operator has drained it. */
  readonly drained: boolean
  /** null: no shutdown. */
  readonly shutdownPhase: ShutdownPhase | null
  readonly connected: boolean
  /** What was last heard of the database, when that was not an accepted write. */
  readonly doubt: string | null
  /** Known to the database: an outage, in which nothing is answered either, never looks like this. */
  readonly stuck: StuckPart | null
  readonly stuckForMs: number
  /** How long nobody has asked for work although it was due. */
  readonly unaskedMs: number
  readonly unaskedMaxMs: number
  readonly sinceRenewalMs: number | null
  readonly renewals: number
  readonly renewalsFailed: number
  readonly loopLagMs: number
  readonly running: number
  readonly capacity: number
  readonly claimRounds: number
  readonly claimed: number
  readonly settled: Readonly<Record<SettledSlot, number>>
  readonly spoolDepth: number
  readonly spoolAgeMs: number
  readonly upMs: number
}

export interface HealthAnswer {
  readonly status: number
  readonly type: string
  readonly body: string
}

export function answerHealth(path: string, facts: HealthFacts): HealthAnswer {
  switch (path) {
    case '/livez':
      return verdict('live', deadBecause(facts), facts)
    case '/readyz':
      return verdict('ready', unreadyBecause(facts), facts)
    case '/metrics':
      return {
        status: 200,
        type: 'text/plain; version=0.0.4; charset=utf-8',
        body: metrics(facts),
      }
    default:
      return {
        status: 404,
        type: 'text/plain; charset=utf-8',
        body: 'there are /livez, /readyz and /metrics\n',
      }
  }
}

function verdict(word: string, reasons: readonly string[], facts: HealthFacts): HealthAnswer {
  const document = {
    [word]: reasons.length === 0,
    reasons,
    workerId: facts.workerId,
    running: facts.running,
    capacity: facts.capacity,
    shutdownPhase: facts.shutdownPhase,
    sinceRenewalMs: facts.sinceRenewalMs,
  }
  return {
    status: reasons.length === 0 ? 200 : 503,
    type: 'application/json; charset=utf-8',
    body: `${JSON.stringify(document)}\n`,
  }
}

function deadBecause(facts: HealthFacts): string[] {
  const forSeconds = `for ${Math.floor(facts.stuckForMs / 1_000)} s`
  if (facts.stuck === 'claims') return [`its claims have not been answered ${forSeconds}`]
  if (facts.stuck === 'event_loop')
    return [`its event loop has been blocked ${forSeconds}, and by no handler`]
  if (facts.unaskedMs > facts.unaskedMaxMs) {
    return [
      `it has not asked for work for ${Math.floor(facts.unaskedMs / 1_000)} s, with slots free`,
    ]
  }
  return []
}

function unreadyBecause(facts: HealthFacts): string[] {
  const reasons: string[] = deadBecause(facts)
  // Whatever else goes now goes because of that.
  if (facts.draining) return [...reasons, 'draining']
  if (facts.drained) reasons.push('drained by an operator')
  if (!facts.registered) reasons.push('not registered')
  if (!facts.connected) reasons.push('no connection to the database')
  else if (facts.doubt !== null) reasons.push(`the database did not accept a write: ${facts.doubt}`)
  return reasons
}

function metrics(facts: HealthFacts): string {
  const text: string[] = []
  const add = (
    type: 'gauge' | 'counter',
    name: string,
    help: string,
    values: readonly (readonly [labels: string, value: number])[],
  ): void => {
    const full = `leasehold_worker_${name}`
    text.push(`# HELP ${full} ${help}`, `# TYPE ${full} ${type}`)
    for (const [labels, value] of values) text.push(`${full}${labels} ${value}`)
  }
  const gauge = (name: string, help: string, value: number): void =>
    add('gauge', name, help, [['', value]])
  const counter = (name: string, help: string, value: number): void =>
    add('counter', name, help, [['', value]])
  const { workerId, machineId, namespace, version } = facts
  add('gauge', 'info', 'Who answers.', [
    [labelled({ worker: workerId, machine: machineId, namespace, version }), 1],
  ])
  gauge('up_seconds', 'Time since this worker was started.', seconds(facts.upMs))
  gauge('live', 'Whether /livez says 200.', deadBecause(facts).length === 0 ? 1 : 0)
  gauge('ready', 'Whether /readyz says 200.', unreadyBecause(facts).length === 0 ? 1 : 0)
  gauge('running', 'Handlers that have not ended.', facts.running)
  gauge('capacity', 'Jobs at once.', facts.capacity)
  counter('claims_total', 'Claims that were answered.', facts.claimRounds)
  counter('claimed_total', 'Jobs that claims brought.', facts.claimed)
  add(
    'counter',
    'settled_total',
    'Attempts whose outcome the database has answered, by what it said; late: the lease was lost.',
    SETTLED_SLOTS.map((outcome) => [labelled({ outcome }), facts.settled[outcome]]),
  )
  gauge('spool_depth', 'Outcomes that wait for the database.', facts.spoolDepth)
  gauge(
    'spool_age_seconds',
    'For how long the database has not taken outcomes that wait.',
    seconds(facts.spoolAgeMs),
  )
  gauge(
    'loop_lag_seconds',
    'How long the main thread has given no sign of life.',
    seconds(facts.loopLagMs),
  )
  counter('renewals_total', 'Renewals that were accepted.', facts.renewals)
  counter(
    'renewals_failed_total',
    'Renewals and connections that had no useful answer.',
    facts.renewalsFailed,
  )
  gauge(
    'renewal_age_seconds',
    'Time since the last accepted renewal was sent; NaN before the first.',
    facts.sinceRenewalMs === null ? Number.NaN : seconds(facts.sinceRenewalMs),
  )
  gauge('connected', 'Whether the reserved connection is there.', facts.connected ? 1 : 0)
  add(
    'gauge',
    'stuck',
    'Whether a part of the worker has given no sign of life for too long.',
    (['claims', 'event_loop'] as const).map((part) => [
      labelled({ part }),
      facts.stuck === part ? 1 : 0,
    ]),
  )
  add(
    'gauge',
    'shutdown_phase',
    'The phase that a shutdown is in.',
    SHUTDOWN_PHASES.map((phase) => [labelled({ phase }), facts.shutdownPhase === phase ? 1 : 0]),
  )
  return `${text.join('\n')}\n`
}

function labelled(labels: Readonly<Record<string, string>>): string {
  const pairs = Object.entries(labels).map(([name, value]) => {
    const escaped = value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')
    return `${name}="${escaped}"`
  })
  return `{${pairs.join(',')}}`
}

function seconds(ms: number): number {
  return Math.round(ms) / 1_000
}
