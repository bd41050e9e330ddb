/** The machine's sleep, which no test can order, is the one thing that is played here: it makes the time since boot run ahead. */
import { getEventListeners } from 'node:events'
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

test('atMost and within end with their work, and leave no timer behind when it fails', async () => {
  const { atMost, within } = await import('./clock.ts')
  const timers = (): number =>
    process.getActiveResourcesInfo().filter((resource) => resource === 'Timeout').length
  const before = timers()
  for (const bound of [atMost, within]) {
    await expect(bound(Promise.reject(new Error('broken')), 60_000)).rejects.toThrow('broken')
    await bound(Promise.resolve(), 60_000)
  }
  expect(await within(Promise.resolve(7), 60_000)).toBe(7)
  expect(timers()).toBe(before)
})

test('after the limit atMost resolves and within rejects', async () => {
  const { atMost, within } = await import('./clock.ts')
  const never = new Promise(() => undefined)
  await atMost(never, 1)
  await expect(within(never, 1)).rejects.toThrow('no answer within 1 ms')
})

test('a sleep ends with any of its signals, and keeps none of them', async () => {
  const { sleep } = await import('./clock.ts')
  const [one, other] = [new AbortController(), new AbortController()]
  const asleep = sleep(60_000, one.signal, undefined, other.signal)
  other.abort()
  await asleep
  await sleep(60_000, one.signal, other.signal)
  expect(getEventListeners(one.signal, 'abort')).toEqual([])
})

test('pauses double from the first to the last, a quarter more or less, and begin anew', async () => {
  const { Pauses } = await import('./clock.ts')
  const pauses = new Pauses({ minMs: 100, maxMs: 500 })
  for (const ms of [100, 200, 400, 500, 500]) {
    const pauseMs = pauses.next()
    expect(pauseMs).toBeGreaterThanOrEqual(0.75 * ms)
    expect(pauseMs).toBeLessThanOrEqual(Math.min(1.25 * ms, 500))
  }
  pauses.reset()
  expect(pauses.next()).toBeLessThan(125)
  expect(new Pauses({ minMs: 100, maxMs: 20 }).next()).toBeLessThanOrEqual(20)
})
