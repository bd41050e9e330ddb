/**
 * What `jobs list`, `jobs show` and `jobs events` print, from the JSON documents alone.
 *
 * `now` is the database's clock as the caller read it; without it this machine's clock is taken, and
 * ages are off by the difference. On a terminal the sentence `why` loses what stands beside it anyway
 * (the state, the worker); not on a terminal it is printed whole.
 */
import type { AttemptDocument, JobDocument, JobEventDocument } from '../../client/documents.ts'
import { isTerminal } from '../../domain/states.ts'
import { attemptStrip } from './attempt-strip.ts'
import { progressBar } from './bar.ts'
import { checkpointWord, layerOf, reasonWords } from './end-reason.ts'
import {
  dash,
  formatCount,
  formatDuration,
  formatId,
  formatInstant,
  formatProgress,
  formatTime,
  idEnding,
  plural,
  workerName,
} from './format.ts'
import { handOverStory } from './hand-over.ts'
import { JOB_MARKS, markedText } from './marks.ts'
import { paint, type Rendered, type Terminal } from './style.ts'
import {
  block,
  type Column,
  type Fact,
  renderFacts,
  renderTable,
  renderTabs,
  WIDE_FROM,
} from './table.ts'
import { cut, plain, wrap } from './text.ts'

/** Most often one of these is in the handler. */
const STACK_LINES_MAX = 3

/** What a list can't know from its jobs. */
export interface JobListContext {
  /** The database's clock. */
  readonly now?: Date
  /** The filter as typed, for the sentence when nothing matches. */
  readonly filter?: string
}

/** The jobs in the given order, and for standard error the count and where the next page begins. */
export function renderJobList(
  terminal: Terminal,
  items: readonly JobDocument[],
  nextCursor: string | null,
  total: number | null,
  { now = new Date(), filter = '' }: JobListContext = {},
): Rendered {
  if (!terminal.isTerminal) {
    const headings = 'state id type queue run attempt progress worker created why'.split(' ')
    const rows = items.map((job) => [
      job.state,
      job.id,
      job.type,
      job.queue,
      job.runId ?? '',
      String(job.attempt),
      formatProgress(terminal, job.progress),
      workerOf(job) ?? '',
      job.createdAt,
      job.why,
    ])
    return {
      output: block(renderTabs(headings, rows)),
      note: listNote(items, nextCursor, total, filter),
    }
  }
  const wide = terminal.width >= WIDE_FROM
  const columns: Column[] = [
    { heading: 'STATE', widthMin: 12 },
    { heading: 'JOB', widthMin: 24 },
    { heading: 'PROGRESS', align: 'right', dropAt: 1 },
    wide ? { heading: 'ATTEMPTS' } : { heading: 'ATT', align: 'right', dropAt: 2 },
    { heading: 'WORKER', widthMin: 14, from: WIDE_FROM },
    { heading: 'AGE', align: 'right', from: WIDE_FROM },
    { heading: 'WHY', flexible: true },
  ]
  const rows = items.map((job) => [
    {
      text: markedText(terminal, JOB_MARKS[job.state], job.state),
      styles: JOB_MARKS[job.state].styles,
    },
    { text: plain(job.type), tail: ` ${formatId(terminal, job.id)}` },
    formatProgress(terminal, job.progress),
    wide ? attemptsWords(terminal, job) : attemptCount(terminal, job),
    workerNow(terminal, job),
    formatDuration(now.getTime() - Date.parse(job.createdAt)),
    shortWhy(job, now),
  ])
  return {
    output: items.length === 0 ? '' : block(renderTable(terminal, columns, rows)),
    note: listNote(items, nextCursor, total, filter),
  }
}

/** Whose it is, or was at its end. A job that waits has none: the worker of its attempt before is told there. */
function workerOf({ status, workerId }: JobDocument): string | null {
  return status === 'running' || isTerminal(status) ? workerId : null
}

function workerNow(terminal: Terminal, job: JobDocument): string {
  const worker = workerOf(job)
  return worker === null ? dash(terminal) : workerName(worker)
}

function listNote(
  items: readonly JobDocument[],
  nextCursor: string | null,
  total: number | null,
  filter: string,
): string {
  if (items.length === 0) return filter === '' ? 'No job yet.\n' : `No job matches ${filter}.\n`
  const of = total === null || total === items.length ? '' : ` of ${formatCount(total)}`
  const count = of === '' ? plural(items.length, 'job') : `${formatCount(items.length)}${of}`
  return `${count}.${nextCursor === null ? '' : ` Next: --after ${nextCursor}`}\n`
}

function attemptCount(terminal: Terminal, { attempt }: JobDocument): string {
  return attempt === 0 ? dash(terminal) : String(attempt)
}

/** `3, 1 lost` */
function attemptsWords(terminal: Terminal, job: JobDocument): string {
  const parts = [attemptCount(terminal, job)]
  if (job.failures > 0) parts.push(`${job.failures} failed`)
  if (job.lost > 0) parts.push(`${job.lost} lost`)
  return parts.join(', ')
}

/** The sentence without the state in front and the full stop; for a live lease how long it holds. */
function shortWhy(job: JobDocument, now: Date): string {
  if (job.state === 'running' && job.leaseExpiresAt !== null)
    return `lease holds ${leaseLeft(job.leaseExpiresAt, now)}`
  const took = tookMs(job)
  if (job.state === 'completed' && took !== null) {
    const on = job.workerId === null ? '' : ` on ${workerName(job.workerId)}`
    return `in ${formatDuration(took)}${on}`
  }
  return uncapitalised(withoutState(job))
}

function withoutState({ state, why }: JobDocument): string {
  const words = plain(why).replace(/\.$/, '')
  return words.toLowerCase().startsWith(`${state}: `) ? words.slice(state.length + 2) : words
}

/** Lower case for the first letter of a sentence, but not for a name that begins one. */
function uncapitalised(words: string): string {
  return words.replace(/^[A-Z](?=[a-z]* )/, (letter) => letter.toLowerCase())
}

function leaseLeft(leaseExpiresAt: string, now: Date): string {
  return formatDuration(Date.parse(leaseExpiresAt) - now.getTime())
}

/** From the start to the end, in milliseconds; `null` while there is no end. */
export function tookMs({ startedAt, createdAt, finishedAt }: JobDocument): number | null {
  return finishedAt === null ? null : Date.parse(finishedAt) - Date.parse(startedAt ?? createdAt)
}

/** One job with its attempts. */
export function renderJob(terminal: Terminal, job: JobDocument, now: Date = new Date()): Rendered {
  if (!terminal.isTerminal) return { output: block(jobAsTabs(terminal, job)), note: '' }
  const strip = attemptStrip(terminal, job, now)
  const story = handOverStory(terminal, job)
  const lines = [
    `${paint(terminal, ['bold'], plain(job.type))}  ${job.id}`,
    ...wrap(stateLine(terminal, job, now), terminal.width).map((line) =>
      paint(terminal, JOB_MARKS[job.state].styles, line),
    ),
    '',
    ...jobFacts(terminal, job, now),
    ...(strip.length > 0 ? ['', ...strip] : []),
    ...(story.length > 0 ? ['', ...story] : []),
  ]
  return {
    output: block(lines.map((line) => cut(terminal, line, terminal.width))),
    note: `\nLogs: leasehold jobs logs ${idEnding(job.id)}${job.finishedAt === null ? ' --follow' : ''}\n`,
  }
}

/** `● running on render-b-2210 since 10:41:07 UTC, lease holds 27.9 s`, else the state and why. */
function stateLine(terminal: Terminal, job: JobDocument, now: Date): string {
  const mark = JOB_MARKS[job.state]
  if (job.state !== 'running' || job.workerId === null || job.leaseExpiresAt === null) {
    const why = withoutState(job)
    const begins = why.toLowerCase().startsWith(job.state)
    const words = begins ? uncapitalised(why) : `${job.state}: ${uncapitalised(why)}`
    return markedText(terminal, mark, words)
  }
  const startedAt = job.attempts?.at(-1)?.startedAt ?? job.startedAt
  const since = startedAt === null ? '' : ` since ${formatTime(terminal, startedAt, now)}`
  const lease = `lease holds ${leaseLeft(job.leaseExpiresAt, now)}`
  return markedText(terminal, mark, `running on ${workerName(job.workerId)}${since}, ${lease}`)
}

function jobFacts(terminal: Terminal, job: JobDocument, now: Date): string[] {
  const fact = (name: string, words: string): string =>
    `  ${paint(terminal, ['dim'], name.padEnd(10))} ${words}`
  const facts: string[] = []
  if (job.progress !== null) facts.push(fact('progress', progressWords(terminal, job, now)))
  facts.push(
    fact('budgets', budgetWords(job).join('   ')),
    fact('where', whereWords(job)),
    fact('created', createdWords(terminal, job, now)),
  )
  if (job.error !== null) {
    facts.push(fact('error', errorWords(job.error)))
    facts.push(...stackWords(job.error).map((line) => fact('', paint(terminal, ['dim'], line))))
  }
  if (job.result !== null) facts.push(fact('result', plain(JSON.stringify(job.result))))
  return facts
}

function progressWords(terminal: Terminal, job: JobDocument, now: Date): string {
  const { progress } = job
  if (progress === null) return dash(terminal)
  // 33 of 80 columns, less on narrower terminals.
  const width = Math.max(8, Math.min(33, terminal.width - 47))
  const { done, total } = progress
  const bar = total === null ? '' : `${progressBar(terminal, { done, total, width })}  `
  const age =
    progress.at === null || job.finishedAt !== null
      ? null
      : `${formatDuration(now.getTime() - Date.parse(progress.at))} ago`
  const message = progress.message === null ? null : plain(progress.message)
  const said = [message, age].filter((part) => part !== null).join(', ')
  return `${bar}${formatProgress(terminal, progress)}${said === '' ? '' : `  ${said}`}`
}

function budgetWords(job: JobDocument): string[] {
  return [
    `failures ${job.failures} of ${job.maxAttempts}`,
    `lost workers in a row ${job.lost} of ${job.maxLost}`,
    `interruptions ${job.interruptions}`,
  ]
}

function whereWords(job: JobDocument): string {
  const run = job.runId === null ? '' : `, run ${plain(job.runId)}`
  const target = job.target === null ? 'any worker' : `aimed at ${plain(job.target)}`
  return `queue ${plain(job.queue)}${run}, priority ${job.priority}, ${target}`
}

function createdWords(terminal: Terminal, { createdAt, runAt }: JobDocument, now: Date): string {
  const created = formatTime(terminal, createdAt, now)
  // Less than a second apart is "at once": the two are set by one statement.
  if (runAt === null || Date.parse(runAt) - Date.parse(createdAt) < 1000) return created
  return `${created}, for ${formatTime(terminal, runAt, now).replace(/ UTC$/, '')}`
}

function errorWords({ code, message }: NonNullable<JobDocument['error']>): string {
  return plain(code === null ? message : `${code}: ${message}`)
}

/** Where it was thrown: the first lines of its stack, whose head is the message. */
function stackWords({ stack }: NonNullable<JobDocument['error']>): string[] {
  const lines = (stack ?? '').split('\n').filter((line) => /^\s+at /.test(line))
  const more = lines.length - STACK_LINES_MAX
  return [
    ...lines.slice(0, STACK_LINES_MAX).map((line) => plain(line.trim())),
    ...(more > 0 ? [`${plural(more, 'more line')}: --json`] : []),
  ]
}

function jobAsTabs(terminal: Terminal, job: JobDocument): string[] {
  const facts: Fact[] = [
    ['id', job.id],
    ['type', job.type],
    ['state', job.state],
    ['why', job.why],
    ['progress', formatProgress(terminal, job.progress)],
    ['failures', `${job.failures} of ${job.maxAttempts}`],
    ['lost', `${job.lost} of ${job.maxLost}`],
    ['interruptions', job.interruptions],
    ['queue', job.queue],
    ['run', job.runId],
    ['priority', job.priority],
    ['target', job.target],
    ['worker', workerOf(job)],
    ['machine', workerOf(job) === null ? null : job.machineId],
    ['leaseExpires', job.leaseExpiresAt],
    ['created', job.createdAt],
    ['runAt', job.runAt],
    ['started', job.startedAt],
    ['finished', job.finishedAt],
    ['error', job.error === null ? null : errorWords(job.error)],
    ['result', job.result === null ? null : JSON.stringify(job.result)],
  ]
  const lines = renderFacts(facts)
  const attempts = job.attempts ?? []
  if (attempts.length > 0) {
    const headings = 'attempt worker started ended endedAs from last layer why'.split(' ')
    lines.push('', ...renderTabs(headings, attempts.map(attemptAsTabs)))
  }
  const events = job.events ?? []
  if (events.length > 0) lines.push('', ...eventLines(terminal, events))
  return lines
}

function attemptAsTabs(attempt: AttemptDocument): string[] {
  const { endReason } = attempt
  return [
    String(attempt.attempt),
    attempt.workerId ?? '',
    attempt.startedAt ?? '',
    attempt.endedAt ?? '',
    attempt.endedAs ?? '',
    checkpointWord(attempt.fromCheckpoint) ?? '',
    checkpointWord(attempt.lastCheckpoint) ?? '',
    layerOf(endReason)?.name ?? '',
    endReason === null ? '' : reasonWords(endReason),
  ]
}

/** What happened to a job, in the given order. */
export function renderEvents(terminal: Terminal, events: readonly JobEventDocument[]): Rendered {
  if (events.length === 0 && terminal.isTerminal) return { output: '', note: 'No event.\n' }
  return { output: block(eventLines(terminal, events)), note: '' }
}

function eventLines(terminal: Terminal, events: readonly JobEventDocument[]): string[] {
  if (!terminal.isTerminal) {
    const headings = ['at', 'kind', 'attempt', 'worker', 'message']
    const rows = events.map(({ at, kind, attempt, workerId, message }) => [
      at,
      kind,
      attempt === null ? '' : String(attempt),
      workerId ?? '',
      message ?? '',
    ])
    return renderTabs(headings, rows)
  }
  const columns: Column[] = [
    { heading: 'AT' },
    { heading: 'EVENT' },
    { heading: 'ATT', align: 'right', dropAt: 1 },
    { heading: 'WORKER', dropAt: 2 },
    { heading: 'WHAT', flexible: true },
  ]
  const rows = events.map(({ at, kind, attempt, workerId, message }) => [
    { text: formatInstant(terminal, Date.parse(at)), styles: ['dim'] as const },
    plain(kind),
    attempt === null ? dash(terminal) : String(attempt),
    workerId === null ? dash(terminal) : workerName(workerId),
    plain(message ?? ''),
  ])
  return renderTable(terminal, columns, rows)
}
