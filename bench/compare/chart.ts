/**
 * The chart of a comparison: an SVG of its own, one panel for each measure, one horizontal bar for each contestant, a thin
 * line from the least to the most, and its median in words in a column at the right. It has no script and no outside resource, and follows the reader's
 * light or dark scheme.
 *
 * Bars of rates begin at zero. Milliseconds that differ by more than fifty times are drawn on a logarithmic scale, and say so: on a
 * linear one everything but a queue that is polled would be invisible. What failed is said in the place of what it would have shown.
 */
import { plain } from '../../src/cli/terminal/text.ts'
import { formatValue, moreIsBetter } from '../figures.ts'
import { OURS } from './arena.ts'
import { RAW, type Row } from './comparison.ts'
import { byVariant, failureText, median, ratioText } from './output.ts'

const WIDTH = 920
const MARGIN = 24
const LABEL_WIDTH = 190
const BAR_WIDTH = 400
const VALUE_WIDTH = 122
const LINE_HEIGHT = 22
const BAR_HEIGHT = 13
const HEADING_HEIGHT = 44
const TITLE_HEIGHT = 44
const ABOUT_HEIGHT = 16
/** Letters of the small text that fit beside each other. */
const ABOUT_LENGTH = 142
const CAP_HEIGHT = 3
const GAP = 10
/** What fits where bars and values would be. */
const REASON_MAX = 90
/** Beyond this the smaller bars could not be told from nothing. */
const LINEAR_MAX = 50

const STYLE = `
  .ground { fill: #ffffff } text { font: 13px system-ui, sans-serif; fill: #1f2328 }
  .title { font-size: 18px; font-weight: 600 } .heading { font-size: 14px; font-weight: 600 }
  .quiet, .failed { font-size: 12px } .quiet { fill: #59636e } .peer { fill: #8b95a1 } .ours { fill: #1f6feb } .raw { fill: #d1d9e0 }
  .span { fill: none; stroke: #1f2328; stroke-width: 1.2 } .strong { font-weight: 600 } .failed { fill: #b42318 }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #0d1117 } text { fill: #e6edf3 } .quiet { fill: #9198a1 } .peer { fill: #6e7781 }
    .ours { fill: #4493f8 } .raw { fill: #3d444d } .span { stroke: #e6edf3 } .failed { fill: #ff7b72 }
  }`

interface ChartText {
  readonly title: string
  /** What the figures hold for: machine, servers, versions and settings. */
  readonly about: readonly string[]
}

export function chart(rows: readonly Row[], { title, about }: ChartText): string {
  const block = about.flatMap((line) => wrapped(line))
  const ceilings = rows.filter(({ contestant }) => contestant === RAW)
  const panels = [...byVariant(rows.filter(({ contestant }) => contestant !== RAW))].map(
    ([variant, group]): [string, Row[]] => {
      const ceiling = group[0]?.ceiling
      return [variant, [...ceilings.filter((row) => row.variant === ceiling), ...group]]
    },
  )
  const parts: string[] = []
  let y = TITLE_HEIGHT + block.length * ABOUT_HEIGHT
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
${block.map((line, index) => text(MARGIN, 52 + index * ABOUT_HEIGHT, line, 'quiet')).join('\n')}
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
  return [
    text(MARGIN, top + 28, variant, 'heading'),
    text(WIDTH - MARGIN, top + 28, hint, 'quiet', 'end'),
    ...rows.flatMap((row, index) =>
      rowOf(row, top + HEADING_HEIGHT + index * LINE_HEIGHT, widthOf),
    ),
  ]
}

function rowOf(row: Row, top: number, widthOf: (value: number) => number): string[] {
  const { contestant, mode, values, failures, unit } = row
  const x = MARGIN + LABEL_WIDTH
  const base = top + 11
  const strong = contestant === OURS ? 'strong' : ''
  const label = text(x - GAP, base, `${contestant} ${mode}`.trim(), strong, 'end')
  if (values.length === 0) {
    const reason = `${failureText(row)}: ${failures[0]?.split('\n')[0] ?? ''}`
    const cut = reason.length > REASON_MAX ? `${reason.slice(0, REASON_MAX)} …` : reason
    return [label, text(x, base, cut, 'failed')]
  }
  const kind = contestant === OURS ? 'ours' : contestant === RAW ? 'raw' : 'peer'
  const value = median(values)
  const [from, to] = [x + widthOf(Math.min(...values)), x + widthOf(Math.max(...values))]
  const middle = top + BAR_HEIGHT / 2
  const cap = (at: number): string => `M${at} ${middle - CAP_HEIGHT}v${2 * CAP_HEIGHT}`
  // In columns of their own: beside the end of a line that reaches far, a value would look like that of a far longer bar.
  const valueEnd = x + BAR_WIDTH + VALUE_WIDTH
  return [
    label,
    `<rect class="${kind}" x="${x}" y="${top}" width="${widthOf(value)}" height="${BAR_HEIGHT}" rx="2"/>`,
    ...(from === to
      ? []
      : [`<path class="span" d="M${from} ${middle}H${to}${cap(from)}${cap(to)}"/>`]),
    text(valueEnd, base, formatValue(value, unit), strong, 'end'),
    text(valueEnd + GAP, base, ratioText(row), 'quiet'),
    ...(failures.length === 0
      ? []
      : [text(WIDTH - MARGIN, base, failureText(row), 'failed', 'end')]),
  ]
}

function text(x: number, y: number, content: string, kind: string, anchor = 'start'): string {
  return `<text x="${x}" y="${y}" class="${kind}" text-anchor="${anchor}">${escaped(content)}</text>`
}

/** Lines that fit. */
function wrapped(content: string): string[] {
  const lines: string[] = []
  for (const word of content.split(' ')) {
    const last = lines.at(-1)
    if (last !== undefined && last.length + word.length < ABOUT_LENGTH)
      lines.splice(-1, 1, `${last} ${word}`)
    else lines.push(word)
  }
  return lines
}

function escaped(content: string): string {
  return plain(content).replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
}
