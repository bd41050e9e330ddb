/** graphile-worker: its defaults, and the settings of its own performance test. It deletes a job that is done. */
import { Logger, makeWorkerUtils, run, runMigrations } from 'graphile-worker'
import { watchQuery } from './watch-query.mjs'

export const modes = {
  default: { concurrentJobs: 1, pollInterval: 2_000 },
  fast: {
    concurrentJobs: 24,
    maxPoolSize: 25,
    localQueue: { size: 500, refetchDelay: { durationMs: 10 } },
    completeJobBatchDelay: 0,
    failJobBatchDelay: 0,
  },
}

const logger = new Logger(() => (level, message, meta) => {
  if (level === 'error') process.stderr.write(`${message} ${JSON.stringify(meta)}\n`)
})

export async function setup({ databaseUrl }) {
  await runMigrations({ connectionString: databaseUrl, logger })
}

export async function openProducer({ databaseUrl, callers }) {
  const utils = await makeWorkerUtils({
    connectionString: databaseUrl,
    maxPoolSize: callers,
    logger,
  })
  return {
    one: (data) => utils.addJob('noop', data),
    many: (datas) => utils.addJobs(datas.map((payload) => ({ identifier: 'noop', payload }))),
    close: () => utils.release(),
  }
}

export async function startWorker({ databaseUrl, mode, concurrency }, onJob) {
  const { concurrentJobs, pollInterval, maxPoolSize, ...worker } = modes[mode]
  const runner = await run({
    taskList: { noop: async (payload) => onJob(payload) },
    noHandleSignals: true,
    preset: {
      worker: {
        connectionString: databaseUrl,
        concurrentJobs: concurrency ?? concurrentJobs,
        ...(pollInterval === undefined ? {} : { pollInterval }),
        ...(maxPoolSize === undefined ? {} : { maxPoolSize }),
        logger,
        ...worker,
      },
    },
  })
  return { stop: () => runner.stop() }
}

export function openWatch({ databaseUrl }) {
  return watchQuery(
    databaseUrl,
    'select exists (select from graphile_worker._private_jobs)::int as left',
  )
}
