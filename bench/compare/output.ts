/**
 * What a comparison shows: a table for people at a terminal, tab-separated lines for programs, both with the versions and
 * settings that the figures hold for; a file with every value, and a chart.
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
import { RAW, type Row } from './comparison.ts'

const COLUMNS: readonly Column[] = [
  { heading: 'CONTESTANT' },
  { heading: 'MODE' },
  { heading: 'MEDIAN', align: 'right' },
  { heading: 'MIN – MAX', align: 'right', dropAt: 1 },
  { heading: 'RATIO', align: 'right' },
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

/** @param about What the figures hold for: versions, machine, settings. */
export function renderRows(
  terminal: Terminal,
  rows: readonly Row[],
  about: readonly string[],
): string[] {
  if (!terminal.isTerminal) {
    return [
      ...about.map((line) => `# ${line}`),
      ...renderTabs(
        ['measure', 'contestant', 'mode', 'median', 'min–max', 'ratio', 'n', 'note', 'settings'],
        rows.map((row) => [row.variant, ...cellsOf(row), row.settings]),
      ),
    ]
  }
  const lines: TableRow[] = [...byVariant(rows)].flatMap(([variant, group]) => [
    '',
    variant,
    ...group.map((row) => {
      const styles = row.contestant === OURS ? (['bold'] as const) : []
      return cellsOf(row).map((text) => ({ text, styles }))
    }),
  ])
  return [...renderTable(terminal, COLUMNS, lines), '', ...about.map((line) => `  ${line}`)]
}

/** `0.63 × raw`, or that there is nothing to compare with. */
export function ratioText({ contestant, ratios, ratioTo }: Row): string {
  if (contestant === RAW) return ''
  if (ratioTo === null) return 'no ceiling'
  return `${formatValue(median(ratios), 'ratio')} × ${ratioTo}`
}

function cellsOf(row: Row): string[] {
  const { contestant, mode, values, unit, notes, failures } = row
  const shown = (value: number): string => formatValue(value, unit)
  const failed = failures.length === 0 ? [] : [failureText(row), ...new Set(failures)]
  const note = [...failed, ...notes].join('; ').replaceAll(/\s+/g, ' ')
  if (values.length === 0) return [contestant, mode, '–', '–', '–', '0', note]
  return [
    contestant,
    mode,
    shown(median(values)),
    `${shown(Math.min(...values))} – ${shown(Math.max(...values))}`,
    ratioText(row),
    String(values.length),
    note,
  ]
}
