/**
 * Tables. On a terminal: columns two spaces apart behind a margin of two, fitted to the width.
 *
 *     1. Columns with `from` appear only on terminals at least that wide.
 *     2. Too wide: the flexible column (the last, a sentence) is cut at its end, down to 8 columns.
 *     3. Still too wide: the columns with the highest `dropAt` go, one by one.
 *     4. Still too wide: the widest other column is cut; a cell's `tail` (the end of an id) survives.
 *     Below 60 columns the flexible column moves to a line of its own.
 *
 * Not a terminal: `renderTabs`, one tab between columns, a header line, nothing cut; one thing alone is `renderFacts`. Both, as a table,
 * are lines; `block` makes text of them.
 */
import { paint, type Style, type Terminal } from './style.ts'
import { cut, pad, plain, textWidth } from './text.ts'

/** A column of a table on a terminal. */
export interface Column {
  readonly heading: string
  readonly align?: 'left' | 'right'
  /** Shown from this terminal width on. */
  readonly from?: number
  /** Higher goes first when the width doesn't suffice; without it the column stays. */
  readonly dropAt?: number
  /** Width reserved, so that the column doesn't jump between calls. */
  readonly widthMin?: number
  /** A sentence that may be cut. */
  readonly flexible?: boolean
}

/** Text, its colour, and an ending that is never cut. */
export interface Cell {
  readonly text: string
  readonly tail?: string
  readonly styles?: readonly Style[]
}

/** One cell for each column, or a line across all of them. */
export type Row = readonly (Cell | string)[] | string

/** Layout from this width on has more columns. */
export const WIDE_FROM = 100
const TWO_LINES_BELOW = 60
const FLEXIBLE_MIN = 8
const CELL_MIN = 8
const MARGIN = '  '
const GAP = '  '

/** Lines of a table fitted to the terminal, its heading first. */
export function renderTable(
  terminal: Terminal,
  columns: readonly Column[],
  rows: readonly Row[],
): string[] {
  const twoLines = terminal.width < TWO_LINES_BELOW
  const { shown, widths } = fit(terminal.width, columns, rows, twoLines)
  const line = (cells: readonly (Cell | string)[], heading: boolean): string[] => {
    const parts = shown.map((index, place) => {
      const align = heading ? 'left' : columns[index]?.align
      const last = place === shown.length - 1 && align !== 'right'
      const cell = fitCell(terminal, toCell(cells[index]), widths[index] ?? 0)
      return last ? cell : pad(cell, widths[index] ?? 0, align)
    })
    const lines = [cut(terminal, (MARGIN + parts.join(GAP)).trimEnd(), terminal.width)]
    if (!twoLines || heading) return lines
    for (const [index, column] of columns.entries()) {
      const cell = toCell(cells[index])
      if (column.flexible && cell.text !== '')
        lines.push(fitCell(terminal, { ...cell, text: `    ${cell.text}` }, terminal.width))
    }
    return lines
  }
  const heading = line(
    columns.map(({ heading: text }) => text),
    true,
  )
  return [
    ...heading.map((text) => paint(terminal, ['dim'], text)),
    ...rows.flatMap((row) =>
      typeof row === 'string' ? [cut(terminal, MARGIN + row, terminal.width)] : line(row, false),
    ),
  ]
}

/** Lines of a table for programs: full values between tabs. */
export function renderTabs(headings: readonly string[], rows: readonly string[][]): string[] {
  return [headings, ...rows].map((row) => row.map(plain).join('\t'))
}

/** A fact of one thing: empty where there is none. */
export type Fact = readonly [name: string, value: string | number | boolean | null]

/** Lines of one thing for programs: each fact's name, a tab, and its full value. */
export function renderFacts(facts: readonly Fact[]): string[] {
  return facts.map(([name, value]) => `${name}\t${plain(String(value ?? ''))}`)
}

/** Lines as text, each with its end. */
export function block(lines: readonly string[]): string {
  return lines.map((line) => `${line}\n`).join('')
}

function fit(
  width: number,
  columns: readonly Column[],
  rows: readonly Row[],
  twoLines: boolean,
): { shown: number[]; widths: number[] } {
  const widths = columns.map((column, index) => naturalWidth(column, index, rows))
  let shown = [...columns.keys()].filter(
    (index) => width >= (columns[index]?.from ?? 0) && !(twoLines && columns[index]?.flexible),
  )
  const total = (): number =>
    MARGIN.length +
    shown.reduce((sum, index) => sum + (widths[index] ?? 0), 0) +
    GAP.length * (shown.length - 1)
  const shrink = (index: number | undefined, min: number): void => {
    if (index === undefined) return
    widths[index] = Math.max(
      Math.min(min, widths[index] ?? 0),
      (widths[index] ?? 0) - (total() - width),
    )
  }

  const flexible = shown.find((index) => columns[index]?.flexible)
  if (total() > width) shrink(flexible, FLEXIBLE_MIN)
  while (total() > width) {
    const [least] = shown
      .filter((index) => columns[index]?.dropAt !== undefined)
      .toSorted((a, b) => (columns[b]?.dropAt ?? 0) - (columns[a]?.dropAt ?? 0))
    if (least === undefined) break
    shown = shown.filter((index) => index !== least)
  }
  const widest = shown
    .filter((index) => index !== flexible)
    .toSorted((a, b) => (widths[b] ?? 0) - (widths[a] ?? 0))[0]
  if (total() > width) shrink(widest, CELL_MIN)
  if (flexible !== undefined)
    widths[flexible] = Math.max(0, (widths[flexible] ?? 0) + width - total())
  return { shown, widths }
}

function naturalWidth(column: Column, index: number, rows: readonly Row[]): number {
  let width = Math.max(column.widthMin ?? 0, textWidth(column.heading))
  for (const row of rows)
    if (typeof row !== 'string') width = Math.max(width, cellWidth(toCell(row[index])))
  return width
}

function toCell(cell: Cell | string | undefined): Cell {
  return typeof cell === 'object' ? cell : { text: cell ?? '' }
}

function cellWidth(cell: Cell): number {
  return textWidth(cell.text) + textWidth(cell.tail ?? '')
}

function fitCell(terminal: Terminal, cell: Cell, width: number): string {
  const tail = cell.tail ?? ''
  const text =
    cellWidth(cell) <= width
      ? cell.text + tail
      : cut(terminal, cell.text, Math.max(0, width - textWidth(tail))) + tail
  return paint(terminal, cell.styles ?? [], text)
}
