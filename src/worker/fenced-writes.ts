/**
 * Checkpoints, progress and log lines of all running attempts, gathered into batches: those that are written in the same turn share
 * one statement, whatever the number of jobs. Checkpoints go at once and are durable when they resolve; progress and logs go once a
 * second, or together with a checkpoint's turn, and the last before the attempt's outcome.
 */
import { elapsedMs } from '../clock.ts'
import { sendByHalves } from '../db/by-halves.ts'
import type { Database } from '../db/connect.ts'
import {
  checkpoint,
  type FencedAnswer,
  log,
  type LogLine,
  progress,
  type ProgressReport,
} from '../sql/protocol.ts'

/** A person's eye follows a bar at once a second; a database should not be asked more often. */
const REPORT_EVERY_MS = 1_000
const LOG_LINES_MAX = 10_000

interface Attempt {
  readonly jobId: string
  readonly token: string
}

interface CheckpointWrite extends Attempt {
  readonly value: string
  readonly resolve: (answer: FencedAnswer) => void
  readonly reject: (error: unknown) => void
}

export class FencedWrites {
  readonly #db: Database
  readonly #onAnswer: (token: string, answer: FencedAnswer) => void
  #checkpoints: CheckpointWrite[] = []
  #checkpointing = false
  readonly #progress = new Map<string, Attempt & ProgressReport>()
  #logs: (Attempt & Omit<LogLine, 'ageMs'> & { atMs: number })[] = []
  /** The attempts that the statements under way are about. */
  #beingReported: ReadonlySet<string> = new Set()
  #timer: NodeJS.Timeout | null = null
  #reporting: Promise<void> = Promise.resolve()

  constructor(db: Database, onAnswer: (token: string, answer: FencedAnswer) => void) {
    this.#db = db
    this.#onAnswer = onAnswer
  }

  /** Durable when it resolves. Rejects when the database could not be asked: whether it was kept is then unknown. */
  checkpoint(attempt: Attempt, value: string): Promise<FencedAnswer> {
    return new Promise((resolve, reject) => {
      this.#checkpoints.push({ ...attempt, value, resolve, reject })
      if (!this.#checkpointing) void this.#writeCheckpoints()
    })
  }

  progress(attempt: Attempt, report: ProgressReport): void {
    this.#progress.set(attempt.token, { ...attempt, ...report })
    this.#schedule()
  }

  log(attempt: Attempt, line: Omit<LogLine, 'ageMs'>): void {
    if (this.#logs.length >= LOG_LINES_MAX) this.#logs.shift()
    this.#logs.push({ ...attempt, ...line, atMs: elapsedMs() })
    this.#schedule()
  }

  /** Writes what is waiting now. Never rejects: what can't be written is lost with the attempt's lease, or tried again. */
  flush(): Promise<void> {
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = null
    if (this.#progress.size > 0 || this.#logs.length > 0) {
      this.#reporting = this.#reporting.then(() => this.#report())
    }
    return this.#reporting
  }

  /** Whether something of this attempt is not yet written: an outcome that overtook it would make it stale. */
  hasReports(token: string): boolean {
    return (
      this.#progress.has(token) ||
      this.#beingReported.has(token) ||
      this.#logs.some((line) => line.token === token)
    )
  }

  #schedule(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = null
      void this.flush()
    }, REPORT_EVERY_MS)
  }

  async #writeCheckpoints(): Promise<void> {
    this.#checkpointing = true
    await new Promise((resolve) => setImmediate(resolve))
    while (this.#checkpoints.length > 0) {
      const batch = this.#checkpoints
      this.#checkpoints = []
      try {
        await sendByHalves(
          batch,
          async (part) => {
            const answers = await checkpoint(this.#db, part)
            for (const [index, write] of part.entries()) {
              const answer = answers[index] ?? 'lease_lost'
              this.#onAnswer(write.token, answer)
              write.resolve(answer)
            }
          },
          (write, error) => write.reject(error),
        )
      } catch (error) {
        for (const write of batch) write.reject(error)
      }
    }
    this.#checkpointing = false
  }

  async #report(): Promise<void> {
    const reports = [...this.#progress.values()]
    this.#progress.clear()
    const lines = new Set(this.#logs)
    this.#logs = []
    this.#beingReported = new Set([...reports, ...lines].map(({ token }) => token))
    try {
      if (reports.length > 0) {
        const answers = await progress(this.#db, reports)
        for (const [index, report] of reports.entries()) {
          this.#onAnswer(report.token, answers[index] ?? 'lease_lost')
        }
        reports.length = 0
      }
      if (lines.size > 0) {
        const nowMs = elapsedMs()
        await sendByHalves(
          [...lines],
          async (part) => {
            await log(
              this.#db,
              part.map((line) => ({ ...line, ageMs: nowMs - line.atMs })),
            )
            for (const line of part) lines.delete(line)
          },
          (line) => void lines.delete(line),
        )
      }
    } catch {
      // Tried again, whatever it was. Newer progress wins; log lines keep their order and their time.
      for (const report of reports)
        if (!this.#progress.has(report.token)) this.#progress.set(report.token, report)
      this.#logs = [...lines, ...this.#logs].slice(-LOG_LINES_MAX)
      this.#schedule()
    }
    this.#beingReported = new Set()
  }
}
