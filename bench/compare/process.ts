/**
 * A process of a contestant, `bench/peers/contestant.mjs`, spoken to over the channel of Node.js: one answer for each call, events
 * in between. It ends with the benchmark, however that ends, because it ends with the channel.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import path from 'node:path'
import { cleanEnvironment } from '../environment.ts'
import { Feed } from '../feed.ts'

const PROGRAM = path.resolve(import.meta.dirname, '..', 'peers', 'contestant.mjs')
/** Longer than any call of a sound contestant takes beyond the limit that it was given. */
const CALL_MS_MAX = 120_000
const LAST_LINES = 12

export type Settings = Readonly<Record<string, unknown>>

export type PeerEvent =
  | { readonly event: 'ready'; readonly modes: Readonly<Record<string, Settings>> }
  | { readonly event: 'first'; readonly atMs: number }
  | { readonly event: 'started'; readonly n: number; readonly latencyMs: number }
  | { readonly event: 'handled'; readonly count: number }
  | { readonly event: 'broken'; readonly message: string }

interface Answer {
  readonly id: number
  readonly answer?: unknown
  readonly error?: string
}

/** What each verb answers. */
export interface Answers {
  setup: null
  produce: { count: number; timed: number; tookMs: number; bulk: boolean }
  feed: null
  handled: null
  probe: { sent: number }
  acknowledge: null
  work: null
  watch: { atMs: number }
  memory: { rssBytes: number }
  stop: null
}

export class PeerProcess {
  readonly events = new Feed<PeerEvent>()
  /** Handlers that have been called in this process. */
  handled = 0
  readonly #child: ChildProcess
  readonly #waiting = new Map<number, (answer: Answer) => void>()
  readonly #said: string[] = []
  readonly #name: string
  readonly #onEvent: (event: PeerEvent) => void
  #calls = 0

  constructor(
    name: string,
    options: { env?: NodeJS.ProcessEnv; onEvent: (event: PeerEvent) => void },
  ) {
    this.#name = name
    this.#onEvent = options.onEvent
    this.#child = spawn(process.execPath, [PROGRAM, name], {
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
      env: { ...cleanEnvironment(), ...options.env },
    })
    this.#child.stdout?.on('data', (text) => this.#hear(String(text)))
    this.#child.stderr?.on('data', (text) => this.#hear(String(text)))
    this.#child.on('message', (message) => this.#take(message as PeerEvent | Answer))
    this.#child.once('exit', (code, signal) => {
      this.#abandon(`The process of ${name} has ended (${signal ?? `status ${code}`}).`)
    })
    // One that can't be started or reached is its own failure, and not the end of the benchmark.
    this.#child.on('error', ({ message }) => this.#abandon(message))
  }

  get pid(): number {
    return this.#child.pid ?? 0
  }

  /** Its settings for each mode, once it has loaded. */
  async ready(): Promise<Readonly<Record<string, Settings>>> {
    const ended = new Promise<never>((_, reject) => {
      for (const event of ['exit', 'error'])
        this.#child.once(event, () => reject(this.#failure('It did not start.')))
    })
    const loaded = this.events.first(`${this.#name} to load`, ({ event }) => event === 'ready')
    const event = await Promise.race([loaded, ended])
    return event.event === 'ready' ? event.modes : {}
  }

  async call<Verb extends keyof Answers>(
    verb: Verb,
    args: object = {},
    limitMs: number = CALL_MS_MAX,
  ): Promise<Answers[Verb]> {
    this.#calls += 1
    const id = this.#calls
    const answer = await new Promise<Answer>((resolve) => {
      const timer = setTimeout(
        () => resolve({ id, error: `${verb} of ${this.#name} took more than ${limitMs} ms.` }),
        limitMs,
      )
      this.#waiting.set(id, (settled) => {
        clearTimeout(timer)
        resolve(settled)
      })
      this.#child.send({ id, verb, args }, (error) => {
        if (error !== null) this.#waiting.get(id)?.({ id, error: error.message })
      })
    })
    this.#waiting.delete(id)
    if (answer.error !== undefined) throw this.#failure(answer.error)
    return answer.answer as Answers[Verb]
  }

  /** Tells without waiting for an answer: for what is told often. Who is gone need not hear it. */
  tell(verb: keyof Answers, args: object = {}): void {
    if (this.#child.connected) this.#child.send({ id: 0, verb, args }, () => undefined)
  }

  async kill(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const exited = new Promise<void>((resolve) => {
      this.#child.once('exit', () => resolve())
    })
    this.#child.kill('SIGKILL')
    await exited
  }

  #take(message: PeerEvent | Answer): void {
    if ('id' in message) {
      this.#waiting.get(message.id)?.(message)
      return
    }
    if (message.event === 'handled') this.handled = message.count
    else this.events.push(message)
    this.#onEvent(message)
  }

  #abandon(error: string): void {
    for (const [id, settle] of this.#waiting) settle({ id, error })
  }

  #hear(text: string): void {
    this.#said.push(...text.trimEnd().split('\n'))
    this.#said.splice(0, Math.max(0, this.#said.length - LAST_LINES))
  }

  #failure(what: string): Error {
    return new Error([what, ...this.#said].join('\n'))
  }
}
