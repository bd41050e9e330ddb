/** BullMQ on Redis. */
import { Queue, Worker } from 'bullmq'
import { withClasses } from './bullmq-common.mjs'

export { modes } from './bullmq-common.mjs'

function connect({ redisUrl }) {
  const { hostname, port } = new URL(redisUrl)
  return { host: hostname, port: Number(port), maxRetriesPerRequest: null }
}

/** Redis keeps nothing from before: the benchmark empties it. */
export function setup() {}

export const { openProducer, startWorker, openWatch } = withClasses({ Queue, Worker }, connect)
