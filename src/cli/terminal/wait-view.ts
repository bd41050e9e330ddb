/**
 * What `enqueue --wait` prints on standard error while it follows a job.
 *
 * A view is fed with each reading of the job and answers with new history lines and the live line.
 *
 *     terminal      one live line; an attempt that ends badly leaves its line behind as history
 *     no terminal   a line when the state or the attempt changes, else progress once both 30 s and a
 *                   tenth of the total have passed; no live line
 *
 * An attempt that began and ended between two readings is told from `attempts`, if the job has them,
 * else from what changed in the counters.
 */
import type { AttemptDocument, AttemptEnd, JobDocument } from '../../client/documents.ts'
import { isTerminal } from '../../domain/states.ts'
import { progressBar } from './bar.ts'
import { checkpointWord, END_VERBS, layerOf, reasonWords } from './end-reason.ts'
import { formatDuration, formatProgress, plural, workerName } from './format.ts'
import { tookMs } from './jobs-view.ts'
import { JOB_MARKS, marked } from './marks.ts'
import { paint, type Terminal } from './style.ts'
import { plain } from './text.ts'

/** Follows one job. */
export interface WaitView {
  /** `now` is the database's clock. Feed a `LiveRegion`: commit each history line, then update. */
  next(job: JobDocument, now: Date): { history: string[]; live: string | null }
}

const PROGRESS_EVERY_MS = 30_000
const PROGRESS_SHARE = 0.1
/** Ends that are no reason to leave a line behind: the last line of the job tells them. */
const QUIET_ENDS: ReadonlySet<AttemptEnd> = new Set<AttemptEnd>(['completed', 'cancelled'])

/** Starts to follow a job. */
export function createWaitView(terminal: Terminal): WaitView {
  return terminal.isTerminal ? new TerminalWait(terminal) : new PlainWait(terminal)
}

/** An attempt that has ended since the previous reading. */
interface Ended {
  attempt: number
  endedAs: AttemptEnd
  at: string | null
  workerId: string | null
  reached: string | null
  reason: JobDocument['endReason']
}

/** The attempts that ended between two readings, oldest first. */
function endedBetween(previous: JobDocument | null, job: JobDocument): Ended[] {
  const since =
    previous === null ? 0 : previous.status === 'running' ? previous.attempt : previous.attempt + 1
  if (job.attempts !== undefined)
    return job.attempts.flatMap((attempt) =>
      attempt.attempt >= since && attempt.endedAs !== null ? [endedFrom(job, attempt)] : [],
    )
  if (previous?.status !== 'running' || isTerminal(job.status)) return []
  if (job.status === 'running' && job.attempt === previous.attempt) return []
  const { attempt, workerId, progress } = previous
  const reached = progress === null ? null : `${progress.done}/${progress.total ?? '?'}`
  const endedAs =
    job.lost > previous.lost
      ? 'lost'
      : job.failures > previous.failures
        ? 'failed'
        : job.interruptions > previous.interruptions
          ? 'interrupted'
          : 'released'
  return [{ attempt, endedAs, at: null, workerId, reached, reason: job.endReason }]
}

function endedFrom(job: JobDocument, attempt: AttemptDocument): Ended {
  const word = checkpointWord(attempt.lastCheckpoint)
  const total = job.progress?.total ?? null
  return {
    attempt: attempt.attempt,
    endedAs: attempt.endedAs ?? 'released',
    at: attempt.endedAt,
    workerId: attempt.workerId,
    reached: word !== null && total !== null ? `${word}/${total}` : word,
    reason: attempt.endReason,
  }
}

class TerminalWait implements WaitView {
  readonly #terminal: Terminal
  #previous: JobDocument | null = null

  constructor(terminal: Terminal) {
    this.#terminal = terminal
  }

  next(job: JobDocument, now: Date): { history: string[]; live: string | null } {
    const terminal = this.#terminal
    const history = endedBetween(this.#previous, job)
      .filter(({ endedAs }) => !QUIET_ENDS.has(endedAs))
      .map((ended) => endedLine(terminal, ended))
    const over =
      isTerminal(job.status) && !(this.#previous !== null && isTerminal(this.#previous.status))
    this.#previous = job
    if (over) history.push(lastLine(terminal, job))
    return { history, live: isTerminal(job.status) ? null : liveLine(terminal, job, now) }
  }
}

/** `◌ attempt 1  was lost at 41/60: render-a-4127 was killed (witness, 212 ms)` */
function endedLine(terminal: Terminal, ended: Ended): string {
  const { reason } = ended
  const state = ended.endedAs === 'lost' || ended.endedAs === 'failed' ? ended.endedAs : 'pending'
  const at = ended.reached === null ? '' : ` at ${ended.reached}`
  const noticed = [
    layerOf(reason)?.name,
    reason?.detectedAfterMs === null || reason?.detectedAfterMs === undefined
      ? undefined
      : formatDuration(reason.detectedAfterMs),
  ].filter((part) => part !== undefined)
  const why = reason === null ? '' : `: ${reasonWords(reason)}`
  const by = ended.endedAs === 'lost' && noticed.length > 0 ? ` (${noticed.join(', ')})` : ''
  const name = marked(terminal, JOB_MARKS[state], `attempt ${ended.attempt}`)
  return `${name}  ${END_VERBS[ended.endedAs]}${at}${why}${by}`
}

/** `✓ completed in 21 m 14 s, 2 attempts`, else the sentence. */
function lastLine(terminal: Terminal, job: JobDocument): string {
  const took = tookMs(job)
  if (job.state !== 'completed' || took === null) return sentence(terminal, job)
  const name = marked(terminal, JOB_MARKS.completed, 'completed')
  return `${name} in ${formatDuration(took)}, ${plural(job.attempt, 'attempt')}`
}

function sentence(terminal: Terminal, job: JobDocument): string {
  const why = plain(job.why).replace(/\.$/, '')
  return marked(terminal, JOB_MARKS[job.state], why.charAt(0).toLowerCase() + why.slice(1))
}

function liveLine(terminal: Terminal, job: JobDocument, now: Date): string {
  const { progress, workerId } = job
  if (job.status !== 'running' || workerId === null) {
    const since = formatDuration(now.getTime() - Date.parse(job.createdAt))
    return `${sentence(terminal, job)}   ${paint(terminal, ['dim'], since)}`
  }
  const state = job.state === 'running' ? '' : `${job.state}  `
  const name = marked(terminal, JOB_MARKS[job.state], `attempt ${job.attempt}`)
  const head = `${name}  ${state}${workerName(workerId)}`
  if (progress === null) return head
  const message = progress.message === null ? '' : `  ${plain(progress.message)}`
  const counted = `${formatProgress(terminal, progress)}${message}`
  if (progress.total === null) return `${head}  ${counted}`
  const { done, total } = progress
  const width = terminal.width >= 80 ? 28 : 12
  return `${head}  ${progressBar(terminal, { done, total, width })}  ${counted}`
}

class PlainWait implements WaitView {
  readonly #terminal: Terminal
  #previous: JobDocument | null = null
  #saidAtMs = 0
  #saidDone = 0

  constructor(terminal: Terminal) {
    this.#terminal = terminal
  }

  next(job: JobDocument, now: Date): { history: string[]; live: null } {
    const previous = this.#previous
    this.#previous = job
    const history = endedBetween(previous, job)
      .filter(({ endedAs }) => !QUIET_ENDS.has(endedAs))
      .map((ended) => endedFields(ended, now))
    if (previous?.state !== job.state || previous.attempt !== job.attempt)
      history.push(stateFields(job, now))
    else if (this.#progressIsDue(job, now))
      history.push(`${clock(null, now)} progress ${formatProgress(this.#terminal, job.progress)}`)
    if (history.length > 0) {
      this.#saidAtMs = now.getTime()
      this.#saidDone = job.progress?.done ?? 0
    }
    return { history, live: null }
  }

  #progressIsDue({ progress, status }: JobDocument, now: Date): boolean {
    if (progress === null || status !== 'running') return false
    if (now.getTime() - this.#saidAtMs < PROGRESS_EVERY_MS) return false
    const moved = progress.done - this.#saidDone
    return moved > 0 && moved >= (progress.total ?? 0) * PROGRESS_SHARE
  }
}

function endedFields(ended: Ended, now: Date): string {
  const { reason } = ended
  return fields(clock(ended.at, now), ended.endedAs, {
    attempt: ended.attempt,
    at: ended.reached,
    noticedBy: layerOf(reason)?.name ?? reason?.noticedBy ?? null,
    detectedAfterMs: reason?.detectedAfterMs ?? null,
  })
}

function stateFields(job: JobDocument, now: Date): string {
  if (isTerminal(job.status)) {
    const reason = job.state === 'completed' ? null : (job.endReason?.code ?? null)
    const message =
      job.state === 'completed' ? null : (job.error?.message ?? job.endReason?.message ?? null)
    return fields(clock(job.finishedAt, now), job.state, {
      attempts: job.attempt,
      reason,
      message: message === null ? null : JSON.stringify(message),
    })
  }
  if (job.status !== 'running') return fields(clock(null, now), job.state, {})
  const attempt = job.attempts?.find((each) => each.attempt === job.attempt)
  const since = job.state === 'running' ? (attempt?.startedAt ?? null) : null
  return fields(clock(since, now), job.state, {
    attempt: job.attempt,
    worker: job.workerId === null ? null : workerName(job.workerId),
    from: checkpointWord(attempt?.fromCheckpoint),
  })
}

function fields(at: string, word: string, values: Record<string, string | number | null>): string {
  const pairs = Object.entries(values).flatMap(([name, value]) =>
    value === null ? [] : [`${name}=${plain(String(value))}`],
  )
  return [at, word, ...pairs].join(' ')
}

/** `10:41:07Z` */
function clock(at: string | null, now: Date): string {
  return `${(at === null ? now : new Date(at)).toISOString().slice(11, 19)}Z`
}
