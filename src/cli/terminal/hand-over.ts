/**
 * The story of how a job went from one worker to the next: the newest lost attempt line by line with
 * delays, each other ended attempt as one sentence, newest first.
 *
 * A recovery notices and takes back in one transaction, so both carry the time of the attempt's end;
 * the last sign of life lies `detectedAfterMs` before it.
 */
import type { AttemptDocument, JobDocument } from '../../client/documents.ts'
import {
  checkpointWord,
  END_VERBS,
  exitWords,
  layerOf,
  reached,
  reasonWords,
} from './end-reason.ts'
import { formatDuration, formatInstant, workerName } from './format.ts'
import { paint, type Terminal } from './style.ts'
import { pad } from './text.ts'

/** More sentences than this push the story off the screen; `--json` has all. */
const ATTEMPTS_MAX = 6

/** Paragraphs, indented by two. Nothing for a job that never changed hands. */
export function handOverStory(terminal: Terminal, job: JobDocument): string[] {
  const attempts = job.attempts ?? []
  const ended = attempts.filter(({ endedAs }) => endedAs !== null && endedAs !== 'completed')
  const lost = ended.findLast(({ endedAs }) => endedAs === 'lost')
  const lines: string[] = []
  for (const attempt of ended.slice(-ATTEMPTS_MAX).toReversed()) {
    if (attempt === lost) {
      if (lines.length > 0) lines.push('')
      lines.push(...lostStory(terminal, job, lost))
      lines.push('')
    } else {
      lines.push(`  ${endSentence(job, attempt)}`)
    }
  }
  if (lines.at(-1) === '') lines.pop()
  return lines
}

/** `attempt 1 was interrupted at 12 of 60: shutdown (SIGTERM), not charged` */
function endSentence(job: JobDocument, attempt: AttemptDocument): string {
  const { endedAs, endReason } = attempt
  if (endedAs === null) return `attempt ${attempt.attempt} runs`
  const signal = endReason?.signal ? ` (${endReason.signal})` : ''
  const reason = endReason === null ? '' : `: ${reasonWords(endReason)}${signal}`
  const free = endedAs === 'interrupted' || endedAs === 'released' ? ', not charged' : ''
  return `attempt ${attempt.attempt} ${END_VERBS[endedAs]}${reached(job, attempt)}${reason}${free}`
}

function lostStory(terminal: Terminal, job: JobDocument, lost: AttemptDocument): string[] {
  const { endReason: reason } = lost
  const lines = [`  attempt ${lost.attempt} was lost${reached(job, lost)}`]
  if (lost.endedAt === null) return lines
  const endedMs = Date.parse(lost.endedAt)
  const detectedAfterMs = reason?.detectedAfterMs ?? null
  const steps: Step[] = []
  const step = (atMs: number, delayMs: number | null, words: string): void =>
    void steps.push({ atMs, delay: delayMs === null ? '' : `+${formatDuration(delayMs)}`, words })

  if (detectedAfterMs !== null) {
    const exit = exitWords(reason)
    step(endedMs - detectedAfterMs, null, `last sign of life${exit === null ? '' : `: ${exit}`}`)
  }
  step(endedMs, detectedAfterMs, noticed(terminal, lost))
  const noticedStep = steps.at(-1)
  step(endedMs, 0, `taken back, token ${lost.attempt} is void`)
  const next = job.attempts?.find(({ attempt }) => attempt > lost.attempt)
  if (next?.startedAt && next.workerId !== null) {
    const delayMs = Date.parse(next.startedAt) - endedMs
    step(endedMs + delayMs, delayMs, `claimed by ${workerName(next.workerId)}, ${resumed(next)}`)
  }
  // One column for all delays: they are what is compared.
  const width = Math.max(...steps.map(({ delay }) => delay.length + 1), 8)
  for (const each of steps) {
    const delay = pad(each.delay, width, 'right')
    const shown = each === noticedStep ? paint(terminal, ['brightRed'], delay) : delay
    const instant = paint(terminal, ['dim'], formatInstant(terminal, each.atMs))
    lines.push(`    ${instant} ${shown} ${each.words}`)
  }
  return lines
}

interface Step {
  atMs: number
  /** After the step before; empty for the first. */
  delay: string
  words: string
}

/** `render-a-4131 found pid 4127 gone  witness, layer 2` */
function noticed(terminal: Terminal, { endReason: reason }: AttemptDocument): string {
  if (reason === null) return 'noticed; by whom is unknown'
  const layer = layerOf(reason)
  const by = reason.noticedBy === null ? null : workerName(reason.noticedBy)
  const words =
    reason.message === null && by !== null && by !== layer?.name
      ? `${by} noticed: ${reasonWords(reason)}`
      : reasonWords(reason)
  if (layer === null) return words
  const number = layer.number === null ? '' : `, layer ${layer.number}`
  return `${words}  ${paint(terminal, ['dim'], layer.name + number)}`
}

/** Where an attempt began: `from 41`, `from its checkpoint`, `from the start`. */
export function resumed({ fromCheckpoint }: AttemptDocument): string {
  if (fromCheckpoint === null || fromCheckpoint === undefined) return 'from the start'
  const word = checkpointWord(fromCheckpoint)
  return word === null ? 'from its checkpoint' : `from ${word}`
}
