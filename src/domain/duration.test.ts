import fc from 'fast-check'
import { expect, test } from 'vitest'
import { parseDuration } from './duration.ts'

test('each unit is so many milliseconds', () => {
  expect(['250ms', '30s', '5m', '2h', '1d', '1.5s'].map(parseDuration)).toEqual([
    250, 30_000, 300_000, 7_200_000, 86_400_000, 1_500,
  ])
})

test('what has no unit, or is no number, is no duration', () => {
  expect(['30', '', 's', '-5s', '5 sec', '1e3s', '5S', 'Infinitys'].map(parseDuration)).toEqual(
    Array(8).fill(null),
  )
})

test('any whole number of any unit is read back exactly', () => {
  const units = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 }
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 100_000 }),
      fc.constantFrom('ms', 's', 'm', 'h', 'd' as const),
      (count, unit) => {
        expect(parseDuration(`${count}${unit}`)).toBe(count * units[unit])
      },
    ),
  )
})

test('no text makes it throw, or gives anything but a whole number or null', () => {
  fc.assert(
    fc.property(fc.string(), (text) => {
      const value = parseDuration(text)
      expect(value === null || Number.isSafeInteger(value)).toBe(true)
    }),
  )
})
