import fc from 'fast-check'
import { expect, test } from 'vitest'
import { fenceMarginMs, LEASE_MS_MIN, resolveSettings, WORKER_DEFAULTS } from './config.ts'

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
      hint: 'Set HEARTBEAT_INTERVAL=10, or LEASE_DURATION=45.',
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
  ).toThrow(/leeseMs[\s\S]*lease is 3 s[\s\S]*HEARTBEAT_INTERVAL[\s\S]*concurrency/)
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
