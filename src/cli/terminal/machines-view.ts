/**
 * What `machines list` and `machines show` print, from the JSON documents alone. A machine is online iff a worker on it is.
 */
import type {
  MachineDetailDocument,
  MachineDocument,
  WorkerDocument,
} from '../../client/documents.ts'
import { dash, formatDuration, formatTime, formatWorkerId, plural } from './format.ts'
import { marked, markedText, WORKER_MARKS } from './marks.ts'
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
import { plain } from './text.ts'

/** The machines, and for standard error how many are online. */
export function renderMachineList(
  terminal: Terminal,
  items: readonly MachineDocument[],
  now: Date = new Date(),
): Rendered {
  const up = items.filter(({ status }) => status !== 'offline').length
  const note =
    items.length === 0
      ? 'No machine yet.\n'
      : `${up} of ${plural(items.length, 'machine')} online.\n`
  if (!terminal.isTerminal) {
    const headings = [
      'status',
      'id',
      'hostname',
      'workersOnline',
      'workersTotal',
      'lastSeen',
      'drainedSince',
      'unwatchedSince',
    ]
    const rows = items.map((machine) => [
      machine.status,
      machine.id,
      machine.hostname,
      String(machine.workersOnline),
      String(machine.workersTotal),
      machine.lastSeenAt ?? '',
      machine.drainRequestedAt ?? '',
      machine.witnessContradictedAt ?? '',
    ])
    return { output: block(renderTabs(headings, rows)), note }
  }
  if (items.length === 0) return { output: '', note }
  const columns: Column[] = [
    { heading: 'MACHINE' },
    { heading: 'STATUS', widthMin: 10 },
    { heading: 'WORKERS' },
    { heading: 'SEEN', align: 'right', dropAt: 1 },
    { heading: 'LAST SEEN', from: WIDE_FROM },
    { heading: 'ID', flexible: true },
  ]
  const rows = items.map((machine) => {
    const mark = WORKER_MARKS[machine.status]
    const { lastSeenAt, lastSeenAgoMs } = machine
    return [
      plain(machine.hostname),
      { text: markedText(terminal, mark, statusWords(machine)), styles: mark.styles },
      `${machine.workersOnline} of ${machine.workersTotal}`,
      lastSeenAgoMs === null ? 'never' : `${formatDuration(lastSeenAgoMs)} ago`,
      lastSeenAt === null ? dash(terminal) : formatTime(terminal, lastSeenAt, now),
      plain(machine.id),
    ]
  })
  return { output: block(renderTable(terminal, columns, rows)), note }
}

/** One machine: its live workers, and its crashes by version. */
export function renderMachine(
  terminal: Terminal,
  machine: MachineDetailDocument,
  workers: readonly WorkerDocument[],
): Rendered {
  if (!terminal.isTerminal) return { output: block(machineAsTabs(machine)), note: '' }
  const seen =
    machine.lastSeenAgoMs === null
      ? 'never seen'
      : `last sign of life ${formatDuration(machine.lastSeenAgoMs)} ago`
  return {
    output: block([
      paint(terminal, ['bold'], plain(machine.id)),
      marked(
        terminal,
        WORKER_MARKS[machine.status],
        `${statusWords(machine)}: ${machine.workersOnline} of ${plural(machine.workersTotal, 'worker')} online, ${seen}`,
      ),
      ...unwatched(machine),
      ...liveWorkers(terminal, workers),
      ...crashesByVersion(terminal, machine),
    ]),
    note:
      machine.drainRequestedAt === null
        ? ''
        : `Drained. To let its workers take jobs again: leasehold workers resume --machine ${machine.id}\n`,
  }
}

function unwatched({ witnessContradictedAt: at }: MachineDocument): string[] {
  if (at === null) return []
  return [
    `its workers have not watched each other since ${at}, when one that was found gone was heard again; they will after a restart of the machine`,
  ]
}

/** A table with an empty line before it; nothing without a worker. */
function liveWorkers(terminal: Terminal, workers: readonly WorkerDocument[]): string[] {
  if (workers.length === 0) return []
  const columns: Column[] = [
    { heading: 'WORKER' },
    { heading: 'STATUS', widthMin: 10 },
    { heading: 'SLOTS', align: 'right' },
    { heading: 'VERSION', dropAt: 1 },
    { heading: 'WHY', flexible: true },
  ]
  const rows = workers.map((worker) => {
    const mark = WORKER_MARKS[worker.status]
    return [
      formatWorkerId(terminal, worker.id),
      { text: markedText(terminal, mark, worker.status), styles: mark.styles },
      `${worker.running}/${worker.concurrency}`,
      plain(worker.version ?? ''),
      plain(worker.reason ?? ''),
    ]
  })
  return ['', ...renderTable(terminal, columns, rows)]
}

/** The same for its versions. */
function crashesByVersion(terminal: Terminal, { versions }: MachineDetailDocument): string[] {
  if (versions.length === 0) return []
  const columns: Column[] = [
    { heading: 'VERSION' },
    { heading: 'STARTS', align: 'right' },
    { heading: 'RESTARTS', align: 'right', dropAt: 2 },
    { heading: 'CRASHES', align: 'right' },
    { heading: 'LOST JOBS', align: 'right', dropAt: 1 },
    { heading: 'ONE EACH', align: 'right' },
    { heading: 'LAST CRASH', flexible: true },
  ]
  const rows = versions.map((version) => [
    plain(version.version),
    String(version.starts),
    String(version.restarts),
    String(version.crashes),
    String(version.lostJobs),
    version.meanTimeBetweenCrashesMs === null
      ? dash(terminal)
      : formatDuration(version.meanTimeBetweenCrashesMs),
    plain(version.lastCrashReason ?? ''),
  ])
  return ['', ...renderTable(terminal, columns, rows)]
}

function statusWords({ status, drainRequestedAt }: MachineDocument): string {
  return drainRequestedAt === null ? status : `${status}, drained`
}

function machineAsTabs(machine: MachineDetailDocument): string[] {
  const facts: Fact[] = [
    ['id', machine.id],
    ['hostname', machine.hostname],
    ['status', machine.status],
    ['workersOnline', machine.workersOnline],
    ['workersTotal', machine.workersTotal],
    ['lastSeen', machine.lastSeenAt],
    ['drainedSince', machine.drainRequestedAt],
    ['unwatchedSince', machine.witnessContradictedAt],
  ]
  const headings =
    'version starts restarts crashes lostJobs meanTimeBetweenCrashesMs lastCrash lastCrashReason'
  return [
    ...renderFacts(facts),
    ...renderTabs(
      headings.split(' '),
      machine.versions.map((version) =>
        [
          version.version,
          version.starts,
          version.restarts,
          version.crashes,
          version.lostJobs,
          version.meanTimeBetweenCrashesMs ?? '',
          version.lastCrashAt ?? '',
          version.lastCrashReason ?? '',
        ].map(String),
      ),
    ),
  ]
}
