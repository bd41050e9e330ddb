import { expect, it } from 'vitest'
import { defineJob, type JobOptions } from './define-job.ts'
import type { StandardSchema } from './standard-schema.ts'

const input: StandardSchema = {
  '~standard': { version: 1, vendor: 'test', validate: (value) => ({ value }) },
}
const define = (options: Partial<JobOptions<unknown, unknown, unknown>>) =>
  defineJob({ type: 'job', input, run: () => null, ...options })

it.each([0, -1, 1.5, NaN, Infinity])('a grace of %s ms is none', (cancelGraceMs) => {
  expect(() => define({ cancelGraceMs })).toThrow(
    `defineJob("job"): \`cancelGraceMs\` must be a whole number from 1, got ${cancelGraceMs}.`,
  )
})

it('a grace that would be over before a handler is looked at is refused', () => {
  expect(() => define({ cancelGraceMs: 49 })).toThrow(
    'defineJob("job"): `cancelGraceMs` is 49 ms, but a handler is looked at every 50 ms only, so it must be at least that.',
  )
  expect(define({ cancelGraceMs: 50 }).cancelGraceMs).toBe(50)
})

it('names everything that is wrong at once', () => {
  const wrong = { cancelGraceMs: 0, onDeaf: 'ignore', graceMs: 1 } as never
  expect(() => define(wrong)).toThrow(
    'defineJob("job"): there is no option `graceMs`; `cancelGraceMs` must be a whole number from 1, got 0; `onDeaf` must be one of report, exit, got "ignore".',
  )
})
