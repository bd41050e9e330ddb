/** OpenWorkflow: a run without steps is its nearest thing to a job. It has one setting of speed, and no call for many at once. */
import { OpenWorkflow } from 'openworkflow'
import { BackendPostgres } from 'openworkflow/postgres'
import postgres from 'postgres'
import { watchQuery } from './watch-query.mjs'

export const modes = {
  default: { concurrency: 1 },
  fast: { concurrency: 100 },
}

/** Its own pool has the ten connections of its driver; this is the same pool with as many as the others get. */
function open({ databaseUrl, callers = 10 }, onJob) {
  const pool = postgres(databaseUrl, {
    max: callers,
    transform: { column: { from: postgres.toCamel } },
  })
  const backend = BackendPostgres.fromPool(pool)
  const client = new OpenWorkflow({ backend })
  const noop = client.defineWorkflow({ name: 'noop' }, async ({ input }) => onJob(input))
  return { backend, client, noop }
}

export async function setup({ databaseUrl }) {
  const backend = await BackendPostgres.connect(databaseUrl)
  await backend.stop()
}

export function openProducer(place) {
  const { backend, noop } = open(place)
  return { one: (data) => noop.run(data), many: null, close: () => backend.stop() }
}

export async function startWorker({ mode, concurrency, ...place }, onJob) {
  const { backend, client } = open(place, onJob)
  const worker = client.newWorker({
    ...modes[mode],
    ...(concurrency === undefined ? {} : { concurrency }),
  })
  await worker.start()
  return {
    stop: async () => {
      await worker.stop()
      await backend.stop()
    },
  }
}

export function openWatch({ databaseUrl }) {
  return watchQuery(
    databaseUrl,
    `select exists (select from openworkflow.workflow_runs where status in ('pending', 'running'))::int as left`,
  )
}
