import { expect, test } from 'vitest'
import { SharedNumbers } from './shared-numbers.ts'
import { Watchdog, WATCHDOG_EVERY_MS } from './watchdog.ts'

const RENEW_MS = 10_000
const LIMIT_MS = 1.75 * RENEW_MS

/** A worker whose main thread beats, unless told otherwise; time goes by in looks. */
function watched() {
  const numbers = new SharedNumbers()
  const blocked: number[] = []
  const watchdog = new Watchdog({
    numbers,
    renewMs: RENEW_MS,
    concurrency: 2,
    loopWasBlocked: (forMs) => blocked.push(forMs),
  })
  let nowMs = 1_000_000
  const look = (options: { beats?: boolean; well?: boolean } = {}): boolean => {
    nowMs += WATCHDOG_EVERY_MS
    if (options.beats ?? true) numbers.write('mainBeatMs', nowMs)
    return watchdog.look(nowMs, WATCHDOG_EVERY_MS, options.well ?? true)
  }
  const pass = (ms: number, options = {}): void => {
    for (let passed = 0; passed < ms; passed += WATCHDOG_EVERY_MS) look(options)
  }
  const standStill = (ms: number): void => {
    nowMs += ms
    watchdog.stoodStill(nowMs, ms)
  }
  look()
  return { numbers, watchdog, blocked, look, pass, standStill }
}

test('a claim that is not answered is stuck after one and three quarters of a renewal interval, and well with its answer', () => {
  const { numbers, watchdog, look, pass } = watched()
  numbers.write('claimTurn', 7)
  pass(LIMIT_MS)
  expect(watchdog.stuck).toBe(null)
  expect(look()).toBe(true)
  expect(watchdog.stuck).toBe('claims')
  expect(look()).toBe(false)
  numbers.write('claimTurn', 8)
  expect(look()).toBe(true)
  expect(watchdog.stuck).toBe(null)
})

test('claims that are answered are not, however long they go on', () => {
  const { numbers, watchdog, pass } = watched()
  for (let turn = 1; turn <= 5; turn += 1) {
    numbers.write('claimTurn', turn)
    pass(LIMIT_MS / 2)
  }
  expect(watchdog.stuck).toBe(null)
})

test('a worker that stops because its claims are stuck stays so, as it makes none', () => {
  const { numbers, watchdog, pass } = watched()
  numbers.write('claimTurn', 7)
  pass(LIMIT_MS + 200)
  numbers.write('draining', 1)
  numbers.write('claimTurn', 0)
  pass(1_000)
  expect(watchdog.stuck).toBe('claims')
})

test('an event loop that no handler blocks is stuck, and one that a handler blocks is only told of', () => {
  const { numbers, watchdog, blocked, look, pass } = watched()
  numbers.write('handlers', 1)
  pass(3 * RENEW_MS, { beats: false })
  expect(watchdog.stuck).toBe(null)
  expect(watchdog.loopLagMs).toBeGreaterThan(2 * RENEW_MS)
  expect(blocked).toEqual([])
  look()
  expect(blocked).toEqual([3 * RENEW_MS - 2 * WATCHDOG_EVERY_MS])
  numbers.write('handlers', 0)
  pass(1_200 + LIMIT_MS, { beats: false })
  expect(watchdog.stuck).toBe('event_loop')
})

test('B7: a process that stood still blocked nothing', () => {
  const { numbers, watchdog, blocked, look, standStill } = watched()
  numbers.write('handlers', 1)
  standStill(60_000)
  look({ beats: false })
  expect(watchdog.loopLagMs).toBe(0)
  // Stopped again before the main thread has run.
  standStill(30_000)
  look({ beats: false })
  expect(watchdog.loopLagMs).toBe(0)
  look()
  expect(blocked).toEqual([])
})

test('an outage is nobody’s wedge', () => {
  const { numbers, watchdog, pass } = watched()
  numbers.write('claimTurn', 7)
  pass(LIMIT_MS - 100)
  pass(3 * RENEW_MS, { well: false })
  pass(LIMIT_MS - 100)
  expect(watchdog.stuck).toBe(null)
  pass(300)
  expect(watchdog.stuck).toBe('claims')
  watchdog.forgetSilence()
  expect(watchdog.stuck).toBe(null)
})

test('how long a claim has been due and nobody has made one: while there is a free slot', () => {
  const { numbers, watchdog, pass } = watched()
  pass(5_000)
  expect(watchdog.unaskedMs).toBeGreaterThanOrEqual(5_000)
  numbers.add('claimRounds', 1)
  pass(100)
  expect(watchdog.unaskedMs).toBe(0)
  numbers.write('handlers', 2)
  pass(5_000)
  expect(watchdog.unaskedMs).toBe(0)
})
