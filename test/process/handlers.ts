/**
 * Handlers for the process tests: each misbehaves in one way. They write what they do to a journal, one line in one synchronous
 * write, which a killed process can't take back and which keeps the order across processes.
 */
import { appendFileSync, existsSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { defineJob } from '../../src/client/define-job.ts'
import type { StandardSchema } from '../../src/client/standard-schema.ts'
import type { JobContext } from '../../src/client/job-context.ts'

const JOURNAL = process.env['TEST_JOURNAL'] ?? ''

function shape<T>(): StandardSchema<T> {
  return {
    '~standard': { version: 1, vendor: 'test', validate: (value) => ({ value: value as T }) },
  }
}

function note(ctx: JobContext, what: string): void {
  const line = { jobId: ctx.jobId, attempt: ctx.attempt, pid: process.pid, atMs: Date.now(), what }
  appendFileSync(JOURNAL, `${JSON.stringify(line)}\n`)
}

function reasonOf(signal: AbortSignal): string {
  return (signal.reason as { code: string }).code
}

/** Resolves after the time; when the signal comes first, notes it and throws it on. */
async function pause(ctx: JobContext, ms: number): Promise<void> {
  try {
    await delay(ms, undefined, { signal: ctx.signal })
  } catch {
    note(ctx, `aborted ${reasonOf(ctx.signal)}`)
    throw ctx.signal.reason
  }
}

async function gate(ctx: JobContext, file: string): Promise<void> {
  while (!existsSync(file)) await pause(ctx, 20)
}

/** Works for so long, and stops when it is told to. */
export const sleep = defineJob({
  type: 'sleep',
  input: shape<{ ms: number }>(),
  async run(ctx) {
    note(ctx, 'start')
    await pause(ctx, ctx.input.ms)
    note(ctx, 'end')
    return { pid: process.pid }
  },
})

/** Works until a file appears, and stops when it is told to. */
const untilGate = {
  input: shape<{ gate: string }>(),
  async run(ctx: JobContext<{ gate: string }>) {
    note(ctx, 'start')
    await gate(ctx, ctx.input.gate)
    note(ctx, 'end')
    return { attempt: ctx.attempt }
  },
}
export const wait = defineJob({ type: 'wait', ...untilGate })
export const waitUnlessDown = defineJob({
  type: 'wait.unless_down',
  onOutage: 'abort',
  ...untilGate,
})
export const waitOrFail = defineJob({ type: 'wait.or_fail', onWorkerLost: 'fail', ...untilGate })
export const waitOrHold = defineJob({ type: 'wait.or_hold', onWorkerLost: 'hold', ...untilGate })
export const waitInTime = defineJob({
  type: 'wait.in_time',
  timeoutMs: 1_000,
  maxAttempts: 1,
  ...untilGate,
})

/** Spends without a pause, until it is told to stop. */
export const spend = defineJob({
  type: 'spend',
  input: shape<{ tokens: number }>(),
  maxAttempts: 1,
  async run(ctx) {
    note(ctx, 'start')
    for (;;) {
      await ctx.cost({ tokens: ctx.input.tokens })
      note(ctx, 'spent')
      await pause(ctx, 20)
    }
  },
})

/** The same, and says all the while how far it has come: by progress, then by checkpoints, in turn. */
export const ticking = defineJob({
  type: 'ticking',
  input: shape<{ gate: string }>(),
  async run(ctx) {
    for (let tick = 0; !existsSync(ctx.input.gate); tick += 1) {
      if (tick % 10 < 5) ctx.progress(tick)
      else await ctx.checkpoint({ tick })
      await pause(ctx, 300)
    }
    note(ctx, 'end')
  },
})

/** Keeps the main thread busy for so long without a break. */
export const spin = defineJob({
  type: 'spin',
  input: shape<{ ms: number }>(),
  run(ctx) {
    note(ctx, 'start')
    const endMs = performance.now() + ctx.input.ms
    while (performance.now() < endMs);
    note(ctx, 'end')
    return null
  },
})

/** The same, once a file appears. */
export const spinLater = defineJob({
  type: 'spin.later',
  input: shape<{ gate: string; ms: number }>(),
  async run(ctx) {
    note(ctx, 'waits')
    await gate(ctx, ctx.input.gate)
    const endMs = performance.now() + ctx.input.ms
    while (performance.now() < endMs);
    note(ctx, 'end')
    return null
  },
})

/** Ends well, but its first attempt leaves something behind that blocks the main thread before the outcome is sent. */
export const jam = defineJob({
  type: 'jam',
  input: shape<unknown>(),
  run(ctx) {
    note(ctx, 'start')
    if (ctx.attempt === 1)
      setImmediate(() => {
        for (;;);
      })
    return null
  },
})

/** Hears no signal and never ends; writes a line every few milliseconds. */
export const deaf = defineJob({
  type: 'deaf',
  input: shape<unknown>(),
  run: (ctx) =>
    new Promise(() => {
      setInterval(() => note(ctx, 'line'), 3)
    }),
})

/** The same, and its process may not go on with it. */
export const deafExit = defineJob({
  type: 'deaf.exit',
  input: shape<unknown>(),
  onDeaf: 'exit',
  cancelGraceMs: 500,
  run: (ctx) => deaf.run(ctx),
})

/** Hears no signal, and returns a result when the file appears. */
export const stubborn = defineJob({
  type: 'stubborn',
  input: shape<{ gate: string }>(),
  async run(ctx) {
    note(ctx, 'start')
    ctx.signal.addEventListener('abort', () => note(ctx, `aborted ${reasonOf(ctx.signal)}`))
    while (!existsSync(ctx.input.gate)) await delay(20)
    note(ctx, 'end')
    return { late: true }
  },
})

/** Ends its whole process. */
export const poison = defineJob({
  type: 'poison',
  input: shape<unknown>(),
  run(ctx) {
    note(ctx, 'start')
    process.exit(1)
  },
})

/** Is killed at its start or its end, in its first attempt. */
export const crash = defineJob({
  type: 'crash',
  input: shape<{ at: 'start' | 'end' }>(),
  async run(ctx) {
    note(ctx, 'start')
    if (ctx.attempt === 1 && ctx.input.at === 'start') process.kill(process.pid, 'SIGKILL')
    await delay(50)
    note(ctx, 'end')
    if (ctx.attempt === 1 && ctx.input.at === 'end') process.kill(process.pid, 'SIGKILL')
    return { attempt: ctx.attempt }
  },
})

/** Counts, and keeps each step as a checkpoint after it is done. Waits at one step for a file. */
export const steps = defineJob({
  type: 'steps',
  input: shape<{ steps: number; waitAt: number; gate: string }>(),
  async run(ctx) {
    note(ctx, `resume ${JSON.stringify(ctx.resume)}`)
    const done = (ctx.resume?.checkpoint as { done: number } | null | undefined)?.done ?? 0
    for (let step = done + 1; step <= ctx.input.steps; step += 1) {
      if (step === ctx.input.waitAt) await gate(ctx, ctx.input.gate)
      note(ctx, `step ${step}`)
      await ctx.checkpoint({ done: step })
    }
    return { steps: ctx.input.steps }
  },
})

/** Looks at its signal before each step. Once it is told to stop, it tries every write that there is, and returns a result. */
export const careful = defineJob({
  type: 'careful',
  input: shape<unknown>(),
  async run(ctx) {
    for (;;) {
      await delay(20)
      if (ctx.signal.aborted) break
      note(ctx, 'step')
    }
    note(ctx, `told ${reasonOf(ctx.signal)}`)
    const refused = (name: string, error: unknown): void =>
      note(ctx, `${name} refused ${(error as { code?: string }).code}`)
    const writes: [string, () => unknown][] = [
      ['checkpoint', () => ctx.checkpoint({ late: true })],
      ['progress', () => ctx.progress(99)],
      ['log', () => ctx.log.info('late')],
      ['enqueue', () => ctx.enqueue(plain, {})],
    ]
    for (const [name, write] of writes) {
      try {
        await write()
        note(ctx, `${name} accepted`)
      } catch (error) {
        refused(name, error)
      }
    }
    return { attempt: ctx.attempt }
  },
})

let throwForNobody = false
setInterval(() => {
  if (throwForNobody) throw new Error('thrown for nobody')
}, 10).unref()

/** Throws where no promise of its own carries the error; `nobody`: from a timer that belongs to no job. */
export const stray = defineJob({
  type: 'stray',
  input: shape<{ as: 'error' | 'rejection' | 'nobody' }>(),
  maxAttempts: 10,
  backoff: { baseMs: 1, factor: 1, maxMs: 1 },
  run: (ctx) =>
    new Promise(() => {
      note(ctx, 'start')
      if (ctx.input.as === 'nobody') {
        throwForNobody = true
      } else if (ctx.input.as === 'error') {
        setTimeout(() => {
          throw new Error('thrown in a timer')
        }, 20)
      } else {
        setTimeout(() => void Promise.reject(new Error('rejected and not awaited')), 20)
      }
    }),
})

/** Stores a child once the file appears. */
export const parent = defineJob({
  type: 'parent',
  input: shape<{ gate: string }>(),
  async run(ctx) {
    note(ctx, 'start')
    await gate(ctx, ctx.input.gate)
    return { child: await ctx.enqueue(plain, {}) }
  },
})

export const plain = defineJob({
  type: 'plain',
  input: shape<unknown>(),
  run(ctx) {
    note(ctx, 'start')
    return { attempt: ctx.attempt }
  },
})

/** Leaves a session behind that blocks the main thread when it is closed. */
export const badSession = defineJob({
  type: 'bad.session',
  input: shape<unknown>(),
  run(ctx) {
    ctx.sessions.add('bad', {
      close() {
        for (;;);
      },
    })
    return null
  },
})

/** Leaves a session behind that is told, and never closes. */
export const endlessSession = defineJob({
  type: 'endless.session',
  input: shape<unknown>(),
  run(ctx) {
    note(ctx, 'start')
    ctx.sessions.add('endless', {
      notify: ({ reason }) => note(ctx, `told ${reason}`),
      close() {
        note(ctx, 'closing')
        return new Promise(() => undefined)
      },
    })
    return null
  },
})
