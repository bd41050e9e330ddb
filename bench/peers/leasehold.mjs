/**
 * Leasehold as the side-by-side benchmark runs it: only by what its package exports. LEASEHOLD_BENCH_API names the `index.js` of
 * another build.
 */
const api = process.env.LEASEHOLD_BENCH_API ?? '../../dist/index.js'
const { createClient, createWorker, defineJob, migrate } = await import(api)

export const modes = {
  default: { concurrency: 10 },
  fast: { concurrency: 100 },
}

const anything = { '~standard': { version: 1, vendor: 'bench', validate: (value) => ({ value }) } }

function job(run) {
  return defineJob({ type: 'bench.noop', input: anything, run })
}

const PRODUCED = job(() => undefined)

export async function setup({ databaseUrl }) {
  await migrate({ databaseUrl })
}

export function openProducer({ databaseUrl, callers }) {
  const client = createClient({ databaseUrl, connectionsMax: callers })
  return {
    one: (data) => client.enqueue(PRODUCED, data),
    many: (datas) => client.enqueueMany(PRODUCED, datas),
    close: () => client.close(),
  }
}

export async function startWorker({ databaseUrl, mode, concurrency }, onJob) {
  const worker = createWorker({
    databaseUrl,
    jobs: [job((ctx) => onJob(ctx.input))],
    ...modes[mode],
    ...(concurrency === undefined ? {} : { concurrency }),
  })
  await worker.start()
  return { stop: () => worker.stop({ graceMs: 0 }) }
}

/** Jobs that have not ended; a count of ours stops at 10,001. */
export function openWatch({ databaseUrl }) {
  const client = createClient({ databaseUrl, connectionsMax: 1 })
  return {
    left: async () => {
      const { jobs } = await client.stats()
      return jobs.pending + jobs.scheduled + jobs.retrying + jobs.running + jobs.lost + jobs.stalled
    },
    close: () => client.close(),
  }
}
