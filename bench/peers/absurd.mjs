/**
 * Absurd: its defaults, and the fastest of a sweep over its settings. Its schema is a file of its repository that the package on npm
 * does not carry: who has it names it in LEASEHOLD_BENCH_ABSURD_SQL, else Absurd is left out.
 */
import { readFileSync } from 'node:fs'
import { Absurd } from 'absurd-sdk'
import pg from 'pg'
import { watchQuery } from './watch-query.mjs'

export const source = 'absurd-sdk'
export const modes = {
  default: { concurrency: 1, claimTimeout: 120, pollInterval: 0.25 },
  fast: { concurrency: 100, batchSize: 100, claimTimeout: 120, pollInterval: 0.05 },
}

const QUEUE = 'noop'

function open({ databaseUrl, connections = 10 }) {
  const pool = new pg.Pool({ connectionString: databaseUrl, max: connections })
  pool.on('error', (error) => process.stderr.write(`${error.message}\n`))
  return { pool, absurd: new Absurd({ db: pool, queueName: QUEUE }) }
}

export async function setup(place) {
  const { pool, absurd } = open(place)
  await pool.query(readFileSync(process.env.LEASEHOLD_BENCH_ABSURD_SQL, 'utf8'))
  await absurd.createQueue(QUEUE)
  await pool.end()
}

export function openProducer({ callers, ...place }) {
  const { pool, absurd } = open({ ...place, connections: callers })
  return {
    one: (data) => absurd.spawn('noop', data, { queue: QUEUE }),
    many: null,
    close: () => pool.end(),
  }
}

export async function startWorker({ mode, concurrency, ...place }, onJob) {
  const { pool, absurd } = open(place)
  absurd.registerTask({ name: 'noop', queue: QUEUE }, async (params) => onJob(params))
  const worker = await absurd.startWorker({
    ...modes[mode],
    ...(concurrency === undefined ? {} : { concurrency, batchSize: concurrency }),
    onError: (error) => process.stderr.write(`${error.message}\n`),
  })
  return {
    stop: async () => {
      await worker.close()
      await pool.end()
    },
  }
}

export function openWatch({ databaseUrl }) {
  return watchQuery(
    databaseUrl,
    `select exists (select from absurd.t_${QUEUE} where state in ('pending', 'running', 'sleeping'))::int as left`,
  )
}
