/**
 * The events of a worker and of a supervisor as sentences for a person at a terminal. One entry for each event: the compiler refuses a
 * field that an event does not have, and an event without its sentence.
 *
 * What handlers and databases say stands in them as it came: whoever prints a sentence takes out what could steer a terminal.
 */
import type { SupervisorEvent } from '../../worker/supervisor.ts'
import type { WorkerEventName, WorkerEvents } from '../../worker/worker-events.ts'
import { layerWords } from './end-reason.ts'
import { formatDuration, formatId, idEnding, plural, workerName } from './format.ts'
import type { Terminal } from './style.ts'

type WorkerSentences = {
  readonly [Name in WorkerEventName]: (fields: WorkerEvents[Name], terminal: Terminal) => string
}

type SupervisorSentences = {
  readonly [Kind in SupervisorEvent['kind']]: (
    event: Extract<SupervisorEvent, { kind: Kind }>,
    terminal: Terminal,
  ) => string
}

/** Ids named one by one; of more only how many. */
const IDS_MAX = 5

const FAILED_PARTS: Readonly<Record<WorkerEvents['sweep.failed']['part'], string>> = Object.freeze({
  sweep: 'a sweep',
  witness: 'telling of a neighbour that is gone',
  webhooks: 'sending to webhooks',
})

export function workerSentence<Name extends WorkerEventName>(
  terminal: Terminal,
  name: Name,
  fields: WorkerEvents[Name],
): string {
  return WORKER_SENTENCES[name](fields, terminal)
}

export function supervisorSentence<Kind extends SupervisorEvent['kind']>(
  terminal: Terminal,
  event: Extract<SupervisorEvent, { kind: Kind }>,
): string {
  return SUPERVISOR_SENTENCES[event.kind](event, terminal)
}

const WORKER_SENTENCES: WorkerSentences = {
  'worker.started': ({ workerId, types, queues, concurrency }) =>
    `${workerName(workerId)} takes ${types.join(', ')} from ${queues.length === 1 ? 'queue' : 'queues'} ${queues.join(', ')}, ${concurrency === 1 ? 'one at a time' : `${concurrency} at once`}`,
  'worker.signal': ({ signal, count }) => {
    if (count === 1) return `${signal}: stopping; once more to stop at once`
    return count === 2 ? `${signal} again: stopping at once` : `${signal} again: exits as it is`
  },
  'worker.draining': ({ reason, running, graceMs }) => {
    const grace =
      graceMs === null ? ', for as long as they take' : `, for up to ${formatDuration(graceMs)}`
    const jobs =
      running === 0 ? 'no job runs' : `${plural(running, 'job')} ${running === 1 ? 'runs' : 'run'}`
    return `draining (${reason}): ${jobs}${running === 0 || graceMs === 0 ? '' : grace}`
  },
  'worker.phase': ({ phase, durationMs }) => `${phase} done after ${formatDuration(durationMs)}`,
  'worker.stopped': stoppedSentence,
  'worker.bound_reached': ({ reason }) => `enough: ${reason}`,
  'health.listening': ({ host, port }) =>
    `answers for its health at http://${host.includes(':') ? `[${host}]` : host}:${port}/livez, /readyz and /metrics`,
  'session.closed': ({ name, durationMs }) =>
    `session ${name} closed in ${formatDuration(durationMs)}`,
  'session.failed': ({ name, step, error }) => `session ${name} (${step}): ${error}`,
  'hook.failed': ({ name, phase, error }) => `hook ${name} (${phase}): ${error}`,
  'worker.offline': ({ workerIds, layer }, terminal) =>
    `found ${plural(workerIds.length, 'worker')} gone (${noticedBy(layer)}): ${some(terminal, workerIds)}`,
  'worker.degraded': ({ reason }) => `degraded: ${reason}`,
  'worker.stood_still': ({ forMs }) =>
    `this process stood still for ${formatDuration(forMs)}: it was stopped, its machine slept, or it got no time to run`,
  'worker.stuck': ({ part, forMs }) =>
    `stuck for ${formatDuration(forMs)}: ${part === 'claims' ? 'its claims are not answered, although its lease is renewed' : 'its event loop was blocked, and by no handler'}`,
  'run.ended': ({ status, running }) =>
    `its run ${status === 'not_found' ? 'is gone' : `ended as ${status}`}: takes no more jobs${running === 0 ? '' : `, ${running} still ${running === 1 ? 'runs' : 'run'}`}`,
  'job.picked_up': (job, terminal) => `picked up ${jobWords(terminal, job)}${again(job)}`,
  'job.completed': (job, terminal) =>
    `completed ${jobWords(terminal, job)} in ${formatDuration(job.durationMs)}${again(job)}${job.late ? ' (late, but nobody had begun it again)' : ''}`,
  'job.failed': (job, terminal) =>
    `failed ${jobWords(terminal, job)} after ${formatDuration(job.durationMs)}${again(job)}: ${job.message || job.code}${job.retrying ? '; will be tried again' : ''}`,
  'job.cancelled': (job, terminal) =>
    `cancelled ${jobWords(terminal, job)} after ${formatDuration(job.durationMs)}${again(job)}`,
  'job.unresponsive': (job, terminal) =>
    `${jobWords(terminal, job)} has ignored its signal (${job.reason}) for ${formatDuration(job.forMs)}${again(job)}`,
  'jobs.released': ({ jobIds, reason }, terminal) =>
    `gave back ${some(terminal, jobIds)} (${reason})`,
  'jobs.recovered': ({ jobIds, layer }, terminal) =>
    `took back ${some(terminal, jobIds)} (${noticedBy(layer)})`,
  'job.poisoned': poisonedSentence,
  'sweep.failed': ({ part, error }) => `${FAILED_PARTS[part]} failed, and is tried again: ${error}`,
  'lease.lost': ({ jobIds, message }, terminal) =>
    `lost the lease of ${some(terminal, jobIds)}: ${message}`,
  'lease.renewal_failed': ({ error, trustedForMs }) =>
    `renewal failed: ${error}; ${trustedForMs > 0 ? `the lease is trusted for ${formatDuration(trustedForMs)} more` : 'the lease is trusted no longer'}`,
  'spool.buffered': ({ depth, onDisk, error }) =>
    `${plural(depth, 'outcome')} ${depth === 1 ? 'waits' : 'wait'} for the database, ${onDisk} on disk: ${error}`,
  'spool.flushed': ({ count, answers }) =>
    `the database has answered for ${plural(count, 'outcome')} that had waited: ${answerWords(answers)}`,
  'spool.taken_over': ({ pid, count, unreadable }) =>
    `delivers ${plural(count, 'outcome')} that process ${pid} left on disk${unreadable === 0 ? '' : `; ${unreadable} more can't be read`}`,
  'spool.degraded': ({ directory, reason }) =>
    `outcomes can't be kept in ${directory} and wait in memory alone: ${reason}`,
  'listen.degraded': ({ reason }) => `no LISTEN: ${reason}`,
  'jobs.dropped': ({ count }) =>
    `dropped ${plural(count, 'ended job')} that need not be kept any longer`,
  'retention.failed': ({ error, retryMs }) =>
    `ended jobs could not be dropped: ${error}; next try in ${formatDuration(retryMs)}`,
  'event_loop.blocked': ({ forMs, types }) =>
    `the event loop was blocked for ${formatDuration(forMs)} by ${types.join(', ') || 'this process'}`,
  'shutdown.timeout': ({ phase, afterMs }) =>
    `shutdown cut in its phase ${phase}, after ${formatDuration(afterMs)}`,
  no_worker_for_type: ({ type, queue, jobIds }, terminal) =>
    `no worker takes jobs of type ${type} from queue ${queue}: ${some(terminal, jobIds)} ${jobIds.length === 1 ? 'waits' : 'wait'}`,
  'alert.raised': ({ rule, message }) => `alert ${rule}: ${message}`,
  'alert.resolved': ({ rule, message }) => `alert ${rule} is over: ${message}`,
}

const SUPERVISOR_SENTENCES: SupervisorSentences = {
  'supervisor.started': ({ name }) => `supervisor ${name} has its place`,
  'supervisor.waiting': ({ name, holder, leftMs }) =>
    `supervisor ${name} may run already (${holder}), and can't be seen from here; waiting for its next sign of life, up to ${formatDuration(leftMs)}`,
  'supervisor.overtaken': ({ name }) =>
    `another supervisor has taken the place of ${name}: stopping`,
  'supervisor.unanswered': ({ error }) => `the database did not answer the supervisor: ${error}`,
  'child.started': ({ slot, pid }) => `process ${slot} starts, pid ${pid}`,
  'child.ready': ({ slot, workerId }) => `process ${slot} is ready: ${workerName(workerId)}`,
  'child.retired': ({ slot, pid, reason }) =>
    `process ${slot}, pid ${pid}, goes: ${reason === 'rolled' ? 'another is ready in its stead' : 'there is too little to do'}`,
  'child.exited': ({ slot, pid, clean, signal, exitCode, restartInMs }) => {
    const how = signal === null ? `exited with code ${exitCode}` : `was killed by ${signal}`
    const next = restartInMs === null ? '' : `; a new one starts in ${formatDuration(restartInMs)}`
    return `process ${slot}, pid ${pid}, ${clean ? 'stopped' : how}${next}`
  },
  'child.failed': ({ slot, error }) =>
    slot === null ? `no process could be started: ${error}` : `process ${slot}: ${error}`,
  'jobs.recovered': ({ jobIds, workerIds, layer }, terminal) => {
    const jobs = jobIds.length === 0 ? 'nothing' : some(terminal, jobIds)
    const workers = workerIds.length === 1 ? 'a lost worker' : `${workerIds.length} lost workers`
    return `took back ${jobs} from ${workers} (${noticedBy(layer)})`
  },
  'job.poisoned': poisonedSentence,
  'report.failed': ({ error }) => `the end of a process could not be reported: ${error}`,
  'roll.started': ({ processes }) => `rolling restart of ${processWords(processes)}`,
  'roll.done': ({ replaced }) => `rolling restart is over, ${replaced} replaced`,
  'roll.failed': ({ replaced, reason }) =>
    `rolling restart is given up after ${replaced}: ${reason}; the old processes go on`,
  'processes.scaled': ({ from, to, waitedMs }) =>
    `${processWords(to)} instead of ${from}: ${waitedMs === null ? 'there is too little to do' : `a job has waited for ${formatDuration(waitedMs)}`}`,
}

function stoppedSentence({ report }: WorkerEvents['worker.stopped']): string {
  const { outcome, durationMs, error, sessions, hooks } = report
  const closed = sessions.filter((session) => session.outcome === 'done').length
  const troubled = [...sessions, ...hooks].filter((step) => step.outcome !== 'done')
  const parts = [
    ...(['finished', 'interrupted', 'released'] as const)
      .filter((what) => report[what].length > 0)
      .map((what) => `${report[what].length} ${what}`),
    ...(closed > 0 ? [`${plural(closed, 'session')} closed`] : []),
    ...troubled.map((step) => `${step.name} ${worded(step.outcome)}`),
    ...(error === null ? [] : [`not marked offline: ${error}`]),
  ]
  const how = outcome === 'graceful' ? 'stopped' : `stopped (${worded(outcome)})`
  return `${how} in ${formatDuration(durationMs)}${parts.map((part) => `, ${part}`).join('')}`
}

function poisonedSentence({ jobId }: WorkerEvents['job.poisoned'], terminal: Terminal): string {
  return `${formatId(terminal, jobId)} has failed as poison, as too many workers in a row were lost while running it: leasehold jobs why ${idEnding(jobId)}`
}

/** `video.transcode …a41c9e` */
function jobWords(terminal: Terminal, job: { type: string; jobId: string }): string {
  return `${job.type} ${formatId(terminal, job.jobId)}`
}

/** Which attempt, when it is not the first. */
function again({ attempt }: { attempt: number }): string {
  return attempt > 1 ? `, attempt ${attempt}` : ''
}

/** `…a41c9e, …c07d11 and 3 more` */
function some(terminal: Terminal, ids: readonly string[]): string {
  const shown = ids
    .slice(0, IDS_MAX)
    .map((id) => formatId(terminal, id))
    .join(', ')
  return ids.length > IDS_MAX ? `${shown} and ${ids.length - IDS_MAX} more` : shown
}

/** Who looked: a layer of detection, or without one a sweep. */
function noticedBy(layer: number | null): string {
  return layer === null ? 'sweep' : layerWords(layer)
}

function answerWords(answers: WorkerEvents['spool.flushed']['answers']): string {
  return Object.entries(answers)
    .map(([answer, count]) => `${count} ${worded(answer)}`)
    .join(', ')
}

/** A code as words: `timed out`. */
function worded(code: string): string {
  return code.replaceAll('_', ' ')
}

function processWords(count: number): string {
  return plural(count, 'process', 'processes')
}
