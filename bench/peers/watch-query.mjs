/** Whether a peer's queue is empty, by one statement that answers `left`: its own tables, named beside its other settings. */
import pg from 'pg'

export async function watchQuery(connectionString, text) {
  const client = new pg.Client({ connectionString })
  await client.connect()
  return {
    left: async () => (await client.query(text)).rows[0].left,
    close: () => client.end(),
  }
}
