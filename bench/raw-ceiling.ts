/**
 * What PostgreSQL could do at most for any queue on this machine: claim and delete rows of a narrow table, in batches of 100, on two
 * connections of one Node.js process with prepared statements, and nothing else. No queue with history, retries or fences reaches
 * it; it is the denominator that makes rates from different moments comparable. For enqueuing the same: rows into such a table, one a
 * statement from several connections, or many a statement; for a single claim how long it takes, and for what a job costs what a row does.
 */
import pg from 'pg'
import { parseDatabaseUrl, quoteIdentifier } from '../src/db/connect.ts'
import type { Place } from './server.ts'
import { monotonicMs } from '../src/clock.ts'

const BATCH = 100
const CONNECTIONS = 2

/** Where the narrow table is made. */
export type RawPlace = Pick<Place, 'databaseUrl' | 'schema' | 'rows'>

/** Rows claimed and deleted a second. */
export async function rawCeiling(place: RawPlace, rows: number): Promise<number> {
  const table = await makeFullTable(place, rows)
  return timed(place, CONNECTIONS, rows, (client) => work(client, table))
}

/** How long each of so many claims of `size` rows takes on one connection, in milliseconds. Nothing is deleted. */
export async function rawClaims(
  place: RawPlace,
  { claims, size }: { claims: number; size: number },
): Promise<number[]> {
  const table = await makeFullTable(place, claims * size)
  const tookMs: number[] = []
  await timed(place, 1, claims * size, async (client) => {
    for (let number = 0; number < claims; number += 1) {
      const calledMs = monotonicMs()
      const { length } = await claim(client, table, size)
      tookMs.push(monotonicMs() - calledMs)
      if (length !== size) throw new Error(`A claim of ${size} got ${length}.`)
    }
    return claims * size
  })
  return tookMs
}

/** What a row costs that is stored, so many a statement, then claimed and deleted. */
export async function rawCosts(
  place: RawPlace,
  rows: number,
  batch: number,
): Promise<{ walToStore: number; walToRun: number; statements: number }> {
  const table = await makeTable(place)
  await place.rows('checkpoint')
  const start = await walBytes(place)
  await timed(place, 1, rows, (client) => store(client, { table, rows, batch }))
  const stored = await walBytes(place)
  let statements = 0
  const sent = (): void => void (statements += 1)
  await timed(place, CONNECTIONS, rows, (client) => work(client, table, sent))
  const end = await walBytes(place)
  return {
    walToStore: (stored - start) / rows,
    walToRun: (end - stored) / rows,
    statements: statements / rows,
  }
}

async function walBytes(place: RawPlace): Promise<number> {
  const [{ bytes } = { bytes: Number.NaN }] = await place.rows<{ bytes: number }>(
    `select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::float8 as bytes`,
  )
  return bytes
}

/** Rows stored a second, one durable statement each, from so many connections. */
export async function rawInserts(
  place: RawPlace,
  rows: number,
  options: { connections: number; notify?: boolean },
): Promise<number> {
  const table = await makeTable(place)
  const { connections } = options
  const text = options.notify
    ? `with stored as (insert into ${table} (payload) values ($1) returning id)
       select pg_notify('raw_job', '') from stored`
    : `insert into ${table} (payload) values ($1) returning id`
  let started = 0
  return timed(place, connections, rows, async (client) => {
    let done = 0
    for (; started < rows; done += 1) {
      started += 1
      await client.query({ name: 'insert', text, values: ['{}'] })
    }
    return done
  })
}

/** Rows stored a second, so many a statement, on one connection. */
export async function rawBulk(place: RawPlace, rows: number, batch: number): Promise<number> {
  const table = await makeTable(place)
  return timed(place, 1, rows, (client) => store(client, { table, rows, batch }))
}

async function store(
  client: pg.Client,
  { table, rows, batch }: { table: string; rows: number; batch: number },
): Promise<number> {
  let done = 0
  while (done < rows) {
    const payloads = Array.from({ length: Math.min(batch, rows - done) }, () => '{}')
    await client.query({
      name: 'bulk',
      text: `insert into ${table} (payload) select unnest($1::text[])::jsonb returning id`,
      values: [payloads],
    })
    done += payloads.length
  }
  return done
}

/** With so many rows, its statistics fresh and all of it flushed. */
async function makeFullTable(place: RawPlace, rows: number): Promise<string> {
  const table = await makeTable(place)
  await place.rows(`insert into ${table} (payload) select '{}' from generate_series(1, $1)`, [rows])
  await place.rows(`analyze ${table}`)
  await place.rows('checkpoint')
  return table
}

async function makeTable(place: RawPlace): Promise<string> {
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
  return table
}

/** Rows a second of this work on so many connections, which together must have done all of them. */
async function timed(
  place: RawPlace,
  connections: number,
  rows: number,
  job: (client: pg.Client) => Promise<number>,
): Promise<number> {
  const { hosts, config } = parseDatabaseUrl(place.databaseUrl)
  const clients = Array.from(
    { length: connections },
    () => new pg.Client({ ...config, host: hosts[0]?.host, port: hosts[0]?.port }),
  )
  try {
    await Promise.all(clients.map((client) => client.connect()))
    const startedMs = monotonicMs()
    const done = await Promise.all(clients.map(job))
    const tookMs = monotonicMs() - startedMs
    const total = done.reduce((sum, count) => sum + count, 0)
    if (total !== rows) throw new Error(`${total} of ${rows} rows were done.`)
    return rows / (tookMs / 1_000)
  } finally {
    await Promise.all(clients.map((client) => client.end()))
  }
}

async function work(
  client: pg.Client,
  table: string,
  sent: () => void = () => undefined,
): Promise<number> {
  let done = 0
  for (;;) {
    const ids = await claim(client, table, BATCH)
    sent()
    if (ids.length === 0) return done
    await client.query({
      name: 'delete',
      text: `delete from ${table} where id = any($1)`,
      values: [ids],
    })
    sent()
    done += ids.length
  }
}

/** Ids of the rows that it got. */
async function claim(client: pg.Client, table: string, size: number): Promise<string[]> {
  const { rows } = await client.query<{ id: string }>({
    name: 'claim',
    text: `update ${table} set state = 1, attempts = attempts + 1, locked_at = now()
           where id = any(array(
             select id from ${table} where state = 0 and run_at <= now()
             order by run_at, id limit ${size} for update skip locked))
           returning id, payload`,
  })
  return rows.map(({ id }) => id)
}
