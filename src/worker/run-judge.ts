/**
 * Asks the database to judge runs of which this worker has ended a job or reported a cost.
 *
 * After the commit, and so exactly: of several that end the last jobs at once, the one that asks last sees what all of them wrote. One
 * statement at a time for all runs that were touched meanwhile. Should an answer be lost, or the worker, the sweep judges them.
 */
import { sleep } from '../clock.ts'
import { classifyFailure, type Database } from '../db/connect.ts'
import type { RunStatus } from '../domain/states.ts'
import { judgeRuns } from '../sql/runs.ts'

const RETRY_MS = 500

export class RunJudge {
  readonly #db: Database
  readonly #namespace: string
  readonly #onStatus: (runId: string, status: RunStatus | 'not_found') => void
  readonly #touched = new Set<string>()
  readonly #closed = new AbortController()
  #asking: Promise<void> | null = null

  constructor(
    db: Database,
    namespace: string,
    onStatus: (runId: string, status: RunStatus | 'not_found') => void,
  ) {
    this.#db = db
    this.#namespace = namespace
    this.#onStatus = onStatus
  }

  touch(runId: string): void {
    this.#touched.add(runId)
    this.#asking ??= this.#ask().finally(() => {
      this.#asking = null
    })
  }

  /** Resolves when every run that was touched until now has been judged. */
  async settled(): Promise<void> {
    // What was answered in this turn of the event loop is yet to be touched.
    await new Promise((resolve) => setImmediate(resolve))
    await this.#asking
  }

  close(): void {
    this.#closed.abort()
  }

  async #ask(): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve))
    while (this.#touched.size > 0 && !this.#closed.signal.aborted) {
      const runIds = [...this.#touched]
      this.#touched.clear()
      try {
        const statuses = await judgeRuns(this.#db, this.#namespace, runIds)
        for (const [index, runId] of runIds.entries())
          this.#onStatus(runId, statuses[index] ?? 'not_found')
      } catch (error) {
        // The sweep is there for what can't be asked.
        if (classifyFailure(error) !== 'unknown') return
        for (const runId of runIds) this.#touched.add(runId)
        await sleep(RETRY_MS, this.#closed.signal)
      }
    }
  }
}
