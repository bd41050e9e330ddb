/**
 * Sessions: what a worker serves outside its jobs and has to end in order (a chat, a browser, a model in memory). The worker keeps
 * them; handlers reach them through `ctx.sessions`.
 */

/** What a session is told when its end is ordered. */
export interface ShutdownNotice {
  readonly reason: string
  /** When handlers are aborted and sessions closed, at the latest; null when that waits for the handlers, however long. */
  readonly deadline: Date | null
}

export interface SessionOptions {
  /** Told once that the end has been ordered, before anything is closed. Not waited for longer than `timeoutMs`. */
  notify?(notice: ShutdownNotice): unknown
  /** Closes it. Called once, after `notify`; what it throws is logged and passed over. */
  close(): unknown
  /** Longest wait for `notify`, and again for `close`, in milliseconds. Default 5,000. */
  readonly timeoutMs?: number
}

export interface Sessions {
  /** Names of those that are open, in the order in which they were added. */
  readonly names: readonly string[]
  /**
   * Keeps a session until it is removed or the worker stops. Answers null, or what it was just told: the worker is shutting down,
   * and the session will be closed with the others.
   * @throws {UsageError} when one of this name is there.
   * @throws {StateRefusedError} when the worker has closed its sessions already.
   */
  add(name: string, session: SessionOptions): ShutdownNotice | null
  /** Forgets a session that has ended by itself. False: there is none of this name, or it is being closed already. */
  remove(name: string): boolean
  /** Tells all sessions and closes them, as a shutdown does. The worker goes on. */
  disconnectAll(reason?: string): Promise<SessionResult[]>
}

export interface SessionResult {
  readonly name: string
  readonly outcome: StepOutcome
  readonly durationMs: number
  readonly error: string | null
}

/** How a step of a shutdown ended. `skipped`: no time was left to begin it. */
export type StepOutcome = 'done' | 'failed' | 'timed_out' | 'skipped'
