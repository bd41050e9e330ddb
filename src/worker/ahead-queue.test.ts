import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import type { ClaimedJob } from '../sql/protocol.ts'
import { AheadQueue } from './ahead-queue.ts'
import { ClaimedAhead } from './claimed-ahead.ts'
import { AHEAD_MS_MAX } from './lifeline-messages.ts'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

function job(n: number): ClaimedJob {
  const id = `00000000-0000-4000-8000-${String(n).padStart(12, '0')}`
  return { id, token: id, type: 'job', queue: 'default', attempt: 1, options: {} } as ClaimedJob
}

function filled(count: number): AheadQueue {
  const queue = new AheadQueue(10)
  for (let n = 0; n < count; n += 1) queue.put(job(n), performance.now(), queue.shelf.generation)
  return queue
}

test('of jobs that take long, or of which nothing is known, only what has a slot is asked for', () => {
  const queue = new AheadQueue(10)
  expect(queue.wants(0, Infinity)).toBe(10)
  expect(queue.wants(4, Infinity)).toBe(6)
  expect(queue.wants(10, Infinity)).toBe(0)
  queue.took(5)
  expect(queue.wants(4, Infinity)).toBe(6)
})

test('of short ones as many more as begin within 10 ms, at most 1,000 a claim, and none while more than half of those wait', () => {
  const queue = new AheadQueue(10)
  queue.took(1)
  expect(queue.wants(0, Infinity)).toBe(110)
  for (let n = 0; n < 50; n += 1) queue.put(job(n), performance.now(), 0)
  expect(queue.wants(10, Infinity)).toBe(50)
  queue.put(job(50), performance.now(), 0)
  expect(queue.wants(10, Infinity)).toBe(0)
  const fast = new AheadQueue(100)
  fast.took(0.01)
  expect(fast.wants(0, Infinity)).toBe(1_000)
})

test('never more than may still begin here', () => {
  const queue = filled(3)
  expect(queue.wants(0, 5)).toBe(0)
  queue.took(1)
  expect(queue.wants(0, 5)).toBe(2)
})

test('of large inputs as few as 16 MiB hold', () => {
  const queue = new AheadQueue(10)
  queue.took(1)
  queue.answered(10, 10 * 1_024 * 1_024)
  expect(queue.wants(0, Infinity)).toBe(26)
})

test('what is refused as too large is asked for by half, until there is nothing smaller', () => {
  const queue = new AheadQueue(10)
  expect(queue.tooLarge(8)).toBe(true)
  expect(queue.wants(0, Infinity)).toBe(4)
  expect(queue.tooLarge(1)).toBe(false)
  queue.answered(0, 0)
  expect(queue.wants(0, Infinity)).toBe(8)
})

test('jobs begin in their order, and none that the lifeline has given back', () => {
  const queue = filled(3)
  const [first, second, third] = [...queue]
  expect(queue.begins(first!)).toBe(true)
  const { unbegun } = new ClaimedAhead(queue.shelf.shared).take()
  expect(unbegun.map(({ token }) => token)).toEqual([second!.job.token, third!.job.token])
  expect(queue.begins(second!)).toBe(false)
  expect(queue.begins(third!)).toBe(false)
  expect(queue.size).toBe(0)
})

test('what has not begun in time goes back, and less is claimed ahead after', () => {
  const queue = filled(100)
  queue.took(1)
  expect(queue.holdsUp()).toBe(false)
  vi.advanceTimersByTime(AHEAD_MS_MAX + 1)
  expect(queue.holdsUp()).toBe(true)
  expect(queue.clearLate()).toHaveLength(100)
  expect([...queue]).toEqual([])
  // Jobs took longer than was thought: none ahead until one has ended again, and then half.
  expect(queue.wants(0, Infinity)).toBe(10)
  queue.took(1)
  expect(queue.wants(0, Infinity)).toBe(60)
})
