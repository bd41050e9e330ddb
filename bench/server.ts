/**
 * The PostgreSQL that everything is measured on: DATABASE_URL when that is set, else an embedded server of the benchmark's own, in
 * `.leasehold/bench`, durable (fsync on) and stopped at the end, however that comes.
 *
 * Each measure works in a schema of its own, dropped before and after, so none inherits another's dead rows. On a server that is
 * not ours nothing but schemas called `bench_…` is touched.
 */
import path from 'node:path'
import type pg from 'pg'
import { connectOne, type Database, openDatabase } from '../src/db/connect.ts'
import { startEmbedded } from '../src/db/embedded.ts'
import { migrate } from '../src/db/migrate.ts'

const DATA_DIR = path.resolve(import.meta.dirname, '..', '.leasehold', 'bench')

const SETTINGS = { shared_buffers: '1GB', max_connections: '200' }

/** What decides how fast a server is, printed and kept with the results. */
const SETTINGS_SHOWN = [
  'fsync',
  'synchronous_commit',
  'full_page_writes',
  'shared_buffers',
  'max_connections',
  'max_wal_size',
  'jit',
]

export interface Server {
  readonly url: string
  readonly version: string
  /** Where it comes from, in words. */
  readonly origin: string
  readonly settings: Readonly<Record<string, string>>
  stop(): Promise<void>
}

export async function startServer(): Promise<Server> {
  const given = process.env['DATABASE_URL']
  if (given) {
    const origin = 'the server of DATABASE_URL'
    return { ...(await describe(given)), origin, url: given, stop: () => Promise.resolve() }
  }
  const server = await startEmbedded({
    dataDir: DATA_DIR,
    durable: true,
    onParentExit: 'stop',
    settings: SETTINGS,
  })
  if (server.attached)
    throw new Error(`Another benchmark runs on ${DATA_DIR}; two would measure each other.`)
  const origin = 'the embedded server of the benchmark'
  return { ...(await describe(server.url)), origin, url: server.url, stop: () => server.stop() }
}

async function describe(url: string): Promise<Pick<Server, 'version' | 'settings'>> {
  const client = await connectOne({ databaseUrl: url })
  try {
    const { rows } = await client.query<{ name: string; value: string }>(
      `select name, current_setting(name) as value from pg_settings
       where name = any($1) or name = 'server_version'`,
      [SETTINGS_SHOWN],
    )
    const all = new Map(rows.map(({ name, value }) => [name, value]))
    return {
      version: all.get('server_version') ?? 'unknown',
      settings: Object.fromEntries(SETTINGS_SHOWN.map((name) => [name, all.get(name) ?? '?'])),
    }
  } finally {
    await client.end()
  }
}

/** A fresh schema, and connections to look at it with. */
export interface Place {
  readonly databaseUrl: string
  readonly schema: string
  readonly db: Database
  /** Rows of one statement; `%s` stands for the quoted schema. */
  rows<Row extends pg.QueryResultRow>(text: string, values?: unknown[]): Promise<Row[]>
  /** Takes the schema away. */
  close(): Promise<void>
}

export async function openPlace(databaseUrl: string, name: string): Promise<Place> {
  const schema = `bench_${name.replaceAll('-', '_')}`
  const db = openDatabase({ databaseUrl, schema, applicationName: 'leasehold bench' })
  const drop = `drop schema if exists ${db.schema} cascade`
  await db.query(drop, [])
  await migrate({ databaseUrl, schema })
  const eyes = await connectOne({ databaseUrl, applicationName: 'leasehold bench' })
  return {
    databaseUrl,
    schema,
    db,
    rows: async <Row extends pg.QueryResultRow>(text: string, values: unknown[] = []) => {
      const { rows } = await eyes.query<Row>(text.replaceAll('%s', db.schema), values)
      return rows
    },
    close: async () => {
      await db.query(drop, [])
      await Promise.all([db.close(), eyes.end()])
    },
  }
}
