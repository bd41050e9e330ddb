/** Retention from the client's side: what is kept, changes of that, and a pass at once. How a pass goes is written in retention.ts. */
import type { Database } from '../db/connect.ts'
import { StateRefusedError, UsageError } from '../errors.ts'
import { retentionOf, setRetention } from '../sql/retention.ts'
import type { RetentionDocument } from './documents.ts'
import { type Archive, passRetention } from './retention.ts'

export interface RetentionChanges {
  /** How long a job is kept after its end, in milliseconds, at least an hour. Default 14 days. */
  readonly keepMs?: number | null
  /** How many ended jobs are kept, the newest. Default no limit. */
  readonly keepCount?: number | null
  /** Whether jobs must pass through an archive hook. A worker that has one sets this. */
  readonly archive?: boolean
}

export interface ClientRetention {
  get(): Promise<RetentionDocument>
  /** What is not given stays as it is; null means no limit. @throws {UsageError} */
  set(changes: RetentionChanges): Promise<RetentionDocument>
  /**
   * Drops now, whenever the next pass is due, what need not be kept, and resolves to the number of jobs. Rejects with what the hook
   * threw. @throws {StateRefusedError} when jobs must be archived and no hook is given.
   */
  run(options?: { archive?: Archive; signal?: AbortSignal }): Promise<number>
}

export function openRetention(db: Database, namespace: string): ClientRetention {
  return {
    get: () => retentionOf(db, namespace),
    set: async (changes) => setRetention(db, namespace, checked(changes)),
    async run({ archive, signal } = {}) {
      const { begun, dropped, failure } = await passRetention(db, {
        namespace,
        archive: archive ?? null,
        now: true,
        retryMs: 60_000,
        stop: signal ?? new AbortController().signal,
      })
      if (begun.needsArchive) {
        throw new StateRefusedError(
          `jobs of namespace ${namespace} are to be archived before they are dropped, and no hook was given.`,
          {
            hint: 'A worker with the hook drops them. To give that up: retention.set({ archive: false }), or leasehold retention --no-archive',
          },
        )
      }
      if (failure !== null) throw failure.error
      return dropped
    },
  }
}

/** Numbers of their own kind; their ranges are the database's. */
function checked(changes: RetentionChanges): RetentionChanges {
  for (const [name, value] of Object.entries(changes)) {
    const fits = name === 'archive' ? typeof value === 'boolean' : Number.isSafeInteger(value ?? 0)
    if (!fits)
      throw new UsageError(
        `\`${name}\` is ${name === 'archive' ? 'true or false' : 'a whole number or null'}, got ${String(value)}.`,
      )
  }
  return changes
}
