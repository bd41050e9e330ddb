/**
 * A few lines at the bottom of the terminal that change in place, with history printed above them.
 *
 *     waiting ── 500 ms ──▶ shown ── close ──▶ closed
 *        └──────────── close ─────────────────▶┘        fast commands never flash
 *
 * The cursor rests, hidden, in the line below the region. A redraw goes up, rewrites only the lines
 * that changed and comes back, between synchronized-output markers, at most 10 times a second. After a
 * resize the terminal has wrapped the old lines anew, so once it has settled for 100 ms they are
 * cleared by their new height and drawn again. The scroll-back is never cleared.
 *
 * The cursor comes back on every way out: `close`, the end of the process, a crash, and the signals
 * that end it. Not covered: SIGKILL and SIGSTOP, which no program sees.
 *
 * Without redrawing (a pipe, TERM=dumb) `update` does nothing and `commit` writes its line.
 */
import type { EventEmitter } from 'node:events'
import type { Terminal } from './style.ts'
import { cut, textWidth } from './text.ts'

/** Lines that change in place, below the history. */
export interface LiveRegion {
  /** Shows these lines instead of the previous ones. */
  update(lines: readonly string[]): void
  /** Prints one line of history above the region. */
  commit(line: string): void
  /** Ends the region: its lines are erased, its history stays. */
  close(): void
}

/** Where nothing is to be shown. */
export const NO_REGION: LiveRegion = {
  update: () => undefined,
  commit: () => undefined,
  close: () => undefined,
}

/** What of `process` a region listens to. */
export type LiveHost = Pick<
  EventEmitter,
  'once' | 'prependOnceListener' | 'off' | 'listenerCount'
> & {
  pid: number
  kill(pid: number, signal: string): unknown
}

/** What of an output stream a region uses. */
export type LiveStream = Pick<EventEmitter, 'on' | 'off'> & {
  rows?: number
  write(text: string): unknown
}

const APPEAR_AFTER_MS = 500
const REDRAW_EVERY_MS = 100
const RESIZE_SETTLES_MS = 100
const ENDING_SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const

const BEGIN_SYNC = '\u001b[?2026h'
const END_SYNC = '\u001b[?2026l'
const HIDE_CURSOR = '\u001b[?25l'
const SHOW_CURSOR = '\u001b[?25h'
const CLEAR_LINE = '\u001b[K'
const CLEAR_BELOW = '\u001b[J'
const up = (rows: number): string => (rows > 0 ? `\u001b[${rows}A\r` : '\r')

/** Opens a region at the bottom of `stream`. `host` is the process whose ends restore the cursor. */
export function createLiveRegion(
  terminal: Terminal,
  stream: LiveStream,
  host: LiveHost = process,
): LiveRegion {
  if (!terminal.redraws)
    return {
      update: () => undefined,
      commit: (line) => void stream.write(`${line}\n`),
      close: () => undefined,
    }
  return new DrawnRegion(terminal, stream, host)
}

class DrawnRegion implements LiveRegion {
  readonly #terminal: Terminal
  readonly #stream: LiveStream
  readonly #host: LiveHost
  readonly #signalHandlers: ReadonlyMap<string, () => void>
  #state: 'waiting' | 'shown' | 'closed' = 'waiting'
  #wanted: readonly string[] = []
  #drawn: readonly string[] = []
  #drawnWidth = 0
  #drawnAtMs = -Infinity
  #timer: NodeJS.Timeout | undefined

  constructor(terminal: Terminal, stream: LiveStream, host: LiveHost) {
    this.#terminal = terminal
    this.#stream = stream
    this.#host = host
    this.#signalHandlers = new Map(
      ENDING_SIGNALS.map((signal) => [signal, () => this.#onSignal(signal)]),
    )
    this.#schedule(APPEAR_AFTER_MS)
  }

  update(lines: readonly string[]): void {
    this.#wanted = lines
    if (this.#state === 'shown')
      this.#schedule(Math.max(0, this.#drawnAtMs + REDRAW_EVERY_MS - Date.now()))
  }

  commit(line: string): void {
    const text = `${line}\n`
    this.#stream.write(this.#state === 'shown' ? this.#frame(text) : text)
  }

  close(): void {
    if (this.#state === 'closed') return
    clearTimeout(this.#timer)
    if (this.#state === 'shown')
      this.#stream.write(BEGIN_SYNC + up(this.#drawnRows()) + CLEAR_BELOW + END_SYNC)
    this.#restore()
    this.#state = 'closed'
  }

  #schedule(delayMs: number): void {
    if (this.#state === 'closed' || this.#timer !== undefined) return
    this.#timer = setTimeout(() => {
      this.#timer = undefined
      this.#draw()
    }, delayMs)
    // A region keeps no process alive; what it shows does.
    this.#timer.unref()
  }

  #draw(): void {
    if (this.#state === 'waiting') this.#show()
    const frame = this.#frame('')
    if (frame !== '') this.#stream.write(frame)
    this.#drawnAtMs = Date.now()
  }

  #show(): void {
    this.#state = 'shown'
    this.#stream.write(HIDE_CURSOR)
    this.#stream.on('resize', this.#onResize)
    this.#host.once('exit', this.#onExit)
    for (const [signal, handler] of this.#signalHandlers) {
      // Ahead of the others, so that one registered with `once` still counts when ours asks.
      this.#host.prependOnceListener(signal, handler)
    }
  }

  /** What turns the drawn lines into the wanted ones, with `history` above them; '' if nothing changed. */
  #frame(history: string): string {
    const { width } = this.#terminal
    // A region taller than the screen could not be reached by going up.
    const rowsMax = Math.max(1, (this.#stream.rows || 24) - 1)
    const next = this.#wanted.slice(0, rowsMax).map((line) => cut(this.#terminal, line, width))
    const afresh = history !== '' || width !== this.#drawnWidth
    const top = up(this.#drawnRows())
    let body = afresh ? CLEAR_BELOW + history : ''
    for (const [index, line] of next.entries())
      body += !afresh && this.#drawn[index] === line ? '\n' : `${CLEAR_LINE}${line}\n`
    if (!afresh && next.length < this.#drawn.length) body += CLEAR_BELOW
    const unchanged =
      !afresh &&
      next.length === this.#drawn.length &&
      next.every((line, index) => line === this.#drawn[index])
    this.#drawn = next
    this.#drawnWidth = width
    return unchanged ? '' : BEGIN_SYNC + top + body + END_SYNC
  }

  /** Rows that the drawn lines take at the present width. */
  #drawnRows(): number {
    const { width } = this.#terminal
    return this.#drawn.reduce(
      (sum, line) => sum + Math.max(1, Math.ceil(textWidth(line) / width)),
      0,
    )
  }

  readonly #onResize = (): void => {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#schedule(RESIZE_SETTLES_MS)
  }

  readonly #onExit = (): void => {
    this.#stream.write(SHOW_CURSOR)
  }

  /** Ends the process the way the signal would have, unless somebody else decides what it means. */
  #onSignal(signal: string): void {
    this.#stream.write(SHOW_CURSOR)
    if (this.#host.listenerCount(signal) > 0) return
    this.#restore()
    this.#state = 'closed'
    this.#host.kill(this.#host.pid, signal)
  }

  #restore(): void {
    if (this.#state !== 'shown') return
    this.#stream.write(SHOW_CURSOR)
    this.#stream.off('resize', this.#onResize)
    this.#host.off('exit', this.#onExit)
    for (const [signal, handler] of this.#signalHandlers) this.#host.off(signal, handler)
  }
}
