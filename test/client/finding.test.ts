/** What is called by an id, an ending or a name is found however much else there is, or refused in the same words whatever it is. */
import { expect, test } from 'vitest'
import { type Client, createClient } from '../../src/client/client.ts'
import { checkInvariantsAfterEach, openProtocol, type Protocol } from '../support/protocol.ts'

checkInvariantsAfterEach()

async function open(): Promise<{ p: Protocol; client: Client & AsyncDisposable }> {
  const p = await openProtocol()
  const { databaseUrl, schemaName: schema } = p.db
  return { p, client: createClient({ databaseUrl, schema, namespace: p.namespace }) }
}

/** Alerts that were raised one second after the other, their ids ending in the number of each. */
async function raise(p: Protocol, count: number): Promise<void> {
  await p.db.rows(
    `insert into %s.alert (id, namespace, rule, subject, message, data, raised_at)
     select ('0190a7f2-6a0e-7c3d-9b1e-' || lpad(n::text, 12, '0'))::uuid, $1, 'worker_lost', n::text, '', '{}',
            %s.clock() + n * interval '1 second'
     from generate_series(1, $2::integer) as n`,
    [p.namespace, count],
  )
}

test('an alert is found and acknowledged by its ending, also the oldest of more than a list has', async () => {
  const { p, client } = await open()
  await using _ = client
  await raise(p, 600)
  expect(await client.alerts.list()).toHaveLength(500)
  expect(await client.alerts.get('…000001')).toMatchObject({ subject: '1', status: 'open' })
  await client.alerts.acknowledge('000002', { by: 'ana' })
  const { id } = await client.alerts.get('000002')
  expect(await client.alerts.get(id.toUpperCase())).toMatchObject({ acknowledgedBy: 'ana' })
})

test('a webhook is found and removed by its ending and by its URL', async () => {
  const { client } = await open()
  await using _ = client
  const one = await client.alerts.webhooks.add('https://example.com/one')
  const other = await client.alerts.webhooks.add('https://example.com/other')
  expect(await client.alerts.webhooks.get(one.id.slice(-8))).toMatchObject({ id: one.id })
  expect(await client.alerts.webhooks.get(other.url)).toMatchObject({ id: other.id })
  await client.alerts.webhooks.remove(other.url)
  await client.alerts.webhooks.remove(one.id)
  expect(await client.alerts.webhooks.list()).toEqual([])
})

test('a run is found by a name shorter than an ending, whatever else ends like it', async () => {
  const { client } = await open()
  await using _ = client
  const first = await client.runs.create({ name: 'first' })
  const named = await client.runs.create({ name: first.id.slice(-2) })
  for (let more = 0; more < 3; more += 1) await client.runs.create({ name: 'more' })
  expect(await client.runs.get(named.name)).toMatchObject({ id: named.id })
  expect(await client.runs.get(`…${first.id.slice(-12)}`)).toMatchObject({ name: 'first' })
})

test('what is not there, what more than one is meant by and what is no id are refused alike', async () => {
  const { p, client } = await open()
  await using _ = client
  await raise(p, 2)
  await p.db.rows(
    `update %s.alert set id = ('f' || substr(id::text, 2, 31) || 'aaaa')::uuid where subject = '1'`,
  )
  await p.db.rows(
    `update %s.alert set id = ('e' || substr(id::text, 2, 31) || 'aaaa')::uuid where subject = '2'`,
  )
  await client.runs.create({ name: 'twice' })
  await client.runs.create({ name: 'twice' })
  const finders: Record<string, (text: string) => Promise<unknown>> = {
    job: (text) => client.resolveJobId(text),
    run: (text) => client.runs.get(text),
    worker: (text) => client.workers.get(text),
    machine: (text) => client.machines.get(text),
    alert: (text) => client.alerts.get(text),
    webhook: (text) => client.alerts.webhooks.get(text),
  }
  for (const [what, find] of Object.entries(finders)) {
    await expect(find('…abcd')).rejects.toMatchObject({
      code: 'ERR_NOT_FOUND',
      message: `no ${what} …abcd in namespace ${p.namespace}.`,
    })
  }
  for (const what of ['job', 'alert', 'webhook'])
    await expect(finders[what]?.('xyz')).rejects.toMatchObject({ code: 'ERR_USAGE' })
  for (const [what, work] of [
    ['alert is meant by aaaa', client.alerts.get('aaaa')],
    ['run is meant by twice', client.runs.get('twice')],
  ] as const) {
    await expect(work).rejects.toMatchObject({
      code: 'ERR_ID_AMBIGUOUS',
      message: expect.stringContaining(`more than one ${what}`) as string,
    })
  }
})
