/**
 * Retention: jobs that have ended are kept for a time or up to a number, then dropped with all that is kept about them.
 *
 * What goes is decided in SQL, judged again under the lock of each row. A pass is steps of at most 1,000 jobs, each a short transaction,
 * with a pause as long as the step between them; nothing of it waits for anybody for longer than 200 ms, and nothing of it has to be
 * finished: whoever does the next pass begins anew and finds what is left.
 *
 * With an archive hook a step is at most 100 jobs: their documents go to the hook, and only when it has returned are they dropped. A
 * process that dies in between, and a hook that throws or takes too long, leave them where they are, so the hook gets them again: at
 * least once, and in any order with what it got before.
 */
import { elapsedMs, sleep } from '../clock.ts'
import type { Database } from '../db/connect.ts'
import {
  beginRetention,
  dropEvents,
  dropJobs,
  endRetention,
  jobsToDrop,
  type RetentionBegun,
} from '../sql/retention.ts'
import type { JobDocument } from './documents.ts'
import { type JobFacts, withWhy } from './with-why.ts'

export interface ArchiveContext {
  readonly namespace: string
  /** Aborts when the call has taken a minute, or the worker stops. What goes on after that may run beside the next call. */
  readonly signal: AbortSignal
}

/**
 * Gets ended jobs before they are dropped, at most 100 at a time, each with attempts and events. They are dropped when it has
 * returned; when it throws, it gets them again.
 */
export type Archive = (
  jobs: readonly JobDocument[],
  context: ArchiveContext,
) => Promise<void> | void

/** What a pass may not exceed, or it would be followed while it is under way: half of what the database grants each step. */
export const ARCHIVE_LIMIT_MS = 60_000
const PAUSE_MS_MAX = 1_000

export interface Pass {
  readonly begun: RetentionBegun
  readonly dropped: number
  /** The hook failed with these jobs, which are kept. */
  readonly failure: { readonly jobs: number; readonly error: Error } | null
}

export interface PassInput {
  readonly namespace: string
  readonly archive: Archive | null
  /** Now, whenever the next pass is due. */
  readonly now: boolean
  /** When to try again after a failure. */
  readonly retryMs: number
  readonly stop: AbortSignal
}

/** Does a pass if one is due. Rejects when the database refuses or does not answer; a failure of the hook is in the result. */
export async function passRetention(db: Database, input: PassInput): Promise<Pass> {
  const { namespace, archive, stop, retryMs } = input
  const begun = await beginRetention(db, namespace, { archives: archive !== null, now: input.now })
  if (!begun.begins) return { begun, dropped: 0, failure: null }
  const dropped = { jobs: 0 }
  try {
    const failure = await dropAllJobs(db, input, begun, dropped)
    if (failure === null && !stop.aborted) await dropAllEvents(db, input, begun)
    if (failure !== null) {
      await endRetention(db, namespace, { message: failureSentence(failure), retryMs })
    } else if (!stop.aborted) {
      await endRetention(db, namespace, null)
    }
    return { begun, dropped: dropped.jobs, failure }
  } catch (error) {
    // Told where people look; should that fail too, the pass lapses and somebody else begins it.
    await endRetention(db, namespace, { message: (error as Error).message, retryMs }).catch(
      () => undefined,
    )
    throw error
  }
}

export function failureSentence({ jobs, error }: NonNullable<Pass['failure']>): string {
  return `the archive hook failed with ${jobs} jobs, which are kept: ${error.message}`
}

async function dropAllJobs(
  db: Database,
  { namespace, archive, stop }: PassInput,
  { below }: RetentionBegun,
  dropped: { jobs: number },
): Promise<Pass['failure']> {
  let after: string | null = null
  do {
    const startedMs = elapsedMs()
    const step: Awaited<ReturnType<typeof jobsToDrop<JobFacts>>> = await jobsToDrop(db, namespace, {
      below,
      after,
      whole: archive !== null,
    })
    if (archive !== null && step.documents.length > 0) {
      const documents = step.documents.map(withWhy)
      const error = await callArchive(archive, documents, { namespace, stop })
      if (stop.aborted) return null
      if (error !== null) return { jobs: documents.length, error }
    }
    if (step.jobs.length > 0) {
      const { jobs, ends } = step
      dropped.jobs += await dropJobs(db, namespace, {
        jobs,
        ends,
        below,
        archived: archive !== null,
      })
    }
    after = step.after
    await rest(startedMs, stop)
  } while (after !== null && !stop.aborted)
  return null
}

async function dropAllEvents(
  db: Database,
  { namespace, stop }: PassInput,
  { below }: RetentionBegun,
): Promise<void> {
  let after: string | null = null
  do {
    const startedMs = elapsedMs()
    const step: Awaited<ReturnType<typeof dropEvents>> = await dropEvents(db, namespace, {
      below,
      after,
    })
    after = step.after
    await rest(startedMs, stop)
  } while (after !== null && !stop.aborted)
}

/** Half of the time at most: dropping is never urgent. */
function rest(startedMs: number, stop: AbortSignal): Promise<void> {
  return sleep(Math.min(PAUSE_MS_MAX, elapsedMs() - startedMs), stop)
}

/** Null when the hook has returned. It is somebody else's code: whatever it throws, or that it does not end, is an error here. */
async function callArchive(
  archive: Archive,
  documents: readonly JobDocument[],
  { namespace, stop }: { namespace: string; stop: AbortSignal },
): Promise<Error | null> {
  const limit = new AbortController()
  const signal = AbortSignal.any([limit.signal, stop])
  const timer = setTimeout(() => limit.abort(), ARCHIVE_LIMIT_MS)
  const over = new Promise<Error>((resolve) => {
    const tell = (): void => resolve(new Error(`it took longer than ${ARCHIVE_LIMIT_MS} ms`))
    if (signal.aborted) tell()
    else signal.addEventListener('abort', tell, { once: true })
  })
  try {
    const called = (async () => archive(documents, { namespace, signal }))()
    return await Promise.race([called.then(() => null), over])
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error))
  } finally {
    clearTimeout(timer)
  }
}
