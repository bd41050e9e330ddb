/** What `runs …` prints, from the JSON documents alone. */
import type { RunDocument, RunStatus } from '../../client/documents.ts'
import { progressBar } from './bar.ts'
import {
  dash,
  formatCount,
  formatDuration,
  formatId,
  formatTime,
  idEnding,
  plural,
} from './format.ts'
import { type Mark, marked, markedText } from './marks.ts'
import { paint, type Rendered, type Terminal } from './style.ts'
import { block, type Column, renderFacts, renderTable, renderTabs, WIDE_FROM } from './table.ts'
import { plain } from './text.ts'

const RUN_MARKS: Readonly<Record<RunStatus, Mark>> = {
  active: { mark: '●', styles: ['blue'] },
  completed: { mark: '✓', styles: ['green'] },
  error: { mark: '✕', styles: ['red', 'bold'] },
  archived: { mark: '⊘', styles: ['magenta'] },
}

const BAR_WIDTH = 20

/** The database's clock when it answered. */
function nowOf(run: RunDocument): Date {
  return new Date(run.now)
}

export function renderRunList(
  terminal: Terminal,
  items: readonly RunDocument[],
  nextCursor: string | null,
): Rendered {
  const note =
    items.length === 0
      ? 'No run matches, or there is none yet. Make one: leasehold runs create NAME\n'
      : `${plural(items.length, 'run')}.${nextCursor === null ? '' : ` Next: --after ${nextCursor}`}\n`
  if (!terminal.isTerminal) {
    const headings =
      'status id name stage target total waiting running completed failed cancelled tokens usd created finished'
    const rows = items.map((run) => [
      run.status,
      run.id,
      run.name,
      run.stage ?? '',
      String(run.target ?? ''),
      ...countsOf(run),
      String(run.cost.tokens),
      String(run.cost.usd),
      run.createdAt,
      run.finishedAt ?? '',
    ])
    return { output: block(renderTabs(headings.split(' '), rows)), note }
  }
  if (items.length === 0) return { output: '', note }
  const columns: Column[] = [
    { heading: 'STATUS', widthMin: 11 },
    { heading: 'RUN', widthMin: 16 },
    { heading: 'DONE', align: 'right' },
    { heading: 'FAILED', align: 'right', dropAt: 2 },
    { heading: 'RUNNING', align: 'right', dropAt: 3 },
    { heading: 'COST', align: 'right', from: WIDE_FROM, dropAt: 1 },
    { heading: 'TIME', align: 'right', from: WIDE_FROM },
    { heading: 'STAGE', flexible: true },
  ]
  const rows = items.map((run) => [
    {
      text: markedText(terminal, RUN_MARKS[run.status], run.status),
      styles: RUN_MARKS[run.status].styles,
    },
    { text: plain(run.name), tail: ` ${formatId(terminal, run.id)}` },
    `${formatCount(run.progress.done)}/${formatCount(run.progress.target)}`,
    formatCount(run.progress.failed),
    formatCount(run.counts.running),
    costWords(run) || dash(terminal),
    formatDuration(tookMs(run)),
    plain(run.stage ?? ''),
  ])
  return { output: block(renderTable(terminal, columns, rows)), note }
}

/** One run with all that is known of it. */
export function renderRun(terminal: Terminal, run: RunDocument): Rendered {
  const facts = runFacts(terminal, run)
  if (!terminal.isTerminal) return { output: block(renderFacts(facts)), note: '' }
  const lines = [
    `${paint(terminal, ['bold'], plain(run.name))}  ${run.id}`,
    statusLine(terminal, run),
    '',
    ...facts
      .filter(([name, value]) => value !== '' && !HEAD.has(name))
      .map(([name, value]) => `  ${paint(terminal, ['dim'], name.padEnd(9))}  ${plain(value)}`),
  ]
  return { output: block(lines), note: `Its jobs: leasehold jobs list --run ${idEnding(run.id)}\n` }
}

const HEAD: ReadonlySet<string> = new Set(['id', 'name', 'status', 'why'])

function runFacts(terminal: Terminal, run: RunDocument): [string, string][] {
  const { total, waiting, running, completed, failed, cancelled } = run.counts
  const budget = [
    ...(run.budget?.tokens == null ? [] : [`${formatCount(run.budget.tokens)} tokens`]),
    ...(run.budget?.usd == null ? [] : [`${run.budget.usd} USD`]),
  ].join(' or ')
  return [
    ['id', run.id],
    ['name', run.name],
    ['status', run.status],
    ['why', run.endReason?.message ?? ''],
    ['stage', run.stage ?? ''],
    [
      'progress',
      `${formatCount(run.progress.done)} of ${formatCount(run.progress.target)} done, ${formatCount(run.progress.failed)} failed`,
    ],
    [
      'jobs',
      `${formatCount(total)}: ${formatCount(waiting)} waiting, ${formatCount(running)} running, ${formatCount(completed)} completed, ${formatCount(failed)} failed, ${formatCount(cancelled)} cancelled`,
    ],
    ['rules', rulesWords(run)],
    ['cost', `${costWords(run) || '0'}${budget === '' ? '' : ` of ${budget}`}`],
    ['criteria', JSON.stringify(run.criteria)],
    ['created', formatTime(terminal, run.createdAt, nowOf(run))],
    ['finished', run.finishedAt === null ? '' : formatTime(terminal, run.finishedAt, nowOf(run))],
    ['time', formatDuration(tookMs(run))],
  ]
}

function rulesWords({ target, rules, filled }: RunDocument): string {
  const full =
    target !== null
      ? `completed by ${formatCount(target)} completed jobs`
      : filled
        ? 'filled: over when its jobs are'
        : `over when its jobs are and none came for ${formatDuration(rules.fillGraceMs)}`
  const failed =
    rules.maxFailed === null ? 'no job may fail' : `${plural(rules.maxFailed, 'job')} may fail`
  return `${full}; ${failed}; what is left is ${rules.rest === 'keep' ? 'kept' : 'cancelled'}`
}

/** What a command that ended a run, or waited for it, says. */
export function renderRunEnded(terminal: Terminal, run: RunDocument): Rendered {
  const name = terminal.isTerminal ? `${plain(run.name)} ${formatId(terminal, run.id)}` : run.id
  const left = run.counts.waiting + run.counts.running
  const rest =
    left === 0 || run.status === 'active'
      ? ''
      : run.rules.rest === 'keep'
        ? ` ${plural(left, 'job')} of it go on.`
        : ` ${plural(left, 'job')} of it are being cancelled.`
  return {
    output: block([`${name}  ${statusLine(terminal, run)}`]),
    note: rest === '' ? '' : `${rest.trim()}\n`,
  }
}

/** The one line that changes while somebody waits. */
export function runProgressLine(terminal: Terminal, run: RunDocument): string {
  const { done, failed, target } = run.progress
  const bar = progressBar(terminal, { done, total: target, width: BAR_WIDTH })
  const parts = [
    `${formatCount(done)}/${formatCount(target)}`,
    `${formatCount(run.counts.running)} running`,
    ...(failed > 0 ? [`${formatCount(failed)} failed`] : []),
    ...(run.stage === null ? [] : [plain(run.stage)]),
    ...(costWords(run) === '' ? [] : [costWords(run)]),
    formatDuration(tookMs(run)),
  ]
  return `${plain(run.name)}  ${bar}  ${parts.join(', ')}`
}

function statusLine(terminal: Terminal, run: RunDocument): string {
  const words =
    run.endReason === null ? run.status : `${run.status}: ${plain(run.endReason.message)}`
  return marked(terminal, RUN_MARKS[run.status], words)
}

function costWords({ cost }: RunDocument): string {
  return [
    ...(cost.tokens > 0 ? [`${formatCount(cost.tokens)} tokens`] : []),
    ...(cost.usd > 0 ? [`${cost.usd} USD`] : []),
  ].join(', ')
}

function countsOf({ counts }: RunDocument): string[] {
  const { total, waiting, running, completed, failed, cancelled } = counts
  return [total, waiting, running, completed, failed, cancelled].map(String)
}

function tookMs(run: RunDocument): number {
  const end = run.finishedAt === null ? nowOf(run).getTime() : Date.parse(run.finishedAt)
  return end - Date.parse(run.createdAt)
}
