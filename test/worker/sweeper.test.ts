/** What sweeps from within a worker, apart from one: it tells the database how much time has gone by. */
import { expect, onTestFinished, test } from 'vitest'
import { Sweeper } from '../../src/sweep/sweeper.ts'
import { checkInvariantsAfterEach, openProtocol } from '../support/protocol.ts'
import { until } from '../support/until.ts'

checkInvariantsAfterEach()

test('rule 8: the pass that finds the database’s clock ahead of its own judges nobody by it', async () => {
  const p = await openProtocol()
  await p.db.advance(0)
  const leader = await p.register()
  const { worker } = await p.running(1)
  const said: unknown[] = []
  const sweeper = new Sweeper(
    {
      connect: { databaseUrl: p.db.databaseUrl, schema: p.db.schemaName },
      namespace: p.namespace,
    },
    {
      recovered: (recovered) => said.push(recovered),
      alert: (alert) => said.push(alert),
      failed: (...failed) => said.push(failed),
    },
  )
  onTestFinished(() => sweeper.close())
  /** Passes of the leader: what each writes down begins with its own time. */
  const pass = async (): Promise<void> => {
    const at = async (): Promise<unknown> =>
      (await p.db.rows('select leader, leader_at from %s.sweeper'))[0]
    const before = JSON.stringify(await at())
    await until('a pass', async () => said.length > 0 || JSON.stringify(await at()) !== before)
  }
  sweeper.join(leader.incarnation)
  sweeper.watch()
  for (let n = 0; n < 3; n += 1) await pass()
  // It could renew in time, if the clock did not step beyond its lease; by less than what would count as an outage.
  await p.db.rows(`update %s.tick set writable_since = '-infinity'`)
  await p.db.rows(`update %s.worker set until = %s.clock() + '2 s' where incarnation = $1`, [
    worker.incarnation,
  ])
  await p.db.advance(3_000)
  for (let n = 0; n < 3; n += 1) await pass()
  expect(said).toEqual([])
  expect((await p.renew(worker)).held).toHaveLength(1)
})
