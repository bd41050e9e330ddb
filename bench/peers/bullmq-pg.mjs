/** BullMQ on its own PostgreSQL backend. */
import { createPostgresBackend, runMigrations, withBackend } from 'bullmq'
import pg from 'pg'
import { withClasses } from './bullmq-common.mjs'

export { modes } from './bullmq-common.mjs'

export async function setup({ databaseUrl }) {
  const client = new pg.Client({ connectionString: databaseUrl })
  await client.connect()
  await runMigrations(client)
  await client.end()
}

export const { openProducer, startWorker, openWatch } = withClasses(
  withBackend(createPostgresBackend),
  ({ databaseUrl, callers }) => ({ connectionString: databaseUrl, max: callers ?? 10 }),
)
