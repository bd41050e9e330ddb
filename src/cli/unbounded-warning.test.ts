import { expect, test } from 'vitest'
import { processFacts, type StartFacts, unboundedWarning } from './unbounded-warning.ts'

const aimed: StartFacts = {
  stdinIsTerminal: false,
  inBackground: true,
  parentGone: false,
  aimedAt: 'nightly',
  bounded: false,
}

test('an aimed worker in the background without a bound is warned of, with the ways out', () => {
  expect(unboundedWarning(aimed)).toContain('aimed at run nightly and has no bound')
  expect(unboundedWarning(aimed)).toContain('it runs in the background')
  expect(unboundedWarning(aimed)).toContain('--exit-when-idle')
  const orphan = { ...aimed, inBackground: false, parentGone: true }
  expect(unboundedWarning(orphan)).toContain('its parent has ended')
})

test.for([
  { bounded: true },
  { aimedAt: null },
  { stdinIsTerminal: true },
  { inBackground: false },
] satisfies Partial<StartFacts>[])('%o is nothing to warn of', (change) => {
  expect(unboundedWarning({ ...aimed, ...change })).toBeNull()
})

test('the facts are read from the system, whatever the process is called', () => {
  const stat = (parent: number, group: number, terminal: number, foreground: number): string =>
    `77 (a) name) (b) S ${parent} ${group} 70 ${terminal} ${foreground} 4194304 0`
  expect(processFacts(stat(42, 77, 34_816, 77))).toMatchObject({
    inBackground: false,
    parentGone: false,
  })
  expect(processFacts(stat(42, 77, 34_816, 42))).toMatchObject({ inBackground: true })
  // No terminal at all: a service.
  expect(processFacts(stat(1, 77, 0, -1))).toMatchObject({ inBackground: false, parentGone: true })
  expect(processFacts(null)).toMatchObject({ inBackground: false, parentGone: false })
  expect(typeof processFacts().inBackground).toBe('boolean')
})
