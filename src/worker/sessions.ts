/**
 * The sessions of a worker, from the first to the end of a shutdown:
 *
 *     open ── the end is ordered: notify, all at once ──▶ told ── close, last added first, one after the other ──▶ gone
 *
 * Last added first, as with `using` and destructors: what was opened later may rest on what was there before (a page on its browser,
 * a chat on its model), never the other way round. One that throws or hangs is logged and passed over; the next is closed all the same.
 */
import type { SessionOptions, SessionResult, Sessions, ShutdownNotice } from '../client/session.ts'
import { StateRefusedError, UsageError } from '../errors.ts'
import { checkedLimitMs, runStep, type StepLimits, type StepResult } from './shutdown-step.ts'
import type { WorkerEventBus } from './worker-events.ts'

interface Session {
  readonly name: string
  readonly options: SessionOptions
  readonly limitMs: number
  told: Promise<StepResult> | null
  closing: Promise<SessionResult> | null
}

export class WorkerSessions implements Sessions {
  readonly #worker: object
  readonly #bus: WorkerEventBus
  readonly #open = new Map<string, Session>()
  /** Set while the worker shuts down: who comes now is told at once. */
  #ending: { readonly notice: ShutdownNotice; readonly limits: StepLimits } | null = null
  #closed = false

  constructor(worker: object, bus: WorkerEventBus) {
    this.#worker = worker
    this.#bus = bus
  }

  get names(): readonly string[] {
    return [...this.#open.keys()]
  }

  add(name: string, options: SessionOptions): ShutdownNotice | null {
    if (typeof name !== 'string' || name === '') throw new UsageError('a session needs a name.')
    if (typeof options.close !== 'function')
      throw new UsageError(`session "${name}" needs a function \`close\`.`)
    const limitMs = checkedLimitMs(`session "${name}"`, options.timeoutMs)
    if (this.#closed) {
      throw new StateRefusedError(
        `session "${name}" can't begin: the worker is stopping and has closed its sessions.`,
      )
    }
    if (this.#open.has(name)) {
      throw new UsageError(`a session "${name}" is there already.`, {
        hint: 'Remove it first, or give this one another name.',
      })
    }
    const session: Session = { name, options, limitMs, told: null, closing: null }
    this.#open.set(name, session)
    if (this.#ending === null) return null
    this.#tell(session, this.#ending.notice, this.#ending.limits)
    return this.#ending.notice
  }

  remove(name: string): boolean {
    const session = this.#open.get(name)
    return session?.closing === null && this.#open.delete(name)
  }

  disconnectAll(reason = 'disconnected'): Promise<SessionResult[]> {
    const limits: StepLimits = {
      worker: this.#worker,
      leftMs: () => Infinity,
      cut: new AbortController().signal,
    }
    return this.#disconnect({ reason, deadline: null }, limits)
  }

  /** The worker begins to shut down: everybody is told, and nobody is waited for. */
  tell(notice: ShutdownNotice, limits: StepLimits): void {
    this.#ending = { notice, limits }
    for (const session of this.#open.values()) this.#tell(session, notice, limits)
  }

  /** The worker's last act for its sessions. From here on none may begin. */
  async end(notice: ShutdownNotice, limits: StepLimits): Promise<SessionResult[]> {
    this.#closed = true
    return this.#disconnect(notice, limits)
  }

  /** The worker has stopped and may be started again. */
  reopen(): void {
    this.#closed = false
    this.#ending = null
  }

  async #disconnect(notice: ShutdownNotice, limits: StepLimits): Promise<SessionResult[]> {
    const sessions = [...this.#open.values()]
    for (const session of sessions) this.#tell(session, notice, limits)
    const results: SessionResult[] = []
    for (const session of sessions.toReversed()) {
      // Removed by its owner while another one was being closed.
      if (this.#open.get(session.name) !== session) continue
      results.push(await this.#close(session, limits))
    }
    return results
  }

  #tell(session: Session, notice: ShutdownNotice, limits: StepLimits): void {
    session.told ??= runStep(() => session.options.notify?.(notice), session.limitMs, limits).then(
      (result) => {
        this.#report(session, 'notify', result)
        return result
      },
    )
  }

  /** Asked twice, by hand and by a shutdown, it is closed once; the shutdown's own limits hold for its wait. */
  async #close(session: Session, limits: StepLimits): Promise<SessionResult> {
    session.closing ??= this.#closeOnce(session, limits)
    const { closing } = session
    let result: SessionResult | null = null
    const waited = await runStep(
      async () => {
        result = await closing
      },
      2 * session.limitMs + 100,
      limits,
    )
    this.#open.delete(session.name)
    return result ?? { name: session.name, ...waited }
  }

  async #closeOnce(session: Session, limits: StepLimits): Promise<SessionResult> {
    await session.told
    const result = await runStep(() => session.options.close(), session.limitMs, limits)
    this.#report(session, 'close', result)
    return { name: session.name, ...result }
  }

  #report({ name }: Session, step: 'notify' | 'close', result: StepResult): void {
    if (result.outcome === 'done') {
      if (step === 'close')
        this.#bus.emit('session.closed', { name, durationMs: result.durationMs })
    } else {
      this.#bus.emit('session.failed', {
        name,
        step,
        outcome: result.outcome,
        error: result.error ?? 'no time was left',
      })
    }
  }
}
