/**
 * What `workers list` prints, from the JSON documents alone.
 *
 * Workers are grouped by machine, machines in the order of their first worker. A machine is online iff
 * a worker on it is, and a worker that drains or is late still holds its lease.
 */
import type { WorkerDocument } from '../../client/documents.ts'
import { dash, formatDuration, formatWorkerId, idEnding } from './format.ts'
import { markedText, WORKER_MARKS } from './marks.ts'
import type { Rendered, Terminal } from './style.ts'
import {
  block,
  type Cell,
  type Column,
  renderTable,
  renderTabs,
  type Row,
  WIDE_FROM,
} from './table.ts'
import { ellipsis, plain } from './text.ts'

/** The registry, and for standard error how many are online. */
export function renderWorkerList(terminal: Terminal, items: readonly WorkerDocument[]): Rendered {
  const note = workersNote(items)
  if (!terminal.isTerminal) return { output: block(workersAsTabs(items)), note }
  if (items.length === 0) return { output: '', note }
  const columns: Column[] = [
    { heading: 'WORKER' },
    { heading: 'STATUS', widthMin: 10 },
    { heading: 'SEEN', align: 'right', dropAt: 2 },
    { heading: 'LEASE LEFT', align: 'right', dropAt: 1 },
    { heading: 'SLOTS', align: 'right', dropAt: 3 },
    { heading: 'LOOP', align: 'right', from: WIDE_FROM },
    { heading: 'SPOOL', align: 'right', from: WIDE_FROM },
    { heading: 'LABELS', from: WIDE_FROM },
    { heading: 'WHY', flexible: true },
  ]
  const rows: Row[] = []
  for (const workers of byMachine(items).values()) {
    rows.push(machineHeading(terminal, workers, items))
    for (const worker of workers) rows.push(workerRow(terminal, worker))
  }
  return { output: block(renderTable(terminal, columns, rows)), note }
}

function byMachine(items: readonly WorkerDocument[]): Map<string, WorkerDocument[]> {
  const machines = new Map<string, WorkerDocument[]>()
  for (const worker of items) {
    const workers = machines.get(worker.machineId)
    if (workers === undefined) machines.set(worker.machineId, [worker])
    else workers.push(worker)
  }
  return machines
}

function isUp({ status }: WorkerDocument): boolean {
  return status !== 'offline'
}

/** `render-a (online, last sign of life 1.6 s ago)`; two machines of one name show the ends of their ids. */
function machineHeading(
  terminal: Terminal,
  workers: readonly WorkerDocument[],
  all: readonly WorkerDocument[],
): string {
  const [first] = workers
  if (first === undefined) return ''
  const { hostname, machineId } = first
  const shared = all.some((other) => other.hostname === hostname && other.machineId !== machineId)
  const id = shared ? ` ${ellipsis(terminal)}${idEnding(machineId)}` : ''
  const agesMs = workers.map(({ lastSeenAgoMs }) => lastSeenAgoMs ?? Infinity)
  const ageMs = Math.min(...agesMs)
  const seen = ageMs === Infinity ? 'never seen' : `last sign of life ${formatDuration(ageMs)} ago`
  return `${plain(hostname)}${id} (${workers.some(isUp) ? 'online' : 'offline'}, ${seen})`
}

function workerRow(terminal: Terminal, worker: WorkerDocument): (Cell | string)[] {
  const mark = WORKER_MARKS[worker.status]
  const unknown = isUp(worker) ? dash(terminal) : '?'
  const { lastSeenAgoMs, eventLoopLagMs, spoolDepth } = worker
  return [
    formatWorkerId(terminal, worker.id),
    { text: markedText(terminal, mark, worker.status), styles: mark.styles },
    lastSeenAgoMs === null ? 'never' : `${formatDuration(lastSeenAgoMs)} ago`,
    leaseWords(terminal, worker),
    `${worker.running}/${worker.concurrency}`,
    isUp(worker) && eventLoopLagMs !== null ? formatDuration(eventLoopLagMs) : unknown,
    isUp(worker) && spoolDepth !== null ? String(spoolDepth) : unknown,
    plain(worker.labels.join(',')),
    plain(worker.reason ?? '').replace(/\.$/, ''),
  ]
}

function leaseWords(terminal: Terminal, { leaseLeftMs }: WorkerDocument): string {
  if (leaseLeftMs === null) return dash(terminal)
  return leaseLeftMs > 0 ? formatDuration(leaseLeftMs) : 'lapsed'
}

function workersNote(items: readonly WorkerDocument[]): string {
  if (items.length === 0) return 'No worker yet. Start one: leasehold worker handlers.ts\n'
  const up = items.filter(isUp).length
  const draining = items.filter(({ status }) => status === 'draining').length
  return `${up} of ${items.length} online${draining > 0 ? `, ${draining} of them draining` : ''}.\n`
}

function workersAsTabs(items: readonly WorkerDocument[]): string[] {
  const headings =
    'status id machine hostname pid lastSeen leaseExpires running concurrency loopMs spool labels why'
  const rows = items.map((worker) => [
    worker.status,
    worker.id,
    worker.machineId,
    worker.hostname,
    String(worker.pid),
    worker.lastSeenAt ?? '',
    worker.leaseExpiresAt ?? '',
    String(worker.running),
    String(worker.concurrency),
    String(worker.eventLoopLagMs ?? ''),
    String(worker.spoolDepth ?? ''),
    worker.labels.join(','),
    worker.reason ?? '',
  ])
  return renderTabs(headings.split(' '), rows)
}
