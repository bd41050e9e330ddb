/**
 * What PostgreSQL could do at most for any queue on this machine: claim and delete rows of a narrow table, in batches of 100, on two
 * connections of one Node.js process with prepared statements, and nothing else. No queue with history, retries or fences reaches
 * it; it is the denominator that makes rates from different moments comparable.
 */
import pg from 'pg'
import { parseDatabaseUrl, quoteIdentifier } from '../src/db/connect.ts'
import type { Place } from './server.ts'
import { nowMs } from './reports.ts'

const BATCH = 100
const CONNECTIONS = 2

/** Rows claimed and deleted a second. */
export async function rawCeiling(place: Place, rows: number): Promise<number> {
  const { hosts, config } = parseDatabaseUrl(place.databaseUrl)
  const table = `${quoteIdentifier(place.schema)}.raw_job`
  await place.rows(
    `create table ${table} (
       id bigint generated always as identity primary key,
       state smallint not null default 0,
       attempts smallint not null default 0,
       run_at timestamptz not null default now(),
       locked_at timestamptz,
       payload jsonb)`,
  )
  await place.rows(`create index on ${table} (run_at, id) where state = 0`)
  await place.rows(`insert into ${table} (payload) select '{}' from generate_series(1, $1)`, [rows])
  await place.rows(`analyze ${table}`)
  await place.rows('checkpoint')
  const clients = Array.from(
    { length: CONNECTIONS },
    () => new pg.Client({ ...config, host: hosts[0]?.host, port: hosts[0]?.port }),
  )
  try {
    await Promise.all(clients.map((client) => client.connect()))
    const startedMs = nowMs()
    const done = await Promise.all(clients.map((client) => work(client, table)))
    const tookMs = nowMs() - startedMs
    const total = done.reduce((sum, count) => sum + count, 0)
    if (total !== rows) throw new Error(`${total} of ${rows} rows were claimed.`)
    return rows / (tookMs / 1_000)
  } finally {
    await Promise.all(clients.map((client) => client.end()))
  }
}

async function work(client: pg.Client, table: string): Promise<number> {
  let done = 0
  for (;;) {
    const { rows } = await client.query<{ id: string }>({
      name: 'claim',
      text: `update ${table} set state = 1, attempts = attempts + 1, locked_at = now()
             where id = any(array(
               select id from ${table} where state = 0 and run_at <= now()
               order by run_at, id limit ${BATCH} for update skip locked))
             returning id, payload`,
    })
    if (rows.length === 0) return done
    await client.query({
      name: 'delete',
      text: `delete from ${table} where id = any($1)`,
      values: [rows.map(({ id }) => id)],
    })
    done += rows.length
  }
}
