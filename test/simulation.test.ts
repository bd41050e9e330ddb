/**
 * Goal: the protocol holds under every kind of fault at once, and the checkers that say so can tell when it does not.
 *
 * Method: seeds of the simulation in `sim/`, on the real SQL in a schema of their own. A failing seed is shown with
 * `node --import tsx sim/main.ts --start SEED --seeds 1 --trace`, which prints all that happened.
 */
import { execFileSync } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openSimDatabase, type SimDatabase } from '../sim/database.ts'
import { simulate, type SimulateResult } from '../sim/simulate.ts'
import { VARIANTS } from '../sim/variants.ts'
import { testDatabaseUrl } from './support/database.ts'

const FIXED_SEEDS = Array.from({ length: 20 }, (_, index) => index + 1)
const TRACE_LINES = 80

/** Ample for a busy machine; the whole file takes well under a minute. */
const SLOW_MS = 120_000

describe('the protocol', () => {
  let database: SimDatabase

  beforeAll(async () => {
    database = await open('base')
  }, SLOW_MS)

  afterAll(async () => {
    await database.close({ keep: false })
  })

  test.for(FIXED_SEEDS)('holds in seed %i', { timeout: SLOW_MS }, async (seed) => {
    expectSound(await simulate({ seed, database }))
  })

  test(
    'holds in a random seed',
    async () => {
      const seed = randomInt(1_000, 2 ** 31)
      process.stderr.write(`simulation: random seed=${seed} commit=${commit()}\n`)
      expectSound(await simulate({ seed, database }))
    },
    SLOW_MS,
  )

  test(
    'is simulated the same way each time',
    async () => {
      const [first, second] = [
        await simulate({ seed: 7, database }),
        await simulate({ seed: 7, database }),
      ]
      expect(second.trace).toEqual(first.trace)
    },
    SLOW_MS,
  )
})

describe('a broken protocol is caught', () => {
  test.for(Object.entries(VARIANTS))('%s', { timeout: SLOW_MS }, async ([name, variant]) => {
    const database = await open(name, variant.replacements)
    const broken: string[] = []
    for (let seed = 1; seed <= variant.seedsMax && broken.length === 0; seed += 1) {
      const { violation } = await simulate({
        seed,
        database,
        faults: variant.faults,
        ...(variant.rules === undefined ? {} : { rules: variant.rules }),
      })
      if (violation !== null) broken.push(violation.rule)
    }
    await database.close({ keep: false })
    expect(broken, `${variant.what}: not caught in ${variant.seedsMax} seeds`).toHaveLength(1)
    expect(variant.caughtBy).toContain(broken[0])
  })
})

function open(
  name: string,
  replacements: Parameters<typeof openSimDatabase>[0]['replacements'] = [],
): Promise<SimDatabase> {
  const schemaName = `sim_${process.pid}_${name}`
  return openSimDatabase({ databaseUrl: testDatabaseUrl(), schemaName, replacements })
}

function expectSound(result: SimulateResult): void {
  if (result.violation === null) return
  expect.fail(
    [
      `seed=${result.seed} commit=${commit()}`,
      result.violation.message,
      result.setting,
      ...result.trace.slice(-TRACE_LINES),
    ].join('\n'),
  )
}

function commit(): string {
  try {
    return execFileSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8' }).trim()
  } catch {
    return 'unknown'
  }
}
