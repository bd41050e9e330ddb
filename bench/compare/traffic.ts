/** What the server's own statistics say that a contestant has written, whatever its tables are called. */
import { sleep } from '../../src/clock.ts'
import type { Round } from './arena.ts'

export interface Written {
  readonly inserted: number
  readonly updated: number
  /** Updates that touched no index. */
  readonly hot: number
  readonly deleted: number
  readonly commits: number
  readonly walBytes: number
}

const GONE_MS_MAX = 10_000

/** @param table Of it alone; of all when it is not given. */
export async function written(round: Round, table: string | null = null): Promise<Written> {
  const [seen] = await round.rows<Written>(
    `select coalesce(sum(n_tup_ins), 0)::float8 as inserted,
            coalesce(sum(n_tup_upd), 0)::float8 as updated,
            coalesce(sum(n_tup_hot_upd), 0)::float8 as hot,
            coalesce(sum(n_tup_del), 0)::float8 as deleted,
            (select xact_commit from pg_stat_database where datname = current_database())::float8 as commits,
            pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::float8 as "walBytes"
     from pg_stat_user_tables
     where $1::text is null or relid = to_regclass($1)`,
    [table],
  )
  if (seen === undefined) throw new Error('The server has no statistics.')
  return seen
}

/** When every other connection is gone: only then has each told all that it did. */
export async function alone(round: Round): Promise<void> {
  for (let waitedMs = 0; waitedMs < GONE_MS_MAX; waitedMs += 50) {
    const [{ others } = { others: 0 }] = await round.rows<{ others: number }>(
      `select count(*)::int as others from pg_stat_activity
       where datname = current_database() and backend_type = 'client backend' and pid <> pg_backend_pid()`,
    )
    if (others === 0) return
    await sleep(50)
  }
  throw new Error('Connections of processes that were ended are still there.')
}

export function difference(from: Written, to: Written): Written {
  return {
    inserted: to.inserted - from.inserted,
    updated: to.updated - from.updated,
    hot: to.hot - from.hot,
    deleted: to.deleted - from.deleted,
    commits: to.commits - from.commits,
    walBytes: to.walBytes - from.walBytes,
  }
}
