/**
 * One process of one contestant: `node contestant.mjs NAME`. The benchmark asks over the channel of `fork`, one verb at a time, and
 * gets an answer or an error for each; what jobs do comes as events.
 *
 *     verbs   setup · produce · feed · probe · work · watch · memory · stop
 *     events  first {atMs} · handled {count} · started {n, latencyMs}
 *
 * Every adapter beside this file exports `modes` (its settings, printed beside the numbers), `setup`,
 * `openProducer` → `one, many | null, close`, `startWorker` → `stop` and `openWatch` → `left, close`. The loops are here, the same
 * for all. Times are read from the monotonic clock that all processes of a machine share.
 */
import { setTimeout as sleep } from 'node:timers/promises'

const TELL_EVERY_MS = 10

const adapter = await import(`./${process.argv[2]}.mjs`)
const opened = []
/** What the workers of this feed have done, as the benchmark hears it from them. */
let handledElsewhere = 0
let acknowledge = () => undefined

function nowMs() {
  return Number(process.hrtime.bigint()) / 1e6
}

const verbs = {
  setup: (place) => adapter.setup(place),

  /** Stores jobs: one a call from so many callers, or many a call, one call after the other. Ends early after `limitMs`. */
  async produce({
    place,
    kind,
    count,
    callers = 16,
    batch = 1_000,
    limitMs = Infinity,
    data = {},
  }) {
    const producer = await adapter.openProducer({ ...place, callers })
    // The first call of each caller opens its connection.
    const warmUp = kind === 'one' && count > 10 * callers ? callers : 0
    await inParallel(warmUp, () => producer.one(data))
    let stored = warmUp
    const startedMs = nowMs()
    const untilMs = startedMs + limitMs
    if (kind === 'many' && producer.many !== null) {
      while (stored < count && nowMs() < untilMs) {
        const next = Math.min(batch, count - stored)
        await producer.many(Array.from({ length: next }, () => data))
        stored += next
      }
    } else {
      await inParallel(callers, async () => {
        while (stored < count && nowMs() < untilMs) {
          stored += 1
          await producer.one(data)
        }
      })
    }
    const tookMs = nowMs() - startedMs
    await producer.close()
    return { count: stored, timed: stored - warmUp, tookMs, bulk: producer.many !== null }
  },

  /** Stores jobs until `stop`: so that `backlog` of them wait, or `rate` of them a second. */
  async feed({ place, backlog, rate, batch = 500, callers = 16 }) {
    const producer = await adapter.openProducer({ ...place, callers })
    const put = async (count) => {
      if (producer.many !== null) await producer.many(Array.from({ length: count }, () => ({})))
      else await inParallel(count, () => producer.one({}))
    }
    let fed = false
    const isFed = () => fed
    const done = (async () => {
      let stored = 0
      const startedMs = nowMs()
      while (!isFed()) {
        const wanted =
          rate === undefined
            ? handledElsewhere + backlog
            : Math.floor(((nowMs() - startedMs) / 1_000) * rate)
        if (wanted - stored < (rate === undefined ? batch : 1)) {
          await sleep(rate === undefined ? 1 : 10)
          continue
        }
        const count = Math.min(batch, wanted - stored)
        await put(count)
        stored += count
      }
    })()
    done.catch((error) => process.send({ event: 'broken', message: error.message }))
    opened.push({
      stop: async () => {
        fed = true
        await done
        await producer.close()
      },
    })
  },

  handled: ({ count }) => {
    handledElsewhere = count
  },

  /** Stores one job after the other, each once the one before has started. */
  async probe({ place, count, gapMs: [fromMs, toMs], limitMs }) {
    const producer = await adapter.openProducer({ ...place, callers: 1 })
    const untilMs = nowMs() + limitMs
    let n = 0
    while (n < count && nowMs() < untilMs) {
      await sleep(fromMs + Math.random() * (toMs - fromMs))
      n += 1
      const acknowledged = new Promise((resolve) => {
        acknowledge = resolve
      })
      await producer.one({ n, calledMs: nowMs() })
      await acknowledged
    }
    await producer.close()
    return { sent: n }
  },

  acknowledge: () => acknowledge(),

  /** Runs a worker until `stop`. */
  async work({ place, concurrency }) {
    let count = 0
    let told = 0
    const onJob = (data) => {
      if (data.calledMs !== undefined) {
        process.send({ event: 'started', n: data.n, latencyMs: nowMs() - data.calledMs })
        return undefined
      }
      if (count === 0) process.send({ event: 'first', atMs: nowMs() })
      count += 1
      return data.forMs === undefined ? undefined : sleep(data.forMs)
    }
    const telling = setInterval(() => {
      if (count === told) return
      told = count
      process.send({ event: 'handled', count })
    }, TELL_EVERY_MS)
    const worker = await adapter.startWorker({ ...place, concurrency }, onJob)
    opened.push({
      stop: async () => {
        clearInterval(telling)
        await worker.stop()
      },
    })
  },

  /** When the queue said that nothing of it is left. */
  async watch({ place, limitMs }) {
    const watch = await adapter.openWatch(place)
    try {
      for (const untilMs = nowMs() + limitMs; nowMs() < untilMs; await sleep(5)) {
        const left = await watch.left()
        const atMs = nowMs()
        if (left === 0) return { atMs }
      }
      throw new Error(`The queue is not empty ${limitMs / 1_000} s after the last job was handled.`)
    } finally {
      await watch.close()
    }
  },

  memory: () => ({ rssBytes: process.memoryUsage.rss() }),

  async stop() {
    await Promise.all(opened.splice(0).map((each) => each.stop()))
  },
}

async function inParallel(count, work) {
  await Promise.all(Array.from({ length: count }, work))
}

process.on('disconnect', () => process.exit())
process.on('message', ({ id, verb, args }) => void reply(id, verb, args))

async function reply(id, verb, args) {
  try {
    process.send({ id, answer: (await verbs[verb](args)) ?? null })
  } catch (error) {
    process.send({ id, error: error?.stack ?? String(error) })
  }
}

process.send({ event: 'ready', modes: adapter.modes })
