/**
 * docs/job-states.md draws exactly the transitions that are possible: each is derived here by driving the real SQL functions.
 *
 * Every public function that may write is either driven against a job in every situation (ACTS), or is listed as one that changes
 * no status of a stored job; a function that is neither fails the test, so that a new one can't be forgotten. What a function does
 * to the status is read before and after. A situation is made by the same functions (only the count of interruptions is written
 * into its row: 99 rounds for each act would take a minute); time is moved with the schema's clock.
 */
import { expect, test } from 'vitest'
import { JOB_STATES, JOB_STATUSES, TERMINAL_STATUSES } from '../../src/domain/states.ts'
import { type Functions, type Held, heldOf, type WorkerRow } from '../support/functions.ts'
import { openProtocol, type Protocol } from '../support/protocol.ts'
import { code, codes, readPage, section, tables } from './documents.ts'

const page = readPage('docs/job-states.md')

/** A job in some situation, in a namespace of its own. */
interface Case {
  readonly p: Protocol
  readonly f: Functions
  readonly job: string
  readonly worker: WorkerRow
  /** Of its last attempt, open or not; a token that never was before the first. */
  readonly held: Held
}

const NEVER = '00000000-0000-4000-8000-000000000000'
const ERROR = { code: 'Error', message: 'it broke' }

let namespaces = 0

async function waiting(p: Protocol, options: Record<string, unknown> = {}): Promise<Case> {
  const f = p.in(`case-${(namespaces += 1)}`)
  const [job = ''] = await f.enqueue(1, options)
  return { p, f, job, worker: await f.register(), held: { job, token: NEVER } }
}

async function running(p: Protocol, options: Record<string, unknown> = {}): Promise<Case> {
  const one = await waiting(p, options)
  const [held] = heldOf(await one.f.claim(one.worker))
  if (held === undefined) throw new Error('the job that was enqueued was not claimed')
  return { ...one, held }
}

async function after(
  make: Promise<Case>,
  ...acts: ((one: Case) => Promise<unknown>)[]
): Promise<Case> {
  const one = await make
  for (const act of acts) await act(one)
  return one
}

/** A job that waits in a run in which too many have failed, before anybody has judged that. */
async function waitingInRun(p: Protocol): Promise<Case> {
  const f = p.in(`case-${(namespaces += 1)}`)
  const { id } = await f.createRun({ maxFailed: 0 })
  await f.enqueue(1, { runId: id })
  const worker = await f.register()
  await f.settle(heldOf(await f.claim(worker)), ['failed_finally'], [ERROR])
  const [job = ''] = await f.enqueue(1, { runId: id })
  return { p, f, job, worker, held: { job, token: NEVER } }
}

async function withRunOf(
  { f, job }: Case,
  act: (runId: string) => Promise<unknown>,
): Promise<void> {
  const { runId } = await f.job(job)
  if (runId !== null) await act(runId)
}

const cancel = (one: Case): Promise<unknown> => one.f.cancel([one.job])

/** Situations that decide differently, by what they are. */
const SITUATIONS: Record<string, (p: Protocol) => Promise<Case>> = {
  'waits for the first time': waiting,
  'will wait for its time': (p) => waiting(p, { delayMs: 3_600_000 }),
  'waits again after a failure': (p) => after(running(p), ({ f, held }) => f.fail([held], [ERROR])),
  'waits again after its worker was lost': (p) =>
    after(
      running(p),
      ({ p: all }) => all.lapse(),
      ({ f }) => f.sweep(),
    ),
  'waits in a run that has to end': waitingInRun,
  'waits for a target that is offline': (p) =>
    waiting(p, { target: 'machine:none', ifOffline: 'fail' }),
  'is held in a run that has to end': (p) => after(waitingInRun(p), ({ f, job }) => f.hold([job])),
  'runs, budgets fresh': running,
  'runs, the last failure': (p) => running(p, { maxAttempts: 1 }),
  'runs, the last chance': (p) => running(p, { maxLost: 1 }),
  'runs, not to be run again when lost': (p) => running(p, { onWorkerLost: 'fail' }),
  'runs, to be held when lost': (p) => running(p, { onWorkerLost: 'hold' }),
  'runs, asked to stop': (p) => after(running(p), cancel),
  'runs, interrupted 99 times': (p) =>
    after(running(p), ({ job }) =>
      p.db.rows('update %s.job set interruptions = 99 where id = $1', [job]),
    ),
  'is held': (p) => after(waiting(p), ({ f, job }) => f.hold([job])),
  'is held since its worker was lost': (p) =>
    after(
      running(p, { onWorkerLost: 'hold' }),
      ({ p: all }) => all.lapse(),
      ({ f }) => f.sweep(),
    ),
  'has completed': (p) => after(running(p), ({ f, held }) => f.complete([held])),
  'has failed': (p) =>
    after(running(p, { maxAttempts: 1 }), ({ f, held }) => f.fail([held], [ERROR])),
  'has failed as poison': (p) =>
    after(
      running(p, { maxLost: 1 }),
      ({ p: all }) => all.lapse(),
      ({ f }) => f.sweep(),
    ),
  'was cancelled while it waited': (p) => after(waiting(p), cancel),
  'was cancelled while it ran': (p) =>
    after(running(p), cancel, ({ f, held }) => f.acknowledgeCancel([held])),
}

/** By the function that is called. Some need more than one way of calling it. */
const ACTS: Record<string, ((one: Case) => Promise<unknown>)[]> = {
  claim: [({ f, worker }) => f.claimAnswer(worker)],
  settle: ['completed', 'failed', 'failed_finally', 'cancelled', 'released', 'interrupted'].map(
    (outcome) =>
      ({ f, held }) =>
        f.settle([held], [outcome], [ERROR]),
  ),
  complete: [({ f, held }) => f.complete([held], ['late'])],
  fail: [({ f, held }) => f.fail([held], [ERROR])],
  release: [({ f, held }) => f.release([held])],
  interrupt: [({ f, held }) => f.interrupt([held])],
  acknowledge_cancel: [({ f, held }) => f.acknowledgeCancel([held])],
  cancel: [cancel],
  hold: [({ f, job }) => f.hold([job])],
  resume: [({ f, job }) => f.resume([job])],
  retry: [({ f, job }) => f.retry([job])],
  release_jobs: [({ f, job }) => f.releaseJobs([job])],
  end_run: [(one) => withRunOf(one, (runId) => one.f.endRun(runId, 'error'))],
  judge_runs: [(one) => withRunOf(one, (runId) => one.f.judge(runId))],
  update_run: [(one) => withRunOf(one, (runId) => one.f.updateRun(runId, null, true))],
  release_stuck: [({ p, f }) => p.lapse().then(() => f.releaseStuck(1_000))],
  sweep: [({ p, f }) => p.lapse().then(() => f.sweep())],
  report_death: [({ f, worker }) => f.reportDeath({}, 1, [worker])],
  register: [
    // A process that has the pid of the worker, started later, proves that the worker is gone.
    ({ f, worker }) => f.register({ pid: worker.pid, processStarted: 'later' }),
  ],
  evict_workers: [({ f, worker }) => f.evict([worker])],
  end_worker: (['interrupted', 'lost', 'released', 'uncharged'] as const).map(
    (charge) =>
      ({ f, worker }) =>
        f.endWorker(worker, charge),
  ),
}

/** Public functions that write, and change no status of a job that is stored. */
const CHANGES_NO_STATUS = [
  'enqueue',
  'enqueue_child',
  'renew',
  'checkpoint',
  'progress',
  'log',
  'cost',
  'create_run',
  'drain_workers',
  'supervise',
  'keep_supervising',
  'stop_supervising',
  'begin_retention',
  'drop_jobs',
  'drop_events',
  'end_retention',
  'set_retention',
  'drain_machine',
  'acknowledge_alerts',
  'set_alert_rule',
  'add_webhook',
  'remove_webhook',
  'test_webhook',
  'take_deliveries',
  'settle_delivery',
  // In a copied database alone, where it ends workers as `end_worker` does, charged to nobody.
  'confirm_copy',
]

/** Edges with the functions that take them, as `pending --> running : claim`. */
async function derive(p: Protocol): Promise<Set<string>> {
  const edges = new Set<string>()
  const fresh = await waiting(p)
  edges.add(`[*] --> ${(await fresh.f.job(fresh.job)).status} : enqueue`)
  for (const make of Object.values(SITUATIONS)) {
    for (const [name, ways] of Object.entries(ACTS)) {
      for (const act of ways) {
        const one = await make(p)
        const before = (await one.f.job(one.job)).status
        await act(one)
        const { status } = await one.f.job(one.job)
        if (status !== before) edges.add(`${before} --> ${status} : ${name}`)
      }
    }
  }
  return edges
}

/** The edges of the diagram, without the words on them. */
function drawn(): string[] {
  const diagram = /```mermaid\nstateDiagram-v2\n([\s\S]*?)```/.exec(page)?.[1] ?? ''
  return [...diagram.matchAll(/^\s*(\S+) --> ([^\s:]+)/gm)].map(
    (edge) => `${edge[1]} --> ${edge[2]}`,
  )
}

/** The rows of the table, one line for each function. */
function stated(): string[] {
  return tables(section(page, '## Transitions'), 'From').flatMap((row) => {
    const from = row['From'] === '(new)' ? '[*]' : code(row['From'])
    return codes(row['By']).map((name) => `${from} --> ${code(row['To'])} : ${name}`)
  })
}

test('the table has each transition that the SQL functions make, and no other', async () => {
  const derived = await derive(await openProtocol('plain'))
  expect(stated().toSorted()).toEqual([...derived].toSorted())
})

test('the diagram draws the transitions of the table, and the ends', () => {
  const edges = new Set(stated().map((line) => line.replace(/ : .*/, '')))
  for (const status of TERMINAL_STATUSES) edges.add(`${status} --> [*]`)
  expect(drawn().toSorted()).toEqual([...edges].toSorted())
})

test('every public function that may write is driven here, or is known to change no status', async () => {
  const { db } = await openProtocol('plain')
  const rows = await db.rows<{ name: string }>(
    `select distinct proname as name from pg_proc
     where pronamespace = $1::regnamespace and prosecdef and provolatile = 'v' order by 1`,
    [db.schema],
  )
  expect([...Object.keys(ACTS), ...CHANGES_NO_STATUS].toSorted()).toEqual(
    rows.map((row) => row.name).toSorted(),
  )
})

test('the tables list each stored status and each shown state once', () => {
  const statuses = tables(section(page, '## Stored statuses'), 'Status')
  expect(statuses.map((row) => code(row['Status'])).toSorted()).toEqual(JOB_STATUSES.toSorted())
  const states = tables(section(page, '## Shown states'), 'State')
  expect(states.map((row) => code(row['State'])).toSorted()).toEqual(JOB_STATES.toSorted())
})
