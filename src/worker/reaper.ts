/**
 * Finds worker processes on this machine that nobody wants any more, and ends them: for cron and for terminals.
 *
 *     what the database knows (incarnation, run, end)  ┐
 *     what /proc says (pid, start time, parent)        ┴─▶ one verdict a process: reap, or skip with the reason
 *     reap: identity read again ▶ SIGTERM, a graceful stop ▶ the grace ▶ identity read again ▶ SIGKILL ▶ its jobs go back
 *
 * A process is the registered one only if boot, pid namespace, pid and start time are all the same, read right before each signal; what
 * can't be read is left alone and said so. Between that reading and the signal lie microseconds, in which a pid would have to be freed
 * and handed out anew: Node.js has no pidfd with which to shut this last gap.
 *
 * Not reaped: what was never registered in this namespace, processes of other containers and machines, and workers without a run
 * whose parent is there.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { elapsedMs, sleep } from '../clock.ts'
import type { Database } from '../db/connect.ts'
import { StateRefusedError } from '../errors.ts'
import { findProcesses, type KnownProcess } from '../sql/processes.ts'
import { type ProcessIdentity, reportDeath } from '../sql/protocol.ts'
import { hasCode } from '../system.ts'
import { bootId, parentPidOf, pidNamespace, processStarted, recognise } from './identity.ts'

export type ReapReason = 'run_terminal' | 'run_unknown' | 'evicted' | 'parent_gone'
export type SkipReason =
  'no_run' | 'run_active' | 'stopping' | 'pid_reused' | 'unreadable' | 'not_registered'

/**
 * What was done. `ended`: it stopped by itself after SIGTERM; `killed`: it had to be killed. `changed`: another process has its pid now,
 * or that can't be read, so it was not signalled. `remains`: it is still there, or may not be signalled.
 */
export type ReapAction = 'none' | 'ended' | 'killed' | 'changed' | 'remains'

export interface FoundProcess {
  readonly pid: number
  readonly processStarted: string | null
  readonly workerId: string | null
  readonly machineId: string | null
  readonly runId: string | null
  readonly command: string | null
  readonly verdict: 'reap' | 'skip'
  readonly reason: ReapReason | SkipReason
  /** The reason as a sentence. */
  readonly message: string
  readonly action: ReapAction
}

export interface ReapOptions {
  readonly namespace: string
  /** Only workers of this machine id. Default all whose processes are here, whatever they call their machine. */
  readonly machineId?: string
  /** False: only look. */
  readonly force: boolean
  /** How long a process may take to stop after SIGTERM, in milliseconds. */
  readonly graceMs: number
}

interface Judged {
  readonly found: FoundProcess
  readonly identity: Omit<ProcessIdentity, 'incarnation'>
  /** Incarnations whose rows had not ended. */
  readonly open: readonly { readonly incarnation: string; readonly machineId: string }[]
}

const LOOK_EVERY_MS = 100
/** A killed process is gone as soon as the kernel gets round to it. */
const KILLED_WITHIN_MS = 5_000

/** Every worker process here with its verdict, and with `force` what became of it. @throws {StateRefusedError} without /proc. */
export async function reap(db: Database, options: ReapOptions): Promise<FoundProcess[]> {
  const judged = await judgeAll(db, options)
  if (!options.force) return judged.map(({ found }) => found)
  const actions = await endAll(
    judged.filter(({ found }) => found.verdict === 'reap'),
    options,
  )
  for (const [process, action] of actions)
    if (action === 'killed') await report(db, options.namespace, process)
  return judged.map((one) => ({ ...one.found, action: actions.get(one) ?? 'none' }))
}

// ── looking ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

interface Living {
  readonly pid: number
  readonly started: string
}

async function judgeAll(db: Database, options: ReapOptions): Promise<Judged[]> {
  const boot = bootId()
  const space = pidNamespace()
  if (boot === null || space === null) {
    throw new StateRefusedError(
      'this system does not say which process is which, so none can be ended safely.',
      { hint: 'It needs /proc with boot id, pid namespace and start times, as Linux has.' },
    )
  }
  const living = livingProcesses()
  const known = (
    await findProcesses(db, options.namespace, { bootId: boot, pidNamespace: space, living })
  ).filter(({ machineId }) => (options.machineId ?? machineId) === machineId)
  const groups = new Map<string, KnownProcess[]>()
  for (const one of known) {
    const key = `${one.pid} ${one.processStarted}`
    groups.set(key, [...(groups.get(key) ?? []), one])
  }
  const registered = [...groups.values()].flatMap((workers): Judged[] => {
    const [first] = workers
    if (first === undefined) return []
    const identity = {
      pid: first.pid,
      bootId: boot,
      pidNamespace: space,
      processStarted: first.processStarted,
    }
    const verdict = first.lives ? judge(workers) : judgeAbsent(identity)
    if (verdict === null) return []
    const { pid, processStarted: started, id, machineId, runId, command } = first
    return [
      {
        found: {
          pid,
          processStarted: started,
          workerId: id,
          machineId,
          runId,
          command,
          ...verdict,
          action: 'none',
        },
        identity,
        open: workers.filter(({ endedAt }) => endedAt === null),
      },
    ]
  })
  return [...registered, ...unregistered(living, new Set(known.map(({ pid }) => pid)))].toSorted(
    (one, other) => one.found.pid - other.found.pid,
  )
}

function livingProcesses(): Living[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .flatMap((name) => {
      const started = processStarted(Number(name))
      return started === null ? [] : [{ pid: Number(name), started }]
    })
}

type Verdict = Pick<FoundProcess, 'verdict' | 'reason' | 'message'>

/** A process is reaped only if none of its workers speaks against that. */
function judge(workers: readonly KnownProcess[]): Verdict | null {
  const verdicts = workers.map(judgeWorker)
  return verdicts.find(({ verdict }) => verdict === 'skip') ?? verdicts[0] ?? null
}

function judgeWorker(worker: KnownProcess): Verdict {
  const { runId, runName, runStatus, endedAt, endCode, parentPid, kind, pid } = worker
  if (runId !== null && runStatus === null)
    return reaped('run_unknown', `its run ${runId} is unknown here`)
  if (runId !== null && runStatus !== 'active')
    return reaped('run_terminal', `its run ${runName ?? runId} is ${runStatus ?? 'over'}`)
  if (endedAt !== null && endCode === 'evicted') return reaped('evicted', 'it was evicted')
  if (kind === 'supervised') {
    const parent = parentPidOf(pid)
    if (parent === null) return skipped('unreadable', 'its parent can’t be read')
    if (parent !== parentPid)
      return reaped('parent_gone', `its supervisor, pid ${parentPid}, is gone`)
  }
  if (endedAt !== null)
    return skipped(
      'stopping',
      `its worker ended (${endCode ?? 'no reason'}), so it stops or registers anew`,
    )
  return runId === null
    ? skipped('no_run', 'it has no run that could be over')
    : skipped('run_active', `its run ${runName ?? runId} is active`)
}

/** No process with the registered start time has this pid; a free pid is nothing to speak of. */
function judgeAbsent(identity: Judged['identity']): Verdict | null {
  switch (recognise(identity)) {
    case 'another':
      return skipped('pid_reused', 'its pid belongs to another process now')
    case 'unreadable':
      return skipped('unreadable', 'its start time can’t be read')
    default:
      return null
  }
}

function reaped(reason: ReapReason, message: string): Verdict {
  return { verdict: 'reap', reason, message }
}

function skipped(reason: SkipReason, message: string): Verdict {
  return { verdict: 'skip', reason, message }
}

/** What looks like a worker of this program by its command line, and is unknown here: starting, or another database's. */
function unregistered(living: readonly Living[], known: ReadonlySet<number>): Judged[] {
  return living.flatMap(({ pid, started }): Judged[] => {
    const command = known.has(pid) ? null : workerCommand(pid)
    if (command === null) return []
    return [
      {
        found: {
          pid,
          processStarted: started,
          workerId: null,
          machineId: null,
          runId: null,
          command,
          ...skipped('not_registered', 'it is not registered in this database and namespace'),
          action: 'none',
        },
        identity: { pid, bootId: null, pidNamespace: null, processStarted: started },
        open: [],
      },
    ]
  })
}

/** `worker …` of a process that runs this program as a worker and not as a supervisor. */
function workerCommand(pid: number): string | null {
  const words = nulls(pid, 'cmdline')
  const at = words.findIndex((word) => /(^|\/)leasehold$|\/cli\/main\.[jt]s$/.test(word))
  if (at === -1 || words[at + 1] !== 'worker') return null
  const supervises =
    words.some((word) => word.startsWith('--processes')) &&
    !nulls(pid, 'environ').includes('LEASEHOLD_SUPERVISED=1')
  return supervises ? null : words.slice(at + 1, at + 4).join(' ')
}

function nulls(pid: number, file: 'cmdline' | 'environ'): string[] {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8').split('\0')
  } catch {
    return [] // It ended meanwhile, or belongs to somebody else.
  }
}

// ── ending ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

async function endAll(
  judged: readonly Judged[],
  { graceMs }: ReapOptions,
): Promise<Map<Judged, ReapAction>> {
  const actions = new Map<Judged, ReapAction>()
  const signalled = (signal: NodeJS.Signals): Judged[] =>
    judged.filter((one) => {
      if (actions.has(one)) return false
      const action = signalRegistered(one.identity, signal)
      if (action !== 'sent') actions.set(one, action)
      return action === 'sent'
    })
  const settle = async (waiting: Judged[], limitMs: number, action: ReapAction): Promise<void> => {
    const startedMs = elapsedMs()
    let left = waiting
    while (left.length > 0) {
      left = left.filter((one) => {
        const gone = isOver(one.identity)
        if (gone) actions.set(one, action)
        return !gone
      })
      if (elapsedMs() - startedMs >= limitMs) return
      if (left.length > 0) await sleep(LOOK_EVERY_MS)
    }
  }
  await settle(signalled('SIGTERM'), graceMs, 'ended')
  await settle(signalled('SIGKILL'), KILLED_WITHIN_MS, 'killed')
  for (const one of judged) if (!actions.has(one)) actions.set(one, 'remains')
  return actions
}

function isOver(identity: Judged['identity']): boolean {
  const seen = recognise(identity)
  return seen === 'gone' || seen === 'another'
}

/** Signals a process if it is the registered one at this very moment; else says why not. */
export function signalRegistered(
  identity: Omit<ProcessIdentity, 'incarnation'>,
  signal: NodeJS.Signals,
): 'sent' | 'ended' | 'changed' | 'remains' {
  const seen = recognise(identity)
  if (seen === 'gone') return 'ended'
  if (seen !== 'same') return 'changed'
  try {
    process.kill(identity.pid, signal)
    return 'sent'
  } catch (error) {
    return hasCode(error, 'ESRCH') ? 'ended' : 'remains'
  }
}

/** It was seen to be gone, from its own machine: what layer 2 reports. A process that stops by itself says so itself. */
async function report(db: Database, namespace: string, { identity, open }: Judged): Promise<void> {
  for (const { incarnation, machineId } of open) {
    await reportDeath(db, {
      namespace,
      reporter: {
        id: `reaper-${process.pid}`,
        machineId,
        bootId: identity.bootId,
        pidNamespace: identity.pidNamespace,
      },
      layer: 2,
      incarnations: [incarnation],
      evidence: { signal: 'SIGKILL', message: 'its process was killed by the reaper' },
    })
  }
}
