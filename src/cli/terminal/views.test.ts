// The views over one fleet at 10:46:31, the one of the mock-ups, at 80 and 120 columns and in a pipe.
import { describe, expect, it } from 'vitest'
import type {
  AttemptDocument,
  EndReasonDocument,
  JobDocument,
  WorkerDocument,
} from '../../client/documents.ts'
import { renderEvents, renderJob, renderJobList } from './jobs-view.ts'
import type { Terminal } from './style.ts'
import { textWidth } from './text.ts'
import { createWaitView } from './wait-view.ts'
import { renderAlertList, renderRules, renderWebhookList } from './alerts-view.ts'
import { renderMachine, renderMachineList } from './machines-view.ts'
import { renderWorkerList } from './workers-view.ts'

const now = new Date('2026-11-22T10:46:31.000Z')
const pipe: Terminal = { isTerminal: false, color: false, unicode: true, redraws: false, width: 80 }
const at = (width: number): Terminal => ({ ...pipe, isTerminal: true, redraws: true, width })
const time = (clock: string): string => `2026-11-22T${clock}Z`

function reason(some: Partial<EndReasonDocument>): EndReasonDocument {
  return {
    code: 'worker_lost',
    message: null,
    noticedBy: null,
    layer: null,
    detectedAfterMs: null,
    exitCode: null,
    signal: null,
    ...some,
  }
}

function attempt(some: Partial<AttemptDocument>): AttemptDocument {
  return {
    attempt: 1,
    workerId: 'render-b-2198-e41f6b77',
    machineId: 'b',
    startedAt: time('10:00:00.000'),
    endedAt: null,
    endedAs: null,
    fromCheckpoint: null,
    lastCheckpoint: null,
    lateResult: null,
    endReason: null,
    ...some,
  }
}

function job(some: Partial<JobDocument>): JobDocument {
  return {
    id: '01a20229-70cc-7a41-9c9e-a41c9ea41c9e',
    type: 'video.transcode',
    queue: 'video',
    namespace: 'default',
    status: 'pending',
    state: 'pending',
    priority: 5,
    input: {},
    result: null,
    error: null,
    runId: 'nightly-captions',
    parentId: null,
    key: null,
    concurrencyKey: null,
    target: null,
    attempt: 0,
    failures: 0,
    lost: 0,
    interruptions: 0,
    maxAttempts: 5,
    maxLost: 3,
    workerId: null,
    machineId: null,
    heartbeatAt: null,
    leaseExpiresAt: null,
    leaseLeftMs: null,
    recoveryNotBefore: null,
    databaseSilentSince: null,
    workerEndedAt: null,
    previousEnd: null,
    waitsBehind: null,
    aim: null,
    runEnded: null,
    workersForType: null,
    now: now.toISOString(),
    cancelRequestedAt: null,
    createdAt: time('07:30:00.012'),
    runAt: time('07:30:00.012'),
    startedAt: null,
    finishedAt: null,
    progress: null,
    checkpoint: null,
    endReason: null,
    why: 'Waits for a free slot.',
    ...some,
  }
}

const lostReason = reason({
  message: 'render-a-4131 found pid 4127 gone',
  noticedBy: 'render-a-4131-5be0d1c2',
  layer: 2,
  detectedAfterMs: 212,
  signal: 'SIGKILL',
})

const running = job({
  status: 'running',
  state: 'running',
  attempt: 3,
  lost: 1,
  interruptions: 1,
  workerId: 'render-b-2210-e41f6b77',
  runAt: time('10:00:00.000'),
  startedAt: time('10:00:00.000'),
  leaseExpiresAt: time('10:46:58.900'),
  progress: { done: 47, total: 60, message: 'segment 47', at: time('10:46:26.800') },
  why: 'Running on render-b-2210 since 10:41:07 UTC; its lease holds for 27.9 s more.',
  attempts: [
    attempt({
      endedAt: time('10:14:20.000'),
      endedAs: 'interrupted',
      lastCheckpoint: 12,
      endReason: reason({ code: 'shutdown', signal: 'SIGTERM' }),
    }),
    attempt({
      attempt: 2,
      workerId: 'render-a-4127-11aa22bb',
      startedAt: time('10:14:21.000'),
      endedAt: time('10:41:07.530'),
      endedAs: 'lost',
      fromCheckpoint: 12,
      lastCheckpoint: { segment: 41 },
      endReason: lostReason,
    }),
    attempt({
      attempt: 3,
      workerId: 'render-b-2210-e41f6b77',
      startedAt: time('10:41:07.539'),
      fromCheckpoint: { segment: 41 },
    }),
  ],
  events: [
    {
      id: 7,
      at: time('10:41:07.530'),
      kind: 'jobs.recovered',
      attempt: 2,
      workerId: 'render-a-4127-11aa22bb',
      message: 'taken back from a lost worker',
      data: null,
    },
  ],
})

const list = [
  running,
  job({
    id: '01a20229-70cc-7a41-9c9e-77e0b177e0b1',
    type: 'embed.corpus',
    status: 'running',
    state: 'lost',
    attempt: 1,
    workerId: 'render-b-2214-3a90f2b8',
    progress: { done: 118, total: 400, message: null, at: null },
    why: 'Lost: render-b-2214 has not renewed for 31.0 s, so its lease lapsed 1.0 s ago and the next sweep hands the job back.',
  }),
  job({ id: '01a20229-70cc-7a41-9c9e-be20f4be20f4' }),
  job({
    id: '01a20229-70cc-7a41-9c9e-6cd9026cd902',
    type: 'index.publish',
    status: 'blocked',
    state: 'blocked',
    why: 'Waits for 63 jobs of its run.',
  }),
  job({
    id: '01a20229-70cc-7a41-9c9e-31d6f831d6f8',
    type: 'audio.align',
    status: 'completed',
    state: 'completed',
    attempt: 2,
    lost: 1,
    workerId: 'render-a-5902-91d7aa03',
    createdAt: time('10:21:31.000'),
    startedAt: time('10:26:11.000'),
    finishedAt: time('10:31:02.000'),
    progress: { done: 30, total: 30, message: null, at: null },
    why: 'Completed in 4 m 51 s on render-a-5902.',
  }),
]
const cursor = '01a202c5-fee0-731d-96f8-31d6f831d6f8'

function worker(some: Partial<WorkerDocument>): WorkerDocument {
  return {
    id: 'render-a-4131-5be0d1c2',
    machineId: 'machine-a',
    hostname: 'render-a',
    pid: 4131,
    incarnation: '5be0d1c2',
    type: 'worker',
    runId: null,
    status: 'online',
    reason: 'renews on time',
    concurrency: 4,
    running: 2,
    startedAt: time('08:12:45.000'),
    lastSeenAt: time('10:46:29.400'),
    leaseExpiresAt: time('10:46:59.400'),
    stoppedAt: null,
    endReason: null,
    bootId: null,
    parentPid: 1,
    processStartedAt: time('08:12:44.000'),
    command: 'worker handlers.ts',
    version: '0.1.0',
    queues: ['video'],
    types: ['video.transcode'],
    labels: [],
    eventLoopLagMs: 3,
    spoolDepth: 0,
    spoolAgeMs: 0,
    memoryBytes: 91_000_000,
    clockAheadMs: 2,
    lastSeenAgoMs: 1600,
    leaseLeftMs: 28_400,
    shutdown: { outcome: null },
    ...some,
  }
}

const b = { machineId: 'machine-b', hostname: 'render-b' }
const fleet = [
  worker({}),
  worker({
    ...b,
    id: 'render-b-2231-07cc8d1e',
    status: 'draining',
    reason: 'lifetime of 6 h reached',
    labels: ['gpu-a100'],
    running: 1,
    concurrency: 1,
    lastSeenAgoMs: 7900,
    leaseLeftMs: 22_100,
    eventLoopLagMs: 4,
  }),
  worker({
    ...b,
    id: 'render-b-2214-3a90f2b8',
    status: 'offline',
    reason: 'lease lapsed 1.0 s ago',
    running: 1,
    lastSeenAgoMs: 31_000,
    leaseLeftMs: -1000,
    eventLoopLagMs: null,
    spoolDepth: null,
  }),
]

describe('jobs list', () => {
  it('fits 80 columns', () => {
    const { output, note } = renderJobList(at(80), list, cursor, 240, { now })
    expect(output).toMatchSnapshot()
    expect(note).toBe(`5 of 240. Next: --after ${cursor}\n`)
  })
  it('has more columns at 120', () => {
    expect(renderJobList(at(120), list, null, 5, { now }).output).toMatchSnapshot()
  })
  it('takes two lines for a job at 50', () => {
    expect(renderJobList(at(50), list, null, 5, { now }).output).toMatchSnapshot()
  })
  it('is tabs, full ids and full sentences in a pipe', () => {
    const { output, note } = renderJobList(pipe, list, null, 5, { now })
    expect(output).toMatchSnapshot()
    expect(note).toBe('5 jobs.\n')
  })
  it('keeps the words without UTF-8', () => {
    const ascii = { ...at(80), unicode: false }
    const { output } = renderJobList(ascii, list, null, 5, { now })
    expect(output).toMatchSnapshot()
    // oxlint-disable-next-line no-control-regex -- ASCII is the point
    expect(output).toMatch(/^[\u0000-\u007f]*$/)
  })
  it.each([30, 40, 59, 60, 79, 99, 100, 101, 200])('never is wider than %i columns', (width) => {
    const { output } = renderJobList(at(width), list, null, 5, { now })
    expect(Math.max(...output.split('\n').map(textWidth))).toBeLessThanOrEqual(width)
    expect(output).toContain('…a41c9e')
  })
  it('is cut rather than wrapped on a terminal of 12 columns', () => {
    const { output } = renderJobList(at(12), list, null, 5, { now })
    expect(Math.max(...output.split('\n').map(textWidth))).toBeLessThanOrEqual(12)
  })
  it('gives no job that waits the worker of its attempt before', () => {
    const again = job({ state: 'retrying', attempt: 1, failures: 1, workerId: 'render-b-2210-x' })
    for (const terminal of [at(120), pipe])
      expect(renderJobList(terminal, [again], null, 1, { now }).output).not.toContain('render-b')
  })
  it('says that nothing matches on standard error', () => {
    expect(renderJobList(at(80), [], null, 0, { filter: 'state:lost' })).toEqual({
      output: '',
      note: 'No job matches state:lost.\n',
    })
  })
  it('lets no job steer the terminal or break a row', () => {
    const evil = job({ type: 'a\u001b[2J\u001b]0;title\u0007b\nc\td', why: 'x\ty\r\nz.' })
    for (const terminal of [at(120), pipe]) {
      const { output } = renderJobList(terminal, [evil], null, 1, { now })
      expect(output).not.toContain('\u001b')
      expect(output.trimEnd().split('\n')).toHaveLength(2)
    }
  })
})

describe('jobs show', () => {
  it('tells attempts and hand-over in 80 columns', () => {
    const { output, note } = renderJob(at(80), running, now)
    expect(output).toMatchSnapshot()
    expect(note).toBe('\nLogs: leasehold jobs logs a41c9e --follow\n')
  })
  it('names the ends beside the bars at 120', () => {
    expect(renderJob(at(120), running, now).output).toMatchSnapshot()
  })
  it('is one name and value a line in a pipe, then attempts, then events', () => {
    expect(renderJob(pipe, running, now)).toMatchSnapshot()
  })
  it('draws in ASCII without UTF-8', () => {
    expect(renderJob({ ...at(80), unicode: false }, running, now).output).toMatchSnapshot()
  })
  it('colours the state, the live bar and the delay', () => {
    expect(renderJob({ ...at(80), color: true }, running, now).output).toMatchSnapshot()
  })
  it('says why a job waits', () => {
    expect(renderJob(at(80), job({ attempts: [] }), now).output).toMatchSnapshot()
  })
  it('ends the axis with a job that has failed, and folds the wait between attempts', () => {
    const failed = job({
      status: 'failed',
      state: 'failed',
      attempt: 2,
      failures: 2,
      createdAt: time('08:00:00.000'),
      runAt: null,
      finishedAt: time('09:00:40.000'),
      why: 'Failed: ECONNRESET in attempt 2 of 2.',
      error: { code: 'ECONNRESET', message: 'read ECONNRESET', stack: null },
      attempts: [
        attempt({
          startedAt: time('08:00:00.500'),
          endedAt: time('08:00:30.000'),
          endedAs: 'failed',
          endReason: reason({ code: 'ECONNRESET', message: 'read ECONNRESET' }),
        }),
        attempt({
          attempt: 2,
          startedAt: time('09:00:00.000'),
          endedAt: time('09:00:40.000'),
          endedAs: 'failed',
          endReason: reason({ code: 'ECONNRESET', message: 'read ECONNRESET' }),
        }),
      ],
    })
    expect(renderJob(at(80), failed, now).output).toMatchSnapshot()
  })
  it('shows where a failed job was thrown, folded', () => {
    const stack = [
      'Error: no disk',
      ...[1, 2, 3, 4, 5].map((n) => `    at frame${n} (h.ts:${n}:1)`),
    ]
    const failed = job({
      status: 'failed',
      state: 'failed',
      attempts: [],
      error: { code: null, message: 'no disk', stack: stack.join('\n') },
    })
    const { output } = renderJob(at(80), failed, now)
    expect(output).toMatch(
      /error +no disk\n +at frame1 \(h\.ts:1:1\)\n +at frame2 .*\n +at frame3 .*\n +2 more lines: --json\n/,
    )
  })
  it('puts the end of a lapsed lease left of now', () => {
    const [first] = running.attempts ?? []
    const lapsed = job({
      ...running,
      state: 'lost',
      why: 'Lost: its lease lapsed 5 m ago.',
      leaseExpiresAt: time('10:41:31.000'),
      attempts: first ? [{ ...first, endedAt: null, endedAs: null }] : [],
    })
    const row = renderJob(at(80), lapsed, now)
      .output.split('\n')
      .find((line) => line.includes('['))
    expect(row).toMatch(/\[━+\)━* *│ {2}render-b-2198$/)
  })
  it.each([61, 80, 100, 120, 200])('never is wider than %i columns', (width) => {
    const { output } = renderJob(at(width), running, now)
    expect(Math.max(...output.split('\n').map(textWidth))).toBeLessThanOrEqual(width)
  })
  it('draws attempts of a few milliseconds', () => {
    const quick = attempt({
      startedAt: time('07:30:00.020'),
      endedAt: time('07:30:00.024'),
      endedAs: 'completed',
    })
    const done = job({
      status: 'completed',
      state: 'completed',
      finishedAt: quick.endedAt,
      startedAt: quick.startedAt,
      attempts: [quick],
      why: 'Completed in 4 ms.',
    })
    expect(renderJob(at(80), done, now).output).toMatch(/\[━*✓/)
  })
})

describe('jobs events', () => {
  it('is a table on a terminal and tabs in a pipe', () => {
    const events = running.events ?? []
    expect(renderEvents(at(80), events).output).toMatchSnapshot()
    expect(renderEvents(pipe, events).output).toMatchSnapshot()
  })
})

describe('workers list', () => {
  it('is grouped by machine in 80 columns', () => {
    const { output, note } = renderWorkerList(at(80), fleet)
    expect(output).toMatchSnapshot()
    expect(note).toBe('2 of 3 online, 1 of them draining.\n')
  })
  it('has loop, spool and labels at 120', () => {
    expect(renderWorkerList(at(120), fleet).output).toMatchSnapshot()
  })
  it('is tabs in a pipe', () => {
    expect(renderWorkerList(pipe, fleet).output).toMatchSnapshot()
  })
  it('tells apart two machines of one name', () => {
    const twins = [worker({ machineId: 'x-111111' }), worker({ machineId: 'x-222222' })]
    expect(renderWorkerList(at(80), twins).output).toContain('render-a …222222 (online')
  })
})

describe('machines list', () => {
  const machines = [
    {
      id: 'machine-a',
      hostname: 'render-a',
      status: 'online' as const,
      workersOnline: 2,
      workersTotal: 3,
      lastSeenAt: time('10:46:29.400'),
      lastSeenAgoMs: 1600,
      drainRequestedAt: null,
      witnessContradictedAt: null,
    },
  ]
  it('shows the workers and the age of the last sign of life', () => {
    expect(renderMachineList(at(80), machines, now).output).toMatchSnapshot()
    expect(renderMachineList(pipe, machines, now).output).toMatchSnapshot()
  })
})

describe('machines show', () => {
  const machine = {
    id: 'machine-a',
    hostname: 'render-a',
    status: 'online' as const,
    workersOnline: 1,
    workersTotal: 3,
    lastSeenAt: time('10:46:29.400'),
    lastSeenAgoMs: 1600,
    drainRequestedAt: time('10:40:00.000'),
    witnessContradictedAt: time('10:41:00.000'),
    versions: [
      {
        version: '1.1.0',
        starts: 4,
        restarts: 3,
        crashes: 3,
        lostJobs: 4,
        meanTimeBetweenCrashesMs: 34_000,
        lastCrashAt: time('10:45:00.000'),
        lastCrashReason: 'its process was killed by SIGSEGV',
      },
      {
        version: '1.0.0',
        starts: 1,
        restarts: 0,
        crashes: 0,
        lostJobs: 0,
        meanTimeBetweenCrashesMs: null,
        lastCrashAt: null,
        lastCrashReason: null,
      },
    ],
  }
  it('shows its workers and how they fared, by version', () => {
    expect(renderMachine(at(80), machine, [worker({})])).toMatchSnapshot()
    expect(renderMachine(pipe, machine, [worker({})])).toMatchSnapshot()
  })
})

describe('alerts', () => {
  const alert = {
    id: '7f9c24e8-3b12-4e6b-9d1f-5a41c9e0a41c',
    namespace: 'studio',
    rule: 'crash_loop',
    subject: 'machine-a 1.1.0',
    status: 'open' as const,
    message: '3 workers of version 1.1.0 on machine machine-a crashed within 10 min',
    data: {},
    raisedAt: time('10:40:00.000'),
    acknowledgedAt: null,
    acknowledgedBy: null,
    resolvedAt: null,
  }
  const rule = {
    rule: 'crash_loop',
    enabled: true,
    atLeast: 3,
    withinMs: 600_000,
    forMs: null,
    says: 'workers crash again and again',
    changed: true,
  }
  const webhook = {
    id: '0d1f24e8-3b12-4e6b-9d1f-5a41c9e0fee9',
    url: 'https://example.com/hooks/leasehold',
    rules: null,
    allowPrivate: false,
    createdAt: time('08:00:00.000'),
    waiting: 2,
    givenUp: 0,
    lastDeliveredAt: null,
    lastError: 'answered 503',
  }
  it('are listed with what is open and how to acknowledge it', () => {
    const acknowledged = { ...alert, status: 'acknowledged' as const, acknowledgedBy: 'ana' }
    expect(renderAlertList(at(100), [alert, acknowledged], now)).toMatchSnapshot()
    expect(renderAlertList(pipe, [alert], now)).toMatchSnapshot()
    expect(renderAlertList(at(80), [], now)).toEqual({ output: '', note: 'No alert.\n' })
  })
  it('have rules, of which those that were changed are marked', () => {
    const off = { ...rule, rule: 'poison', enabled: false, changed: false }
    expect(renderRules(at(80), [rule, off])).toMatchSnapshot()
    expect(renderRules(pipe, [rule])).toMatchSnapshot()
  })
  it('have webhooks, shown with what they have not got', () => {
    expect(renderWebhookList(at(100), [webhook], now)).toMatchSnapshot()
    expect(renderWebhookList(pipe, [webhook], now)).toMatchSnapshot()
  })
})

/** A job that waits, runs, is lost at 41, runs again and completes: one reading each. */
const story: { job: JobDocument; at: string }[] = [
  { job: job({ createdAt: time('09:59:56.800') }), at: '10:00:00.000' },
  {
    job: job({
      status: 'running',
      state: 'running',
      attempt: 1,
      workerId: 'render-a-4127-11aa22bb',
      progress: { done: 25, total: 60, message: 'segment 25', at: null },
    }),
    at: '10:10:00.000',
  },
  {
    job: job({
      status: 'running',
      state: 'running',
      attempt: 1,
      workerId: 'render-a-4127-11aa22bb',
      progress: { done: 41, total: 60, message: 'segment 41', at: null },
    }),
    at: '10:41:06.000',
  },
  {
    job: job({
      status: 'running',
      state: 'running',
      attempt: 2,
      lost: 1,
      workerId: 'render-b-2210-e41f6b77',
      progress: { done: 47, total: 60, message: 'segment 47', at: null },
      endReason: { ...lostReason, message: 'render-a-4127 was killed' },
    }),
    at: '10:41:08.000',
  },
  {
    job: job({
      status: 'completed',
      state: 'completed',
      attempt: 2,
      lost: 1,
      startedAt: time('10:40:00.000'),
      finishedAt: time('11:01:14.000'),
      progress: { done: 60, total: 60, message: null, at: null },
    }),
    at: '11:01:14.300',
  },
]

describe('enqueue --wait', () => {
  it('is one live line, and history for the attempt that was lost', () => {
    const view = createWaitView(at(80))
    expect(story.map((step) => view.next(step.job, new Date(time(step.at))))).toMatchSnapshot()
  })
  it('is a line for each change of state in a pipe', () => {
    const view = createWaitView(pipe)
    const lines = story.flatMap((step) => view.next(step.job, new Date(time(step.at))).history)
    expect(lines).toEqual([
      '10:00:00Z pending',
      '10:10:00Z running attempt=1 worker=render-a-4127',
      '10:41:06Z progress 41/60',
      '10:41:08Z lost attempt=1 at=41/60 noticedBy=witness detectedAfterMs=212',
      '10:41:08Z running attempt=2 worker=render-b-2210',
      '11:01:14Z completed attempts=2',
    ])
  })
  it('takes the times and the checkpoint of the attempts when the job has them', () => {
    const view = createWaitView(pipe)
    const before = job({ status: 'running', state: 'running', attempt: 2, attempts: [] })
    view.next(before, new Date(time('10:41:00.000')))
    expect(view.next(running, now).history).toEqual([
      '10:41:07Z lost attempt=2 at=41/60 noticedBy=witness detectedAfterMs=212',
      '10:41:07Z running attempt=3 worker=render-b-2210 from=41',
    ])
  })
  it('says progress in a pipe only after both 30 s and a tenth', () => {
    const view = createWaitView(pipe)
    const read = (done: number, clock: string): string[] =>
      view.next(
        { ...running, attempts: [], progress: { done, total: 60, message: null, at: null } },
        new Date(time(clock)),
      ).history
    expect(read(0, '10:00:00.000')).toHaveLength(1)
    expect(read(30, '10:00:29.999')).toEqual([])
    expect(read(5, '10:05:00.000')).toEqual([])
    expect(read(6, '10:05:01.000')).toEqual(['10:05:01Z progress 6/60'])
    expect(read(59, '10:05:30.000')).toEqual([])
  })
  it('says in a pipe why it failed', () => {
    const failed = job({
      status: 'failed',
      state: 'failed',
      attempt: 1,
      finishedAt: time('10:00:01.000'),
      error: { code: 'Error', message: 'no "disk" here', stack: null },
      endReason: reason({ code: 'Error', message: 'no "disk" here' }),
    })
    expect(createWaitView(pipe).next(failed, now).history).toEqual([
      '10:00:01Z failed attempts=1 reason=Error message="no \\"disk\\" here"',
    ])
  })
  it('does not repeat how it ended', () => {
    const view = createWaitView(at(80))
    const failed = job({ status: 'failed', state: 'failed', attempt: 1, why: 'Failed as poison.' })
    expect(view.next(failed, now).history).toEqual(['✕ failed as poison'])
    expect(view.next(failed, now)).toEqual({ history: [], live: null })
  })
})
