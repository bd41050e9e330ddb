/**
 * BullMQ on either of its stores: its defaults (done jobs stay), and a concurrency from the middle of what its documents recommend,
 * done jobs removed.
 */
export const modes = {
  default: { concurrency: 1 },
  fast: { concurrency: 200, removeOnComplete: true },
}

const QUEUE = 'noop'

export function withClasses({ Queue, Worker }, connect) {
  const fail = (error) => process.stderr.write(`${error.message}\n`)
  const openQueue = (place) => {
    const queue = new Queue(QUEUE, { connection: connect(place) })
    queue.on('error', fail)
    return queue
  }
  return {
    openProducer: async (place) => {
      const queue = openQueue(place)
      await queue.waitUntilReady()
      return {
        one: (data) => queue.add('noop', data),
        many: (datas) => queue.addBulk(datas.map((data) => ({ name: 'noop', data }))),
        close: () => queue.close(),
      }
    },
    startWorker: async ({ concurrency, ...place }, onJob) => {
      const { removeOnComplete, ...options } = modes[place.mode]
      const worker = new Worker(QUEUE, async ({ data }) => onJob(data), {
        connection: connect(place),
        ...options,
        ...(removeOnComplete === true ? { removeOnComplete: { count: 0 } } : {}),
        ...(concurrency === undefined ? {} : { concurrency }),
      })
      worker.on('error', fail)
      await worker.waitUntilReady()
      return { stop: () => worker.close(true) }
    },
    openWatch: (place) => {
      const queue = openQueue(place)
      return {
        left: () => queue.getJobCountByTypes('waiting', 'active', 'delayed', 'prioritized'),
        close: () => queue.close(),
      }
    },
  }
}
