import { describe, expect, it } from 'vitest'
import {
  dash,
  formatCount,
  formatDuration,
  formatId,
  formatInstant,
  formatProgress,
  formatSize,
  formatTime,
  formatWorkerId,
  idEnding,
  plural,
  workerName,
} from './format.ts'

const terminal = { isTerminal: true, color: false, unicode: true, redraws: true, width: 80 }
const pipe = { ...terminal, isTerminal: false, redraws: false }
const s = 1000
const m = 60 * s
const h = 60 * m
const d = 24 * h

describe('a duration', () => {
  it.each([
    [-5, '0 ms'],
    [0, '0 ms'],
    [0.9, '0 ms'],
    [212.7, '212 ms'],
    [999.9, '999 ms'],
    [s, '1.0 s'],
    [1650, '1.6 s'],
    [9999, '9.9 s'],
    [10 * s, '10.0 s'],
    [m - 1, '59.9 s'],
    [m, '1 m'],
    [m + s, '1 m 1 s'],
    [4 * m + 51 * s + 999, '4 m 51 s'],
    [h - 1, '59 m 59 s'],
    [h, '1 h'],
    [h + 59 * s, '1 h'],
    [3 * h + 16 * m, '3 h 16 m'],
    [d - 1, '23 h 59 m'],
    [d, '1 d'],
    [2 * d + 4 * h + 59 * m, '2 d 4 h'],
    [1200 * d, '1,200 d'],
  ])('of %d ms is %s', (ms, words) => {
    expect(formatDuration(ms)).toBe(words)
  })
})

describe('a time', () => {
  const now = new Date('2026-11-22T10:46:31Z')
  it('is a clock time on its own day', () => {
    expect(formatTime(terminal, '2026-11-22T10:41:07.318Z', now)).toBe('10:41:07 UTC')
    expect(formatTime(terminal, '2026-11-22T00:30:00+01:00', now)).toBe('2026-11-21 23:30:00 UTC')
  })
  it('is ISO 8601 in a pipe', () => {
    expect(formatTime(pipe, '2026-11-22T12:41:07.318+02:00', now)).toBe('2026-11-22T10:41:07.318Z')
  })
  it('has milliseconds in a ledger', () => {
    expect(formatInstant(terminal, Date.UTC(2026, 10, 22, 10, 41, 7, 5))).toBe('10:41:07.005')
    expect(formatInstant(pipe, 0)).toBe('1970-01-01T00:00:00.000Z')
  })
})

describe('an id', () => {
  const id = '01a20229-70cc-7a41-9c9e-a41c9ea41c9e'
  it('is shown by its end on a terminal and whole in a pipe', () => {
    expect(formatId(terminal, id)).toBe('…a41c9e')
    expect(formatId({ ...terminal, unicode: false }, id)).toBe('...a41c9e')
    expect(formatId(pipe, id)).toBe(id)
    expect(idEnding(id)).toBe('a41c9e')
  })
  it('of a worker is its host and pid', () => {
    expect(workerName('render-b-2210-e41f6b77')).toBe('render-b-2210')
    expect(workerName(`render-b-2210-${id}`)).toBe('render-b-2210')
    expect(workerName('render-b-2210')).toBe('render-b-2210')
    expect(workerName('host-4194304')).toBe('host-4194304')
  })
  it('of a worker ends in its incarnation in a table', () => {
    expect(formatWorkerId(terminal, 'render-b-2210-e41f6b77')).toBe('render-b-2210-e41f6b77')
    expect(formatWorkerId(terminal, `render-b-2210-${id}`)).toBe('render-b-2210-…a41c9e')
    expect(formatWorkerId(pipe, `render-b-2210-${id}`)).toBe(`render-b-2210-${id}`)
  })
})

it('progress has its total where it is known', () => {
  const progress = { done: 47, total: 60, message: null, at: null }
  expect(formatProgress(terminal, progress)).toBe('47/60')
  expect(formatProgress(terminal, { ...progress, total: null })).toBe('47')
  expect(formatProgress(terminal, null)).toBe('–')
  expect(formatProgress(pipe, null)).toBe('')
  expect(dash({ ...terminal, unicode: false })).toBe('-')
})

it('counts have thousands and nouns their plural', () => {
  expect(formatCount(1842)).toBe('1,842')
  expect(plural(1, 'attempt')).toBe('1 attempt')
  expect(plural(1924, 'job')).toBe('1,924 jobs')
  expect(plural(0, 'job')).toBe('0 jobs')
})

it.each([
  [0, '0 B'],
  [999, '999 B'],
  [1000, '1.0 kB'],
  [9990, '9.9 kB'],
  [10_000, '10 kB'],
  [999_999, '999 kB'],
  [20_500_000, '20 MB'],
  [3e15, '3,000 TB'],
])('a size of %d is %s', (bytes, words) => {
  expect(formatSize(bytes)).toBe(words)
})
