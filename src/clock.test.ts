/** The machine's sleep, which no test can order, is the one thing that is played here: it makes the time since boot run ahead. */
import type os from 'node:os'
import { beforeEach, expect, test, vi } from 'vitest'

let sleptMs = 0

vi.mock('node:os', async (importOriginal) => {
  const real = await importOriginal<typeof os>()
  return { ...real, uptime: () => real.uptime() + sleptMs / 1_000 }
})

const UPTIME_STEP_MS = 10

beforeEach(() => {
  sleptMs = 0
  vi.resetModules()
})

test('without a sleep all three are the monotonic clock', async () => {
  const { elapsedAtLeastMs, elapsedMs, monotonicMs } = await import('./clock.ts')
  const readings = [monotonicMs(), elapsedMs(), elapsedAtLeastMs(), monotonicMs()]
  expect(readings).toEqual(readings.toSorted((one, other) => one - other))
})

test('a sleep counts as elapsed at once, and at least once it was noticed, never more than elapsed', async () => {
  const { elapsedAtLeastMs, elapsedMs, monotonicMs } = await import('./clock.ts')
  const before = monotonicMs()
  sleptMs = 60_000
  expect(elapsedAtLeastMs() - before).toBeLessThan(60_000 - UPTIME_STEP_MS)
  const noticed = elapsedMs()
  expect(noticed - before).toBeGreaterThanOrEqual(60_000 - UPTIME_STEP_MS)
  for (let turn = 0; turn < 1_000; turn += 1) {
    const atLeast = elapsedAtLeastMs()
    expect(atLeast - before).toBeGreaterThanOrEqual(60_000 - 3 * UPTIME_STEP_MS)
    expect(atLeast).toBeLessThanOrEqual(elapsedMs())
  }
  expect(monotonicMs() - before).toBeLessThan(60_000)
})
