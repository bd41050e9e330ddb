/** checkpoint, progress, log: fenced, batched, in order; stale writes change nothing and are recorded. */
import { randomUUID } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { checkInvariantsAfterEach, openProtocol, SCHEMAS } from '../support/protocol.ts'

checkInvariantsAfterEach()

describe.each(SCHEMAS)('writes of an attempt (%s schema)', (schema) => {
  test('checkpoint: the last one is kept, in the order of the batch', async () => {
    const p = await openProtocol(schema)
    const { held, ids } = await p.running(2)
    expect(
      await p.checkpoint([held[1]!, held[0]!, held[1]!], ['first', 'other', 'second']),
    ).toEqual(['stored', 'stored', 'stored'])
    expect((await p.jobs(ids)).map((job) => job.checkpoint)).toEqual(['other', 'second'])
    expect(await p.checkpoint([held[0]!], ['again'])).toEqual(['stored'])
    expect((await p.job(ids[0]!)).checkpoint).toBe('again')
  })

  test('progress: the last one is kept and shown', async () => {
    const p = await openProtocol(schema)
    const { held, ids } = await p.running(1)
    expect(await p.progress(held, [10])).toEqual(['stored'])
    expect(await p.progress(held, [20])).toEqual(['stored'])
    expect((await p.job(ids[0]!)).progress).toMatchObject({ done: 20, total: 100, message: '20 %' })
  })

  test('log: lines are kept by attempt, in order', async () => {
    const p = await openProtocol(schema)
    const { held, ids } = await p.running(2)
    expect(await p.log([held[0]!, held[1]!, held[0]!], ['a', 'b', 'c'])).toEqual(
      Array(3).fill('stored'),
    )
    const lines = await p.run<
      { line: number; message: string; attempt: number; fields: unknown }[]
    >('job_logs', p.namespace, ids[0])
    expect(lines).toMatchObject([
      { message: 'a', attempt: 1, fields: { n: 1 } },
      { message: 'c', attempt: 1 },
    ])
    expect(await p.run('job_logs', p.namespace, ids[0], 1, lines[0]!.line)).toMatchObject([
      { message: 'c' },
    ])
    expect(await p.run('job_logs', p.namespace, ids[0], 2)).toEqual([])
    expect(await p.run('job_logs', 'elsewhere', ids[0])).toEqual([])
  })

  test('writes: an empty batch is an empty answer', async () => {
    const p = await openProtocol(schema)
    expect(await p.checkpoint([], [])).toEqual([])
    expect(await p.progress([], [])).toEqual([])
    expect(await p.log([], [])).toEqual([])
  })

  test('writes: a cancel that was asked is told', async () => {
    const p = await openProtocol(schema)
    const { held, ids } = await p.running(2)
    await p.cancel([ids[1]!])
    expect(await p.checkpoint(held, [1, 2])).toEqual(['stored', 'cancelling'])
    expect(await p.progress(held, [1, 2])).toEqual(['stored', 'cancelling'])
    expect(await p.log(held, ['a', 'b'])).toEqual(['stored', 'cancelling'])
    expect(await p.cost(held, [1, 2], [0, 0])).toEqual(['stored', 'cancelling'])
    expect((await p.job(ids[1]!)).checkpoint).toBe(2)
  })

  test('B2: with a stale token nothing is written, and the good ones of the batch are', async () => {
    const p = await openProtocol(schema)
    const { held, ids, worker } = await p.running(3)
    await p.checkpoint(held, ['a', 'b', 'c'])
    await p.releaseJobs([ids[0]!])
    const stale = { job: ids[1]!, token: randomUUID() }
    const unknown = { job: randomUUID(), token: randomUUID() }
    const batch = [held[0]!, stale, unknown, held[2]!]
    const answers = ['lease_lost', 'lease_lost', 'lease_lost', 'stored']
    expect(await p.checkpoint(batch, [1, 2, 3, 4])).toEqual(answers)
    expect(await p.progress(batch, [1, 2, 3, 4])).toEqual(answers)
    expect(await p.log(batch, ['1', '2', '3', '4'])).toEqual(answers)
    expect((await p.jobs(ids)).map((job) => [job.checkpoint, job.progress?.['done']])).toEqual([
      ['a', undefined],
      ['b', undefined],
      [4, 4],
    ])
    expect(await p.db.rows('select message from %s.attempt_log')).toEqual([{ message: '4' }])
    // Not after the next claim either: the job is the same, the token is not.
    const next = await p.claim(worker)
    expect(next.jobs[0]!.id).toBe(ids[0])
    expect(await p.checkpoint([held[0]!], [9])).toEqual(['lease_lost'])
    const writes = (await p.allEvents()).filter((event) => event.kind === 'job.stale_write')
    expect(writes.map((event) => event.data?.['write'])).toEqual(
      expect.arrayContaining(['checkpoint', 'progress', 'log']),
    )
  })

  test('checkpoint: one over 1 MiB is refused for its own sake', async () => {
    const p = await openProtocol(schema)
    const { held } = await p.running(1)
    await expect(p.checkpoint(held, ['x'.repeat(1_048_577)])).rejects.toMatchObject({
      code: 'ERR_VALUE_UNSTORABLE',
    })
    expect(await p.checkpoint(held, ['x'.repeat(1_048_574)])).toEqual(['stored'])
  })
})
