/**
 * What a comparison shows: a table for people at a terminal, tab-separated lines for programs, both with the settings of each
 * contestant beneath; a file with every value, and a chart.
 */
import {
  type Column,
  renderTable,
  renderTabs,
  type Row as TableRow,
} from '../../src/cli/terminal/table.ts'
import type { Terminal } from '../../src/cli/terminal/style.ts'
import { formatValue, quantile } from '../figures.ts'
import { OURS } from './arena.ts'
import type { Row } from './comparison.ts'

const COLUMNS: readonly Column[] = [
  { heading: 'CONTESTANT' },
  { heading: 'MODE' },
  { heading: 'MEDIAN', align: 'right' },
  { heading: 'MIN – MAX', align: 'right', dropAt: 1 },
  { heading: '÷ RAW', align: 'right' },
  { heading: 'N', align: 'right', dropAt: 2 },
  { heading: 'NOTE', flexible: true },
]

export function median(values: readonly number[]): number {
  return quantile(values, 0.5)
}

/** `failed 1 of 3`, or nothing. */
export function failureText({ values, failures }: Row): string {
  const { length } = failures
  return length === 0 ? '' : `failed ${length} of ${length + values.length}`
}

/** The rows of each variant, in the order in which they came. */
export function byVariant(rows: readonly Row[]): Map<string, Row[]> {
  const groups = new Map<string, Row[]>()
  for (const row of rows) groups.set(row.variant, [...(groups.get(row.variant) ?? []), row])
  return groups
}

export function renderRows(terminal: Terminal, rows: readonly Row[]): string[] {
  if (!terminal.isTerminal) {
    return renderTabs(
      ['measure', 'contestant', 'mode', 'median', 'min–max', '÷ raw', 'n', 'note', 'settings'],
      rows.map((row) => [row.variant, ...cellsOf(row), row.settings]),
    )
  }
  const lines: TableRow[] = [...byVariant(rows)].flatMap(([variant, group]) => [
    '',
    variant,
    ...group.map((row) => {
      const styles = row.contestant === OURS ? (['bold'] as const) : []
      return cellsOf(row).map((text) => ({ text, styles }))
    }),
  ])
  const settings = new Set(
    rows
      .filter(({ settings: text }) => text !== '')
      .map(({ contestant, mode, settings: text }) => `  ${contestant} ${mode}: ${text}`),
  )
  return [...renderTable(terminal, COLUMNS, lines), '', '  Settings', ...settings]
}

function cellsOf(row: Row): string[] {
  const { contestant, mode, values, ratios, unit, notes, failures } = row
  const shown = (value: number): string => formatValue(value, unit)
  const failed = failures.length === 0 ? [] : [failureText(row), ...new Set(failures)]
  const note = [...failed, ...notes].join('; ').replaceAll(/\s+/g, ' ')
  if (values.length === 0) return [contestant, mode, '–', '–', '–', '0', note]
  return [
    contestant,
    mode,
    shown(median(values)),
    `${shown(Math.min(...values))} – ${shown(Math.max(...values))}`,
    ratios.length === 0 ? '' : formatValue(median(ratios), 'ratio'),
    String(values.length),
    note,
  ]
}
