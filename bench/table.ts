/**
 * What the benchmark shows of its figures: a table for people at a terminal, tab-separated lines for programs.
 *
 * A figure with several bounds takes a line for each, the first beside its values. What misses its bound is said in words; colour
 * and marks only repeat it.
 */
import { type Figure, formatValue, statistic } from './figures.ts'
import { type Cell, type Column, renderTable, renderTabs } from '../src/cli/terminal/table.ts'
import { paint, type Style, type Terminal } from '../src/cli/terminal/style.ts'

const COLUMNS: readonly Column[] = [
  { heading: 'MEASURE', flexible: true },
  { heading: 'BOUND' },
  { heading: 'MEDIAN', align: 'right' },
  { heading: 'WORST', align: 'right' },
  { heading: 'N', align: 'right' },
  { heading: '' },
]

/** Whether every bound of every figure was kept. */
export function allMet(figures: readonly Figure[]): boolean {
  return figures.every(({ checks }) => checks.every(({ met }) => met))
}

export function renderFigures(terminal: Terminal, figures: readonly Figure[]): string[] {
  if (!terminal.isTerminal) return renderForPrograms(figures)
  const rows = figures.flatMap((figure) => {
    return linesOf(figure).map(({ cells, verdict }) => [...cells, verdictCell(terminal, verdict)])
  })
  return renderTable(terminal, COLUMNS, rows)
}

function renderForPrograms(figures: readonly Figure[]): string[] {
  return renderTabs(
    ['name', 'measure', 'bound', 'median', 'worst', 'n', 'verdict', 'note'],
    figures.flatMap((figure) =>
      linesOf(figure).map(({ cells: [, ...values], verdict }) => {
        return [figure.name, figure.what, ...values, verdict, figure.note ?? '']
      }),
    ),
  )
}

type Verdict = 'met' | 'NOT MET' | 'not judged' | 'skipped'

/** Measure, bound, median, worst and n of each line, and what became of its bound. */
function linesOf(figure: Figure): { cells: string[]; verdict: Verdict }[] {
  const { what, values, unit, checks } = figure
  if (figure.skipped !== undefined)
    return [{ cells: [`${what}: ${figure.skipped}`, '–', '–', '–', '0'], verdict: 'skipped' }]
  const shown = [
    formatValue(statistic(values, 'median', unit), unit),
    formatValue(statistic(values, 'worst', unit), unit),
    String(values.length),
  ]
  const [first, ...others] = checks
  return [
    {
      cells: [what, first?.says ?? '–', ...shown],
      verdict: first === undefined ? 'not judged' : verdictOf(first.met),
    },
    ...others.map(({ says, met }) => ({
      cells: ['', says, '', '', ''],
      verdict: verdictOf(met),
    })),
  ]
}

function verdictOf(met: boolean): Verdict {
  return met ? 'met' : 'NOT MET'
}

function verdictCell(terminal: Terminal, verdict: Verdict): Cell {
  const [mark, style]: [string, Style] =
    verdict === 'met'
      ? ['✓', 'green']
      : verdict === 'NOT MET'
        ? ['✕', 'red']
        : [terminal.unicode ? '·' : '-', 'dim']
  return { text: terminal.unicode ? `${mark} ${verdict}` : verdict, styles: [style] }
}

/** A line of progress, dim at a terminal. */
export function progressLine(terminal: Terminal, name: string, text: string): string {
  return `  ${name}  ${paint(terminal, ['dim'], text)}`
}
