/** What `supervisors list` prints, from the JSON documents alone. */
import type { SupervisorDocument } from '../../client/documents.ts'
import { dash, formatDuration, formatTime, plural } from './format.ts'
import { markedText, WORKER_MARKS } from './marks.ts'
import type { Rendered, Terminal } from './style.ts'
import { block, type Column, renderTable, renderTabs } from './table.ts'
import { plain } from './text.ts'

export function renderSupervisorList(
  terminal: Terminal,
  items: readonly SupervisorDocument[],
  now: Date = new Date(),
): Rendered {
  const up = items.filter(({ status }) => status === 'online').length
  const note =
    items.length === 0
      ? 'No supervisor in the last hour. Start one: leasehold worker handlers.ts --processes 4\n'
      : `${up} of ${plural(items.length, 'supervisor')} online.\n`
  if (!terminal.isTerminal) return { output: block(asTabs(items)), note }
  if (items.length === 0) return { output: '', note }
  const columns: Column[] = [
    { heading: 'SUPERVISOR' },
    { heading: 'STATUS', widthMin: 10 },
    { heading: 'MACHINE', dropAt: 2 },
    { heading: 'PID', align: 'right' },
    { heading: 'PROCESSES' },
    { heading: 'RESTARTS', align: 'right' },
    { heading: 'SEEN', align: 'right', dropAt: 1 },
    { heading: 'LAST EXIT', flexible: true },
  ]
  const rows = items.map((item) => {
    const mark = WORKER_MARKS[item.status]
    return [
      plain(item.name),
      { text: markedText(terminal, mark, item.status), styles: mark.styles },
      plain(item.hostname),
      String(item.pid),
      `${item.workersOnline} of ${range(item)}`,
      String(item.restarts),
      `${formatDuration(item.lastSeenAgoMs)} ago`,
      lastExit(terminal, item, now),
    ]
  })
  return { output: block(renderTable(terminal, columns, rows)), note }
}

function range({ processesMin, processesMax }: SupervisorDocument): string {
  return processesMin === processesMax ? String(processesMax) : `${processesMin}..${processesMax}`
}

function lastExit(terminal: Terminal, item: SupervisorDocument, now: Date): string {
  const exit = item.lastExit
  if (exit === null) return dash(terminal)
  const how = exit.signal ?? `code ${String(exit.exitCode)}`
  return `${how}, pid ${exit.pid}, ${formatTime(terminal, exit.at, now)}`
}

function asTabs(items: readonly SupervisorDocument[]): string[] {
  const headings =
    'status name machine hostname pid workersOnline processesMin processesMax restarts lastSeen lastExitAt lastExit'
  const rows = items.map((item) => [
    item.status,
    item.name,
    item.machineId,
    item.hostname,
    String(item.pid),
    String(item.workersOnline),
    String(item.processesMin),
    String(item.processesMax),
    String(item.restarts),
    item.lastSeenAt,
    item.lastExit?.at ?? '',
    item.lastExit === null ? '' : (item.lastExit.signal ?? String(item.lastExit.exitCode)),
  ])
  return renderTabs(headings.split(' '), rows)
}
