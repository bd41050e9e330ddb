import fc from 'fast-check'
import { expect, test } from 'vitest'
import { JOB_STATES } from './states.ts'
import { whySentence, type WhyFacts } from './why.ts'

const at = (second: number): string =>
  new Date(Date.UTC(2026, 10, 22, 10, 46, second)).toISOString()

const facts: WhyFacts = {
  status: 'pending',
  state: 'pending',
  type: 'video.transcode',
  queue: 'video',
  attempt: 1,
  failures: 0,
  maxAttempts: 3,
  runAt: at(0),
  startedAt: at(7),
  finishedAt: null,
  workerId: 'render-b-2210-e41f6b77-0000-4000-8000-000000000000',
  leaseLeftMs: 27_900,
  heartbeatAt: at(0),
  recoveryNotBefore: null,
  workerEndedAt: null,
  cancelRequestedAt: null,
  now: at(31),
  error: null,
  endReason: null,
  workersForType: { online: 1, draining: 0, lastSeenAt: at(30) },
}
const why = (change: Partial<WhyFacts>): string => whySentence({ ...facts, ...change })

test('F7: a waiting job says whether it waits for a slot or for a worker that is not there', () => {
  expect(why({})).toBe('Waits for a free slot.')
  expect(why({ workersForType: { online: 0, draining: 0, lastSeenAt: null } })).toBe(
    'Waits for a worker that runs video.transcode in queue video; there has been none.',
  )
  expect(why({ workersForType: { online: 0, draining: 0, lastSeenAt: at(1) } })).toBe(
    'Waits for a worker that runs video.transcode in queue video; none is online, the last was seen 30.0 s ago.',
  )
  expect(why({ workersForType: { online: 0, draining: 2, lastSeenAt: at(1) } })).toMatch(
    /draining and take no new jobs/,
  )
})

test('O3: an aimed job says what it waits for, when that was last seen, and what follows', () => {
  const aim = { online: false, lastSeenAt: at(1), ifOffline: 'wait', deadline: null }
  const target = 'machine:render-b'
  const none = { online: 0, draining: 0, lastSeenAt: null }
  expect(why({ target, aim, workersForType: none })).toBe(
    'Waits for machine render-b, which is offline, last seen 30.0 s ago.',
  )
  expect(why({ target, aim: { ...aim, lastSeenAt: null, deadline: at(50) } })).toBe(
    'Waits for machine render-b, which is offline, and has never been seen; it fails if it has not begun by 10:46:50 UTC.',
  )
  expect(why({ target, aim: { ...aim, ifOffline: 'fail' } })).toMatch(/the next sweep fails it\.$/)
  expect(why({ target, aim: { ...aim, ifOffline: 'any' } })).toMatch(/gives it to any worker\.$/)
  expect(
    why({ target: 'label:gpu', aim: { ...aim, online: true, ifOffline: 'any', deadline: at(50) } }),
  ).toBe(
    'Waits for a free slot on a worker with the label gpu; from 10:46:50 UTC on any worker may take it.',
  )
  expect(why({ target, aim: { ...aim, online: true }, workersForType: none })).toBe(
    'Waits for a worker on machine render-b that runs video.transcode in queue video.',
  )
  expect(why({ runEnded: 'error' })).toBe('Its run ended as error, and the next sweep cancels it.')
})

test('a running job names its worker and what is left of its lease', () => {
  expect(why({ state: 'running', status: 'running' })).toBe(
    'Running on render-b-2210 since 10:46:07 UTC; its lease holds for 27.9 s more.',
  )
})

test('a lost job says how long its worker has been silent and what comes next', () => {
  expect(why({ state: 'lost', status: 'running', leaseLeftMs: -1_000 })).toBe(
    'Lost: render-b-2210 has not renewed for 31.0 s, so its lease lapsed 1.0 s ago and the next sweep hands the job back.',
  )
  expect(
    why({ state: 'lost', status: 'running', leaseLeftMs: -1_000, cancelRequestedAt: at(2) }),
  ).toMatch(/ends it as cancelled/)
  expect(
    why({ state: 'lost', status: 'running', leaseLeftMs: -1_000, recoveryNotBefore: at(50) }),
  ).toMatch(/not judged before 10:46:50 UTC, and a sweep that lasts until then hands the job back/)
  expect(
    why({
      state: 'lost',
      status: 'running',
      leaseLeftMs: -1_000,
      recoveryNotBefore: at(50),
      databaseSilentSince: at(3),
    }),
  ).toMatch(
    /; nobody has written to the database since 10:46:03 UTC, so an outage can't be told from a dead worker, and a sweep that lasts until 10:46:50 UTC hands the job back\.$/,
  )
})

test('every state gives one sentence, whatever is missing', () => {
  const maybe = <T>(value: fc.Arbitrary<T>): fc.Arbitrary<T | null> =>
    fc.option(value, { nil: null })
  const time = maybe(fc.integer({ min: 0, max: 59 }).map(at))
  const change = fc.record({
    state: fc.constantFrom(...JOB_STATES),
    runAt: time,
    startedAt: time,
    finishedAt: time,
    heartbeatAt: time,
    recoveryNotBefore: time,
    workerEndedAt: time,
    cancelRequestedAt: time,
    workerId: maybe(fc.constant(facts.workerId)),
    leaseLeftMs: maybe(fc.integer()),
    error: maybe(fc.record({ message: maybe(fc.string()) })),
    endReason: maybe(
      fc.record({
        code: maybe(fc.constantFrom('poison', 'worker_lost', 'held')),
        message: maybe(fc.string()),
      }),
    ),
    workersForType: maybe(fc.record({ online: fc.nat(3), draining: fc.nat(3), lastSeenAt: time })),
  })
  fc.assert(
    fc.property(change, (given) => {
      const sentence = why(given)
      expect(sentence).toMatch(/^[A-Z].*\.$/s)
      expect(sentence).not.toMatch(/NaN/)
    }),
  )
})
