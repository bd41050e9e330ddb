import fc from 'fast-check'
import { expect, test } from 'vitest'
import { BACKOFF_DEFAULTS, backoffMs } from './backoff.ts'

const backoff = fc.record({
  baseMs: fc.integer({ min: 1, max: 60_000 }),
  factor: fc.double({ min: 1, max: 10, noNaN: true }),
  maxMs: fc.integer({ min: 60_000, max: 86_400_000 }),
})
const failures = fc.integer({ min: 1, max: 1_000 })

test('a delay is never longer than the longest, nor shorter than half of what it grows to', () => {
  fc.assert(
    fc.property(backoff, failures, fc.string(), (options, count, seed) => {
      const delay = backoffMs(options, count, seed)
      const full = Math.min(options.maxMs, options.baseMs * options.factor ** (count - 1))
      expect(delay).toBeLessThanOrEqual(Math.round(full))
      expect(delay).toBeGreaterThanOrEqual(Math.floor(full / 2))
    }),
  )
})

test('the same job and failure wait the same time', () => {
  fc.assert(
    fc.property(backoff, failures, fc.string(), (options, count, seed) => {
      expect(backoffMs(options, count, seed)).toBe(backoffMs(options, count, seed))
    }),
  )
})

test('with the factor 2 or more, no failure waits less than the one before it', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 40 }), fc.uuid(), (count, seed) => {
      const before = backoffMs(BACKOFF_DEFAULTS, count, seed)
      const after = backoffMs(BACKOFF_DEFAULTS, count + 1, seed)
      expect(after).toBeGreaterThanOrEqual(Math.min(before, BACKOFF_DEFAULTS.maxMs / 2))
    }),
  )
})

test('jobs that failed together come back spread out', () => {
  const delays = Array.from({ length: 200 }, (_, n) => backoffMs(BACKOFF_DEFAULTS, 3, `job-${n}`))
  expect(new Set(delays).size).toBeGreaterThan(100)
})
