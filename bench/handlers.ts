/**
 * The jobs of the benchmark, as `leasehold worker bench/handlers.ts` loads them. Each tells when it started before it does anything.
 *
 *     hold     attempt 1 runs until it is aborted (a deaf one for ever); a later attempt returns at once
 *     instant  returns at once
 *     noop     the same, and only the first of a process tells
 *     block    keeps the event loop busy for so long, then returns
 *     freeze   attempt 1 waits to be frozen, and tries every kind of write once it goes on; a later attempt runs until it may end
 */
import { existsSync } from 'node:fs'
import { defineJob } from '../src/client/define-job.ts'
import type { StandardSchema } from '../src/client/standard-schema.ts'
import type { JobContext } from '../src/client/job-context.ts'
import { monotonicMs } from '../src/clock.ts'
import { report } from './reports.ts'

/** A schema of one test: the inputs come from the benchmark itself. */
function fits<Input>(is: (value: unknown) => value is Input): StandardSchema<Input> {
  const validate: StandardSchema<Input>['~standard']['validate'] = (value) =>
    is(value) ? { value } : { issues: [{ message: 'not what the benchmark sends' }] }
  return { '~standard': { version: 1, vendor: 'bench', validate } }
}

const isNull = (value: unknown): value is null => value === null

function tellStart(ctx: JobContext): void {
  const atMs = monotonicMs()
  report({ event: 'started', atMs, job: ctx.jobId, attempt: ctx.attempt })
}

export const hold = defineJob({
  type: 'bench.hold',
  input: fits((value): value is { deaf?: boolean } => typeof value === 'object'),
  run: (ctx) => {
    tellStart(ctx)
    if (ctx.attempt > 1) return Promise.resolve()
    const { signal, jobId: job, attempt } = ctx
    return new Promise<void>((_, reject) => {
      // A pending promise alone keeps no process alive, and this one is to stay.
      const alive = setInterval(() => undefined, 60_000)
      signal.addEventListener('abort', () => {
        const atMs = monotonicMs()
        report({ event: 'told', atMs, job, attempt, reason: codeOf(signal.reason) })
        if (ctx.input.deaf === true) return
        clearInterval(alive)
        reject(signal.reason)
      })
    })
  },
})

export const instant = defineJob({
  type: 'bench.instant',
  input: fits(isNull),
  run: tellStart,
})

let told = false

export const noop = defineJob({
  type: 'bench.noop',
  input: fits(isNull),
  run: (ctx) => {
    if (!told) tellStart(ctx)
    told = true
  },
})

export const block = defineJob({
  type: 'bench.block',
  input: fits(
    (value): value is { forMs: number } => Number(Reflect.get(Object(value), 'forMs')) > 0,
  ),
  run: (ctx) => {
    tellStart(ctx)
    const untilMs = monotonicMs() + ctx.input.forMs
    while (monotonicMs() < untilMs);
  },
})

/** Far longer than any pause of a busy machine, far shorter than the freeze. */
const FROZEN_MS = 3_000
const LOOK_EVERY_MS = 50

export const freeze = defineJob({
  type: 'bench.freeze',
  input: fits(
    (value): value is { finish: string } =>
      typeof Reflect.get(Object(value), 'finish') === 'string',
  ),
  run: async (ctx) => {
    // One reading after the other, from before the start is told: no freeze falls between two of them unseen.
    let lastMs = monotonicMs()
    tellStart(ctx)
    for (let frozen = false; !frozen;) {
      await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS))
      const readMs = monotonicMs()
      frozen = readMs - lastMs >= FROZEN_MS
      lastMs = readMs
      if (ctx.attempt > 1 && existsSync(ctx.input.finish)) return { from: 'the successor' }
    }
    const atMs = monotonicMs()
    const { signal } = ctx
    const toldFirst = signal.aborted && codeOf(signal.reason) === 'lease_lost'
    const writes = {
      checkpoint: await attempted(() => ctx.checkpoint({ late: true })),
      progress: await attempted(() => ctx.progress(1, 2, 'late')),
      log: await attempted(() => ctx.log.info('late')),
      enqueue: await attempted(() => ctx.enqueue(instant, null)),
    }
    const { jobId: job, attempt } = ctx
    report({ event: 'thawed', atMs, job, attempt, toldFirst, writes })
    return { from: 'the frozen one' }
  },
})

/** `accepted`, or the code of the error that refused it. */
async function attempted(write: () => unknown): Promise<string> {
  try {
    await write()
    return 'accepted'
  } catch (error) {
    return codeOf(error)
  }
}

/** The code of an error, else the error in words. */
function codeOf(error: unknown): string {
  const code: unknown = error instanceof Error && 'code' in error ? error.code : null
  return typeof code === 'string' ? code : String(error)
}
