import fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  fenceMarginMs,
  LEASE_MS_MIN,
  resolveSettings,
  SETTING_MS_MAX,
  WORKER_DEFAULTS,
  type WorkerSettings,
} from './config.ts'
import type { ConfigUnsafeError } from './errors.ts'

test('K4: without settings the defaults hold, and they are safe', () => {
  expect(resolveSettings({})).toEqual(WORKER_DEFAULTS)
})

test('K4: the lease is the one knob: renewal and hard exit follow it and the grace', () => {
  expect(resolveSettings({ leaseMs: 60_000, shutdownGraceMs: 5_000 })).toMatchObject({
    renewMs: 20_000,
    hardExitMs: 10_000,
  })
})

test('K4: a renewal slower than a third of the lease is refused with what to set instead', () => {
  expect(() => resolveSettings({ renewMs: 15_000 })).toThrow(/can be at most a third of the lease/)
  try {
    resolveSettings({ renewMs: 15_000 })
  } catch (error) {
    expect(error).toMatchObject({
      code: 'ERR_CONFIG_UNSAFE',
      exitCode: 2,
      hint: 'Set `renewMs: 10000`, or `leaseMs: 45000`.',
    })
  }
})

test('K4: every problem is reported at once, unknown names included', () => {
  expect(() =>
    resolveSettings({
      leaseMs: 3_000,
      renewMs: 2_000,
      concurrency: 0,
      ...({ leeseMs: 5 } as object),
    }),
  ).toThrow(
    /^`leeseMs` is not[^]*\n`leaseMs` is 3 s, but[^]*\n`renewMs` is 2 s, but[^]*\n`concurrency` must/,
  )
})

test('K4: a lease that the database has no room for is refused', () => {
  expect(() => resolveSettings({ leaseMs: 99_999_999_000 })).toThrow(
    /^`leaseMs` is 99999999 s, but can be at most 2147483\.647 s, which is almost 25 days\.$/,
  )
  expect(resolveSettings({ leaseMs: SETTING_MS_MAX }).leaseMs).toBe(SETTING_MS_MAX)
})

test('K4: what the hint says to set is accepted, also where the lease is too short', () => {
  for (const leaseMs of [1_000, 6_000, 7_001, 30_000]) {
    const renewMs = Math.max(500, 1 + Math.floor(leaseMs / 3))
    const [slowest = NaN, shortest = NaN] = numbersOf(hintOf({ leaseMs, renewMs }))
    expect(() => resolveSettings({ leaseMs: shortest, renewMs })).not.toThrow()
    expect(() =>
      resolveSettings({ leaseMs: Math.max(leaseMs, LEASE_MS_MIN), renewMs: slowest }),
    ).not.toThrow()
  }
})

function hintOf(refused: Partial<WorkerSettings>): string {
  try {
    resolveSettings(refused)
  } catch (error) {
    return (error as ConfigUnsafeError).hint ?? ''
  }
  throw new Error('these settings are accepted')
}

function numbersOf(text: string): number[] {
  return [...text.matchAll(/\d+/g)].map(Number)
}

test('K4: a value that is no number is told once, and nothing that follows from it', () => {
  const refused = { leaseMs: NaN, shutdownGraceMs: NaN, idleBeatMs: -1 }
  const message = [
    '`leaseMs` must be a number of at least 0, got NaN.',
    '`idleBeatMs` must be a number of at least 0, got -1.',
    '`shutdownGraceMs` must be a number of at least 0, got NaN.',
  ].join('\n')
  for (const given of [refused, { ...refused, renewMs: 1_000, hardExitMs: 1_000 }])
    expect(() => resolveSettings(given)).toThrow(expect.objectContaining({ message }))
})

test('K4: a hard exit before the end of the grace is refused', () => {
  expect(() => resolveSettings({ shutdownGraceMs: 10_000, hardExitMs: 5_000 })).toThrow(
    /must not come before/,
  )
})

test('any lease that is accepted leaves two renewals before the worker fences itself', () => {
  fc.assert(
    fc.property(fc.integer({ min: LEASE_MS_MIN, max: 3_600_000 }), (leaseMs) => {
      const { renewMs } = resolveSettings({ leaseMs })
      expect(leaseMs - fenceMarginMs(leaseMs)).toBeGreaterThanOrEqual(2 * renewMs)
    }),
  )
})
