import type { Database } from '../db/connect.ts'
import { quoteIdentifier } from '../db/connect.ts'
import { channel } from './inspect.ts'

/** Subscribes this connection to the hints of a namespace. Needs a session of its own, not one shared by a pooler. */
export async function listenTo(db: Database, namespace: string): Promise<void> {
  await db.query(`listen ${quoteIdentifier(await channel(db, namespace))}`, [])
}
