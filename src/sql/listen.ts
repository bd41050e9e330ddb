import type { Database } from '../db/connect.ts'
import { quoteIdentifier } from '../db/connect.ts'
import { channel } from './inspect.ts'

/**
 * Subscribes this connection to the hints of a namespace: that jobs may wait, or what workers are told. Needs a session of its own, not
 * one shared by a pooler.
 */
export async function listenTo(
  db: Database,
  namespace: string,
  about: 'pending' | 'workers',
): Promise<void> {
  const name = await channel(db, namespace)
  await db.query(`listen ${quoteIdentifier(about === 'pending' ? `${name}_pending` : name)}`, [])
}

/** The server process that answers on this connection (behind a pooler it is not the one that the start-up named), and its clock. */
export async function backendInfo(db: Database): Promise<{ pid: number; databaseMs: number }> {
  const { rows } = await db.query(
    'select pg_backend_pid() as pid, (extract(epoch from clock_timestamp()) * 1000)::double precision as ms',
    [],
  )
  return { pid: rows[0]?.['pid'] as number, databaseMs: rows[0]?.['ms'] as number }
}
