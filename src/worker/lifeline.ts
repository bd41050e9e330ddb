/** The main thread's end of the lifeline: starts the thread, shares its numbers, hands on its messages. */
import { Worker as Thread } from 'node:worker_threads'
import { elapsedMs } from '../clock.ts'
import type { EndCharge } from '../sql/protocol.ts'
import type { FromLifeline, LifelineData, ToLifeline } from './lifeline-messages.ts'
import { SharedNumbers } from './shared-numbers.ts'

/** What the lifeline may take beyond its own limit to say that it has failed. */
const END_SLACK_MS = 200

export class Lifeline {
  readonly numbers: SharedNumbers = new SharedNumbers()
  readonly #thread: Thread
  readonly #exited: Promise<void>
  #onMessage: (message: FromLifeline) => void

  constructor(data: Omit<LifelineData, 'shared'>, onMessage: (message: FromLifeline) => void) {
    this.#onMessage = onMessage
    this.numbers.write('mainBeatMs', elapsedMs())
    const file = import.meta.url.endsWith('.ts') ? './lifeline-thread.ts' : './lifeline-thread.js'
    this.#thread = new Thread(new URL(file, import.meta.url), {
      name: 'leasehold-lifeline',
      workerData: { ...data, shared: this.numbers.memory } satisfies LifelineData,
    })
    this.#thread.on('message', (message: FromLifeline) => this.#onMessage(message))
    this.#exited = new Promise((resolve) => this.#thread.once('exit', () => resolve()))
    // A lifeline that breaks is a bug, and without it nothing here may go on: the process ends, its jobs are recovered.
    this.#thread.once('error', (error) => {
      throw error
    })
  }

  /** A claim that was accepted proves life too, counted from when it was sent. */
  proved(sentMs: number): void {
    if (sentMs > this.numbers.read('proofSentMs')) this.numbers.write('proofSentMs', sentMs)
  }

  send(message: ToLifeline): void {
    this.#thread.postMessage(message)
  }

  /**
   * Ends the worker's row and the thread. Resolves to the jobs that were given back; never rejects.
   *
   * `thenExit` is for a process with a handler that ignores its signal, and ends it. This thread then waits without turning its event
   * loop, so that from before the jobs go back until the process is gone not one line of a handler runs: a successor may start
   * within a few milliseconds.
   */
  async end(
    charge: EndCharge,
    reason: { code: string; message: string; shutdown: Record<string, unknown> },
    limitMs: number,
    thenExit?: () => void,
  ): Promise<{ released: readonly string[]; error: string | null }> {
    const ended = new Promise<{ released: readonly string[]; error: string | null }>((resolve) => {
      const before = this.#onMessage
      this.#onMessage = (message) => {
        before(message)
        if (message.type === 'ended') resolve(message)
      }
      void this.#exited.then(() => resolve({ released: [], error: 'the lifeline had ended' }))
    })
    this.send({ type: 'end', charge, reason, limitMs })
    if (thenExit !== undefined) {
      this.numbers.standStillFor('ended', limitMs + END_SLACK_MS)
      thenExit()
    }
    const answer = await ended
    return answer
  }

  async terminate(): Promise<void> {
    await this.#thread.terminate()
    await this.#exited
  }
}
