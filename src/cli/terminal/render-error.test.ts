import { expect, it } from 'vitest'
import { renderError, renderErrorJson } from './render-error.ts'

const terminal = { isTerminal: true, color: false, unicode: true, redraws: true, width: 120 }
const error = {
  message:
    'HEARTBEAT_INTERVAL is 15 s, but it can be at most a third of the lease (LEASE_DURATION 30 s, so 10 s). A lease must survive two missed renewals.',
  hint: 'Set HEARTBEAT_INTERVAL=10, or LEASE_DURATION=45.',
  code: 'ERR_CONFIG_UNSAFE',
  exitCode: 2,
  stack: 'Error: …\n    at somewhere',
}

it('an error is a block of 80 columns with the code last', () => {
  expect(`\n${renderError(terminal, error, {})}`).toMatchInlineSnapshot(`
    "
    error: HEARTBEAT_INTERVAL is 15 s, but it can be at most a third of the lease
           (LEASE_DURATION 30 s, so 10 s). A lease must survive two missed renewals.
           Set HEARTBEAT_INTERVAL=10, or LEASE_DURATION=45.
           (ERR_CONFIG_UNSAFE, exit 2)
    "
  `)
})

it('only the word error is coloured', () => {
  const { message, code, exitCode } = { ...error, message: 'no' }
  expect(renderError({ ...terminal, color: true }, { message, code, exitCode }, {})).toBe(
    '\u001b[31;1merror:\u001b[0m no\n       (ERR_CONFIG_UNSAFE, exit 2)\n',
  )
})

it('a pipe gets whole sentences', () => {
  const lines = renderError({ ...terminal, isTerminal: false }, error, {}).split('\n')
  expect(lines[0]).toBe(`error: ${error.message}`)
  expect(lines).toHaveLength(4)
})

it('the stack is shown at level debug only', () => {
  expect(renderError(terminal, error, {})).not.toContain('somewhere')
  expect(renderError(terminal, error, { LEASEHOLD_LOG_LEVEL: 'debug' })).toContain('at somewhere')
})

it('is one JSON document with --json', () => {
  expect(JSON.parse(renderErrorJson({ ...error, hint: undefined }))).toEqual({
    error: { code: error.code, message: error.message, hint: null },
  })
})
