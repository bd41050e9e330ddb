/** What bare SQL reaches, each in a database of its own: the denominators. */
import { quantile } from '../figures.ts'
import {
  rawBulk,
  rawCeiling,
  rawClaims,
  rawCosts,
  rawInserts,
  type RawPlace,
} from '../raw-ceiling.ts'
import { type Arena, inDatabase } from './arena.ts'
import type { Reading } from './comparison.ts'

export const CLAIM = 'claim and delete of narrow rows, batches of 100'
export const INSERT = 'insert of one row, 16 callers'
export const UNNEST = 'insert … unnest, 1,000 rows a statement'
export const COST = 'a narrow row stored, claimed and deleted'

const CLAIM_SHARES = [0.5, 0.95] as const
/** What is read of what a job costs. */
export const COSTS = {
  walToStore: { what: 'WAL to enqueue in bulk', unit: 'bytes' },
  walToRun: { what: 'WAL to run', unit: 'bytes' },
  dead: { what: 'dead row versions', unit: 'rows' },
  statements: { what: 'statements sent to run', unit: 'statements' },
} as const

export const claimCeiling = (arena: Arena, rows: number): Promise<Reading[]> =>
  inRaw(arena, async (place) => rate(await rawCeiling(place, rows)))

/** Quantiles of claims of so many rows each. */
export const oneClaimCeiling = (
  arena: Arena,
  options: { claims: number; size: number },
): Promise<Reading[]> =>
  inRaw(arena, async (place) => claimReadings(await rawClaims(place, options)))

export function claimReadings(tookMs: readonly number[]): Reading[] {
  return CLAIM_SHARES.map((share) => ({
    what: `p${share * 100}`,
    unit: 'ms',
    value: quantile(tookMs, share),
  }))
}

/** A row that is updated and deleted leaves two dead versions. */
export const costCeiling = (arena: Arena, rows: number): Promise<Reading[]> =>
  inRaw(arena, async (place) => {
    const { walToStore, walToRun, statements } = await rawCosts(place, rows, 1_000)
    return [
      { ...COSTS.walToStore, value: walToStore },
      { ...COSTS.walToRun, value: walToRun },
      { ...COSTS.dead, value: 2 },
      { ...COSTS.statements, value: statements },
    ]
  })

export const insertCeiling = (
  arena: Arena,
  rows: number,
  options: { connections: number; notify?: boolean },
): Promise<Reading[]> => inRaw(arena, async (place) => rate(await rawInserts(place, rows, options)))

export const unnestCeiling = (arena: Arena, rows: number): Promise<Reading[]> =>
  inRaw(arena, async (place) => rate(await rawBulk(place, rows, 1_000)))

const rate = (value: number): Reading[] => [{ unit: 'jobs/s', value }]

function inRaw(arena: Arena, work: (place: RawPlace) => Promise<Reading[]>): Promise<Reading[]> {
  return inDatabase(arena, 'raw', (databaseUrl, eyes) =>
    work({
      databaseUrl,
      schema: 'public',
      rows: async (text, values = []) => (await eyes.query(text, values)).rows,
    }),
  )
}
