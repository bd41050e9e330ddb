/** What `workers show` prints: a worker, and the jobs that it holds. */
import type { JobDocument, WorkerDocument } from '../client/documents.ts'
import { formatDuration, formatId, formatSize, formatTime, plural } from './terminal/format.ts'
import { marked, WORKER_MARKS } from './terminal/marks.ts'
import { paint, type Rendered, type Terminal } from './terminal/style.ts'
import { block, renderFacts } from './terminal/table.ts'
import { plain, wrap } from './terminal/text.ts'

export function renderWorker(
  terminal: Terminal,
  worker: WorkerDocument,
  jobs: readonly JobDocument[],
): Rendered {
  if (!terminal.isTerminal) return { output: block(workerAsTabs(worker, jobs)), note: '' }
  const width = Math.max(20, terminal.width - 13)
  const facts = workerFacts(terminal, worker, jobs).flatMap(([name, words]) =>
    wrap(plain(words), width).map(
      (line, index) =>
        `  ${paint(terminal, ['dim'], (index === 0 ? name : '').padEnd(9))}  ${line}`,
    ),
  )
  const status = marked(
    terminal,
    WORKER_MARKS[worker.status],
    `${worker.status}: ${plain(worker.reason ?? 'no reason was kept')}`,
  )
  return {
    output: block([paint(terminal, ['bold'], plain(worker.id)), status, '', ...facts]),
    note: '',
  }
}

function workerFacts(
  terminal: Terminal,
  worker: WorkerDocument,
  jobs: readonly JobDocument[],
): [string, string][] {
  const { leaseLeftMs, lastSeenAgoMs, stoppedAt } = worker
  const now = new Date()
  const seen = lastSeenAgoMs === null ? 'never seen' : `seen ${formatDuration(lastSeenAgoMs)} ago`
  const lease =
    stoppedAt !== null
      ? `ended ${formatTime(terminal, stoppedAt, now)}`
      : leaseLeftMs === null || leaseLeftMs <= 0
        ? 'lapsed'
        : `${formatDuration(leaseLeftMs)} left`
  const labels = worker.labels.length === 0 ? '' : `, labels ${worker.labels.join(', ')}`
  const holds = jobs.map((job) => `${plain(job.type)} ${formatId(terminal, job.id)} (${job.state})`)
  const { memoryBytes, clockAheadMs, spoolDepth, spoolAgeMs, eventLoopLagMs } = worker
  const measured = [
    ...(memoryBytes === null ? [] : [`${formatSize(memoryBytes)} of memory`]),
    ...(eventLoopLagMs === null ? [] : [`event loop ${formatDuration(eventLoopLagMs)} late`]),
    ...(clockAheadMs === null ? [] : [clockWords(clockAheadMs)]),
  ]
  const spool =
    (spoolDepth ?? 0) === 0
      ? 'empty'
      : `${plural(spoolDepth ?? 0, 'outcome')}, waiting for ${formatDuration(spoolAgeMs ?? 0)}`
  return [
    ['lease', `${lease}, ${seen}`],
    ['slots', `${worker.running} of ${worker.concurrency} taken`],
    ['types', worker.types.join(', ') || 'none'],
    ['queues', `${worker.queues.join(', ')}${labels}`],
    ['process', `pid ${worker.pid} on ${worker.hostname}, version ${worker.version ?? 'unknown'}`],
    ['command', `${worker.command ?? 'unknown'} (${worker.type})`],
    ['health', measured.join(', ') || 'not told'],
    ['spool', spool],
    ['machine', worker.machineId],
    ['since', formatTime(terminal, worker.startedAt, now)],
    ['jobs', holds.join(', ') || 'none'],
  ]
}

/** A few milliseconds are what the way to the database takes. */
function clockWords(aheadMs: number): string {
  if (Math.abs(aheadMs) < 50) return 'clock as the database'
  return `clock ${formatDuration(Math.abs(aheadMs))} ${aheadMs > 0 ? 'ahead of' : 'behind'} the database`
}

function workerAsTabs(worker: WorkerDocument, jobs: readonly JobDocument[]): string[] {
  return renderFacts([
    ['id', worker.id],
    ['status', worker.status],
    ['why', worker.reason],
    ['machine', worker.machineId],
    ['hostname', worker.hostname],
    ['pid', worker.pid],
    ['running', worker.running],
    ['concurrency', worker.concurrency],
    ['started', worker.startedAt],
    ['lastSeen', worker.lastSeenAt],
    ['leaseExpires', worker.leaseExpiresAt],
    ['stopped', worker.stoppedAt],
    ['version', worker.version],
    ['kind', worker.type],
    ['command', worker.command],
    ['parentPid', worker.parentPid],
    ['bootId', worker.bootId],
    ['processStarted', worker.processStartedAt],
    ['queues', worker.queues.join(',')],
    ['types', worker.types.join(',')],
    ['labels', worker.labels.join(',')],
    ['loopMs', worker.eventLoopLagMs],
    ['spool', worker.spoolDepth],
    ['spoolMs', worker.spoolAgeMs],
    ['memoryBytes', worker.memoryBytes],
    ['clockAheadMs', worker.clockAheadMs],
    ['jobs', jobs.map(({ id }) => id).join(',')],
  ])
}
