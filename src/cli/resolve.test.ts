import { expect, test } from 'vitest'
import { resolveSettings } from '../config.ts'
import { PROGRAM_WORDS } from './resolve.ts'

test('K4: settings are refused by the variables and flags that set them here', () => {
  const refused = { renewMs: 15_000, concurrency: 0, shutdownGraceMs: NaN }
  expect(() => resolveSettings(refused, PROGRAM_WORDS)).toThrow(
    expect.objectContaining({
      message: [
        'HEARTBEAT_INTERVAL is 15 s, but it can be at most a third of the lease (LEASE_DURATION 30 s, so 10 s). A lease must survive two missed renewals.',
        '--concurrency must be a whole number from 1 to 1000, got 0.',
        '--shutdown-grace must be a number of at least 0, got NaN.',
      ].join('\n'),
      hint: 'Set HEARTBEAT_INTERVAL=10, or LEASE_DURATION=45.',
    }),
  )
  expect(() => resolveSettings({ leaseMs: 3_000 }, PROGRAM_WORDS)).toThrow(
    'LEASE_DURATION is 3 s, but must be at least 6 s',
  )
})
