/**
 * No queue, but the least that one could do on PostgreSQL: a row is inserted with a notification, and whoever listens updates it, both
 * durably, before the work starts. Nothing is kept of what fails or dies. The ceiling for latencies, which watches no queue run empty.
 */
import pg from 'pg'

async function connect(connectionString) {
  const client = new pg.Client({ connectionString })
  client.on('error', () => undefined)
  await client.connect()
  return client
}

export const modes = { default: {}, fast: {} }

export async function setup({ databaseUrl }) {
  const client = await connect(databaseUrl)
  await client.query(
    'create table raw_job (id bigint generated always as identity primary key, taken_at timestamptz, payload jsonb)',
  )
  await client.query('create index on raw_job (id) where taken_at is null')
  await client.end()
}

export async function openProducer({ databaseUrl }) {
  const client = await connect(databaseUrl)
  return {
    one: (data) =>
      client.query({
        name: 'put',
        text: `with stored as (insert into raw_job (payload) values ($1) returning id)
               select pg_notify('raw_job', '') from stored`,
        values: [data],
      }),
    many: null,
    close: () => client.end(),
  }
}

export async function startWorker({ databaseUrl }, onJob) {
  const client = await connect(databaseUrl)
  const take = async () => {
    const { rows } = await client.query({
      name: 'take',
      text: `update raw_job set taken_at = now()
             where id = (select id from raw_job where taken_at is null order by id limit 1 for update skip locked)
             returning payload`,
    })
    for (const { payload } of rows) onJob(payload)
  }
  let turn = Promise.resolve()
  client.on('notification', () => {
    turn = turn.then(take)
  })
  await client.query('listen raw_job')
  return {
    stop: async () => {
      await turn
      await client.end()
    },
  }
}
