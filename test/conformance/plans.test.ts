/**
 * The plans of the statements that run per job: each walks the one index that is meant for it, whatever the statistics say.
 *
 * A queue is empty when autovacuum looks and full a minute later, so a plan that follows statistics turns into a walk over the whole table
 * when it hurts most. Here PostgreSQL itself tells the plan of every statement inside the functions (auto_explain), under the statistics
 * that a queue meets: none yet, taken while it was empty, taken while it was full. At last each index is taken away: nothing but a walk
 * over the table is left then, so there is no second index that a planner could prefer.
 *
 * Statistics that are wrong also make a statement look so expensive that PostgreSQL compiles it first (jit), for longer than it runs. That
 * each of these functions switches that off is read from the catalog, on every server; that nothing is compiled, although it is asked
 * for at any cost, is seen where the server can compile at all (the embedded one, without LLVM, can't).
 */
import { describe, expect, test } from 'vitest'
import { connectOne } from '../../src/db/connect.ts'
import { type Claimed, claimedOf } from '../../src/sql/protocol.ts'
import { testDatabaseUrl } from '../support/database.ts'
import type { WorkerRow } from '../support/functions.ts'
import { openProtocol, type Protocol } from '../support/protocol.ts'

const MANY = 200
const BACKLOG = 20_000
/** Tables of one row. */
const SINGLE_ROWS = new Set(['tick', 'database_identity'])

interface PlanNode {
  readonly 'Node Type': string
  readonly 'Relation Name'?: string
  readonly 'Index Name'?: string
  readonly 'Index Cond'?: string
  readonly Plans?: readonly PlanNode[]
}

interface Told {
  readonly 'Query Text': string
  readonly Plan: PlanNode
  readonly JIT?: unknown
}

type Statistics = 'none' | 'of empty tables' | 'of full tables'

interface Seen {
  /** How each table is reached by one call: `table by index`, maybe `from end to end`, or `table by Seq Scan`; sorted, once each. */
  readonly reached: string[]
  /** Statements that were compiled, of those that have to do with a table: what others cost, no statistics change. */
  readonly compiled: string[]
}

interface Watched {
  query(text: string): Promise<unknown>
  run(text: string, values: unknown[]): Promise<{ answer: unknown; seen: Seen }>
}

async function watch(p: Protocol): Promise<Watched> {
  const client = await connectOne({ databaseUrl: testDatabaseUrl() })
  const plans: Told[] = []
  client.on('notice', ({ message }) => {
    const at = message?.indexOf('{') ?? -1
    if (message?.includes('plan:') === true) plans.push(JSON.parse(message.slice(at)) as Told)
  })
  await client.query(`load 'auto_explain'`)
  await client.query(`select set_config('auto_explain.' || name, value, false)
    from (values ('log_min_duration', '0'), ('log_nested_statements', 'on'), ('log_format', 'json'), ('log_level', 'notice')) as s (name, value)`)
  await client.query('set jit = on; set jit_above_cost = 0')
  return {
    query: (text) => client.query(text.replaceAll('%s', p.db.schema)),
    async run(text, values) {
      plans.length = 0
      const { rows } = await client.query(text.replaceAll('%s', p.db.schema), values)
      const reached = new Set<string>()
      for (const { Plan } of plans) walk(Plan, reached)
      const compiled = plans
        .filter((plan) => plan.JIT !== undefined && hasTable(plan.Plan))
        .map((plan) => plan['Query Text'])
      return {
        answer: rows[0]?.['answer'],
        seen: { reached: [...reached].toSorted(), compiled },
      }
    },
  }
}

function walk(node: PlanNode, reached: Set<string>): void {
  const table = node['Relation Name']
  const bitmap = node['Node Type'] === 'Bitmap Heap Scan' ? node.Plans?.[0] : undefined
  if (table !== undefined && node['Node Type'] !== 'ModifyTable' && !SINGLE_ROWS.has(table))
    reached.add(`${table} by ${wayOf(bitmap ?? node)}`)
  for (const child of node.Plans ?? []) walk(child, reached)
}

function hasTable(node: PlanNode): boolean {
  return node['Relation Name'] !== undefined || (node.Plans ?? []).some(hasTable)
}

function wayOf(node: PlanNode): string {
  const index = node['Index Name']
  if (index === undefined) return node['Node Type']
  return node['Index Cond'] === undefined ? `${index} from end to end` : index
}

const WORKER = 'worker by worker_pkey'
const JOB = 'job by job_pkey'
const DETAIL = 'job_detail by job_detail_pkey'
const CHECKPOINT = 'checkpoint by checkpoint_pkey'
const ATTEMPT = 'attempt by attempt_pkey'
const CLAIMED = 'claimed by claimed_pkey'
/** Of rows that it has locked: by their place in the table. */
const BY_PLACE = ['job by Tid Scan', 'worker by Tid Scan']
const CLAIM = [
  'job by job_claimable_idx',
  'job by job_waiting_idx',
  ...BY_PLACE,
  DETAIL,
  'lane by lane_idx',
  'run by run_pkey',
  WORKER,
]

/** What each call may reach, and by what. */
const EXPECTED = {
  enqueue: ['lane by lane_id_idx'],
  claim: CLAIM,
  renew: [CLAIMED, JOB, WORKER],
  checkpoint: [JOB],
  progress: [JOB],
  log: [JOB],
  'a stale write': [ATTEMPT, JOB, DETAIL],
  fail: [CHECKPOINT, CLAIMED, JOB, DETAIL],
  complete: [CHECKPOINT, CLAIMED, JOB],
} as const

type Call = keyof typeof EXPECTED

/** Whose own statements run per job, or per call of a worker. */
const HOT = [
  'store_jobs',
  'claim',
  'renew',
  'fenced',
  'checkpoint',
  'progress',
  'log',
  'cost',
  'settle',
  'sweep',
  'take_back',
  'mark_lanes',
  'judge_runs',
]

/** Every call once, with so many jobs, or only those that look for no conflict; what each has reached. */
async function round(
  w: Watched,
  worker: WorkerRow,
  n: number,
  writes = true,
): Promise<Record<Call, Seen>> {
  const all = <T>(value: T, count = n): T[] => Array.from({ length: count }, () => value)
  const seen = {} as Record<Call, Seen>
  const run = async (name: Call, text: string, values: unknown[]): Promise<unknown> => {
    const told = await w.run(`select %s.${text} as answer`, values)
    seen[name] = told.seen
    return told.answer
  }
  await run('enqueue', 'enqueue($1, $2, $3)', ['app', all('x'), all('{}')])
  const answer = await run('claim', 'claim($1, gen_random_uuid(), $2, $3, $4, $5, $6)', [
    worker.incarnation,
    n,
    ['default'],
    ['x'],
    [],
    [],
  ])
  const { jobs } = claimedOf(answer as string) as Claimed
  expect(jobs).toHaveLength(n)
  const ids = jobs.map(({ id }) => id)
  const tokens = jobs.map(({ token }) => token)
  worker.sent += 1
  await run('renew', 'renew($1, $2)', [worker.incarnation, worker.sent])
  if (!writes) {
    await run('complete', 'complete($1, $2)', [ids, tokens])
    return seen
  }
  await run('checkpoint', 'checkpoint($1, $2, $3)', [ids, tokens, all('{}')])
  await run('progress', 'progress($1, $2, $3, $3, $4)', [ids, tokens, all(1), all('')])
  await run('log', 'log($1, $2, $3, $4, $4, $5)', [ids, tokens, all(1), all('info'), all('{}')])
  await run('a stale write', 'progress($1, $1, $2, $2, $3)', [ids, all(1), all('')])
  const failing = Math.ceil(n / 2)
  await run('fail', 'fail($1, $2, $3, $4)', [
    ids.slice(0, failing),
    tokens.slice(0, failing),
    all('{}', failing),
    all(3_600_000, failing),
  ])
  await run('complete', 'complete($1, $2)', [ids.slice(failing), tokens.slice(failing)])
  return seen
}

const STATISTICS: Record<Statistics, (p: Protocol) => Promise<unknown>> = {
  none: async () => {},
  'of empty tables': (p) => vacuum(p),
  'of full tables': async (p) => {
    await p.enqueue(BACKLOG, {}, 'x')
    await p.enqueue(BACKLOG, { delayMs: 3_600_000 }, 'x')
    const done = await p.running(1_000, { queue: 'other' })
    await p.complete(done.held)
    await vacuum(p)
  },
}

async function vacuum(p: Protocol): Promise<void> {
  for (const { name } of await p.db.rows<{ name: string }>(
    `select format('%I.%I', schemaname, tablename) as name from pg_tables where schemaname = $1`,
    [p.db.schemaName],
  ))
    await p.db.rows(`vacuum analyze ${name}`)
}

describe('each statement per job walks the one index that is meant for it', () => {
  for (const [statistics, prepare] of Object.entries(STATISTICS)) {
    test(`J1: statistics ${statistics}`, async () => {
      const p = await openProtocol('plain')
      await prepare(p)
      const w = await watch(p)
      const worker = await p.register()
      // The first calls of a connection plan, the later ones have their plan.
      for (const n of [2, MANY, 2]) {
        for (const [name, { reached }] of Object.entries(await round(w, worker, n)))
          expect({ name, reached }).toEqual({ name, reached: EXPECTED[name as Call].toSorted() })
      }
    })
  }

  test('J1: what runs per job says that it is not to be compiled', async () => {
    const p = await openProtocol('plain')
    const without = await p.db.rows<{ name: string }>(
      `select h.name from unnest($1::text[]) as h (name)
       where not exists (
         select from pg_proc f
         where f.pronamespace = $2::text::regnamespace and f.proname = h.name and 'jit=off' = any (f.proconfig))`,
      [HOT, p.db.schema],
    )
    expect(without).toEqual([])
  })

  test('J1: none of it is compiled where the server can, whatever it is thought to cost', async (context) => {
    const p = await openProtocol('plain')
    const [server] = await p.db.rows<{ compiles: boolean }>('select pg_jit_available() as compiles')
    context.skip(server?.compiles !== true, 'this PostgreSQL has no LLVM')
    await STATISTICS['of full tables'](p)
    const w = await watch(p)
    const asked = await w.run('select count(*) as answer from %s.job', [])
    expect(asked.seen.compiled).toHaveLength(1)
    const worker = await p.register()
    for (const n of [2, MANY, 2]) {
      for (const [name, { compiled }] of Object.entries(await round(w, worker, n)))
        expect({ name, compiled }).toEqual({ name, compiled: [] })
    }
  })

  for (const [statistics, prepare] of Object.entries(STATISTICS)) {
    test(`J1: a sweep reads what workers hold and no other job, statistics ${statistics}`, async () => {
      const p = await openProtocol('plain')
      await prepare(p)
      const w = await watch(p)
      // Alerts are judged too: first of a worker that can't LISTEN, where no job may be yet, and what is planned then is kept.
      await p.register()
      await w.query('update %s.worker_detail set listens = true')
      await w.run('select %s.sweep($1) as answer', [p.namespace])
      const { worker } = await p.running(MANY, { queue: 'swept' })
      await p.enqueue(1, { queue: 'swept' }, 'x')
      for (const lost of [false, false, true]) {
        await w.query(`update %s.sweeper set judged_at = '-infinity'`)
        if (lost) await p.endWorker(worker, 'lost', { code: 'worker_lost', message: 'gone' })
        const { seen } = await w.run('select %s.sweep($1) as answer', [p.namespace])
        const jobs = seen.reached.filter((way) => /^(job|job_detail|attempt) by /.test(way))
        // The other one holds only what waits for a concurrency key.
        const walks = /Seq Scan|(?<!job_parked_idx) from end to end/
        expect(jobs.filter((way) => walks.test(way))).toEqual([])
        expect(jobs).toContain(JOB)
        expect(jobs).toContain('job by job_claimable_idx')
      }
    })
  }

  test('J1: a claim writes to no index of jobs', async () => {
    const p = await openProtocol('plain')
    const worker = await p.register()
    await p.enqueue(40, {}, 'x')
    const w = await watch(p)
    await w.query('begin')
    await w.run(`select %s.claim($1, gen_random_uuid(), 40, '{default}', '{x}') as answer`, [
      worker.incarnation,
    ])
    const { answer } = await w.run(
      `select json_build_array(pg_stat_get_xact_tuples_updated('%s.job'::regclass),
                               pg_stat_get_xact_tuples_hot_updated('%s.job'::regclass)) as answer`,
      [],
    )
    expect(answer).toEqual([40, 40])
    await w.query('commit')
  })

  test('J1: no other index would do', async () => {
    const p = await openProtocol('plain')
    await STATISTICS['of full tables'](p)
    const worker = await p.register()
    const indexes = new Set<string>(
      (['enqueue', 'claim', 'renew', 'complete'] as const).flatMap((call) => EXPECTED[call]),
    )
    for (const way of BY_PLACE) indexes.delete(way)
    for (const index of indexes) {
      const [table, name] = index.split(' by ') as [string, string]
      const w = await watch(p)
      await w.query('begin')
      await w.query(
        name.endsWith('_pkey')
          ? `alter table %s.${table} drop constraint ${name}`
          : `drop index %s.${name}`,
      )
      const seen = await round(w, worker, 2, false)
      for (const [call, { reached }] of Object.entries(seen)) {
        const expected = EXPECTED[call as Call].map((way) =>
          way === index ? `${table} by Seq Scan` : way,
        )
        expect({ index, call, reached }).toEqual({ index, call, reached: expected.toSorted() })
      }
      await w.query('rollback')
    }
  })
})
