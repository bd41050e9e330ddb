import { expect, it } from 'vitest'
import { END_MARKS, JOB_MARKS, marked, WORKER_MARKS } from './marks.ts'
import { textWidth } from './text.ts'

const terminal = { isTerminal: true, color: true, unicode: true, redraws: true, width: 80 }

it('every mark is its own and one column wide', () => {
  const marks = [...Object.values(JOB_MARKS), ...Object.values(WORKER_MARKS)].map(
    ({ mark }) => mark,
  )
  expect(new Set(marks).size).toBe(17)
  for (const mark of [...marks, ...Object.values(END_MARKS).map((end) => end.mark)])
    expect(textWidth(mark)).toBe(1)
})

it('blue stands for a live lease only', () => {
  const blue = Object.entries({ ...JOB_MARKS, ...WORKER_MARKS, ...END_MARKS })
    .filter(([, { styles }]) => styles.includes('blue'))
    .map(([name]) => name)
  expect(blue).toEqual(['running', 'online'])
})

it('the word stands beside the mark, and alone without UTF-8', () => {
  expect(marked(terminal, JOB_MARKS.lost, 'lost')).toBe('\u001b[91;1m◌ lost\u001b[0m')
  expect(marked({ ...terminal, unicode: false, color: false }, JOB_MARKS.lost, 'lost')).toBe('lost')
})
