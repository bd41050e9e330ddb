/** What a call is given and can't mean is refused before anything is stored, in words that name it and say what fits. */
import { expect, test } from 'vitest'
import { createClient } from '../../src/client/client.ts'
import { defineJob } from '../../src/client/define-job.ts'
import type { UsageError } from '../../src/errors.ts'
import { createTestDatabase } from '../support/database.ts'
import { anything } from '../support/jobs.ts'
import { builtApi } from '../support/process.ts'

const { createWorker } = await builtApi()

const job = defineJob({ type: 'demo.count', input: anything, run: () => null })

/** Never asked: what is wrong is wrong without a database. */
const client = createClient({ databaseUrl: 'postgres://nobody@127.0.0.1:1/nothing' })

/** As JavaScript may call it. */
const any = (value: unknown): never => value as never

/** @returns What is thrown, at once or later. */
async function refusal(call: () => unknown): Promise<UsageError> {
  try {
    await call()
  } catch (error) {
    expect(error).toMatchObject({ code: 'ERR_USAGE' })
    return error as UsageError
  }
  throw new Error('it was accepted')
}

const OPTIONS: [unknown, string][] = [
  [{ delayMs: Number.NaN }, '`delayMs` must be a number of milliseconds from 0, got NaN.'],
  [{ delayMs: -1 }, '`delayMs` must be a number of milliseconds from 0, got -1.'],
  [{ delayMs: '5' }, '`delayMs` must be a number of milliseconds from 0, got "5".'],
  [{ priority: Number.NaN }, '`priority` must be a whole number from -32768 to 32767, got NaN.'],
  [{ priority: 40_000 }, '`priority` must be a whole number from -32768 to 32767, got 40000.'],
  [{ prioriti: 1 }, 'there is no option `prioriti` (did you mean `priority`?).'],
  [{ toString: 1 }, 'there is no option `toString`.'],
  [{ at: new Date(), delayMs: 5 }, '`at` and `delayMs` exclude each other.'],
  [{ at: '2027-01-01' }, '`at` must be a valid Date, got "2027-01-01".'],
  [{ at: new Date('x') }, '`at` must be a valid Date, got an invalid Date.'],
  [{ timeoutMs: 0 }, '`timeoutMs` must be a whole number from 1, got 0.'],
  [{ progressDeadlineMs: 1.5 }, '`progressDeadlineMs` must be a whole number from 1, got 1.5.'],
  [{ maxAttempts: 0 }, '`maxAttempts` must be a whole number from 1 to 32767, got 0.'],
  [{ maxLost: 40_000 }, '`maxLost` must be a whole number from 1 to 32767, got 40000.'],
  [
    { onWorkerLost: 'hodl' },
    'must be one of retry, fail, hold, got "hodl" (did you mean `hold`?).',
  ],
  [{ queue: '' }, '`queue` must be a text that is not empty, got "".'],
  [{ key: 7 }, '`key` must be a text that is not empty, got 7.'],
  [{ concurrencyKey: {} }, '`concurrencyKey` must be a text that is not empty, got {}.'],
  [{ run: 'nightly' }, '`run` must be the id of a run, got "nightly".'],
  [{ target: 'gpu' }, '`target` must be an object, got "gpu".'],
  [{ target: {} }, '`target` must have exactly one of machine, worker, label.'],
  [{ target: { label: 'a', worker: 'b' } }, '`target` must have exactly one of'],
  [{ target: { lable: 'a' } }, 'there is no option `target.lable` (did you mean `label`?)'],
  [
    { target: { label: 'a', ifOffline: 'no' } },
    '`target.ifOffline` must be one of wait, fail, any',
  ],
  [{ target: { label: 'a', waitMs: -1 } }, '`target.waitMs` must be a number of milliseconds'],
  [{ executor: {} }, '`executor` must have a function `query(text, values)`'],
  ['soon', 'options must be an object, got "soon".'],
  [null, 'options must be an object, got null.'],
  [
    { priority: 0.5, key: '' },
    '`priority` must be a whole number from -32768 to 32767, got 0.5; `key`',
  ],
]

test.each(OPTIONS)(
  'a new job with %j is refused, however it is stored',
  async (options, message) => {
    for (const [who, call] of [
      ['enqueue', () => client.enqueue(job, { to: 1 }, any(options))],
      ['enqueueMany', () => client.enqueueMany(job, [{ to: 1 }], any(options))],
      ['enqueueRaw', () => client.enqueueRaw('demo.count', { to: 1 }, any(options))],
    ] as const) {
      const error = await refusal(call)
      expect(error.message).toContain(`${who}("demo.count"): `)
      expect(error.message).toContain(message)
    }
  },
)

test('an option that is undefined says nothing: what the definition says holds', async () => {
  const db = await createTestDatabase()
  await using connected = createClient({ databaseUrl: db.databaseUrl, schema: db.schemaName })
  const aside = defineJob({
    type: 'aside',
    input: anything,
    queue: 'slow',
    maxAttempts: 7,
    concurrencyKey: 'one',
    run: () => null,
  })
  const options = { queue: undefined, concurrencyKey: undefined, maxAttempts: undefined }
  const target = { machine: undefined, label: 'gpu' }
  const id = await connected.enqueue(aside, 1, any({ ...options, target }))
  expect(await connected.get(id)).toMatchObject({
    queue: 'slow',
    maxAttempts: 7,
    concurrencyKey: 'one',
    target: 'label:gpu',
  })
})

test('a concurrency key that a definition makes of an input is a text or none', async () => {
  const keyed = defineJob({
    type: 'keyed',
    input: anything,
    concurrencyKey: (input) => input as string,
    run: () => null,
  })
  for (const key of ['', 7, {}]) {
    const { message } = await refusal(() => client.enqueue(keyed, key))
    expect(message).toContain('the job type "keyed": `concurrencyKey` must be a text')
  }
})

test('what a handler gives ctx.enqueue is refused alike, and a transaction of its own too', async () => {
  const db = await createTestDatabase()
  const connect = { databaseUrl: db.databaseUrl, schema: db.schemaName }
  const parent = defineJob({
    type: 'parent',
    input: anything,
    async run(ctx) {
      const said: string[] = []
      for (const options of [{ prioriti: 1 }, { executor: { query: () => null } }])
        said.push((await refusal(() => ctx.enqueue(job, 1, any(options)))).message)
      said.push((await refusal(() => ctx.enqueue(any(undefined), 1))).message)
      return said
    },
  })
  await using worker = createWorker({ ...connect, jobs: [parent] })
  await worker.start()
  await using connected = createClient(connect)
  expect(await connected.wait(await connected.enqueue(parent, 1))).toEqual([
    'ctx.enqueue("demo.count"): there is no option `prioriti` (did you mean `priority`?).',
    'ctx.enqueue("demo.count"): there is no option `executor`.',
    'ctx.enqueue needs a job definition, got undefined.',
  ])
})

test.each([
  [[{}], '`jobs[0]` must be a job definition, got {}.'],
  [[job, undefined], '`jobs[1]` must be a job definition, got undefined.'],
  [{ job }, "a worker's `jobs` must be a list of job definitions, got an object with job."],
  [undefined, "a worker's `jobs` must be a list of job definitions, got undefined."],
  [[], 'a worker needs at least one job definition.'],
  [[job, job], 'two definitions of type "demo.count" were given.'],
])('createWorker refuses jobs that are none (%#)', async (jobs, message) => {
  const { message: said } = await refusal(() =>
    createWorker({ databaseUrl: 'postgres://nobody@127.0.0.1:1/nothing', jobs: any(jobs) }),
  )
  expect(said).toBe(message)
})

test('client.on refuses an event that there is none of, and what is no listener', async () => {
  const listener = (): undefined => undefined
  expect((await refusal(() => client.on(any('job.compleeted'), listener))).message).toBe(
    'there is no event "job.compleeted". Did you mean "job.completed"?',
  )
  expect((await refusal(() => client.on(any(undefined), listener))).message).toContain('undefined')
  expect((await refusal(() => client.on('job.failed', any('x')))).message).toContain('"x"')
})

const ID = '0190a7f2-6a0e-7c3d-9b1e-000000000001'
const circular: { self?: unknown } = {}
circular.self = circular

const CALLS: [string, () => unknown, string][] = [
  [
    'enqueue()',
    () => client.enqueue(any(undefined), any(1)),
    'enqueue needs a job definition, got undefined.',
  ],
  [
    'enqueue by name',
    () => client.enqueue(any('demo.count'), any(1)),
    'enqueue needs a job definition, got "demo.count".',
  ],
  [
    'enqueueRaw of a definition',
    () => client.enqueueRaw(any(job), 1),
    'enqueueRaw needs the name of a job type, got an object with',
  ],
  [
    'enqueueMany without inputs',
    () => client.enqueueMany(job, any(undefined)),
    'enqueueMany("demo.count") needs a list of inputs, got undefined.',
  ],
  ['get()', () => client.get(any(undefined)), 'undefined is not an id.'],
  ['wait(7)', () => client.wait(any(7)), '7 is not an id.'],
  [
    'resolveJobId()',
    () => client.resolveJobId(any(undefined)),
    'no job is called undefined: that takes an id',
  ],
  [
    'runs.get()',
    () => client.runs.get(any(undefined)),
    'no run is called undefined: that takes a text.',
  ],
  [
    'workers.get()',
    () => client.workers.get(any(null)),
    'no worker is called null: that takes a text.',
  ],
  [
    'machines.drain()',
    () => client.machines.drain(any({})),
    'no machine is called {}: that takes a text.',
  ],
  ['alerts.get()', () => client.alerts.get(any(undefined)), 'no alert is called undefined'],
  [
    'alerts.webhooks.get()',
    () => client.alerts.webhooks.get(any(undefined)),
    'no webhook is called undefined',
  ],
  [
    'list with a limit of NaN',
    () => client.list({ limit: Number.NaN }),
    'list: `limit` must be a whole number from 1 to 500, got NaN.',
  ],
  [
    'list with a limit of -1',
    () => client.list({ limit: -1 }),
    '`limit` must be a whole number from 1 to 500, got -1.',
  ],
  [
    'list with a limit of a million',
    () => client.list({ limit: 1e6 }),
    '`limit` must be a whole number from 1 to 500',
  ],
  [
    'list of a mistyped state',
    () => client.list({ states: any(['failed', 'runing']) }),
    'got ["failed", "runing"] (did you mean `running`?).',
  ],
  [
    'list of a state that is no list',
    () => client.list({ states: any('failed') }),
    '`states` must be a list of any of',
  ],
  [
    'list by a mistyped option',
    () => client.list(any({ state: ['failed'] })),
    'there is no option `state` (did you mean `states`?).',
  ],
  ['list after no id', () => client.list({ after: 'x' }), '`after` must be an id, got "x".'],
  ['logs with a limit of 0', () => client.logs(ID, { limit: 0 }), 'logs: `limit` must be'],
  [
    'cancel with a mistyped option',
    () => client.cancel(ID, any({ reson: 'x' })),
    'cancel: there is no option `reson` (did you mean `reason`?).',
  ],
  [
    'wait for NaN ms',
    () => client.wait(ID, { timeoutMs: Number.NaN }),
    'wait: `timeoutMs` must be',
  ],
  [
    'wait with no signal',
    () => client.wait(ID, { signal: any({}) }),
    '`signal` must be an AbortSignal, got {}.',
  ],
  [
    'releaseStuck()',
    () => client.releaseStuck(any(undefined)),
    'releaseStuck: options must be an object, got null.',
  ],
  [
    'releaseStuck of NaN',
    () => client.releaseStuck({ olderThanMs: Number.NaN }),
    '`olderThanMs` must be',
  ],
  [
    'runs.create()',
    () => client.runs.create(any(undefined)),
    'runs.create: options must be an object',
  ],
  [
    'runs.create with a target of 1.5',
    () => client.runs.create({ name: 'a', target: 1.5 }),
    '`target` must be a whole number from 1, got 1.5.',
  ],
  [
    'runs.create with a budget of 0',
    () => client.runs.create({ name: 'a', budget: { usd: 0 } }),
    '`budget.usd` must be a number above 0, got 0.',
  ],
  [
    'runs.list of a mistyped status',
    () => client.runs.list({ statuses: any(['activ']) }),
    '(did you mean `active`?).',
  ],
  [
    'createClient()',
    () => createClient(any(undefined)),
    'createClient needs exactly one of `databaseUrl`, `pool` and `executor`, got none.',
  ],
  [
    'createClient with two ways',
    () => createClient({ databaseUrl: 'postgres://x', pool: any({ query: () => null }) }),
    'got databaseUrl and pool.',
  ],
  [
    'createClient with a mistyped option',
    () => createClient(any({ databaseURL: 'x' })),
    'there is no option `databaseURL` (did you mean `databaseUrl`?).',
  ],
  [
    'createClient with a pool that is none',
    () => createClient({ pool: any({}) }),
    '`pool` must have a function `query(text, values)`, as a pg pool has, got {}.',
  ],
  [
    'createWorker()',
    () => createWorker(any(undefined)),
    'createWorker needs at least `databaseUrl` and `jobs`.',
  ],
  [
    'createWorker without a URL',
    () => createWorker(any({ jobs: [job] })),
    '`databaseUrl` must be the URL of a database, got undefined.',
  ],
]

test.each(CALLS)('%s is wrong usage, and said so', async (_, call, message) => {
  expect((await refusal(call)).message).toContain(message)
})

test.each([{ n: 1n }, circular])(
  'an input that is not JSON is refused as such (%#)',
  async (input) => {
    await expect(client.enqueue(job, input)).rejects.toMatchObject({
      code: 'ERR_VALUE_UNSTORABLE',
      message: expect.stringContaining('the input of demo.count is not JSON: ') as string,
    })
  },
)
