/**
 * The lifeline: a thread that proves to the database that this worker lives, and ends the worker when it can't.
 *
 * It owns the reserved connection. It registers the worker, renews its lease, watches neighbours (layer 2),
 * sweeps (layers 3 and 4), and measures the main thread's event loop, and it asks the main thread for nothing, so a busy event loop
 * loses no lease and a frozen one can't outlive it:
 *
 *     registered ── renewal accepted ──▶ registered          trust counts from when the renewal or claim was SENT
 *         ├── answered lease_lost ─────▶ over                another owns the jobs: abort at once
 *         ├── send + L − m passed ─────▶ over (self-fenced)  final: it ends its own row when the database is back
 *         └── send + L passed and a handler has not settled: SIGKILL to this very process
 *     over ── main: all settled ──▶ a fresh incarnation registers
 *
 * A renewal that fails is *unknown*: neither lost nor fine. The one exception to the fence is a database that is positively down:
 * every answer, at most a renewal interval old, says refused, shutting down or starting up; then handlers that may go on do, for
 * ten minutes at most; a time-out ends it at once.
 *
 * It is the watchdog of the rest of the worker, too (watchdog.ts, ahead-rescue.ts). The renewal that tells the database that a part is
 * stuck must have been accepted before anything is done about it.
 *
 * A process whose supervisor is gone stops by itself, if its main thread hears of it; where a handler keeps that busy, the lifeline
 * says that the worker drains, so that nothing is charged, and ends the process at the hard exit.
 * It serves the health endpoints, and ends a process of the worker's own whose main thread hangs in a shutdown, after the hard exit.
 */
import { randomUUID } from 'node:crypto'
import { parentPort, workerData } from 'node:worker_threads'
import type pg from 'pg'
import { atMost, elapsedMs, jittered, monotonicMs, Pauses, sleep, within } from '../clock.ts'
import { fenceMarginMs } from '../config.ts'
import {
  CONNECT_DEFAULTS,
  classifyFailure,
  connectOne,
  type Database,
  explainFailure,
  isDirect,
  isReported,
  parseDatabaseUrl,
  provesDown,
  useExecutor,
} from '../db/connect.ts'
import { LeaseholdError, StartError } from '../errors.ts'
import {
  databaseFacts,
  type EndCharge,
  endWorker,
  type LeaseLostAnswer,
  register,
  renew,
  reportDeath,
  type StuckPart,
} from '../sql/protocol.ts'
import { SweepFailures } from '../sweep/failures.ts'
import { Sweeper } from '../sweep/sweeper.ts'
import { Witness, WITNESS_EVERY_MS } from '../sweep/witness.ts'
import { AheadRescue } from './ahead-rescue.ts'
import { ClaimedAhead } from './claimed-ahead.ts'
import { endByForce, LAST_WORDS_MS } from './end-process.ts'
import { answerHealth, type HealthFacts } from './health.ts'
import { serveHealth } from './health-server.ts'
import { ownIdentity } from './identity.ts'
import type { FromLifeline, LifelineData, ToLifeline } from './lifeline-messages.ts'
import { Outage } from './outage.ts'
import { SETTLED_SLOTS, SharedNumbers } from './shared-numbers.ts'
import { Watchdog, WATCHDOG_EVERY_MS } from './watchdog.ts'

/** The fence is looked at as often as the watchdog looks. */
const TICK_MS = WATCHDOG_EVERY_MS
const OUTAGE_FORESEEN_MS = 1_000
/** A wall clock that moves so far against the clock without steps was set, or its machine stood still. */
const WALL_STEP_MS = 1_000
/** What the main thread has to come to the hard exit by itself, and the database to hear of it. */
const HARD_EXIT_SLACK_MS = 1_000
const data = workerData as LifelineData
const shared = new SharedNumbers(data.shared)
const port = parentPort
if (port === null) throw new Error('lifeline-thread is started by Lifeline, as a worker thread')

const { settings, namespace } = data
const marginMs = fenceMarginMs(settings.leaseMs)
const say = (message: FromLifeline): void => port.postMessage(message)

interface Reserved {
  readonly client: pg.Client
  readonly db: Database
  readonly direct: boolean
}

/** `none` before the first registration, `live`, or `over`: waiting for the main thread to settle. */
let phase: 'none' | 'live' | 'over' = 'none'
let incarnation = ''
let workerId = ''
let sendNumber = 0
let reserved: Reserved | null = null
let connecting: Promise<Reserved> | null = null
/** A registration that was sent and not answered, so that its row may be there: the same is tried again, or ended. */
let unanswered: { readonly incarnation: string; readonly sentMs: number } | null = null
/** An incarnation that is over and whose row may still be open, and why: it fenced itself, or a failover ended its lease. */
let owesEnd: { incarnation: string; code: string; message: string } | null = null
let renewNow = false
let reincarnate = false
/** Which life of which database answered last. */
let epoch: string | null = null
/** A failover may have forgotten outcomes: no job of the old incarnation goes back before they were delivered again. */
let awaitsRedelivery = false
/** Waiting for the next renewal to be due, not for another try of one that failed. */
let resting = false
const life = { stopping: false }
/** When the last accepted renewal was sent. */
let renewalSentMs = -Infinity
/** Since when this worker has been busy without a break, as far as ticks saw. */
let busySinceMs = elapsedMs()
let fencedAtMs = 0
let knownDirect = false
const outage = new Outage({ renewMs: settings.renewMs })
let outageSaid = false
/** What this machine's wall clock is ahead of the database's, by the last exchange. */
let clockAheadMs = 0
let everRegistered = false
let lastTickMs = elapsedMs()
let lastStandstill = { forMs: 0, endedMs: -Infinity }
/** What the wall clock was ahead of the clock without steps at the last tick. */
let wallAheadMs = Date.now() - elapsedMs()
/** What the database and the main thread were told last. */
let stuckSaid: StuckPart | null = null
/** Since when the supervisor of this process is gone. */
let orphanedAtMs: number | null = null
let stuckSinceMs = 0
/** What the database said last, when that was not that it has accepted a write. */
let doubt: string | null = 'nothing was heard of it yet'
let drained = false
let renewals = 0
let renewalsFailed = 0
const startedMs = elapsedMs()
let stopping: Extract<ToLifeline, { type: 'stopping' }> | null = null
/** The row has ended: this thread lives on to answer, and to end a process that hangs. */
let rowEnded = false
let wake: () => void = () => undefined

const witness = new Witness([
  JSON.stringify(parseDatabaseUrl(data.connect.databaseUrl).hosts),
  data.connect.schema ?? CONNECT_DEFAULTS.schema,
  namespace,
  data.identity.machineId,
])
const watchdog = new Watchdog({
  numbers: shared,
  renewMs: settings.renewMs,
  concurrency: settings.concurrency,
  loopWasBlocked: (forMs) => say({ type: 'event_loop_blocked', forMs }),
})
const rescue = new AheadRescue(new ClaimedAhead(data.ahead), shared, TICK_MS)
const failures = new SweepFailures((part, error) => say({ type: 'sweep_failed', part, error }))
const sweeper = new Sweeper(
  { connect: data.connect, namespace },
  {
    failed: (part, error) => failures.note(part, error),
    recovered: (recovered) => say({ type: 'recovered', ...recovered }),
    alert: (change) => say({ type: 'alert', ...change }),
  },
)

/** Jobs that the last renewal said the database holds for this worker, known here or not. */
let heldByDatabase = 0
const busy = (): boolean =>
  shared.read('handlers') > 0 ||
  shared.read('claiming') > 0 ||
  shared.read('spoolDepth') > 0 ||
  heldByDatabase > 0

/**
 * When the next renewal is due, as an `elapsedMs` reading. An idle worker's claims are its beats, and this is the safety net. A busy
 * one renews however often it claims: only a renewal's answer tells of cancels and of what the database holds.
 */
function renewalDueMs(): number {
  if (busy()) return Math.max(renewalSentMs, busySinceMs) + settings.renewMs
  return shared.read('proofSentMs') + Math.round(settings.idleBeatMs * 1.5)
}

async function begin(): Promise<void> {
  const { healthHost: host, healthPort } = settings
  if (healthPort !== null) {
    try {
      const served = await serveHealth({ host, port: healthPort }, (path) =>
        answerHealth(path, healthFacts()),
      )
      say({ type: 'health', host, port: served })
    } catch (error) {
      say({ type: 'refused', error: refusal(error) })
      return
    }
  }
  await run()
}

function healthFacts(): HealthFacts {
  const nowMs = elapsedMs()
  const proofSentMs = shared.read('proofSentMs')
  return {
    workerId,
    machineId: data.identity.machineId,
    namespace,
    version: data.identity.version,
    registered: phase === 'live' && !rowEnded,
    draining: shared.read('draining') === 1,
    drained,
    shutdownPhase: shared.phase,
    connected: reserved !== null,
    doubt,
    stuck: stuckSaid,
    stuckForMs: nowMs - stuckSinceMs,
    unaskedMs: watchdog.unaskedMs,
    unaskedMaxMs: 2 * Math.max(settings.idleBeatMs, settings.pollMs) + settings.renewMs,
    // A claim that was accepted is a renewal too.
    sinceRenewalMs: proofSentMs === 0 ? null : Math.round(nowMs - proofSentMs),
    renewals,
    renewalsFailed,
    loopLagMs: watchdog.loopLagMs,
    running: shared.read('handlers'),
    capacity: settings.concurrency,
    claimRounds: shared.read('claimRounds'),
    claimed: shared.read('claimed'),
    settled: Object.fromEntries(
      SETTLED_SLOTS.map((outcome) => [outcome, shared.read(outcome)]),
    ) as HealthFacts['settled'],
    spoolDepth: shared.read('spoolDepth'),
    spoolAgeMs: spoolAgeMs(),
    upMs: nowMs - startedMs,
  }
}

async function run(): Promise<void> {
  // At most a sixth of the lease, so that a worker tries several times before it has to fence itself.
  const pauses = new Pauses({ minMs: 100, maxMs: Math.min(settings.leaseMs / 6, 2_000) })
  while (!life.stopping) {
    try {
      if (reserved === null) await connect()
      if (life.stopping) return
      if (phase === 'over' && reincarnate && !awaitsRedelivery) await settleDebt()
      if (phase === 'none') await registerIncarnation()
      if (phase === 'live' && (renewNow || elapsedMs() >= renewalDueMs())) await renewLease()
      pauses.reset()
      resting = true
      await pauseUntil(phase === 'live' ? renewalDueMs() : elapsedMs() + settings.renewMs)
      resting = false
    } catch (error) {
      const refused = phase === 'none' && classifyFailure(error) !== 'unknown'
      if (refused) say({ type: 'refused', error: refusal(error) })
      if (refused && !everRegistered) return
      noteFailure(error)
      // What was sent on it is still under way for the driver, and all that follows would wait behind that for ever.
      if (reserved !== null && !isReported(error)) hangUp(reserved.client)
      // What was well before, somebody may repair: a copy that is not confirmed, a right that was taken. Else at most a sixth of the
      // lease, so that a worker tries several times before it has to fence itself.
      const pauseMs = refused ? jittered(settings.renewMs) : pauses.next()
      await pauseUntil(elapsedMs() + pauseMs)
    }
  }
}

/** Also where somebody connects already. */
function connect(): Promise<Reserved> {
  return (connecting ??= openReserved().finally(() => (connecting = null)))
}

async function openReserved(): Promise<Reserved> {
  const client = await connectOne({
    ...data.connect,
    // A renewal that is not answered within an interval is unknown; the next one asks again.
    callTimeoutMs: Math.min(settings.renewMs, 10_000),
    applicationName: 'leasehold lifeline',
  })
  const db = useExecutor(client, data.connect.schema)
  client.on('error', () => dropConnection(client))
  client.on('end', () => dropConnection(client))
  const askedMs = Date.now()
  const facts = await databaseFacts(db)
  noteClock(askedMs, facts.databaseMs)
  if (epoch !== null && epoch !== facts.epoch) {
    awaitsRedelivery = true
    say({ type: 'failed_over' })
  }
  epoch = facts.epoch
  const direct = isDirect(client)
  reserved = { client, db, direct }
  knownDirect = direct
  shared.write('connected', 1)
  const listening = settings.listen && direct
  say({ type: 'connection', up: true, listening, error: null })
  renewNow = phase === 'live'
  return reserved
}

function hangUp(client: pg.Client): void {
  dropConnection(client)
  client.end().catch(() => undefined)
}

function dropConnection(client: pg.Client): void {
  if (reserved?.client !== client) return
  reserved = null
  shared.write('connected', 0)
  watchdog.forgetSilence()
  const error = 'the reserved connection was lost'
  doubt = error
  say({ type: 'connection', up: false, listening: false, error })
  wake()
}

async function registerIncarnation(): Promise<void> {
  if (reserved === null) return
  const { db, direct } = reserved
  const isAgain = unanswered !== null
  // Trust counts from the first try: it may be that one whose row stands.
  const asked = (unanswered ??= { incarnation: randomUUID(), sentMs: elapsedMs() })
  const { sentMs } = asked
  incarnation = asked.incarnation
  sendNumber = 0
  heldByDatabase = 0
  const own = ownIdentity(incarnation)
  let answer
  try {
    answer = await register(db, namespace, {
      ...data.identity,
      ...own,
      processAgeMs: Math.round(process.uptime() * 1_000),
      memoryBytes: process.memoryUsage.rss(),
      clockAheadMs,
      listens: settings.listen,
      direct,
    })
  } catch (error) {
    if (isReported(error)) unanswered = null
    throw error
  }
  unanswered = null
  everRegistered = true
  workerId = answer.id
  shared.write('fenced', 0)
  shared.write('proofSentMs', sentMs)
  doubt = null
  drained = false
  phase = 'live'
  // The row of the first try has another connection, and what is left of its lease.
  renewNow = isAgain
  watchdog.forgetSilence()
  stuckSaid = null
  witness.join(own, answer.peers)
  sweeper.join(incarnation)
  if (answer.running) sweeper.watch()
  say({
    type: 'registered',
    incarnation,
    id: workerId,
    direct,
    listening: settings.listen && direct,
  })
}

async function renewLease(): Promise<void> {
  if (reserved === null) return
  renewNow = false
  sendNumber += 1
  const sentMs = elapsedMs()
  const sentMonotonicMs = monotonicMs()
  const askedMs = Date.now()
  const asked = incarnation
  const part = watchdog.stuck
  const answer = await renew(reserved.db, {
    incarnation,
    sendNumber,
    idleBeatMs: busy() ? null : settings.idleBeatMs,
    draining: shared.read('draining') === 1,
    loopLagMs: Math.round(watchdog.loopLagMs),
    spoolDepth: shared.read('spoolDepth'),
    direct: reserved.direct,
    stuck: part,
    spoolAgeMs: spoolAgeMs(),
    memoryBytes: process.memoryUsage.rss(),
    clockAheadMs,
  })
  if (asked !== incarnation || phase !== 'live') return
  if (answer.outcome === 'lease_lost') {
    leaseLost(answer)
    return
  }
  renewalSentMs = sentMs
  noteClock(askedMs, answer.databaseMs)
  renewals += 1
  doubt = null
  drained = answer.drain
  outageIsOver()
  shared.write('proofSentMs', Math.max(shared.read('proofSentMs'), sentMs))
  heldByDatabase = answer.held.length
  if (answer.running) sweeper.watch()
  say({ type: 'renewed', sentMonotonicMs, answer })
  if (answer.leftMs < settings.leaseMs / 2) renewNow = true
  if (part !== stuckSaid) await sayStuck(part)
}

/** How long the oldest outcome that the database has not taken has been waiting. */
function spoolAgeMs(): number {
  const sinceMs = shared.read('spoolSinceMs')
  if (shared.read('spoolDepth') === 0 || sinceMs === 0) return 0
  return Math.max(0, Math.round(elapsedMs() - sinceMs))
}

/** The answer was made somewhere between question and answer; the middle is wrong by half a round trip at most. */
function noteClock(askedMs: number, databaseMs: number): void {
  clockAheadMs = Math.round((askedMs + Date.now()) / 2 - databaseMs)
}

async function sayStuck(part: StuckPart | null): Promise<void> {
  stuckSaid = part
  if (part !== null) stuckSinceMs = elapsedMs() - watchdog.silentMs(part)
  say({ type: 'stuck', part, forMs: part === null ? 0 : Math.round(watchdog.silentMs(part)) })
  if (part !== 'event_loop' || !data.mayEndProcess || reserved === null) return
  // The main thread hears nothing any more. What it holds (claimed ahead, or an outcome that it did not send) goes back first.
  const message = 'its event loop was blocked, and by no handler'
  try {
    await endWorker(reserved.db, incarnation, 'lost', { code: 'worker_stuck', message })
  } finally {
    endByForce(workerId, message)
  }
}

function leaseLost(answer: LeaseLostAnswer): void {
  const { code, message = 'the database no longer knows this worker' } = answer.reason
  const owed =
    code === 'unknown_here'
      ? { code: 'failed_over', message: 'the database had a failover, which ends every lease' }
      : null
  over('lease_lost', message, owed, code === 'evicted')
}

/**
 * Ends this incarnation on our side. Whatever it still holds is not ours any more.
 *
 * @param owed Why its row is to be ended, when that may still be open.
 */
function over(
  code: 'lease_lost' | 'self_fenced',
  message: string,
  owed: { code: string; message: string } | null,
  evicted = false,
): void {
  if (phase !== 'live') return
  phase = 'over'
  fencedAtMs = elapsedMs()
  owesEnd = owed === null ? null : { incarnation, ...owed }
  shared.write('fenced', 1)
  outageIsOver()
  witness.leave()
  sweeper.leave()
  say({ type: 'over', code, message, evicted })
}

/** All handlers have settled: the old row is ended, if it may still be open, and a fresh incarnation may begin. */
async function settleDebt(): Promise<void> {
  if (reserved === null) return
  if (owesEnd !== null) {
    const { incarnation: ended, ...reason } = owesEnd
    await endWorker(reserved.db, ended, 'uncharged', reason)
    owesEnd = null
  }
  reincarnate = false
  phase = 'none'
}

function noteFailure(error: unknown): void {
  watchdog.forgetSilence()
  doubt = (error as Error).message
  renewalsFailed += 1
  if (provesDown(error)) outage.refused(elapsedMs())
  else outage.unclear()
  const trustedForMs = shared.read('proofSentMs') + settings.leaseMs - marginMs - elapsedMs()
  say({
    type: 'renewal_failed',
    error: (error as Error).message,
    trustedForMs: Math.round(trustedForMs),
  })
}

function refusal(error: unknown): Extract<FromLifeline, { type: 'refused' }>['error'] {
  const known = explainFailure(error, 'start')
  const { name, message, hint, code, exitCode } =
    known instanceof LeaseholdError ? known : startError(known)
  return { name, message, hint, code, exitCode }
}

/** What nobody foresaw: a trigger or a policy of somebody's, a function that was replaced, or a fault of ours. */
function startError(error: Error & { readonly hint?: unknown }): StartError {
  const hint =
    typeof error.hint === 'string' ? error.hint : 'The log of the database server may say more.'
  return new StartError(`this worker could not be registered: ${error.message}`, { hint })
}

/** Ten times a second: the fence, and what the main thread does. */
function tick(): void {
  const nowMs = elapsedMs()
  watchShutdown(nowMs)
  if (rowEnded) return
  // A process that was frozen did not run: that time counts against nobody.
  const ranMs = Math.min(nowMs - lastTickMs, 5 * TICK_MS)
  shared.write('awakeMs', shared.read('awakeMs') + ranMs)
  const gapMs = nowMs - lastTickMs
  const thawed = gapMs > 10 * TICK_MS
  lastTickMs = nowMs
  if (thawed) {
    renewNow = phase === 'live'
    noteStandstill(nowMs, gapMs)
  }
  watchWallClock()
  const from = phase === 'live' && reserved !== null ? { db: reserved.db, incarnation } : null
  if (watchdog.look(nowMs, ranMs, from !== null) && phase === 'live') {
    renewNow = true
    wake()
  }
  rescue.look(ranMs, from)
  watchParent(nowMs)
  fence(nowMs)
  if (!busy()) busySinceMs = nowMs
  // A handler that keeps the event loop busy from its first line on keeps the main thread from saying so.
  if (shared.read('handlers') > 0) sweeper.watch()
  // A pause that began when this worker was idle is too long once it holds a job.
  if (thawed || (resting && phase === 'live' && nowMs >= renewalDueMs())) wake()
}

/** Where this thread did not run, nothing in this process did. */
function noteStandstill(nowMs: number, gapMs: number): void {
  watchdog.stoodStill(nowMs, gapMs)
  lastStandstill = { forMs: gapMs, endedMs: nowMs }
  say({ type: 'stood_still', forMs: Math.round(gapMs) })
}

/** Nothing is judged by the wall clock, but what is shown of it should be right. */
function watchWallClock(): void {
  const aheadMs = Date.now() - elapsedMs()
  const stepMs = aheadMs - wallAheadMs
  wallAheadMs = aheadMs
  if (Math.abs(stepMs) <= WALL_STEP_MS) return
  clockAheadMs += Math.round(stepMs)
  renewNow = phase === 'live'
  wake()
}

/** The parent's pid changes when it is gone: somebody else has adopted this process. */
function watchParent(nowMs: number): void {
  if (!data.endsWithParent || process.ppid === data.identity.parentPid) return
  if (orphanedAtMs === null) {
    orphanedAtMs = nowMs
    shared.write('draining', 1)
    renewNow = phase === 'live'
    wake()
  } else if (nowMs - orphanedAtMs >= settings.hardExitMs) {
    endByForce(workerId, 'its supervisor is gone, and its main thread has not stopped')
  }
}

/** The main thread ends a shutdown that hangs, unless it hangs itself: a hook that never returns, a handler that computes. */
function watchShutdown(nowMs: number): void {
  const hardExitAtMs = stopping?.hardExitAtMs ?? null
  if (stopping === null || hardExitAtMs === null || !data.mayEndProcess) return
  if (nowMs < hardExitAtMs + HARD_EXIT_SLACK_MS) return
  const { charge, reason, signal } = stopping
  stopping = null
  void cutShort(charge, reason, signal).finally(() => endByForce(workerId, hung(reason)))
}

function hung(reason: string): string {
  const { phase: hungIn } = shared
  return `${reason}; its shutdown hung${hungIn === null ? '' : ` while ${hungIn}`}`
}

async function cutShort(charge: EndCharge, reason: string, signal: string | null): Promise<void> {
  if (rowEnded || phase !== 'live' || reserved === null) return
  const message = hung(reason)
  const shutdown = { outcome: 'timed_out', signal, hungIn: shared.phase }
  const ended = endWorker(reserved.db, incarnation, charge, { code: 'shutdown', message, shutdown })
  // Whoever notices the end of the process tells, where the database could not be told.
  await within(ended, HARD_EXIT_SLACK_MS).catch(() => undefined)
}

function fence(nowMs: number): void {
  const handlers = shared.read('handlers')
  if (handlers === 0) return
  const sentMs = shared.read('proofSentMs')
  const fenceAtMs = sentMs + settings.leaseMs - marginMs
  // The main thread looks at the fence too, so it has to know of an outage before that comes.
  const goesOn =
    phase === 'live' && nowMs >= fenceAtMs - OUTAGE_FORESEEN_MS && mayGoOn(nowMs, fenceAtMs)
  if (phase === 'live' && nowMs >= fenceAtMs) {
    if (goesOn) return
    over('self_fenced', `no renewal was accepted for ${seconds(nowMs - sentMs)}`, {
      code: 'self_fenced',
      message: 'it could not renew in time and fenced itself',
    })
  }
  const killByMs = Math.max(sentMs + settings.leaseMs, fencedAtMs + Math.min(marginMs, 2_000))
  // The next look may come a little late.
  if (phase === 'over' && nowMs >= killByMs - 2 * TICK_MS - LAST_WORDS_MS) {
    const unheardMs = nowMs - sentMs
    const still =
      nowMs - lastStandstill.endedMs < unheardMs
        ? `, as it stood still for ${seconds(lastStandstill.forMs)}`
        : ''
    endByForce(
      workerId,
      `its lease had no accepted renewal for ${seconds(unheardMs)}${still}, and a handler has not settled`,
    )
  }
}

function seconds(ms: number): string {
  return `${Math.round(ms / 100) / 10} s`
}

/** The one exception to the fence, while the database is positively down. */
function mayGoOn(nowMs: number, fenceAtMs: number): boolean {
  // What a pooler refuses says nothing about the server behind it.
  const state = data.onOutage === 'continue' && knownDirect ? outage.state(nowMs) : 'none'
  if (state === 'none') {
    outageIsOver()
    return false
  }
  shared.write('outage', 1)
  if (nowMs >= fenceAtMs && !outageSaid) {
    outageSaid = true
    say({ type: 'outage' })
  }
  return state === 'down'
}

/** Not when it can be reached again, but when a renewal was accepted: until then there is no lease to trust. */
function outageIsOver(): void {
  outage.over()
  outageSaid = false
  shared.write('outage', 0)
}

/** Layer 2. Costs the database nothing until a neighbour is gone. */
async function lookAround(): Promise<void> {
  if (phase !== 'live' || reserved === null) return
  const gone = witness.look()
  if (gone.length === 0) return
  say({ type: 'neighbours_gone' })
  const { bootId, pidNamespace } = ownIdentity(incarnation)
  const reporter = { id: workerId, machineId: data.identity.machineId, bootId, pidNamespace }
  const lookedMs = elapsedMs()
  // Those that went between the same two looks are one report, and one transaction.
  for (const seenAgoMs of new Set(gone.map((peer) => peer.seenAgoMs))) {
    const peers = gone.filter((peer) => peer.seenAgoMs === seenAgoMs)
    const incarnations = peers.map((peer) => peer.incarnation)
    const report = await reportDeath(reserved.db, {
      namespace,
      reporter,
      layer: 2,
      incarnations,
      evidence: {
        message: 'its process no longer exists',
        // Of one that was never seen here the database knows more.
        detectedAfterMs: seenAgoMs === null ? null : Math.round(seenAgoMs + elapsedMs() - lookedMs),
      },
    })
    witness.forget(incarnations)
    if (report.ended.length > 0)
      say({ type: 'recovered', layer: 2, workers: report.ended, jobs: report.recovered })
  }
}

function pauseUntil(untilMs: number): Promise<void> {
  return new Promise((resolve) => {
    if (renewNow && phase === 'live' && reserved !== null) {
      resolve()
      return
    }
    const timer = setTimeout(done, Math.max(0, Math.min(untilMs - elapsedMs(), 2_000_000_000)))
    function done(): void {
      clearTimeout(timer)
      wake = () => undefined
      resolve()
    }
    wake = done
  })
}

/** The incarnation whose row is open, or may be. */
function rowToEnd(): string | null {
  if (phase === 'live') return incarnation
  return (phase === 'over' ? owesEnd?.incarnation : unanswered?.incarnation) ?? null
}

/** Ends the row of this worker, if it has one, on another connection where this one is gone. Resolves to the jobs that go back. */
async function endRow(message: Extract<ToLifeline, { type: 'end' }>): Promise<readonly string[]> {
  const { charge, reason, limitMs } = message
  const beganMs = elapsedMs()
  const pauses = new Pauses({ minMs: 100, maxMs: 1_000 })
  for (;;) {
    const current = rowToEnd()
    if (current === null) return []
    const used = reserved
    // Where nobody answers, the layers will notice as soon, and the rest of the time is for the exit: 6 s of 30, and no second
    // try where no time is left.
    let giveUpMs = limitMs / 5
    let failure: unknown
    try {
      const { db } = used ?? (await connect())
      giveUpMs = limitMs / 2
      // A connection that has died without a word leaves time for another.
      const answer = await within(
        endWorker(db, current, charge, reason),
        Math.max(limitMs / 3, 500),
      )
      if (answer.outcome === 'ended') return answer.released
      // A registration may be under way in the server though nobody waits for its answer any more.
      if (unanswered?.incarnation !== current) return []
      failure = new Error('its registration was not answered')
    } catch (error) {
      failure = error
      if (used !== null && !isReported(error)) hangUp(used.client)
    }
    if (rowEnded || elapsedMs() - beganMs > giveUpMs) throw failure
    await sleep(pauses.next())
  }
}

async function end(message: Extract<ToLifeline, { type: 'end' }>): Promise<void> {
  life.stopping = true
  wake()
  clearInterval(watching)
  sweeper.leave()
  let released: readonly string[] = []
  let failure: string | null = null
  try {
    released = await within(endRow(message), message.limitMs)
  } catch (error) {
    failure = (error as Error).message
  }
  rowEnded = true
  // The file goes last: had the row not ended, a witness would still notice that this process is gone.
  if (failure === null) witness.leave()
  shared.announce('ended')
  // Whoever is told ends this thread; a pass that is under way should not be left to the server.
  await atMost(sweeper.close(), 1_000)
  say({ type: 'ended', released, error: failure })
  const client = reserved?.client
  reserved = null
  await client?.end().catch(() => undefined)
}

port.on('message', (message: ToLifeline) => {
  if (message.type === 'renew') {
    renewNow = true
    wake()
  } else if (message.type === 'watch') {
    sweeper.watch(message.when)
  } else if (message.type === 'reincarnate') {
    reincarnate = true
    wake()
  } else if (message.type === 'redelivered') {
    awaitsRedelivery = false
    wake()
  } else if (message.type === 'stopping') {
    stopping = message
    renewNow = true
    wake()
  } else {
    void end(message)
  }
})

setInterval(tick, TICK_MS)
const watching = setInterval(() => {
  // What could not be reported is still to be seen at the next look; layers 3 and 4 notice anyway.
  lookAround().catch((error: unknown) => failures.note('witness', error))
}, WITNESS_EVERY_MS)
void begin()
