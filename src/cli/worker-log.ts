/**
 * What a worker or supervisor says, on standard error: text lines for a person at a terminal, JSON lines with a stable `event` field
 * for everything else. Payloads are never logged.
 */
import { pino } from 'pino'
import type { SupervisorEvent } from '../worker/supervisor.ts'
import { EVENT_LEVELS, type WorkerEventName, type WorkerEvents } from '../worker/worker-events.ts'
import type { LogLevel } from './resolve.ts'
import { formatDuration, formatId, plural, workerName } from './terminal/format.ts'
import { createTerminal, paint, type Style, type Terminal } from './terminal/style.ts'
import { plain } from './terminal/text.ts'

export interface WorkerLog {
  worker(name: WorkerEventName, fields: WorkerEvents[WorkerEventName]): void
  supervisor(event: SupervisorEvent): void
  say(level: 'info' | 'warn' | 'error', event: string, message: string): void
}

const RANK: Readonly<Record<string, number>> = Object.freeze({
  trace: 10,
  debug: 20,
  info: 30,
  warn: 40,
  error: 50,
  fatal: 60,
  silent: Infinity,
})

export function createWorkerLog(
  stream: NodeJS.WriteStream,
  env: NodeJS.ProcessEnv,
  level: LogLevel,
): WorkerLog {
  const terminal = createTerminal(stream, env)
  return terminal.isTerminal ? textLog(stream, terminal, level) : jsonLog(level)
}

function jsonLog(level: LogLevel): WorkerLog {
  // Synchronous, so that the last lines before a crash are not lost with it.
  const destination = pino.destination({ fd: 2, sync: true })
  // Whoever read our log may be gone (a supervisor that was killed): that must not end what we run.
  destination.on('error', () => undefined)
  const logger = pino(
    { level, base: { pid: process.pid }, timestamp: pino.stdTimeFunctions.isoTime },
    { write: gatherLines((text) => destination.write(text)) },
  )
  return {
    worker: (name, fields) => logger[EVENT_LEVELS[name]]({ event: name, ...fields }),
    supervisor: (event) => {
      const { kind, ...fields } = event
      logger[supervisorLevel(event)]({ event: kind, ...fields })
    },
    say: (at, event, message) => logger[at]({ event }, message),
  }
}

/**
 * Writes the lines that one piece of code causes with one system call: at thousands of jobs a second, a call for each line costs more
 * than the job. What is gathered is written before any handler goes on, so a process that hangs or is killed has said what it was doing.
 */
function gatherLines(write: (text: string) => void): (line: string) => void {
  let gathered = ''
  const flush = (): void => {
    if (gathered === '') return
    const text = gathered
    gathered = ''
    write(text)
  }
  process.on('exit', flush)
  return (line) => {
    if (gathered === '') queueMicrotask(flush)
    gathered += line
  }
}

function textLog(stream: NodeJS.WriteStream, terminal: Terminal, level: LogLevel): WorkerLog {
  const least = RANK[level] ?? 30
  stream.on('error', () => undefined)
  const line = gatherLines((text) => stream.write(text))
  const write = (at: 'debug' | 'info' | 'warn' | 'error', text: string): void => {
    if ((RANK[at] ?? 30) < least) return
    const time = paint(terminal, ['dim'], new Date().toISOString().slice(11, 19))
    const styles: Style[] = at === 'error' ? ['red', 'bold'] : at === 'warn' ? ['yellow'] : []
    line(`${time}  ${paint(terminal, styles, plain(text))}\n`)
  }
  return {
    worker: (name, fields) => write(EVENT_LEVELS[name], workerSentence(terminal, name, fields)),
    supervisor: (event) => write(supervisorLevel(event), supervisorSentence(terminal, event)),
    say: (at, _event, message) => write(at, message),
  }
}

/** Of the events that are no mere information. */
const SUPERVISOR_LEVELS: Partial<Record<SupervisorEvent['kind'], 'warn' | 'error'>> = {
  'supervisor.waiting': 'warn',
  'supervisor.overtaken': 'error',
  'supervisor.unanswered': 'warn',
  'child.failed': 'error',
  'jobs.recovered': 'warn',
  'report.failed': 'warn',
  'roll.failed': 'error',
}

function supervisorLevel(event: SupervisorEvent): 'info' | 'warn' | 'error' {
  if (event.kind === 'child.exited' && !event.clean) return 'warn'
  return SUPERVISOR_LEVELS[event.kind] ?? 'info'
}

function supervisorSentence(terminal: Terminal, event: SupervisorEvent): string {
  switch (event.kind) {
    case 'supervisor.started':
      return `supervisor ${event.name} has its place`
    case 'supervisor.waiting':
      return `supervisor ${event.name} may run already (${event.holder}), and can't be seen from here; waiting for its next sign of life, up to ${formatDuration(event.leftMs)}`
    case 'supervisor.overtaken':
      return `another supervisor has taken the place of ${event.name}: stopping`
    case 'supervisor.unanswered':
      return `the database did not answer the supervisor: ${event.error}`
    case 'child.started':
      return `process ${event.slot} starts, pid ${event.pid}`
    case 'child.ready':
      return `process ${event.slot} is ready: ${workerName(event.workerId)}`
    case 'child.retired':
      return `process ${event.slot}, pid ${event.pid}, goes: ${event.reason === 'rolled' ? 'another is ready in its stead' : 'there is too little to do'}`
    case 'child.exited': {
      const how =
        event.signal === null
          ? `exited with code ${event.exitCode}`
          : `was killed by ${event.signal}`
      const next =
        event.restartInMs === null
          ? ''
          : `; a new one starts in ${formatDuration(event.restartInMs)}`
      return `process ${event.slot}, pid ${event.pid}, ${event.clean ? 'stopped' : how}${next}`
    }
    case 'child.failed':
      return event.slot === null
        ? `no process could be started: ${event.error}`
        : `process ${event.slot}: ${event.error}`
    case 'jobs.recovered':
      return `taken back from ${event.workerIds.length === 1 ? 'a lost worker' : `${event.workerIds.length} lost workers`} (supervisor, layer 1): ${ids(terminal, event.jobIds)}`
    case 'report.failed':
      return `the end of a process could not be reported: ${event.error}`
    case 'roll.started':
      return `rolling restart of ${event.processes} ${event.processes === 1 ? 'process' : 'processes'}`
    case 'roll.done':
      return `rolling restart is over, ${event.replaced} replaced`
    case 'roll.failed':
      return `rolling restart is given up after ${event.replaced}: ${event.reason}; the old processes go on`
    case 'processes.scaled':
  }
  const why =
    event.waitedMs === null
      ? 'there is too little to do'
      : `a job has waited for ${formatDuration(event.waitedMs)}`
  return `${event.to} ${event.to === 1 ? 'process' : 'processes'} instead of ${event.from}: ${why}`
}

function workerSentence(
  terminal: Terminal,
  name: WorkerEventName,
  given: WorkerEvents[WorkerEventName],
): string {
  const fields = given as Record<string, any>
  const text = (key: string): string => `${fields[key]}`
  const job = `${text('type')} ${formatId(terminal, text('jobId'))}`
  const took = (): string => formatDuration(Number(fields['durationMs']))
  const attempt = Number(fields['attempt']) > 1 ? `, attempt ${String(fields['attempt'])}` : ''
  const list = (key: string): string => ids(terminal, fields[key] as readonly string[])
  switch (name) {
    case 'worker.started':
      return `${workerName(String(fields['workerId']))} takes ${(fields['types'] as string[]).join(', ')} from ${(fields['queues'] as string[]).join(', ')}, ${String(fields['concurrency'])} at once`
    case 'worker.signal':
      return `${String(fields['signal'])}${Number(fields['count']) === 1 ? ': stopping; once more to stop at once' : Number(fields['count']) === 2 ? ' again: stopping at once' : ': exit'}`
    case 'worker.draining':
      return `draining (${String(fields['reason'])}): ${String(fields['running'])} running, ${fields['graceMs'] === null ? 'for as long as they take' : `up to ${formatDuration(Number(fields['graceMs']))}`}`
    case 'worker.phase':
      return `${String(fields['phase'])} done after ${took()}`
    case 'worker.stopped':
      return stoppedSentence(given as WorkerEvents['worker.stopped'])
    case 'worker.bound_reached':
      return `enough: ${text('reason')}`
    case 'health.listening':
      return `answers for its health at http://${text('host').includes(':') ? `[${text('host')}]` : text('host')}:${text('port')}/livez, /readyz and /metrics`
    case 'session.closed':
      return `session ${text('name')} closed in ${took()}`
    case 'session.failed':
      return `session ${text('name')} (${text('step')}): ${text('error')}`
    case 'hook.failed':
      return `hook ${text('name')} (${text('phase')}): ${text('error')}`
    case 'worker.offline':
      return `${(fields['workerIds'] as string[]).length === 1 ? 'a worker was' : `${(fields['workerIds'] as string[]).length} workers were`} found gone`
    case 'worker.degraded':
      return `degraded: ${String(fields['reason'])}`
    case 'worker.stuck':
      return `stuck for ${formatDuration(Number(fields['forMs']))}: ${fields['part'] === 'claims' ? 'its claims are not answered, although its lease is renewed' : 'its event loop was blocked, and by no handler'}`
    case 'run.ended':
      return `its run ${fields['status'] === 'not_found' ? 'is gone' : `ended as ${String(fields['status'])}`}; stops when its ${String(fields['running'])} jobs have`
    case 'job.picked_up':
      return `picked up ${job}${attempt}`
    case 'job.completed':
      return `completed ${job} in ${took()}${attempt}${fields['late'] === true ? ' (late, but nobody had begun it again)' : ''}`
    case 'job.failed':
      return `failed ${job} after ${took()}${attempt}: ${String(fields['message'])}${fields['retrying'] === true ? '; will be tried again' : ''}`
    case 'job.cancelled':
      return `cancelled ${job} after ${took()}`
    case 'job.unresponsive':
      return `${job} ignores its signal (${String(fields['reason'])}) for ${formatDuration(Number(fields['forMs']))}`
    case 'jobs.released':
      return `gave back ${list('jobIds')} (${String(fields['reason'])})`
    case 'jobs.recovered':
      return `took back ${list('jobIds')}${fields['layer'] === 2 ? ' (witness, layer 2)' : ' (sweep)'}`
    case 'job.poisoned':
      return `poisoned: ${job}`
    case 'sweep.failed':
      return `${fields['part'] === 'sweep' ? 'a sweep' : fields['part'] === 'witness' ? 'telling of a neighbour that is gone' : 'sending to webhooks'} failed, and is tried again: ${text('error')}`
    case 'lease.lost':
      return `lease lost: ${list('jobIds')}: ${String(fields['message'])}`
    case 'lease.renewal_failed':
      return `renewal failed: ${String(fields['error'])}; trusted for ${formatDuration(Math.max(0, Number(fields['trustedForMs'])))} more`
    case 'spool.buffered':
      return `${String(fields['depth'])} outcomes wait for the database, ${String(fields['onDisk'])} of them on disk: ${String(fields['error'])}`
    case 'spool.flushed':
      return `the database answered ${String(fields['count'])} outcomes that had waited: ${answers(fields)}`
    case 'spool.taken_over':
      return `delivers ${String(fields['count'])} outcomes that process ${String(fields['pid'])} left on disk${fields['unreadable'] === 0 ? '' : `; ${String(fields['unreadable'])} more can't be read`}`
    case 'spool.degraded':
      return `outcomes can't be kept in ${String(fields['directory'])} and wait in memory alone: ${String(fields['reason'])}`
    case 'listen.degraded':
      return `no LISTEN: ${String(fields['reason'])}`
    case 'jobs.dropped':
      return `dropped ${plural(Number(fields['count']), 'ended job')} that need not be kept any longer`
    case 'retention.failed':
      return `ended jobs could not be dropped: ${String(fields['error'])}; next try in ${formatDuration(Number(fields['retryMs']))}`
    case 'event_loop.blocked':
      return `the event loop was blocked for ${formatDuration(Number(fields['forMs']))} by ${(fields['types'] as string[]).join(', ') || 'this process'}`
    case 'shutdown.timeout':
      return `shutdown cut while ${String(fields['phase'])}, after ${formatDuration(Number(fields['afterMs']))}`
    case 'no_worker_for_type':
      return `no worker takes jobs of type ${String(fields['type'])} from queue ${String(fields['queue'])}: ${list('jobIds')} waits`
    case 'alert.raised':
      return `alert ${String(fields['rule'])}: ${String(fields['message'])}`
    case 'alert.resolved':
      return `over, alert ${String(fields['rule'])}: ${String(fields['message'])}`
    default:
      return name
  }
}

function stoppedSentence({ report }: WorkerEvents['worker.stopped']): string {
  const { outcome, durationMs, error, sessions, hooks } = report
  const troubled = [...sessions, ...hooks].filter((step) => step.outcome !== 'done')
  const parts = [
    ...(['finished', 'interrupted', 'released'] as const)
      .filter((what) => report[what].length > 0)
      .map((what) => `${report[what].length} ${what}`),
    ...(sessions.length > 0 ? [`${plural(sessions.length, 'session')} closed`] : []),
    ...troubled.map((step) => `${step.name} ${step.outcome.replace('_', ' ')}`),
    ...(error === null ? [] : [`not marked offline: ${error}`]),
  ]
  const how = outcome === 'graceful' ? 'stopped' : `stopped (${outcome.replace('_', ' ')})`
  return `${how} in ${formatDuration(durationMs)}${parts.map((part) => `, ${part}`).join('')}`
}

function answers(fields: Record<string, unknown>): string {
  return Object.entries(fields['answers'] as Record<string, number>)
    .map(([answer, count]) => `${count} ${answer}`)
    .join(', ')
}

function ids(terminal: Terminal, jobIds: readonly string[]): string {
  if (jobIds.length === 0) return 'no job'
  const shown = jobIds.slice(0, 5).map((id) => formatId(terminal, id))
  return jobIds.length > 5 ? `${shown.join(', ')} and ${jobIds.length - 5} more` : shown.join(', ')
}
