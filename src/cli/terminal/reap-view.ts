/** What `workers reap` prints: a line for each process, with what was done and why. */
import type { FoundProcess, ReapAction } from '../../worker/reaper.ts'
import { dash, workerName } from './format.ts'
import type { Terminal } from './style.ts'
import { block, type Column, renderTable, renderTabs } from './table.ts'
import { plain } from './text.ts'

const ACTIONS: Readonly<Record<ReapAction, string>> = {
  none: 'to end',
  ended: 'ended',
  killed: 'killed',
  changed: 'not touched',
  remains: 'remains',
}

export function renderReaped(terminal: Terminal, items: readonly FoundProcess[]): string {
  if (!terminal.isTerminal) {
    const rows = items.map((item) => [
      item.verdict,
      item.action,
      item.reason,
      String(item.pid),
      item.processStarted ?? '',
      item.workerId ?? '',
      item.runId ?? '',
      item.message,
    ])
    return block(
      renderTabs(['verdict', 'action', 'reason', 'pid', 'started', 'worker', 'run', 'why'], rows),
    )
  }
  if (items.length === 0) return ''
  const columns: Column[] = [
    { heading: 'PID', align: 'right' },
    { heading: 'WHAT', widthMin: 7 },
    { heading: 'WORKER' },
    { heading: 'WHY', flexible: true },
  ]
  const rows = items.map((item) => [
    String(item.pid),
    item.verdict === 'skip'
      ? { text: 'skipped', styles: ['dim'] as const }
      : { text: ACTIONS[item.action], styles: ['bold'] as const },
    item.workerId === null ? dash(terminal) : workerName(item.workerId),
    plain(item.message),
  ])
  return block(renderTable(terminal, columns, rows))
}
