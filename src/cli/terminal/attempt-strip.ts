/**
 * The attempts of a job as a strip, to scale on one axis.
 *
 *     07:30 ╎ 10:00     10:10     10:20     10:30     10:40 10:46
 *     1       [━━━━━━━━━━━━━›                               │  render-b-2198
 *     2                     [━━━━━━━━━━━━━━━━━━━━━━━━━━✕    │  render-a-4127
 *     3                                                [━━━━│) render-b-2210
 *
 * `[` a claim, `✕ › ✓ ! /` how it ended, `│` now, `)` the end of the lease: right of now it stands for
 * "later" and is not to scale, left of now it is. Time in which no attempt was live is folded into `╎`
 * when it is longer than 2 minutes and more than 8 % of the whole; only waiting is ever folded.
 */
import type { AttemptDocument, JobDocument } from '../../client/documents.ts'
import { END_VERBS, reached } from './end-reason.ts'
import { workerName } from './format.ts'
import { END_MARKS } from './marks.ts'
import { paint, type Style, type Terminal } from './style.ts'
import { WIDE_FROM } from './table.ts'
import { cut, ellipsis } from './text.ts'

const SECOND_MS = 1_000
const MINUTE_MS = 60 * SECOND_MS
const HOUR_MS = 60 * MINUTE_MS

const FOLD_LONGER_MS = 2 * MINUTE_MS
const FOLD_SHARE = 0.08
const FOLD_COLUMNS = 3
const MARGIN = 2
/** Below this the words at the right would leave no room for a strip. */
const WIDTH_MIN = 60
const NAME_COLUMNS = 22
const WIDE_COLUMNS = 80
/** Newest attempts drawn when there are more than `ROWS_MAX`. */
const ROWS_MAX = 12
const ROWS_NEWEST = 6

const TICK_STEPS_MS = [
  SECOND_MS,
  5 * SECOND_MS,
  10 * SECOND_MS,
  15 * SECOND_MS,
  30 * SECOND_MS,
  MINUTE_MS,
  2 * MINUTE_MS,
  5 * MINUTE_MS,
  10 * MINUTE_MS,
  20 * MINUTE_MS,
  30 * MINUTE_MS,
  HOUR_MS,
  6 * HOUR_MS,
  24 * HOUR_MS,
]

/** Lines of the strip: its axis, then one row for each attempt. Nothing without an attempt or room. */
export function attemptStrip(terminal: Terminal, job: JobDocument, now: Date): string[] {
  const attempts = (job.attempts ?? []).filter(({ startedAt }) => startedAt !== null)
  if (attempts.length === 0 || terminal.width < WIDTH_MIN) return []
  const axis = layOut(terminal, job, attempts, now.getTime())
  const drawn = attempts.length > ROWS_MAX ? attempts.slice(-ROWS_NEWEST) : attempts
  const earlier = attempts.length - drawn.length
  return [
    paint(terminal, ['dim'], axisLine(terminal, axis)),
    ...(earlier > 0 ? [`  ${ellipsis(terminal)} ${earlier} earlier attempts`] : []),
    ...drawn.map((attempt) => attemptRow(terminal, job, attempt, axis)),
  ].map((line) => cut(terminal, line, terminal.width))
}

interface Segment {
  startMs: number
  endMs: number
  /** Columns of its start and its end. */
  start: number
  end: number
}

interface Axis {
  segments: Segment[]
  /** Columns of the folds. */
  folds: number[]
  createdMs: number
  headFolded: boolean
  /** The end of the drawn time: now, or the end of the last attempt of a job that has ended. */
  endMs: number
  end: number
  live: boolean
  msPerColumn: number
}

function layOut(
  terminal: Terminal,
  job: JobDocument,
  attempts: readonly AttemptDocument[],
  nowMs: number,
): Axis {
  const live = job.finishedAt === null
  const createdMs = Date.parse(job.createdAt)
  const bounds = attempts.map(({ startedAt, endedAt }) => ({
    startMs: Date.parse(startedAt ?? job.createdAt),
    endMs: endedAt === null ? nowMs : Date.parse(endedAt),
  }))
  const lastEndMs = Math.max(...bounds.map(({ endMs }) => endMs))
  const endMs = live ? Math.max(nowMs, lastEndMs) : lastEndMs
  const firstMs = Math.min(createdMs, ...bounds.map(({ startMs }) => startMs))
  const folding = (gapMs: number): boolean =>
    gapMs > FOLD_LONGER_MS && gapMs > FOLD_SHARE * (endMs - firstMs)

  // What is drawn: the time from the first to the last moment, less the gaps that fold.
  const spans: { startMs: number; endMs: number }[] = []
  let reachedMs = firstMs
  let spanStartMs = firstMs
  let headFolded = false
  for (const { startMs, endMs: spanEndMs } of bounds.toSorted((a, b) => a.startMs - b.startMs)) {
    if (folding(startMs - reachedMs)) {
      if (reachedMs === firstMs && spans.length === 0) headFolded = true
      else spans.push({ startMs: spanStartMs, endMs: reachedMs })
      spanStartMs = startMs
    }
    reachedMs = Math.max(reachedMs, spanEndMs)
  }
  const tailFolded = folding(endMs - reachedMs)
  spans.push({ startMs: spanStartMs, endMs: tailFolded ? reachedMs : endMs })

  const wide = terminal.width >= WIDE_FROM
  const label = axisLabel(createdMs, MINUTE_MS).length + FOLD_COLUMNS
  const left = MARGIN + (headFolded ? label : String(attempts.at(-1)?.attempt ?? 1).length + 2)
  const end = Math.min(left + WIDE_COLUMNS, terminal.width - NAME_COLUMNS - (wide ? 8 : 2))
  const innerFolds = spans.length - 1 + (tailFolded ? 1 : 0)
  const drawnMs = Math.max(
    1,
    spans.reduce((sum, span) => sum + span.endMs - span.startMs, 0),
  )
  const msPerColumn = drawnMs / Math.max(1, end - left - innerFolds * FOLD_COLUMNS)

  const folds = headFolded ? [left - 2] : []
  const segments: Segment[] = []
  let column = left
  for (const [index, span] of spans.entries()) {
    if (index > 0) {
      folds.push(column + 1)
      column += FOLD_COLUMNS
    }
    const stop = column + (span.endMs - span.startMs) / msPerColumn
    segments.push({ ...span, start: Math.round(column), end: Math.round(stop) })
    column = Math.round(stop)
  }
  if (tailFolded) folds.push(column + 1)
  return { segments, folds, createdMs, headFolded, endMs, end, live, msPerColumn }
}

/** The column of a moment; a moment inside a fold is at its right. */
function columnOf(axis: Axis, atMs: number): number {
  for (const { startMs, endMs, start, end } of axis.segments) {
    if (atMs <= startMs) return start
    if (atMs <= endMs) return Math.min(end, start + Math.floor((atMs - startMs) / axis.msPerColumn))
  }
  return axis.end
}

function axisLabel(atMs: number, stepMs: number): string {
  const iso = new Date(atMs).toISOString()
  if (stepMs >= 24 * HOUR_MS) return iso.slice(5, 10)
  return stepMs < MINUTE_MS ? iso.slice(11, 19) : iso.slice(11, 16)
}

/** Labels by weight: the end, the starts of the segments, then ticks where there is room. */
function axisLine(terminal: Terminal, axis: Axis): string {
  const fits = (stepMs: number): boolean =>
    stepMs / axis.msPerColumn >= axisLabel(0, stepMs).length + 4
  const stepMs = TICK_STEPS_MS.find(fits) ?? 24 * HOUR_MS
  const line = Array.from({ length: axis.end }, () => ' ')
  const put = (column: number, text: string): void => {
    const around = line.slice(Math.max(0, column - 1), column + text.length + 1)
    if (around.some((sign) => sign !== ' ')) return
    for (let index = 0; index < text.length; index += 1) line[column + index] = text.charAt(index)
  }
  for (const column of axis.folds) line[column] = foldSign(terminal)
  if (axis.headFolded) put(MARGIN, axisLabel(axis.createdMs, MINUTE_MS))
  put(axis.end, axisLabel(axis.endMs, stepMs))
  for (const { startMs, start } of axis.segments) put(start, axisLabel(startMs, stepMs))
  for (const { startMs, endMs } of axis.segments)
    for (let tick = Math.ceil(startMs / stepMs) * stepMs; tick < endMs; tick += stepMs)
      put(columnOf(axis, tick), axisLabel(tick, stepMs))
  return line.join('').trimEnd()
}

function foldSign(terminal: Terminal): string {
  return terminal.unicode ? '╎' : ':'
}

function attemptRow(
  terminal: Terminal,
  job: JobDocument,
  attempt: AttemptDocument,
  axis: Axis,
): string {
  const cells: { sign: string; styles: readonly Style[] }[] = Array.from(
    { length: axis.end + 2 },
    () => ({ sign: ' ', styles: [] }),
  )
  const put = (column: number, sign: string, styles: readonly Style[] = []): void => {
    if (column >= 0 && column < cells.length) cells[column] = { sign, styles }
  }
  const firstFold = axis.headFolded ? 1 : 0
  for (const column of axis.folds.slice(firstFold)) put(column, foldSign(terminal), ['dim'])
  const number = String(attempt.attempt)
  for (let index = 0; index < number.length; index += 1)
    put(MARGIN + index, number.charAt(index), ['dim'])
  if (axis.live) put(axis.end, terminal.unicode ? '│' : '|', ['dim'])

  const startMs = Date.parse(attempt.startedAt ?? job.createdAt)
  const leaseMs = job.leaseExpiresAt === null ? null : Date.parse(job.leaseExpiresAt)
  const lapsed = leaseMs !== null && leaseMs < axis.endMs
  const liveNow = attempt.endedAt === null
  const stopMs = attempt.endedAt !== null ? Date.parse(attempt.endedAt) : axis.endMs
  // An end mark needs a column of its own, and the line of now keeps its.
  const last = axis.live ? axis.end - 1 : axis.end
  const stop = Math.min(liveNow ? axis.end : last, Math.max(columnOf(axis, stopMs), 1))
  const start = Math.min(columnOf(axis, startMs), (liveNow ? last : stop) - (liveNow ? 0 : 1))
  const bar: readonly Style[] = liveNow && !lapsed ? ['blue'] : ['dim']
  put(start, '[', bar)
  for (let column = start + 1; column < stop; column += 1)
    if (cells[column]?.sign === ' ') put(column, terminal.unicode ? '━' : '=', bar)
  if (attempt.endedAs !== null) {
    const { mark, ascii, styles } = END_MARKS[attempt.endedAs]
    put(Math.max(stop, start + 1), terminal.unicode ? mark : ascii, styles)
  } else if (leaseMs !== null) {
    if (lapsed) put(Math.min(columnOf(axis, leaseMs), last), ')', ['brightRed'])
    else put(axis.end + 1, ')', bar)
  }

  const name = attempt.workerId === null ? '' : workerName(attempt.workerId)
  const words = terminal.width >= WIDE_FROM ? endWords(job, attempt) : ''
  // Beside the bar if that is free up to now, else behind the name.
  const beside = stop + 3 + words.length < axis.end
  if (beside)
    for (let index = 0; index < words.length; index += 1)
      put(stop + 2 + index, words.charAt(index), ['dim'])
  const behind = beside || words === '' ? '' : paint(terminal, ['dim'], `  ${words}`)
  return `${paintRuns(terminal, cells)} ${name}${behind}`.trimEnd()
}

/** `lost at 41`, nothing for an attempt that runs. */
function endWords(job: JobDocument, attempt: AttemptDocument): string {
  if (attempt.endedAs === null) return ''
  const at = reached(job, attempt).replace(/ of \d+$/, '')
  return `${END_VERBS[attempt.endedAs].replace(/^was /, '')}${at}`
}

/** Neighbours of one colour share one code. */
function paintRuns(
  terminal: Terminal,
  cells: readonly { sign: string; styles: readonly Style[] }[],
): string {
  let line = ''
  let run = ''
  let styles: readonly Style[] = []
  for (const cell of cells) {
    if (cell.styles.join() !== styles.join()) {
      line += paint(terminal, styles, run)
      run = ''
      styles = cell.styles
    }
    run += cell.sign
  }
  return line + paint(terminal, styles, run)
}
