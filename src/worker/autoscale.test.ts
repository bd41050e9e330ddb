import { describe, expect, test } from 'vitest'
import { isBacklog, mayNeedMore, type Sized, surplus } from './autoscale.ts'

const full: Sized = {
  ready: true,
  load: { running: 1, peak: 2, concurrency: 2 },
  idleSinceMs: null,
}
const free: Sized = {
  ready: true,
  load: { running: 1, peak: 1, concurrency: 2 },
  idleSinceMs: null,
}
const idle = (sinceMs: number): Sized => ({
  ready: true,
  load: { running: 0, peak: 0, concurrency: 2 },
  idleSinceMs: sinceMs,
})

describe('the database is asked for a backlog', () => {
  test.for([
    { children: [full], max: 2, asks: true, when: 'every child had no slot free' },
    { children: [full, free], max: 4, asks: false, when: 'one has a free slot' },
    { children: [full, idle(0)], max: 4, asks: false, when: 'one is idle' },
    { children: [full, full], max: 2, asks: false, when: 'there are as many as may be' },
    {
      children: [full, { ...full, ready: false }],
      max: 4,
      asks: false,
      when: 'one is still starting',
    },
    { children: [full, { ...full, load: null }], max: 4, asks: false, when: 'one said nothing' },
  ])('$asks when $when', ({ children, max, asks }) => {
    expect(mayNeedMore(children, max)).toBe(asks)
  })
})

test('a backlog is a job that would be running by now, had another process been started for it', () => {
  expect(isBacklog(null, 0)).toBe(false)
  expect(isBacklog(1_900, 300)).toBe(false)
  expect(isBacklog(2_100, 300)).toBe(true)
  expect(isBacklog(2_100, 4_000)).toBe(false)
  expect(isBacklog(8_100, 4_000)).toBe(true)
})

test('the one that has been idle longest may go, if it was long enough and others remain', () => {
  const now = { nowMs: 100_000, idleForMs: 30_000 }
  const children = [full, idle(60_000), idle(50_000), idle(99_000)]
  expect(surplus(children, 1, now)).toBe(children[2])
  expect(surplus(children, 4, now)).toBeNull()
  expect(surplus([full, idle(99_000)], 1, now)).toBeNull()
  expect(surplus([full, free], 1, now)).toBeNull()
})
