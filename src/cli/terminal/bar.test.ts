import { expect, it } from 'vitest'
import { progressBar } from './bar.ts'

const terminal = { isTerminal: true, color: false, unicode: true, redraws: true, width: 80 }
const ascii = { ...terminal, unicode: false }

it.each([
  [0, '──────────'],
  [1, '╸─────────'],
  [500, '━━━━━─────'],
  [550, '━━━━━╸────'],
  [999, '━━━━━━━━━╸'],
  [1000, '━━━━━━━━━━'],
  [1200, '━━━━━━━━━━'],
])('%i of 1000 is %s', (done, bar) => {
  expect(progressBar(terminal, { done, total: 1000, width: 10 })).toBe(bar)
})

it('a total of 0 and a width of 0 draw no progress', () => {
  expect(progressBar(terminal, { done: 0, total: 0, width: 3 })).toBe('───')
  expect(progressBar(terminal, { done: 1, total: 2, width: 0 })).toBe('')
})

it('is ASCII without UTF-8', () => {
  expect(progressBar(ascii, { done: 47, total: 60, width: 10 })).toBe('#######---')
})

it('the done part is blue and the rest dim', () => {
  const bar = progressBar({ ...terminal, color: true }, { done: 1, total: 2, width: 4 })
  expect(bar).toBe('\u001b[34m━━\u001b[0m\u001b[2m──\u001b[0m')
})
