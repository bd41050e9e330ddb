import { describe, expect, it } from 'vitest'
import { createTerminal, paint } from './style.ts'

const tty = { isTTY: true, columns: 120 }
const pipe = { isTTY: false, columns: 0 }

describe('a terminal', () => {
  it('shows colour and marks, and redraws', () => {
    expect(createTerminal(tty, { TERM: 'xterm-256color', LANG: 'en_GB.UTF-8' })).toEqual({
      isTerminal: true,
      color: true,
      unicode: true,
      redraws: true,
      width: 120,
    })
  })
  it('has no colour and no redrawing with TERM=dumb', () => {
    const dumb = createTerminal(tty, { TERM: 'dumb' })
    expect([dumb.isTerminal, dumb.color, dumb.redraws]).toEqual([true, false, false])
  })
  it('re-reads the width', () => {
    const stream = { isTTY: true, columns: 80 }
    const terminal = createTerminal(stream, {})
    stream.columns = 40
    expect(terminal.width).toBe(40)
  })
  it.each([
    [{ LC_ALL: 'C', LANG: 'en_GB.UTF-8' }, false],
    [{ LC_CTYPE: 'C.utf8', LANG: 'C' }, true],
    [{ LANG: 'de_DE.ISO-8859-1' }, false],
    [{ LC_ALL: '', LANG: '' }, true],
    [{}, true],
  ])('knows from %j whether it shows UTF-8', (env, unicode) => {
    expect(createTerminal(tty, env).unicode).toBe(unicode)
  })
})

it('a pipe is 80 columns wide without colour', () => {
  const terminal = createTerminal(pipe, {})
  expect([terminal.isTerminal, terminal.color, terminal.width]).toEqual([false, false, 80])
})

it.each([
  [tty, { NO_COLOR: '1' }, false],
  [tty, { NO_COLOR: '' }, true],
  [tty, { FORCE_COLOR: '0' }, false],
  [tty, { FORCE_COLOR: '1', NO_COLOR: '1' }, true],
  [pipe, { FORCE_COLOR: '1' }, true],
  [pipe, { FORCE_COLOR: '', TERM: 'dumb' }, true],
])('colour on %j with %j is %s', (stream, env, color) => {
  expect(createTerminal(stream, env).color).toBe(color)
})

it('paint leaves text alone without colour', () => {
  expect(paint(createTerminal(pipe, {}), ['red'], 'x')).toBe('x')
  expect(paint(createTerminal(tty, {}), ['red', 'bold'], 'x')).toBe('\u001b[31;1mx\u001b[0m')
})
