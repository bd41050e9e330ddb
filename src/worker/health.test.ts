/** K3: what each fact means for the endpoints, without waiting six hours for it. */
import { expect, test } from 'vitest'
import { answerHealth, type HealthFacts } from './health.ts'

const well: HealthFacts = {
  workerId: 'host-1-a',
  machineId: 'machine-a',
  namespace: 'default',
  version: '1.0.0',
  registered: true,
  draining: false,
  drained: false,
  shutdownPhase: null,
  connected: true,
  doubt: null,
  stuck: null,
  stuckForMs: 0,
  unaskedMs: 0,
  unaskedMaxMs: 70_000,
  sinceRenewalMs: 4_000,
  renewals: 12,
  renewalsFailed: 0,
  loopLagMs: 0,
  running: 0,
  capacity: 10,
  claimRounds: 3,
  claimed: 0,
  settled: {
    completed: 0,
    failed: 0,
    retrying: 0,
    cancelled: 0,
    interrupted: 0,
    released: 0,
    late: 0,
  },
  spoolDepth: 0,
  spoolAgeMs: 0,
  upMs: 60_000,
}

function said(facts: Partial<HealthFacts>): [live: string[], ready: string[]] {
  const reasons = (path: string): string[] => {
    const { status, body } = answerHealth(path, { ...well, ...facts })
    const document = JSON.parse(body) as { reasons: string[] }
    expect(status).toBe(document.reasons.length === 0 ? 200 : 503)
    return document.reasons
  }
  return [reasons('/livez'), reasons('/readyz')]
}

test.for<[what: string, facts: Partial<HealthFacts>, live: string[], ready: string[]]>([
  ['idle', {}, [], []],
  ['a handler that computes for six hours', { running: 1, loopLagMs: 21_600_000 }, [], []],
  ['every slot taken for days', { running: 10 }, [], []],
  ['an outage', { doubt: 'timeout' }, [], ['the database did not accept a write: timeout']],
  ['no connection', { connected: false, doubt: 'gone' }, [], ['no connection to the database']],
  ['not registered yet', { registered: false }, [], ['not registered']],
  ['drained by an operator', { drained: true }, [], ['drained by an operator']],
  [
    'draining, its connection closed already',
    { draining: true, connected: false },
    [],
    ['draining'],
  ],
])('%s', ([, facts, live, ready]) => {
  expect(said(facts)).toEqual([live, ready])
})

test('what only a fresh process helps is neither live nor ready', () => {
  for (const [facts, reason] of [
    [{ stuck: 'claims', stuckForMs: 17_900 }, 'its claims have not been answered for 17 s'],
    [
      { stuck: 'event_loop', stuckForMs: 20_000 },
      'its event loop has been blocked for 20 s, and by no handler',
    ],
    [{ unaskedMs: 70_001 }, 'it has not asked for work for 70 s, with slots free'],
  ] as const)
    expect(said(facts)).toEqual([[reason], [reason]])
})

test('a label is escaped', () => {
  const { body } = answerHealth('/metrics', { ...well, machineId: 'a "b" \\c\nd' })
  expect(body).toContain('machine="a \\"b\\" \\\\c\\nd"')
})
