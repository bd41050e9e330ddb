import { expect, it } from 'vitest'
import { BACKOFF_DEFAULTS } from '../domain/backoff.ts'
import { defineJob, type JobOptions } from './define-job.ts'
import type { StandardSchema } from './standard-schema.ts'

const input: StandardSchema = {
  '~standard': { version: 1, vendor: 'test', validate: (value) => ({ value }) },
}
const define = (options: Partial<JobOptions<unknown, unknown, unknown>>) =>
  defineJob({ type: 'job', input, run: () => null, ...options })

it.each([0, -1, 1.5, NaN, Infinity])('a grace of %s ms is none', (cancelGraceMs) => {
  expect(() => define({ cancelGraceMs })).toThrow(
    `defineJob("job"): \`cancelGraceMs\` must be a whole number from 50, got ${cancelGraceMs}.`,
  )
})

it('a grace that would be over before a handler is looked at is refused', () => {
  expect(() => define({ cancelGraceMs: 49 })).toThrow(
    'defineJob("job"): `cancelGraceMs` must be a whole number from 50, got 49.',
  )
  expect(define({ cancelGraceMs: 50 }).cancelGraceMs).toBe(50)
})

it('names everything that is wrong at once', () => {
  const wrong = { cancelGraceMs: 0, onDeaf: 'ignore', graceMs: 1 } as never
  expect(() => define(wrong)).toThrow(
    'defineJob("job"): `cancelGraceMs` must be a whole number from 50, got 0; `onDeaf` must be one of report, exit, got "ignore"; there is no option `graceMs`.',
  )
})

it.each([
  [{ queue: '' }, '`queue` must be a text that is not empty, got ""'],
  [{ maxAtempts: 1 }, 'there is no option `maxAtempts` (did you mean `maxAttempts`?)'],
  [{ onWorkerLost: 'retyr' }, 'got "retyr" (did you mean `retry`?)'],
  [{ concurrencyKey: '' }, '`concurrencyKey` must be a text that is not empty, or a function'],
  [
    { backoff: { baseMs: -1, foo: 1 } },
    '`backoff.baseMs` must be a number of milliseconds from 0, got -1; there is no option `backoff.foo`',
  ],
  [{ backoff: { factor: 0.5 } }, '`backoff.factor` must be a number from 1, got 0.5'],
  [{ backoff: 'slow' }, '`backoff` must be an object, got "slow"'],
  [{ run: undefined }, '`run` must be a function, got undefined'],
])('%j is refused', (wrong, message) => {
  expect(() => define(wrong as never)).toThrow(message)
})

it('an option that is undefined has its default', () => {
  const defined = define({ queue: undefined, backoff: { maxMs: undefined } } as never)
  expect(defined).toMatchObject({ queue: 'default', backoff: BACKOFF_DEFAULTS })
})

it.each([undefined, null, 'video.render'])('defineJob(%s) is wrong usage', (options) => {
  expect(() => defineJob(options as never)).toThrow('defineJob: options must be an object, got')
})
