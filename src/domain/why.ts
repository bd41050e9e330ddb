/** The sentence of `jobs why`: what a job waits for, or why it ended. Made from the same document that everything shows. */
import { formatDuration } from './duration.ts'
import { withoutId } from './id.ts'
import { parseTarget } from './target.ts'

/** What the sentence is made from: the job document as the database builds it. */
export interface WhyFacts {
  readonly status: string
  readonly state: string
  readonly type: string
  readonly queue: string
  readonly attempt: number
  readonly failures: number
  readonly maxAttempts: number
  readonly runAt: string | null
  readonly startedAt: string | null
  readonly finishedAt: string | null
  readonly workerId: string | null
  readonly leaseLeftMs: number | null
  readonly heartbeatAt: string | null
  readonly recoveryNotBefore: string | null
  /** Since when nobody has written to the database, if that is so long that an outage can't be told from it. */
  readonly databaseSilentSince?: string | null
  readonly workerEndedAt: string | null
  readonly cancelRequestedAt: string | null
  readonly now: string
  readonly error: { readonly message?: string | null } | null
  readonly endReason: { readonly code?: string | null; readonly message?: string | null } | null
  /** Running jobs with the same concurrency key, when that is what the job waits for. */
  readonly waitsBehind?: readonly string[] | null
  readonly concurrencyKey?: string | null
  readonly target?: string | null
  /** For a job that waits and is aimed: what is known of its target. */
  readonly aim?: {
    readonly online: boolean
    readonly lastSeenAt: string | null
    readonly ifOffline: string
    /** Until when it has to have begun. */
    readonly deadline: string | null
  } | null
  /** What the run of a waiting job ended as, when that cancels the job. */
  readonly runEnded?: string | null
  readonly workersForType: {
    readonly online: number
    readonly draining: number
    readonly lastSeenAt: string | null
  } | null
}

export function whySentence(job: WhyFacts): string {
  const worker = job.workerId === null ? 'its worker' : withoutId(job.workerId)
  switch (job.state) {
    case 'running':
      return `Running on ${worker} since ${clockTime(job.startedAt)}; its lease holds for ${formatDuration(job.leaseLeftMs ?? 0)} more.`
    case 'stalled':
      return `Stalled: ${worker} lives, but the handler has made no progress within its deadline.`
    case 'cancelling':
      return `Asked to stop ${formatDuration(between(job.cancelRequestedAt, job.now))} ago; ${worker} has not ended it yet.`
    case 'lost':
      return lostSentence(job, worker)
    case 'scheduled':
      return `Waits for its time, ${clockTime(job.runAt)}, in ${formatDuration(between(job.now, job.runAt))}.`
    case 'retrying':
      return retryingSentence(job)
    case 'pending':
      return pendingSentence(job)
    case 'held':
      return `Held for a person${reason(job)}.`
    case 'blocked':
      return 'Waits for other jobs.'
    case 'completed':
      return `Completed at ${clockTime(job.finishedAt)} on ${worker}, in ${formatDuration(between(job.startedAt, job.finishedAt))}${job.attempt > 1 ? ` (attempt ${job.attempt})` : ''}.`
    case 'failed':
      return failedSentence(job)
    case 'cancelled':
      return `Cancelled at ${clockTime(job.finishedAt)}${job.endReason?.message == null || job.endReason.message === 'cancel was asked' ? '' : `: ${job.endReason.message}`}.`
    default:
      return `In state ${job.state}.`
  }
}

function lostSentence(job: WhyFacts, worker: string): string {
  const then = job.cancelRequestedAt === null ? 'hands the job back' : 'ends it as cancelled'
  if (job.workerEndedAt !== null) {
    return `Lost: ${worker} ended ${formatDuration(between(job.workerEndedAt, job.now))} ago, and the next sweep ${then}.`
  }
  const silent = formatDuration(between(job.heartbeatAt, job.now))
  if (job.leaseLeftMs === null)
    return `Lost: its worker is unknown here, and the next sweep ${then}.`
  const notBefore = between(job.now, job.recoveryNotBefore)
  const lapsed = `Lost: ${worker} has not renewed for ${silent}, so its lease lapsed ${formatDuration(-job.leaseLeftMs)} ago`
  if (notBefore <= 0) return `${lapsed} and the next sweep ${then}.`
  return job.databaseSilentSince == null
    ? `${lapsed}; the database was away, or nobody wrote to it, so it is not judged before ${clockTime(job.recoveryNotBefore)}, and a sweep that lasts until then ${then}.`
    : `${lapsed}; nobody has written to the database since ${clockTime(job.databaseSilentSince)}, so an outage can't be told from a dead worker, and a sweep that lasts until ${clockTime(job.recoveryNotBefore)} ${then}.`
}

function pendingSentence(job: WhyFacts): string {
  const workers = job.workersForType
  if (job.waitsBehind !== undefined && job.waitsBehind !== null) {
    return `Waits its turn: job ${job.waitsBehind.map((id) => `…${id.slice(-6)}`).join(', ') || 'of another worker'} with the concurrency key "${job.concurrencyKey}" runs.`
  }
  if (job.runEnded !== undefined && job.runEnded !== null)
    return `Its run ended as ${job.runEnded}, and the next sweep cancels it.`
  if (job.aim !== undefined && job.aim !== null) return aimedSentence(job, job.aim)
  if (workers === null || workers.online > 0) return 'Waits for a free slot.'
  if (workers.draining > 0) {
    return `Waits for a worker that runs ${job.type}; the only ones are draining and take no new jobs.`
  }
  return workers.lastSeenAt === null
    ? `Waits for a worker that runs ${job.type} in queue ${job.queue}; there has been none.`
    : `Waits for a worker that runs ${job.type} in queue ${job.queue}; none is online, the last was seen ${formatDuration(between(workers.lastSeenAt, job.now))} ago.`
}

function aimedSentence(job: WhyFacts, aim: NonNullable<WhyFacts['aim']>): string {
  const target = targetWords(job.target ?? '')
  const until =
    aim.deadline === null
      ? ''
      : aim.ifOffline === 'any'
        ? `; from ${clockTime(aim.deadline)} on any worker may take it`
        : `; it fails if it has not begun by ${clockTime(aim.deadline)}`
  if (aim.online) {
    return (job.workersForType?.online ?? 0) > 0
      ? `Waits for a free slot on ${target}${until}.`
      : `Waits for a worker on ${target} that runs ${job.type} in queue ${job.queue}${until}.`
  }
  const seen =
    aim.lastSeenAt === null
      ? 'and has never been seen'
      : `last seen ${formatDuration(between(aim.lastSeenAt, job.now))} ago`
  const then =
    aim.ifOffline === 'fail'
      ? '; the next sweep fails it'
      : aim.ifOffline === 'any'
        ? '; the next sweep gives it to any worker'
        : until
  return `Waits for ${target}, which is offline, ${seen}${then}.`
}

/** `machine render-b`, `the label gpu`. */
function targetWords(text: string): string {
  const target = parseTarget(text)
  if ('machine' in target) return `machine ${target.machine}`
  if ('worker' in target) return `worker ${withoutId(target.worker)}`
  return `a worker with the label ${target.label}`
}

function retryingSentence(job: WhyFacts): string {
  const failed = `Failed ${job.failures} of ${job.maxAttempts} times${job.error?.message == null ? '' : ` (${job.error.message})`}`
  const wait = between(job.now, job.runAt)
  return wait > 0
    ? `${failed}; tried again in ${formatDuration(wait)}.`
    : `${failed}. ${pendingSentence(job)}`
}

function failedSentence(job: WhyFacts): string {
  if (job.endReason?.code === 'poison')
    return `Failed as poison: ${job.endReason.message ?? 'its workers were lost'}.`
  if (job.endReason?.code === 'target_offline' || job.endReason?.code === 'target_deadline')
    return `Failed before it began${reason(job)}.`
  if (job.endReason?.code === 'worker_lost')
    return `Failed because its worker was lost${reason(job)}.`
  const message = job.error?.message ?? job.endReason?.message ?? 'no message was kept'
  return `Failed at ${clockTime(job.finishedAt)} after ${job.failures} ${job.failures === 1 ? 'failure' : 'failures'}: ${message}`.replace(
    /\.?$/,
    '.',
  )
}

function reason(job: WhyFacts): string {
  return job.endReason?.message == null ? '' : `: ${job.endReason.message}`
}

function between(from: string | null, to: string | null): number {
  return from === null || to === null ? 0 : Date.parse(to) - Date.parse(from)
}

function clockTime(at: string | null): string {
  return at === null ? 'an unknown time' : `${at.slice(11, 19)} UTC`
}
