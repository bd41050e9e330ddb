/**
 * The chart of a comparison: an SVG of its own, one panel for each measure, one horizontal bar for each contestant, its median in
 * words beside it and a thin line from the least to the most. It has no script and no outside resource, and follows the reader's
 * light or dark scheme.
 *
 * Bars of rates begin at zero. Milliseconds that differ by more than fifty times are drawn on a logarithmic scale, and say so: on a
 * linear one everything but a queue that is polled would be invisible.
 */
import { formatValue, moreIsBetter } from '../figures.ts'
import { OURS } from './arena.ts'
import { RAW, type Row } from './comparison.ts'
import { byVariant, median } from './output.ts'

const WIDTH = 920
const MARGIN = 24
const LABEL_WIDTH = 190
const BAR_WIDTH = 440
const LINE_HEIGHT = 22
const BAR_HEIGHT = 13
const HEADING_HEIGHT = 44
const TITLE_HEIGHT = 44
const ABOUT_HEIGHT = 16
/** Beyond this the smaller bars could not be told from nothing. */
const LINEAR_MAX = 50

const STYLE = `
  .ground { fill: #ffffff } text { font: 13px system-ui, sans-serif; fill: #1f2328 }
  .title { font-size: 18px; font-weight: 600 } .heading { font-size: 14px; font-weight: 600 }
  .quiet { fill: #59636e; font-size: 12px } .peer { fill: #8b95a1 } .ours { fill: #1f6feb } .raw { fill: #d1d9e0 }
  .span { stroke: #1f2328; stroke-width: 1.2 } .strong { font-weight: 600 }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #0d1117 } text { fill: #e6edf3 } .quiet { fill: #9198a1 } .peer { fill: #6e7781 }
    .ours { fill: #4493f8 } .raw { fill: #3d444d } .span { stroke: #e6edf3 }
  }`

interface ChartText {
  readonly title: string
  /** Machine, server, repetitions. */
  readonly about: readonly string[]
}

export function chart(rows: readonly Row[], { title, about }: ChartText): string {
  const drawn = rows.filter(({ values }) => values.length > 0)
  const ceilings = drawn.filter(({ contestant }) => contestant === RAW)
  const panels = [...byVariant(drawn.filter(({ contestant }) => contestant !== RAW))].map(
    ([variant, group]): [string, Row[]] => {
      const ceiling = group[0]?.ceiling
      return [variant, [...ceilings.filter((row) => row.variant === ceiling), ...group]]
    },
  )
  const parts: string[] = []
  let y = TITLE_HEIGHT + about.length * ABOUT_HEIGHT
  for (const [variant, group] of panels) {
    parts.push(...panel(variant, group, y))
    y += HEADING_HEIGHT + group.length * LINE_HEIGHT
  }
  const height = y + MARGIN
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" viewBox="0 0 ${WIDTH} ${height}" role="img">
<title>${escaped(title)}</title>
<style>${STYLE}</style>
<rect class="ground" width="${WIDTH}" height="${height}"/>
${text(MARGIN, 32, title, 'title')}
${about.map((line, index) => text(MARGIN, 52 + index * ABOUT_HEIGHT, line, 'quiet')).join('\n')}
${parts.join('\n')}
</svg>
`
}

function panel(variant: string, rows: readonly Row[], top: number): string[] {
  const [{ unit } = { unit: 'jobs/s' as const }] = rows
  const most = Math.max(...rows.flatMap(({ values }) => values))
  const least = Math.min(...rows.flatMap(({ values }) => values).filter((value) => value > 0))
  const logarithmic = unit === 'ms' && most / least > LINEAR_MAX
  const floor = least / 2
  const widthOf = (value: number): number => {
    if (!(most > 0) || !(value > 0)) return 0
    const share = logarithmic ? Math.log(value / floor) / Math.log(most / floor) : value / most
    return Math.max(1, Math.round(share * BAR_WIDTH))
  }
  const better = moreIsBetter(unit) ? 'longer is better' : 'shorter is better'
  const hint = logarithmic ? `${better}, logarithmic` : better
  const x = MARGIN + LABEL_WIDTH
  return [
    text(MARGIN, top + 28, variant, 'heading'),
    text(WIDTH - MARGIN, top + 28, hint, 'quiet', 'end'),
    ...rows.flatMap((row, index) => {
      const y = top + HEADING_HEIGHT + index * LINE_HEIGHT
      const middle = y + BAR_HEIGHT / 2
      const value = median(row.values)
      const ours = row.contestant === OURS
      const kind = ours ? 'ours' : row.contestant === RAW ? 'raw' : 'peer'
      const label = `${row.contestant} ${row.mode}`.trim()
      const ratio = row.ratios.length === 0 ? '' : ` · ${median(row.ratios).toFixed(2)} × raw`
      const [from, to] = [Math.min(...row.values), Math.max(...row.values)].map(widthOf)
      const end = x + Math.max(widthOf(value), to ?? 0) + 8
      return [
        text(x - 10, y + 11, label, ours ? 'strong' : '', 'end'),
        `<rect class="${kind}" x="${x}" y="${y}" width="${widthOf(value)}" height="${BAR_HEIGHT}" rx="2"/>`,
        ...(from === to
          ? []
          : [
              `<line class="span" x1="${x + (from ?? 0)}" x2="${x + (to ?? 0)}" y1="${middle}" y2="${middle}"/>`,
            ]),
        text(end, y + 11, `${formatValue(value, unit)}${ratio}`, ours ? 'strong' : ''),
      ]
    }),
  ]
}

function text(x: number, y: number, content: string, kind: string, anchor = 'start'): string {
  return `<text x="${x}" y="${y}" class="${kind}" text-anchor="${anchor}">${escaped(content)}</text>`
}

function escaped(content: string): string {
  return content.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
}
