// Every event of a worker and of a supervisor as the sentence that a person reads. The tables are complete by their types.
import { expect, test } from 'vitest'
import type { SupervisorEvent } from '../../worker/supervisor.ts'
import type { WorkerEventName, WorkerEvents } from '../../worker/worker-events.ts'
import { supervisorSentence, workerSentence } from './event-sentences.ts'

const terminal = { isTerminal: true, color: false, unicode: true, redraws: true, width: 80 }

const incarnation = '01a20229-70cc-7a41-9c9e-3a90f23a90f2'
const workerId = `render-b-2210-${incarnation}`
const jobId = '01a20229-70cc-7a41-9c9e-a41c9ea41c9e'
const jobIds = ['a41c9e', 'c07d11', '93b8e2', 'be20f4', '6cd902', '31d6f8', '77e0b1'].map(
  (ending) => `01a20229-70cc-7a41-9c9e-a41c9e${ending}`,
)
const job = { jobId, type: 'video.transcode', attempt: 1 }
const alert = {
  alertId: '01a20229-70cc-7a41-9c9e-77c2b077c2b0',
  rule: 'poison',
  subject: 'video.transcode',
  message: 'jobs of type video.transcode fail as poison: every worker that ran them was lost',
  data: { jobIds: [jobId] },
}
const report: WorkerEvents['worker.stopped']['report'] = {
  workerId,
  outcome: 'graceful',
  reason: 'SIGTERM',
  signal: 'SIGTERM',
  exitCode: 0,
  durationMs: 1_240,
  phases: [{ phase: 'draining', durationMs: 1_200 }],
  finished: jobIds.slice(0, 2),
  interrupted: [],
  released: [],
  sessions: [],
  hooks: [],
  error: null,
}
const stopped = { workerId, reason: 'SIGTERM', durationMs: 1_240, released: 0 }
const step = { durationMs: 5_000, error: 'not done within 5000 ms' }

const workerEvents: { [Name in WorkerEventName]: WorkerEvents[Name][] } = {
  'worker.started': [
    { workerId, queues: ['video'], types: [job.type], concurrency: 1, listening: true },
    {
      workerId,
      queues: ['audio', 'video'],
      types: ['audio.align', job.type],
      concurrency: 4,
      listening: false,
    },
  ],
  'worker.draining': [
    { workerId, reason: 'SIGTERM', running: 1, graceMs: 25_000 },
    { workerId, reason: 'it has begun 3 jobs', running: 2, graceMs: null },
    { workerId, reason: 'SIGTERM', running: 2, graceMs: 0 },
    { workerId, reason: 'SIGTERM', running: 0, graceMs: 25_000 },
  ],
  'worker.signal': [1, 2, 3].map((count) => ({ signal: 'SIGTERM', count })),
  'worker.phase': [{ phase: 'before-drain', durationMs: 212 }],
  'worker.bound_reached': [{ bound: 'maxJobs', reason: 'it has begun 3 jobs' }],
  'worker.stopped': [
    { ...stopped, report },
    {
      ...stopped,
      report: {
        ...report,
        outcome: 'timed_out',
        interrupted: jobIds.slice(2, 4),
        released: [jobId],
        sessions: [
          { name: 'chat', outcome: 'done', durationMs: 12, error: null },
          { name: 'camera', outcome: 'timed_out', ...step },
        ],
        hooks: [{ name: 'metrics', phase: 'before-close', outcome: 'failed', ...step }],
        error: 'Connection terminated',
      },
    },
  ],
  'worker.offline': [
    { workerIds: [incarnation], layer: 2 },
    { workerIds: jobIds, layer: null },
  ],
  'worker.degraded': [{ reason: 'no connection' }],
  'worker.stood_still': [{ forMs: 52_162 }],
  'worker.stuck': [
    { part: 'claims', forMs: 52_500 },
    { part: 'event_loop', forMs: 52_500 },
  ],
  'run.ended': [
    { runId: jobId, status: 'completed', running: 0 },
    { runId: jobId, status: 'error', running: 1 },
    { runId: jobId, status: 'not_found', running: 3 },
  ],
  'job.picked_up': [
    { ...job, queue: 'video' },
    { ...job, queue: 'video', attempt: 2 },
  ],
  'job.completed': [
    { ...job, durationMs: 291_000, late: false },
    { ...job, durationMs: 291_000, late: true, attempt: 2 },
  ],
  'job.failed': [
    { ...job, durationMs: 3_100, code: 'unknown', message: 'disk full', retrying: true },
    { ...job, durationMs: 3_100, code: 'timeout', message: '', retrying: false, attempt: 5 },
  ],
  'job.cancelled': [{ ...job, durationMs: 3_100 }],
  'job.unresponsive': [{ ...job, reason: 'cancelled', forMs: 10_000 }],
  'jobs.released': [{ jobIds, reason: 'SIGTERM' }],
  'jobs.recovered': [
    { jobIds: [jobId], layer: 2, workerIds: [incarnation] },
    { jobIds, layer: null, workerIds: [incarnation] },
  ],
  'job.poisoned': [{ jobId }],
  'sweep.failed': [
    { part: 'sweep', error: 'permission denied for table attempt' },
    { part: 'witness', error: 'the audit refuses' },
    { part: 'webhooks', error: 'the audit refuses' },
  ],
  'lease.lost': [
    { jobIds: [jobId], code: 'lease_lost', message: 'the lease was not renewed in time' },
  ],
  'lease.renewal_failed': [
    { error: 'connect ECONNREFUSED 10.0.0.5:5432', trustedForMs: 12_400 },
    { error: 'connect ECONNREFUSED 10.0.0.5:5432', trustedForMs: -300 },
  ],
  'spool.buffered': [
    { depth: 1, onDisk: 1, error: 'Connection terminated' },
    { depth: 3, onDisk: 0, error: 'Connection terminated' },
  ],
  'spool.flushed': [
    { count: 1, answers: { completed: 1 } },
    { count: 3, answers: { completed: 2, lease_lost: 1 } },
  ],
  'spool.taken_over': [
    { pid: 4127, count: 1, unreadable: 0 },
    { pid: 4127, count: 3, unreadable: 1 },
  ],
  'spool.degraded': [{ directory: '/var/spool/leasehold', reason: 'ENOSPC' }],
  'listen.degraded': [{ reason: 'a pooler stands between; looking for work by polling' }],
  'jobs.dropped': [{ count: 1 }, { count: 12_000 }],
  'retention.failed': [{ error: 'the archive is read-only', retryMs: 60_000 }],
  'event_loop.blocked': [
    { forMs: 1_400, jobIds: [jobId], types: [job.type] },
    { forMs: 1_400, jobIds: [], types: [] },
  ],
  'health.listening': [
    { host: '127.0.0.1', port: 8080 },
    { host: '::1', port: 8080 },
  ],
  'session.closed': [{ name: 'chat', durationMs: 12 }],
  'session.failed': [
    { name: 'camera', step: 'close', outcome: 'timed_out', error: 'not done within 5000 ms' },
  ],
  'hook.failed': [
    { name: 'metrics', phase: 'before-close', outcome: 'skipped', error: 'no time was left' },
  ],
  'shutdown.timeout': [{ phase: 'before-close', afterMs: 30_000 }],
  no_worker_for_type: [
    { type: 'train.adapter', queue: 'gpu', jobIds: [jobId] },
    { type: 'train.adapter', queue: 'gpu', jobIds },
  ],
  'alert.raised': [alert],
  'alert.resolved': [alert],
}

const supervisorEvents: {
  [Kind in SupervisorEvent['kind']]: Extract<SupervisorEvent, { kind: Kind }>[]
} = {
  'supervisor.started': [{ kind: 'supervisor.started', name: 'handlers-e41f6b', restarts: 2 }],
  'supervisor.waiting': [
    {
      kind: 'supervisor.waiting',
      name: 'handlers-e41f6b',
      holder: 'pid 4127 on render-a',
      leftMs: 28_400,
    },
  ],
  'supervisor.overtaken': [{ kind: 'supervisor.overtaken', name: 'handlers-e41f6b' }],
  'supervisor.unanswered': [{ kind: 'supervisor.unanswered', error: 'Connection terminated' }],
  'child.started': [{ kind: 'child.started', slot: 1, pid: 4127 }],
  'child.ready': [{ kind: 'child.ready', slot: 1, pid: 4127, workerId }],
  'child.retired': [
    { kind: 'child.retired', slot: 1, pid: 4127, reason: 'rolled' },
    { kind: 'child.retired', slot: 1, pid: 4127, reason: 'idle' },
  ],
  'child.exited': [
    {
      kind: 'child.exited',
      slot: 1,
      pid: 4127,
      exitCode: 0,
      signal: null,
      clean: true,
      restartInMs: null,
    },
    {
      kind: 'child.exited',
      slot: 1,
      pid: 4127,
      exitCode: 1,
      signal: null,
      clean: false,
      restartInMs: 500,
    },
    {
      kind: 'child.exited',
      slot: 1,
      pid: 4127,
      exitCode: null,
      signal: 'SIGKILL',
      clean: false,
      restartInMs: 1_000,
    },
  ],
  'child.failed': [
    { kind: 'child.failed', slot: null, error: 'spawn EAGAIN' },
    { kind: 'child.failed', slot: 2, error: 'spawn EAGAIN' },
  ],
  'jobs.recovered': [
    { kind: 'jobs.recovered', jobIds: [jobId], workerIds: [incarnation], layer: 1 },
    { kind: 'jobs.recovered', jobIds: [], workerIds: [incarnation, jobId], layer: 1 },
  ],
  'job.poisoned': [{ kind: 'job.poisoned', jobId }],
  'report.failed': [{ kind: 'report.failed', error: 'Connection terminated' }],
  'roll.started': [
    { kind: 'roll.started', processes: 1 },
    { kind: 'roll.started', processes: 4 },
  ],
  'roll.done': [{ kind: 'roll.done', replaced: 4 }],
  'roll.failed': [{ kind: 'roll.failed', replaced: 1, reason: 'process 2 was not ready in 60 s' }],
  'processes.scaled': [
    { kind: 'processes.scaled', from: 1, to: 3, waitedMs: 2_300 },
    { kind: 'processes.scaled', from: 3, to: 1, waitedMs: null },
  ],
}

function workerSentences(name: WorkerEventName): string[] {
  return workerEvents[name].map((fields) => workerSentence(terminal, name, fields))
}

const ofWorkers = (Object.keys(workerEvents) as WorkerEventName[]).flatMap(workerSentences)
const ofSupervisors = Object.values(supervisorEvents)
  .flat()
  .map((event: SupervisorEvent) => supervisorSentence(terminal, event))

test('the events of a worker are sentences', () => {
  expect(ofWorkers.join('\n')).toMatchInlineSnapshot(`
    "render-b-2210 takes video.transcode from queue video, one at a time
    render-b-2210 takes audio.align, video.transcode from queues audio, video, 4 at once
    draining (SIGTERM): 1 job runs, for up to 25.0 s
    draining (it has begun 3 jobs): 2 jobs run, for as long as they take
    draining (SIGTERM): 2 jobs run
    draining (SIGTERM): no job runs
    SIGTERM: stopping; once more to stop at once
    SIGTERM again: stopping at once
    SIGTERM again: exits as it is
    before-drain done after 212 ms
    enough: it has begun 3 jobs
    stopped in 1.2 s, 2 finished
    stopped (timed out) in 1.2 s, 2 finished, 2 interrupted, 1 released, 1 session closed, camera timed out, metrics failed, not marked offline: Connection terminated
    found 1 worker gone (witness, layer 2): …3a90f2
    found 7 workers gone (sweep): …a41c9e, …c07d11, …93b8e2, …be20f4, …6cd902 and 2 more
    degraded: no connection
    this process stood still for 52.1 s: it was stopped, its machine slept, or it got no time to run
    stuck for 52.5 s: its claims are not answered, although its lease is renewed
    stuck for 52.5 s: its event loop was blocked, and by no handler
    its run ended as completed: takes no more jobs
    its run ended as error: takes no more jobs, 1 still runs
    its run is gone: takes no more jobs, 3 still run
    picked up video.transcode …a41c9e
    picked up video.transcode …a41c9e, attempt 2
    completed video.transcode …a41c9e in 4 m 51 s
    completed video.transcode …a41c9e in 4 m 51 s, attempt 2 (late, but nobody had begun it again)
    failed video.transcode …a41c9e after 3.1 s: disk full; will be tried again
    failed video.transcode …a41c9e after 3.1 s, attempt 5: timeout
    cancelled video.transcode …a41c9e after 3.1 s
    video.transcode …a41c9e has ignored its signal (cancelled) for 10.0 s
    gave back …a41c9e, …c07d11, …93b8e2, …be20f4, …6cd902 and 2 more (SIGTERM)
    took back …a41c9e (witness, layer 2)
    took back …a41c9e, …c07d11, …93b8e2, …be20f4, …6cd902 and 2 more (sweep)
    …a41c9e has failed as poison, as too many workers in a row were lost while running it: leasehold jobs why a41c9e
    a sweep failed, and is tried again: permission denied for table attempt
    telling of a neighbour that is gone failed, and is tried again: the audit refuses
    sending to webhooks failed, and is tried again: the audit refuses
    lost the lease of …a41c9e: the lease was not renewed in time
    renewal failed: connect ECONNREFUSED 10.0.0.5:5432; the lease is trusted for 12.4 s more
    renewal failed: connect ECONNREFUSED 10.0.0.5:5432; the lease is trusted no longer
    1 outcome waits for the database, 1 on disk: Connection terminated
    3 outcomes wait for the database, 0 on disk: Connection terminated
    the database has answered for 1 outcome that had waited: 1 completed
    the database has answered for 3 outcomes that had waited: 2 completed, 1 lease lost
    delivers 1 outcome that process 4127 left on disk
    delivers 3 outcomes that process 4127 left on disk; 1 more can't be read
    outcomes can't be kept in /var/spool/leasehold and wait in memory alone: ENOSPC
    no LISTEN: a pooler stands between; looking for work by polling
    dropped 1 ended job that need not be kept any longer
    dropped 12,000 ended jobs that need not be kept any longer
    ended jobs could not be dropped: the archive is read-only; next try in 1 m
    the event loop was blocked for 1.4 s by video.transcode
    the event loop was blocked for 1.4 s by this process
    answers for its health at http://127.0.0.1:8080/livez, /readyz and /metrics
    answers for its health at http://[::1]:8080/livez, /readyz and /metrics
    session chat closed in 12 ms
    session camera (close): not done within 5000 ms
    hook metrics (before-close): no time was left
    shutdown cut in its phase before-close, after 30.0 s
    no worker takes jobs of type train.adapter from queue gpu: …a41c9e waits
    no worker takes jobs of type train.adapter from queue gpu: …a41c9e, …c07d11, …93b8e2, …be20f4, …6cd902 and 2 more wait
    alert poison: jobs of type video.transcode fail as poison: every worker that ran them was lost
    alert poison is over: jobs of type video.transcode fail as poison: every worker that ran them was lost"
  `)
})

test('the events of a supervisor are sentences', () => {
  expect(ofSupervisors.join('\n')).toMatchInlineSnapshot(`
    "supervisor handlers-e41f6b has its place
    supervisor handlers-e41f6b may run already (pid 4127 on render-a), and can't be seen from here; waiting for its next sign of life, up to 28.4 s
    another supervisor has taken the place of handlers-e41f6b: stopping
    the database did not answer the supervisor: Connection terminated
    process 1 starts, pid 4127
    process 1 is ready: render-b-2210
    process 1, pid 4127, goes: another is ready in its stead
    process 1, pid 4127, goes: there is too little to do
    process 1, pid 4127, stopped
    process 1, pid 4127, exited with code 1; a new one starts in 500 ms
    process 1, pid 4127, was killed by SIGKILL; a new one starts in 1.0 s
    no process could be started: spawn EAGAIN
    process 2: spawn EAGAIN
    took back …a41c9e from a lost worker (supervisor, layer 1)
    took back nothing from 2 lost workers (supervisor, layer 1)
    …a41c9e has failed as poison, as too many workers in a row were lost while running it: leasehold jobs why a41c9e
    the end of a process could not be reported: Connection terminated
    rolling restart of 1 process
    rolling restart of 4 processes
    rolling restart is over, 4 replaced
    rolling restart is given up after 1: process 2 was not ready in 60 s; the old processes go on
    3 processes instead of 1: a job has waited for 2.3 s
    1 process instead of 3: there is too little to do"
  `)
})

test.each([...ofWorkers, ...ofSupervisors])('%s', (sentence) => {
  expect(sentence).not.toMatch(/undefined|null|NaN|\[object|: ?$|\(\)/)
})
