import { expect, test } from 'vitest'
import { ValueUnstorableError } from '../errors.ts'
import { storableJson } from './storable-json.ts'

const NUL = String.fromCharCode(0)
const HALF = String.fromCharCode(0xd83d)

test.each([
  ['a character beyond the first plane', '\u{1f680}'],
  ['a backslash and the text u0000', String.raw`\u0000`],
  ['two backslashes and the text u0000', String.raw`\\u0000`],
  ['a backslash and the text ud83d', String.raw`\ud83d`],
  ['other control characters', '\u0001\u001f\n'],
])('stores %s', (_, text) => {
  const json = storableJson({ text }, 'the result')
  expect(JSON.parse(json ?? '')).toEqual({ text })
})

test.each([
  ['NUL', NUL, 'NUL'],
  ['NUL behind a backslash', `\\${NUL}`, 'NUL'],
  ['half of a pair', `a${HALF}`, 'surrogate'],
  ['a second half', '\udc00', 'surrogate'],
])('refuses %s, in a value and in a name', (_, text, says) => {
  for (const value of [text, { [text]: 1 }, [['deep', { text }]]]) {
    expect(() => storableJson(value, 'the result')).toThrow(ValueUnstorableError)
    expect(() => storableJson(value, 'the result')).toThrow(says)
  }
})

test('says what is no JSON, and passes over what has none', () => {
  const round: { self?: unknown } = {}
  round.self = round
  expect(() => storableJson(round, 'the checkpoint')).toThrow(/^the checkpoint is not JSON/)
  expect(() => storableJson(1n, 'the checkpoint')).toThrow(/^the checkpoint is not JSON/)
  expect(storableJson(undefined, 'the checkpoint')).toBeNull()
})
