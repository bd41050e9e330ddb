/** Rule 6: how long handlers may go on without a lease, without waiting ten minutes for it. */
import { expect, test } from 'vitest'
import { Outage } from './outage.ts'

const RENEW_MS = 10_000
const MINUTE_MS = 60_000

/** What it is at each second, with a refusal every two, from the first one on. */
function seconds(outage: Outage, fromMs: number, forMs: number): string[] {
  const states: string[] = []
  for (let ms = fromMs; ms <= fromMs + forMs; ms += 1_000) {
    if (ms % 2_000 === 0) outage.refused(ms)
    states.push(outage.state(ms))
  }
  return states
}

test('a database that refuses is down for ten minutes, and then for too long', () => {
  const outage = new Outage({ renewMs: RENEW_MS })
  expect(outage.state(0)).toBe('none')
  const states = seconds(outage, 2_000, 12 * MINUTE_MS)
  expect(states.lastIndexOf('down') * 1_000).toBe(10 * MINUTE_MS)
  expect(states.indexOf('too long') * 1_000).toBe(10 * MINUTE_MS + 1_000)
  expect(new Set(states)).toEqual(new Set(['down', 'too long']))
})

test('a time-out instead of a refusal ends it at once', () => {
  const outage = new Outage({ renewMs: RENEW_MS })
  expect(seconds(outage, 2_000, 4_000)).not.toContain('none')
  outage.unclear()
  expect(outage.state(6_001)).toBe('none')
})

test('a refusal that is older than a renewal interval says nothing any more', () => {
  const outage = new Outage({ renewMs: RENEW_MS })
  outage.refused(1_000)
  expect(outage.state(1_000 + RENEW_MS)).toBe('down')
  expect(outage.state(1_001 + RENEW_MS)).toBe('none')
})

test('an accepted renewal is the end of an outage: the next one has ten minutes of its own', () => {
  const outage = new Outage({ renewMs: RENEW_MS })
  expect(seconds(outage, 2_000, 9 * MINUTE_MS)).not.toContain('too long')
  outage.over()
  expect(seconds(outage, 12 * MINUTE_MS, 9 * MINUTE_MS)).not.toContain('too long')
})
