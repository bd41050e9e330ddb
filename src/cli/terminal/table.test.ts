import { expect, it } from 'vitest'
import type { Terminal } from './style.ts'
import { renderTable, renderTabs } from './table.ts'

const at = (width: number): Terminal => ({
  isTerminal: true,
  color: false,
  unicode: true,
  redraws: true,
  width,
})
const columns = [
  { heading: 'NAME' },
  { heading: 'N', align: 'right' as const, dropAt: 1 },
  { heading: 'M', dropAt: 2 },
  { heading: 'WIDE', from: 100 },
  { heading: 'WHY', flexible: true },
]
const rows = [
  'a line across',
  [{ text: 'a.long.name', tail: ' …123456' }, '7', 'm'.repeat(20), 'x', 'a sentence that is long'],
]
const shown = (width: number): string => `\n${renderTable(at(width), columns, rows).join('\n')}\n`

it('a sentence is cut before a column goes', () => {
  expect(shown(64)).toMatchInlineSnapshot(`
    "
      NAME                 N  M                     WHY
      a line across
      a.long.name …123456  7  mmmmmmmmmmmmmmmmmmmm  a sentence that…
    "
  `)
})

it('the column with the highest dropAt goes first', () => {
  const fixed = columns.map((column) => ({ ...column, flexible: false }))
  const headings = (width: number): string[] =>
    (renderTable(at(width), fixed, rows)[0] ?? '').trim().split(/ +/)
  expect(headings(71)).toEqual(['NAME', 'N', 'M', 'WHY'])
  expect(headings(70)).toEqual(['NAME', 'N', 'WHY'])
  expect(headings(48)).toEqual(['NAME', 'WHY'])
})

it('columns for wide terminals appear at 100', () => {
  expect(shown(99)).not.toContain('WIDE')
  expect(shown(100)).toContain('WIDE')
})

it('below 60 columns a row takes two lines', () => {
  expect(shown(59)).toMatchInlineSnapshot(`
    "
      NAME                 N  M
      a line across
      a.long.name …123456  7  mmmmmmmmmmmmmmmmmmmm
        a sentence that is long
    "
  `)
})

it('the end of an id survives the narrowest table', () => {
  expect(shown(20)).toMatchInlineSnapshot(`
    "
      NAME
      a line across
      a.long.na… …123456
        a sentence that…
    "
  `)
})

it('tabs separate full values that hold no tab themselves', () => {
  expect(renderTabs(['a', 'b'], [['x\ty', '']])).toEqual(['a\tb', 'x y\t'])
})
