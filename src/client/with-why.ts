import { whySentence } from '../domain/why.ts'
import type { JobDocument } from './documents.ts'

/** A job as the database says it. */
export type JobFacts = Omit<JobDocument, 'why'>

/** The document of a job: the facts, and the sentence that is made from them. */
export function withWhy(job: JobFacts): JobDocument {
  return { ...job, why: whySentence(job) }
}
