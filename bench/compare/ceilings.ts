/** What bare SQL reaches, each in a database of its own: the denominators. */
import { rawBulk, rawCeiling, rawInserts, type RawPlace } from '../raw-ceiling.ts'
import { type Arena, inDatabase } from './arena.ts'
import type { Reading } from './comparison.ts'

export const CLAIM = 'claim and delete of narrow rows, batches of 100'
export const INSERT = 'insert of one row, 16 callers'
export const UNNEST = 'insert … unnest, 1,000 rows a statement'

export const claimCeiling = (arena: Arena, rows: number): Promise<Reading[]> =>
  inRaw(arena, (place) => rawCeiling(place, rows))

export const insertCeiling = (
  arena: Arena,
  rows: number,
  options: { connections: number; notify?: boolean },
): Promise<Reading[]> => inRaw(arena, (place) => rawInserts(place, rows, options))

export const unnestCeiling = (arena: Arena, rows: number): Promise<Reading[]> =>
  inRaw(arena, (place) => rawBulk(place, rows, 1_000))

function inRaw(arena: Arena, work: (place: RawPlace) => Promise<number>): Promise<Reading[]> {
  return inDatabase(arena, 'raw', async (databaseUrl, eyes) => {
    const value = await work({
      databaseUrl,
      schema: 'public',
      rows: async (text, values = []) => (await eyes.query(text, values)).rows,
    })
    return [{ unit: 'jobs/s', value }]
  })
}
