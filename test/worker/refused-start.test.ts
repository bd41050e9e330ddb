/**
 * A database that refuses to register a worker, in the words of a trigger of somebody's: the reason comes from the lifeline's thread,
 * and reaches whoever started the worker with its class, code, exit code and hint.
 */
import { expect, test } from 'vitest'
import { defineJob } from '../../src/client/define-job.ts'
import * as errors from '../../src/errors.ts'
import { errorOf } from '../../src/worker/error-of.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'
import { anything } from '../support/jobs.ts'
import { builtApi, Scenario } from '../support/process.ts'

const api = await builtApi()

const job = defineJob({ type: 'job', input: anything, run: () => null })

type Rows = Pick<TestDatabase, 'rows'>

async function refuseWorkers(db: Rows, sqlState: string, hint: string | null): Promise<void> {
  const raised = [`errcode = '${sqlState}'`, `message = 'not tonight'`]
  if (hint !== null) raised.push(`hint = '${hint}'`)
  await db.rows(
    `create or replace function %s.refuse() returns trigger language plpgsql as $$
     begin raise exception using ${raised.join(', ')}; end $$`,
  )
  await db.rows(
    `create or replace trigger refuse before insert on %s.worker execute function %s.refuse()`,
  )
}

test('start rejects with the class of the reason, and with its code, exit code and hint', async () => {
  const db = await createTestDatabase()
  const refusals = [
    { sqlState: 'P0001', name: 'StartError', code: 'ERR_START', exitCode: 1 },
    { sqlState: '22003', name: 'ValueUnstorableError', code: 'ERR_VALUE_UNSTORABLE', exitCode: 1 },
    {
      sqlState: '42501',
      name: 'PermissionDeniedError',
      code: 'ERR_PERMISSION_DENIED',
      exitCode: 5,
    },
    { sqlState: 'LH004', name: 'InputTooLargeError', code: 'ERR_INPUT_TOO_LARGE', exitCode: 2 },
    { sqlState: 'LH009', name: 'EventsDroppedError', code: 'ERR_EVENTS_DROPPED', exitCode: 5 },
  ] as const
  for (const { sqlState, name, code, exitCode } of refusals) {
    await refuseWorkers(db, sqlState, 'Ask tomorrow.')
    const worker = api.createWorker({
      databaseUrl: db.databaseUrl,
      schema: db.schemaName,
      jobs: [job],
    })
    const error: unknown = await worker.start().catch((reason: unknown) => reason)
    expect(error, sqlState).toBeInstanceOf(api[name])
    expect(error, sqlState).toMatchObject({ name, code, exitCode, hint: 'Ask tomorrow.' })
    expect((error as Error).message).toContain('not tonight')
  }
})

test('the program shows it so, and not as a fault of its own', async (context) => {
  const s = await Scenario.open(context)
  await refuseWorkers(s, 'P0001', null)
  const unforeseen = await s.worker({ unready: true })
  expect(await unforeseen.exit()).toMatchObject({ code: 1 })
  expect(unforeseen.text).toContain(`error: this worker could not be registered: not tonight
       The log of the database server may say more.
       (ERR_START, exit 1)`)

  await refuseWorkers(s, '42501', null)
  const denied = await s.worker({ unready: true })
  expect(await denied.exit()).toMatchObject({ code: 5 })
  expect(denied.text).toContain('(ERR_PERMISSION_DENIED, exit 5)')
})

test('an error of any class that a message makes is the same again on another thread', () => {
  const others = ['LeaseholdError', 'AttemptAbortedError', 'InputInvalidError', 'JobEndedError']
  for (const [name, Class] of Object.entries(errors)) {
    if (others.includes(name)) continue
    const { code, exitCode } = Class
    const error = errorOf({ code, message: 'no', hint: 'Do.' })
    expect(error).toBeInstanceOf(Class)
    expect(error).toMatchObject({ name, code, exitCode, message: 'no', hint: 'Do.' })
  }
})
