/**
 * Alerts from real workers: told to webhooks by whoever lives, through receivers that fail, hang and answer late, and beyond the death of
 * the worker that was sending.
 */
import { randomUUID } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import type { AlertDocument } from '../../src/client/documents.ts'
import type { Delivery } from '../../src/sql/alerts.ts'
import { settleDelivery, takeDeliveries } from '../../src/sql/alerts.ts'
import { sendDelivery } from '../../src/sweep/webhook.ts'
import { openReceiver, type Received, signatureOf } from '../support/receiver.ts'
import { Scenario } from '../support/process.ts'
import { LIMIT_MS } from '../support/until.ts'

const raised =
  (rule: string) =>
  ({ document }: Received): boolean =>
    document.type === 'alert.raised' && document.data['rule'] === rule

async function alertOf(scenario: Scenario, rule: string): Promise<AlertDocument> {
  return scenario.until(`alert ${rule}`, async () =>
    (await scenario.client.alerts.list()).find((alert) => alert.rule === rule),
  )
}

describe.concurrent('alerts', { timeout: 240_000 }, () => {
  test('K2: a lost worker is told of by the one that is left, as log line, event and signed webhook', async (context) => {
    const scenario = await Scenario.open(context)
    const receiver = await openReceiver(context)
    const { secret } = await scenario.client.alerts.webhooks.add(receiver.url, {
      allowPrivate: true,
    })
    const heard: string[] = []
    scenario.client.on('alert.raised', ({ data }) => heard.push(String(data?.['rule'])))
    const left = await scenario.worker()
    const lost = await scenario.worker()
    const { workerId } = await lost.event('worker.started')
    lost.kill('SIGKILL')
    const told = await receiver.when('of the lost worker', raised('worker_lost'))
    expect(told.signature).toBe(signatureOf(secret, told))
    expect(Math.abs(told.timestamp - Date.now() / 1_000)).toBeLessThan(60)
    expect(told.document.data).toMatchObject({
      rule: 'worker_lost',
      subject: 'machine-a',
      status: 'open',
      data: { machineId: 'machine-a', workerIds: [workerId] },
    })
    const line = await left.event('alert.raised')
    expect(line).toMatchObject({
      rule: 'worker_lost',
      subject: 'machine-a',
      alertId: told.document.data['id'],
      level: 50,
    })
    await scenario.until('the event', () => heard.includes('worker_lost'))
    // Neither the log nor what lists show has the secret, and an operator may say that somebody looks.
    expect(left.text).not.toContain(secret)
    expect(JSON.stringify(await scenario.client.alerts.webhooks.list())).not.toContain(secret)
    await scenario.client.alerts.acknowledge(String(told.document.data['id']), { by: 'ana' })
    expect(await alertOf(scenario, 'worker_lost')).toMatchObject({ status: 'acknowledged' })
  })

  test('K2: a worker that is told of nobody who takes a type says so, though it was alone of its own', async (context) => {
    const scenario = await Scenario.open(context)
    await scenario.client.alerts.set('no_worker_for_type', { forMs: 1_000 })
    const worker = await scenario.worker({ args: ['--no-listen'] })
    const jobId = await scenario.enqueue('nobody.runs.this')
    const line = await worker.event('no_worker_for_type', () => true, 90_000)
    expect(line).toMatchObject({ type: 'nobody.runs.this', queue: 'default', jobIds: [jobId] })
    await scenario.client.cancel(jobId)
    await worker.event('alert.resolved', ({ rule }) => rule === 'no_worker_for_type', 60_000)
  })

  test('a webhook that fails, hangs and answers late gets every delivery until it says so, under one id', async (context) => {
    const scenario = await Scenario.open(context)
    const receiver = await openReceiver(context)
    await scenario.client.alerts.webhooks.add(receiver.url, { allowPrivate: true })
    receiver.answers(
      503,
      // Takes the request and never answers: cut after ten seconds.
      () => undefined,
      // Late, but in time.
      (response) => setTimeout(() => response.writeHead(200).end('thanks'), 1_500),
      204,
    )
    await scenario.worker()
    const lost = await scenario.worker()
    lost.kill('SIGKILL')
    await scenario.until(
      'the delivery that is answered',
      async () => {
        const [webhook] = await scenario.client.alerts.webhooks.list()
        return webhook?.lastDeliveredAt !== null && webhook?.waiting === 0
      },
      90_000,
    )
    const first = receiver.received.filter(raised('worker_lost'))
    expect(first).toHaveLength(3)
    expect(new Set(first.map(({ id }) => id)).size).toBe(1)
    expect(new Set(first.map(({ body }) => body)).size).toBe(1)
    const [one, two, three] = first.map(({ atMs }) => atMs)
    // After 5 s, and after 10 s without an answer and then 15 s.
    expect((two ?? 0) - (one ?? 0)).toBeGreaterThanOrEqual(4_000)
    expect((three ?? 0) - (two ?? 0)).toBeGreaterThanOrEqual(20_000)
  })

  test('a delivery outlives the worker that was sending it: the next one sends it again, under the same id', async (context) => {
    const scenario = await Scenario.open(context)
    const receiver = await openReceiver(context)
    await scenario.client.alerts.webhooks.add(receiver.url, { allowPrivate: true })
    receiver.answers(() => undefined, 204)
    const sender = await scenario.worker()
    const lost = await scenario.worker()
    lost.kill('SIGKILL')
    const cut = await receiver.when('under way', raised('worker_lost'))
    sender.kill('SIGKILL')
    await sender.exit()
    await scenario.worker({ machine: 'machine-b' })
    const again = await receiver.when(
      'again',
      (received) => received.id === cut.id && received !== cut,
      120_000,
    )
    expect(again.body).toBe(cut.body)
    await scenario.until('it is settled', async () => {
      const [webhook] = await scenario.client.alerts.webhooks.list()
      return webhook?.lastDeliveredAt != null
    })
  })

  test('K2: outcomes that the database does not take are told of by their age, while leases are renewed', async (context) => {
    const scenario = await Scenario.open(context)
    await scenario.client.alerts.set('spool_age', { forMs: 1_000 })
    const worker = await scenario.worker({ env: { LEASE_DURATION: '6' } })
    const { workerId } = await worker.event('worker.started')
    const gate = scenario.gate('gate')
    const jobId = await scenario.enqueue('wait', { gate: gate.file })
    await scenario.journalLine('start')
    const [{ signature }] = (await scenario.rows<{ signature: string }>(
      `select oid::regprocedure::text as signature from pg_proc
       where proname = 'settle' and pronamespace = $1::regnamespace`,
      [scenario.schemaName],
    )) as [{ signature: string }]
    await scenario.rows(`alter function ${signature} rename to settle_away`)
    gate.open()
    const raisedLine = await worker.event('alert.raised', ({ rule }) => rule === 'spool_age')
    expect(raisedLine).toMatchObject({ subject: workerId, data: { spoolDepth: 1 } })
    const shown = await scenario.client.workers.get(String(workerId))
    expect(shown.spoolAgeMs).toBeGreaterThan(1_000)
    expect(worker.events('lease.renewal_failed')).toEqual([])
    await scenario.rows(
      `alter function ${signature.replace(/settle\(/, 'settle_away(')} rename to settle`,
    )
    expect(await scenario.jobIs(jobId, 'completed')).toMatchObject({ attempt: 1 })
    await worker.event('alert.resolved', ({ rule }) => rule === 'spool_age', 60_000)
  })

  test('two workers that take what is due at once are never given the same delivery, and a late answer of the first changes nothing', async (context) => {
    const scenario = await Scenario.open(context)
    const receiver = await openReceiver(context)
    await scenario.client.alerts.webhooks.add(receiver.url, { allowPrivate: true })
    const [one, two] = [await registered(scenario), await registered(scenario)]
    const [webhook] = await scenario.client.alerts.webhooks.list()
    await scenario.rows(
      `insert into %s.webhook_delivery (webhook_id, namespace, kind, body, created_at, due_at)
     select $1, 'default', 'alert.raised', '{}', now(), now() from generate_series(1, 50)`,
      [webhook?.id],
    )
    const taken = await Promise.all(
      [one, two, one, two].map((incarnation) =>
        takeDeliveries(scenario.db, 'default', incarnation, 20),
      ),
    )
    const ids = taken.flat().map(({ id }) => id)
    expect(new Set(ids).size).toBe(ids.length)
    expect(ids).toHaveLength(50)
    const [first] = taken.flat() as [Delivery]
    // Its half minute is over before the first has said anything, and the second takes it.
    await scenario.rows(`update %s.webhook_delivery set due_at = now() where id = $1`, [first.id])
    const [again] = (await takeDeliveries(scenario.db, 'default', two, 20)) as [Delivery]
    expect(again).toMatchObject({ id: first.id, tries: 2 })
    const fine = { status: 204, error: null }
    expect(await settleDelivery(scenario.db, first, fine)).toBe('stale')
    expect(await settleDelivery(scenario.db, again, fine)).toBe('delivered')
    expect(await settleDelivery(scenario.db, again, fine)).toBe('stale')
    // One whose worker row has ended sends nothing, nor does one of another namespace.
    await scenario.rows(`update %s.webhook_delivery set due_at = now() where delivered_at is null`)
    expect(await takeDeliveries(scenario.db, 'default', randomUUID(), 20)).toEqual([])
    expect(await takeDeliveries(scenario.db, 'other', one, 20)).toEqual([])
    // A try that fails a day after it was made is the last.
    const [late] = (await takeDeliveries(scenario.db, 'default', one, 1)) as [Delivery]
    await scenario.rows(
      `update %s.webhook_delivery set created_at = now() - interval '25 hours' where id = $1`,
      [late.id],
    )
    expect(await settleDelivery(scenario.db, late, { status: 500, error: 'answered 500' })).toBe(
      'given_up',
    )
  })

  test('a webhook reaches no private address unless it was added for one, follows no redirect, and is cut when it hangs', async (context) => {
    const receiver = await openReceiver(context)
    const delivery = (url: string, allowPrivate = false): Delivery => ({
      id: randomUUID(),
      token: randomUUID(),
      url,
      allowPrivate,
      kind: 'alert.test',
      body: '{"type":"alert.test"}',
      tries: 1,
      timestamp: 1,
      signature: 'v1,x',
    })
    const { port } = new URL(receiver.url)
    for (const host of [
      '127.0.0.1',
      'localhost',
      '[::1]',
      '[::ffff:127.0.0.1]',
      '169.254.169.254',
    ]) {
      const { status, error } = await sendDelivery(delivery(`http://${host}:${port}/`))
      expect({ host, status }).toEqual({ host, status: null })
      expect(error).toMatch(/private network/)
    }
    expect(receiver.received).toEqual([])
    receiver.answers((response) => response.writeHead(302, { location: '/elsewhere' }).end())
    expect(await sendDelivery(delivery(receiver.url, true))).toEqual({
      status: 302,
      error: 'answered 302: redirects are not followed',
    })
    expect(receiver.received.map(({ path }) => path)).toEqual(['/hook'])
    receiver.answers(200)
    expect(await sendDelivery(delivery(receiver.url, true))).toEqual({ status: 200, error: null })
    receiver.answers((_, request) => request.socket.destroy())
    expect((await sendDelivery(delivery(receiver.url, true))).error).not.toBeNull()
    const stop = new AbortController()
    receiver.answers(() => stop.abort())
    expect((await sendDelivery(delivery(receiver.url, true), stop.signal)).error).not.toBeNull()
  })
})

async function registered(scenario: Scenario): Promise<string> {
  const incarnation = randomUUID()
  await scenario.rows(`select %s.register('default', $1::jsonb)`, [
    JSON.stringify({
      incarnation,
      machineId: 'machine-a',
      hostname: 'host',
      pid: 4_000_000,
      concurrency: 1,
      queues: ['default'],
      types: ['job'],
      version: 'test',
      command: 'test',
      leaseMs: LIMIT_MS,
      renewMs: 2_000,
      idleBeatMs: 60_000,
      direct: false,
    }),
  ])
  return incarnation
}
