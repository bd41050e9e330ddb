// Replays what a region writes on a small screen, so that the tests say what a person would see.
import { EventEmitter } from 'node:events'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { createLiveRegion, type LiveRegion } from './live.ts'

class Host extends EventEmitter {
  pid = 4127
  killed: string[] = []
  kill(_pid: number, signal: string): void {
    this.killed.push(signal)
  }
}

/** Understands what a region writes: newlines, up, clear line, clear below, cursor on and off. */
class Screen extends EventEmitter {
  rows = 24
  columns = 80
  writes: string[] = []
  lines: string[] = ['']
  cursorVisible = true
  #row = 0

  write = (text: string): boolean => {
    this.writes.push(text)
    // oxlint-disable-next-line no-control-regex -- a control sequence begins with ESC
    for (const [part] of text.matchAll(/\u001b\[\??\d*[a-zA-Z]|\n|\r|[^\u001b\n\r]+/g))
      this.#take(part)
    return true
  }

  #take(part: string): void {
    // oxlint-disable-next-line no-control-regex -- a control sequence begins with ESC
    const move = /^\u001b\[(\d+)A$/.exec(part)
    if (part === '\n') {
      this.#row += 1
      this.lines[this.#row] ??= ''
    } else if (move) this.#row -= Number(move[1])
    else if (part === '\u001b[K') this.lines[this.#row] = ''
    else if (part === '\u001b[J') this.lines.splice(this.#row, Infinity, '')
    else if (part === '\u001b[?25l') this.cursorVisible = false
    else if (part === '\u001b[?25h') this.cursorVisible = true
    else if (!part.startsWith('\u001b') && part !== '\r') this.lines[this.#row] += part
  }
}

let screen: Screen
let host: Host
let region: LiveRegion

function open(redraws = true): void {
  const terminal = {
    isTerminal: redraws,
    color: false,
    unicode: true,
    redraws,
    get width() {
      return screen.columns
    },
  }
  region = createLiveRegion(terminal, screen, host)
}

beforeEach(() => {
  vi.useFakeTimers()
  screen = new Screen()
  host = new Host()
  open()
})
afterEach(() => {
  region.close()
  vi.useRealTimers()
})

it('appears after 500 ms', () => {
  region.update(['a'])
  vi.advanceTimersByTime(499)
  expect(screen.writes).toEqual([])
  vi.advanceTimersByTime(1)
  expect(screen.lines).toEqual(['a', ''])
  expect(screen.cursorVisible).toBe(false)
})

it('never flashes when the command was fast', () => {
  region.update(['a'])
  region.commit('done')
  region.close()
  vi.advanceTimersByTime(1000)
  expect(screen.writes).toEqual(['done\n'])
})

it('rewrites only the lines that changed, in one synchronized write', () => {
  region.update(['a', 'b', 'c'])
  vi.advanceTimersByTime(500)
  screen.writes = []
  region.update(['a', 'B', 'c'])
  vi.advanceTimersByTime(100)
  expect(screen.writes).toEqual(['\u001b[?2026h\u001b[3A\r\n\u001b[KB\n\n\u001b[?2026l'])
  expect(screen.lines).toEqual(['a', 'B', 'c', ''])
})

it('writes nothing when nothing changed', () => {
  region.update(['a'])
  vi.advanceTimersByTime(500)
  screen.writes = []
  region.update(['a'])
  vi.advanceTimersByTime(100)
  expect(screen.writes).toEqual([])
})

it('redraws at most 10 times a second and ends at the newest lines', () => {
  vi.advanceTimersByTime(500)
  screen.writes = []
  for (let step = 0; step < 100; step += 1) {
    region.update([`step ${step}`])
    vi.advanceTimersByTime(10)
  }
  expect(screen.writes.length).toBeLessThanOrEqual(10)
  vi.advanceTimersByTime(100)
  expect(screen.lines).toEqual(['step 99', ''])
})

it('grows and shrinks', () => {
  region.update(['a'])
  vi.advanceTimersByTime(500)
  region.update(['a', 'b', 'c'])
  vi.advanceTimersByTime(100)
  expect(screen.lines).toEqual(['a', 'b', 'c', ''])
  region.update(['c'])
  vi.advanceTimersByTime(100)
  expect(screen.lines).toEqual(['c', ''])
})

it('prints history above itself', () => {
  region.update(['live'])
  vi.advanceTimersByTime(500)
  region.commit('first')
  region.commit('second')
  expect(screen.lines).toEqual(['first', 'second', 'live', ''])
})

it('goes away, and its history stays', () => {
  region.update(['live'])
  vi.advanceTimersByTime(500)
  region.commit('history')
  region.close()
  expect(screen.lines).toEqual(['history', ''])
  expect(screen.cursorVisible).toBe(true)
})

it('cuts lines to the width and the region to the height', () => {
  screen.columns = 5
  screen.rows = 3
  region.update(['abcdefgh', 'b', 'c'])
  vi.advanceTimersByTime(500)
  expect(screen.lines).toEqual(['abcd…', 'b', ''])
})

it('clears what a resize has wrapped, once, 100 ms after its last event', () => {
  region.update(['x'.repeat(80)])
  vi.advanceTimersByTime(500)
  screen.writes = []
  screen.columns = 40
  for (let step = 0; step < 5; step += 1) {
    screen.emit('resize')
    vi.advanceTimersByTime(50)
  }
  expect(screen.writes).toEqual([])
  vi.advanceTimersByTime(50)
  expect(screen.writes).toHaveLength(1)
  expect(screen.writes[0]).toContain('\u001b[2A\r\u001b[J')
})

it('gives the cursor back when the process ends', () => {
  region.update(['live'])
  vi.advanceTimersByTime(500)
  host.emit('exit', 1)
  expect(screen.cursorVisible).toBe(true)
})

it('gives the cursor back at a signal and lets the signal end the process', () => {
  region.update(['live'])
  vi.advanceTimersByTime(500)
  host.emit('SIGTERM')
  expect(screen.cursorVisible).toBe(true)
  expect(host.killed).toEqual(['SIGTERM'])
})

it('leaves a signal to whoever else handles it, even only once', () => {
  host.once('SIGINT', () => region.commit('still running'))
  region.update(['live'])
  vi.advanceTimersByTime(500)
  host.emit('SIGINT')
  expect(host.killed).toEqual([])
  expect(screen.lines).toEqual(['still running', 'live', ''])
})

it('leaves no listener behind', () => {
  region.update(['live'])
  vi.advanceTimersByTime(500)
  region.close()
  expect([...host.eventNames(), ...screen.eventNames()]).toEqual([])
})

it('is lines only where nothing can be redrawn', () => {
  region.close()
  open(false)
  region.update(['live'])
  region.commit('history')
  vi.advanceTimersByTime(1000)
  region.close()
  expect(screen.writes).toEqual(['history\n'])
})
