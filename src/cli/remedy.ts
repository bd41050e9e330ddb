/** What a person can do about a job, when there is something: a command that works as pasted. */
import type { JobDocument } from '../client/documents.ts'
import { idEnding } from './terminal/format.ts'

/** The database's clock when it answered. */
export function databaseNow(job: JobDocument | undefined): Date {
  return job === undefined ? new Date() : new Date(job.now)
}

/** `null` when the job needs nobody. */
export function remedy(job: JobDocument): string | null {
  const id = idEnding(job.id)
  switch (job.state) {
    case 'pending':
    case 'retrying': {
      if (job.workersForType === null || job.workersForType.online > 0) return null
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
