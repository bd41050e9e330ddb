import { expect, it } from 'vitest'
import { cut, pad, plain, textWidth, wrap } from './text.ts'

const terminal = { isTerminal: true, color: true, unicode: true, redraws: true, width: 80 }

it('wide characters take two columns, colours and combining marks none', () => {
  expect(textWidth('日本')).toBe(4)
  expect(textWidth('🚀')).toBe(2)
  expect(textWidth('e\u0301')).toBe(1)
  expect(textWidth('\u001b[31mred\u001b[0m')).toBe(3)
})

it('text is cut at its end, never in the middle of a character or a colour', () => {
  expect(cut(terminal, 'abcdef', 6)).toBe('abcdef')
  expect(cut(terminal, 'abcdef', 5)).toBe('abcd…')
  expect(cut(terminal, 'abc def', 5)).toBe('abc…')
  expect(cut(terminal, '日本語', 4)).toBe('日…')
  expect(cut(terminal, 'abcdef', 0)).toBe('')
  expect(cut({ ...terminal, unicode: false }, 'abcdef', 5)).toBe('ab...')
  expect(cut({ ...terminal, unicode: false }, 'abcdef', 2)).toBe('..')
  expect(cut(terminal, '\u001b[31mabcdef\u001b[0m', 4)).toBe('\u001b[31mabc…\u001b[0m')
})

it('padding counts columns', () => {
  expect(pad('日', 4)).toBe('日  ')
  expect(pad('7', 3, 'right')).toBe('  7')
  expect(pad('long', 2)).toBe('long')
})

it('control characters of strangers become spaces', () => {
  expect(plain('a\tb\r\nc')).toBe('a b c')
  expect(plain('\u001b[2Jx\u0007\u202ey')).toBe('x y')
})

it('lines break at spaces and keep their own breaks', () => {
  expect(wrap('one two three\nfour', 8)).toEqual(['one two', 'three', 'four'])
  expect(wrap('unbreakable', 4)).toEqual(['unbreakable'])
  expect(wrap('as it is', Infinity)).toEqual(['as it is'])
})
