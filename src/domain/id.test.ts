import { expect, test } from 'vitest'
import { endingOf, isId, withoutId } from './id.ts'

const id = '0190a7f2-6a0e-7c3d-9b1e-0c5fb2a41c9e'

test('an id is a whole UUID, in either case', () => {
  expect([id, id.toUpperCase()].map(isId)).toEqual([true, true])
  expect(['', 'a41c9e', `${id}0`, `x-${id}`, id.replaceAll('-', '')].map(isId)).toEqual(
    Array(5).fill(false),
  )
})

test('an ending has 4 characters of an id or more, as typed or as shown', () => {
  expect(['a41c9e', '…A41C9E', '1c9e', id, '-9b1e-0c5fb2a41c9e'].map(endingOf)).toEqual([
    'a41c9e',
    'a41c9e',
    '1c9e',
    id,
    '-9b1e-0c5fb2a41c9e',
  ])
  expect(['', '…', 'c9e', 'nightly', `0${id}`, 'a41c9e '].map(endingOf)).toEqual(
    Array(6).fill(null),
  )
})

test('a worker is known by what stands before its id', () => {
  expect(withoutId(`render-b-2210-${id}`)).toBe('render-b-2210')
  expect(withoutId('render-b-2210')).toBe('render-b-2210')
})
