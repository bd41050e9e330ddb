/** Lost jobs, and which of them may be handed back by now: an outage of the database may be why a worker is silent. */
import type { Client } from '../client/client.ts'
import type { JobDocument } from '../client/documents.ts'
import { databaseNow } from './remedy.ts'

export interface LostJobs {
  readonly due: readonly JobDocument[]
  readonly undue: readonly JobDocument[]
  /** When the last of those that are not due is, if writes go on until then. */
  readonly notBefore: string | null
}

export const NONE_LOST: LostJobs = { due: [], undue: [], notBefore: null }

export async function lostJobs(client: Client): Promise<LostJobs> {
  const due: JobDocument[] = []
  const undue: JobDocument[] = []
  let after: string | undefined
  do {
    const page = await client.list({
      states: ['lost'],
      limit: 500,
      ...(after === undefined ? {} : { after }),
    })
    for (const job of page.items) (isDue(job) ? due : undue).push(job)
    after = page.nextCursor ?? undefined
  } while (after !== undefined)
  const times = undue.map((job) => job.recoveryNotBefore ?? '')
  return { due, undue, notBefore: times.toSorted().at(-1) ?? null }
}

/** Its worker has ended or is unknown, or may be judged by now. */
function isDue(job: JobDocument): boolean {
  if (job.workerEndedAt !== null || job.recoveryNotBefore === null) return true
  return Date.parse(job.recoveryNotBefore) < databaseNow(job).getTime()
}
