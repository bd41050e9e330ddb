/** What a person can do about a job, when there is something: a command that works as pasted. */
import type { JobDocument } from '../client/documents.ts'
import { idEnding } from './terminal/format.ts'

/** What the database says of a job beyond the public document. */
export interface JobFacts extends JobDocument {
  readonly now?: string
  readonly leaseLeftMs?: number | null
  readonly recoveryNotBefore?: string | null
  readonly workerEndedAt?: string | null
  readonly workersForType?: { readonly online: number; readonly draining: number } | null
}

/** The database's clock when it answered. */
export function databaseNow(job: JobDocument | undefined): Date {
  const { now } = (job ?? {}) as Partial<JobFacts>
  return now === undefined ? new Date() : new Date(now)
}

/** `null` when the job needs nobody. */
export function remedy(job: JobDocument): string | null {
  const id = idEnding(job.id)
  switch (job.state) {
    case 'pending':
    case 'retrying': {
      const { workersForType } = job as JobFacts
      if (workersForType === undefined || workersForType === null) return null
      if (workersForType.online > 0) return null
      // Another machine can't be started from here.
      if (job.target !== null && !job.target.startsWith('label:')) return null
      const target = job.target === null ? '' : ` --target ${job.target.slice('label:'.length)}`
      const queue = job.queue === 'default' ? '' : ` --queue ${job.queue}`
      return `Start one: leasehold worker handlers.ts${queue}${target}`
    }
    case 'held':
      return `To let it go on: leasehold jobs resume ${id}`
    case 'stalled':
      return `To take it from its worker: leasehold jobs release ${id}`
    case 'lost':
      return 'Any live worker sweeps; to do it now: leasehold sweep'
    case 'failed':
      return job.endReason?.code === 'poison'
        ? `Look at the input, then: leasehold jobs retry ${id}`
        : `To run it again: leasehold jobs retry ${id}`
    case 'cancelled':
      return `To run it again: leasehold jobs retry ${id}`
    default:
      return null
  }
}
