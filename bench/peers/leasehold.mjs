/**
 * Leasehold as the side-by-side benchmark runs it: by what its package exports, and whether anything is left by a look at its table, as for
 * the others. LEASEHOLD_BENCH_API names the `index.js` of another build.
 */
import { watchQuery } from './watch-query.mjs'

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

export function openWatch({ databaseUrl }) {
  return watchQuery(databaseUrl, 'select exists (select from leasehold.job)::int as left')
}
