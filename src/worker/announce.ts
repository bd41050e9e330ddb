/** What becomes of attempts, for whoever listens; and of an outcome, once the database has answered, for the counts too. */
import type { AbortReason } from '../domain/states.ts'
import type { Outcome } from '../sql/protocol.ts'
import type { Ending, Execution } from './execution.ts'
import type { SettledSlot, SharedNumbers } from './shared-numbers.ts'
import type { WorkerEventBus } from './worker-events.ts'

export interface Settled {
  readonly execution: Execution
  readonly ending: Ending
  /** What the database answered. */
  readonly said: string
  readonly tookMs: number
}

export function announce(bus: WorkerEventBus, numbers: SharedNumbers, settled: Settled): void {
  const { ending, said } = settled
  const { job } = settled.execution
  // Its first answer was lost; what it was follows from the outcome.
  const answer = said === 'accepted before' ? acceptedAs(ending.outcome) : said
  const durationMs = Math.round(settled.tookMs)
  const facts = { jobId: job.id, type: job.type, attempt: job.attempt, durationMs }
  numbers.add(settledAs(said, ending.outcome), 1)
  if (answer === 'lease_lost') {
    bus.emit('lease.lost', {
      jobIds: [job.id],
      code: 'late_result',
      message: `its outcome (${ending.outcome.replaceAll('_', ' ')}) came too late and is kept with the attempt`,
    })
  } else if (answer === 'completed' || answer === 'adopted') {
    if (bus.heard('job.completed'))
      bus.emit('job.completed', { ...facts, late: answer === 'adopted' })
  } else if (answer === 'cancelled') {
    bus.emit('job.cancelled', facts)
  } else if (answer === 'failed' || answer === 'retrying') {
    // A result that the database refused is no error to read from, and nothing to log.
    const error = (
      ending.outcome === 'completed'
        ? { code: 'result_unstorable', message: "its result can't be stored" }
        : JSON.parse(ending.value ?? '{}')
    ) as { code?: string; message?: string }
    bus.emit('job.failed', {
      ...facts,
      code: error.code ?? 'unknown',
      message: error.message ?? '',
      // Whether a failure was the last that was allowed was in the answer that was lost.
      retrying:
        said === 'accepted before' && ending.outcome === 'failed' ? null : answer === 'retrying',
    })
  } else {
    bus.emit('jobs.released', { jobIds: [job.id], reason: ending.outcome })
  }
}

/** A handler has ignored its signal for so long. */
export function announceDeaf(
  bus: WorkerEventBus,
  { job }: Execution,
  reason: AbortReason,
  forMs: number,
): void {
  const { id: jobId, type, attempt } = job
  bus.emit('job.unresponsive', { jobId, type, attempt, reason, forMs })
}

/** What the database answered when it first took this outcome, as far as the outcome tells. */
function acceptedAs(outcome: Outcome): string {
  return outcome === 'failed_finally' ? 'failed' : outcome
}

/** What the database made of an outcome, for the count. */
function settledAs(answer: string, outcome: Outcome): SettledSlot {
  switch (answer) {
    case 'adopted':
      return 'completed'
    case 'lease_lost':
      return 'late'
    case 'completed':
    case 'failed':
    case 'retrying':
    case 'cancelled':
      return answer
    default:
      // Accepted before, or held: what the attempt itself ended as.
      return outcome === 'failed_finally' ? 'failed' : outcome
  }
}
