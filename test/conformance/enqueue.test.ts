/** enqueue: what is stored, keys, limits, ids in order, all or none. */
import { describe, expect, test } from 'vitest'
import { checkInvariantsAfterEach, openProtocol, SCHEMAS } from '../support/protocol.ts'

checkInvariantsAfterEach()

const input = (bytes: number): string => JSON.stringify('x'.repeat(bytes - 2))

describe.each(SCHEMAS)('enqueue (%s schema)', (schema) => {
  test('enqueue: a job is stored with its defaults and is due at once', async () => {
    const p = await openProtocol(schema)
    const [id] = await p.enqueue(1, {}, 'report', { month: 11 })
    const job = await p.job(id!)
    expect(job).toMatchObject({
      type: 'report',
      queue: 'default',
      status: 'pending',
      state: 'pending',
      priority: 0,
      input: { month: 11 },
      attempt: 0,
      failures: 0,
      lost: 0,
      interruptions: 0,
      maxAttempts: 3,
      maxLost: 3,
    })
    expect(job.runAt).toBe(job.createdAt)
  })

  test('enqueue: no job is a batch of its own', async () => {
    const p = await openProtocol(schema)
    expect(await p.run('enqueue', p.namespace, [], [])).toEqual([])
  })

  test('enqueue: ids are UUIDv7 and rise in the order of the batch', async () => {
    const p = await openProtocol(schema)
    const ids = await p.enqueue(300)
    expect(ids.toSorted()).toEqual(ids)
    expect(new Set(ids).size).toBe(300)
    for (const id of ids) expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-8[0-9a-f]{3}-/)
  })

  test('enqueue: each job of a batch has its own options, in its place', async () => {
    const p = await openProtocol(schema)
    const ids = await p.run<string[]>(
      'enqueue',
      p.namespace,
      ['a', 'b', 'c'],
      ['1', '2', '3'],
      [
        '{"queue":"x","priority":5}',
        '{"delayMs":60000}',
        '{"maxAttempts":7,"maxLost":2,"onWorkerLost":"hold","timeoutMs":9}',
      ],
    )
    const [a, b, c] = await p.jobs(ids)
    expect(a).toMatchObject({ type: 'a', input: 1, queue: 'x', priority: 5, state: 'pending' })
    expect(b).toMatchObject({ type: 'b', input: 2, queue: 'default', state: 'scheduled' })
    expect(c).toMatchObject({ type: 'c', input: 3, maxAttempts: 7, maxLost: 2 })
  })

  test('enqueue: the same key in a namespace is the same job, also within a batch and after its end', async () => {
    const p = await openProtocol(schema)
    const [first] = await p.enqueue(1, { key: 'k' })
    expect(await p.enqueue(1, { key: 'k' })).toEqual([first])
    const twice = await p.run<string[]>(
      'enqueue',
      p.namespace,
      ['work', 'work', 'work', 'work'],
      ['{}', '{}', '{}', '{}'],
      ['{"key":"n"}', '{"key":"n"}', '{"key":"k"}', '{}'],
    )
    expect(twice[0]).toBe(twice[1])
    expect(twice[2]).toBe(first)
    expect(new Set(twice).size).toBe(3)
    expect(await p.in('other').enqueue(1, { key: 'k' })).not.toEqual([first])
    await p.cancel([first!])
    expect(await p.enqueue(1, { key: 'k' })).toEqual([first])
    const [count] = await p.db.rows('select count(*)::integer as n from %s.job_detail')
    expect(count).toEqual({ n: 4 })
  })

  test('enqueue: the same key from two transactions at once is one job', async () => {
    const p = await openProtocol(schema)
    const a = await p.session()
    const b = await p.session()
    await a.begin()
    const [first] = await a.enqueue(1, { key: 'k' })
    const second = b.enqueue(1, { key: 'k' })
    await p.waitsForLock(b)
    await a.commit()
    expect(await second).toEqual([first])
    await a.begin()
    await a.enqueue(1, { key: 'gone' })
    const third = b.enqueue(1, { key: 'gone' })
    await p.waitsForLock(b)
    await a.rollback()
    const [kept] = await third
    expect((await p.job(kept!)).status).toBe('pending')
  })

  test('enqueue: the same keys in another order from two transactions at once do not deadlock', async () => {
    const p = await openProtocol(schema)
    const [a, b, between] = [await p.session(), await p.session(), await p.session()]
    const keys = (session: typeof a, ...names: string[]) =>
      session.run<string[]>(
        'enqueue',
        p.namespace,
        names.map(() => 'work'),
        names.map(() => '1'),
        names.map((key) => JSON.stringify({ key })),
      )
    // Both are held up at the key that both come to second, and then go on at once.
    await between.begin()
    await keys(between, 'k2')
    const first = keys(a, 'k1', 'k2', 'k3')
    await p.waitsForLock(a)
    const second = keys(b, 'k3', 'k2', 'k1')
    await p.waitsForLock(b)
    await between.rollback()
    expect(await second).toEqual((await first).toReversed())
  })

  test.each([
    { at: 'infinity' },
    { delayMs: 'Infinity' },
    { timeoutMs: 'soon' },
    { timeoutMs: 0 },
    { progressDeadlineMs: 'soon' },
    { progressDeadlineMs: -1 },
    { progressDeadlineMs: 1e300 },
  ])('A5: enqueue: %j is refused for its own sake, and holds nothing up', async (options) => {
    const p = await openProtocol(schema)
    await expect(p.enqueue(1, options)).rejects.toMatchObject({
      code: expect.stringMatching(/^ERR_(USAGE|VALUE_UNSTORABLE)$/) as string,
    })
    await p.enqueue(1, { timeoutMs: null, progressDeadlineMs: 0.5 })
    expect((await p.claim(await p.register())).jobs).toMatchObject([
      { options: { progressDeadlineMs: 0.5 } },
    ])
    expect((await p.stats()).jobs).toMatchObject({ pending: 0 })
  })

  test('enqueue: arrays that differ in length are refused whole', async () => {
    const p = await openProtocol(schema)
    await expect(p.run('enqueue', p.namespace, ['a', 'b'], ['{}'])).rejects.toMatchObject({
      code: 'ERR_USAGE',
    })
    await expect(
      p.run('enqueue', p.namespace, ['a', 'b', 'c'], ['{}', '{}', '{}'], ['{}', '{}']),
    ).rejects.toMatchObject({ code: 'ERR_USAGE' })
    expect(await p.db.rows('select 1 from %s.job')).toEqual([])
  })

  test('enqueue: an input over 1 MiB is refused, and one of exactly 1 MiB is not', async () => {
    const p = await openProtocol(schema)
    await expect(
      p.run('enqueue', p.namespace, ['a', 'a'], ['{}', input(1_048_577)]),
    ).rejects.toMatchObject({ code: 'ERR_INPUT_TOO_LARGE' })
    expect(await p.db.rows('select 1 from %s.job')).toEqual([])
    expect(await p.run('enqueue', p.namespace, ['a'], [input(1_048_576)])).toHaveLength(1)
  })

  test('enqueue: a value that PostgreSQL can not store is refused for its own sake', async () => {
    const p = await openProtocol(schema)
    await expect(p.enqueue(1, {}, 'a', 'nul \u0000')).rejects.toMatchObject({
      code: 'ERR_VALUE_UNSTORABLE',
    })
    await expect(p.enqueue(1, { maxAttempts: 0 })).rejects.toMatchObject({
      code: 'ERR_VALUE_UNSTORABLE',
    })
    await expect(p.enqueue(1, { onWorkerLost: 'shrug' })).rejects.toMatchObject({
      code: 'ERR_VALUE_UNSTORABLE',
    })
  })

  test('enqueue: a job for a time in the past is due now and does not jump the queue', async () => {
    const p = await openProtocol(schema)
    const [early] = await p.enqueue(1)
    const [late] = await p.enqueue(1, { at: '2001-01-01T00:00:00Z' })
    const worker = await p.register()
    expect((await p.claim(worker)).jobs.map((job) => job.id)).toEqual([early, late])
  })
})
