/**
 * pg-boss: its defaults, and the fastest of its own settings: large batches that are settled as one, fetched again at once, with
 * LISTEN on. Done jobs stay.
 */
import { PgBoss } from 'pg-boss'
import { watchQuery } from './watch-query.mjs'

export const modes = {
  default: { batchSize: 1, localConcurrency: 1, pollingIntervalSeconds: 2 },
  fast: {
    batchSize: 500,
    burstWhenBatchFull: true,
    localConcurrency: 2,
    pollingIntervalSeconds: 0.5,
    notify: true,
  },
}

const QUEUE = 'noop'

async function open({ databaseUrl, mode, connections }) {
  const boss = new PgBoss({
    connectionString: databaseUrl,
    ...(connections === undefined ? {} : { max: connections }),
    ...(modes[mode].notify === true ? { useListenNotify: true } : {}),
  })
  boss.on('error', (error) => process.stderr.write(`${error.message}\n`))
  await boss.start()
  return boss
}

export async function setup({ databaseUrl, mode }) {
  const boss = await open({ databaseUrl, mode })
  await boss.createQueue(QUEUE, modes[mode].notify === true ? { notify: true } : {})
  await boss.stop({ graceful: false })
}

export async function openProducer({ databaseUrl, mode, callers }) {
  const boss = await open({ databaseUrl, mode, connections: callers })
  return {
    one: (data) => boss.send(QUEUE, data),
    many: (datas) =>
      boss.insert(
        QUEUE,
        datas.map((data) => ({ data })),
      ),
    close: () => boss.stop({ graceful: false }),
  }
}

export async function startWorker({ databaseUrl, mode, concurrency }, onJob) {
  const boss = await open({ databaseUrl, mode })
  const { notify: _, ...options } = modes[mode]
  await boss.work(
    QUEUE,
    concurrency === undefined
      ? options
      : { ...options, batchSize: 1, localConcurrency: concurrency },
    async (jobs) => {
      const waits = []
      for (const { data } of jobs) {
        const wait = onJob(data)
        if (wait !== undefined) waits.push(wait)
      }
      await Promise.all(waits)
    },
  )
  return { stop: () => boss.stop({ graceful: false }) }
}

export function openWatch({ databaseUrl }) {
  return watchQuery(
    databaseUrl,
    `select exists (select from pgboss.job where name = '${QUEUE}' and state < 'completed')::int as left`,
  )
}
