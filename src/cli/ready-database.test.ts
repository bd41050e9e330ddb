/** What a person reads of a server that can't be worked with: which one, what it does, and what to do. */
import { expect, test } from 'vitest'
import { classifyFailure, explainFailure } from '../db/connect.ts'
import { namedFailure, type ReadyTarget } from './ready-database.ts'

const target: ReadyTarget = {
  databaseUrl: 'postgres://me:secret@db.example:5433/jobs',
  dataDir: '/nowhere',
  schema: 'leasehold',
  namespace: 'default',
}

const thrown = (code: string | undefined, message: string): Error =>
  Object.assign(new Error(message), code === undefined ? {} : { code })

test.for([
  ['ECONNREFUSED', '', 'refuses connections', 'unknown'],
  ['ENOTFOUND', 'getaddrinfo', 'has a host name that is not known here', 'unknown'],
  ['ECONNRESET', 'read ECONNRESET', 'ended the connection', 'unknown'],
  [undefined, 'Connection terminated unexpectedly', 'ended the connection', 'unknown'],
  [undefined, 'timeout expired', 'does not answer in time', 'unknown'],
  [
    undefined,
    'Connection terminated due to connection timeout',
    'does not answer in time',
    'unknown',
  ],
  ['57014', 'canceling statement due to statement timeout', 'does not answer in time', 'unknown'],
  ['57P03', 'starting up.', 'takes no connections now: starting up', 'unknown'],
  ['53300', 'too many clients', 'does not answer: too many clients', 'unknown'],
  ['08006', '', 'does not answer: 08006', 'unknown'],
  ['28P01', 'wrong password', 'refuses the login: wrong password', 'other'],
  ['3D000', 'no database "jobs"', 'refuses the login: no database "jobs"', 'other'],
] as const)('%s %s: the database %s', async ([code, message, says, kind]) => {
  const error = thrown(code, message)
  expect(classifyFailure(error)).toBe(kind)
  const shown = await namedFailure(explainFailure(error, 'stats'), target)
  expect(shown).toMatchObject({
    message: `the database at db.example:5433 ${says}.`,
    code: 'ERR_DATABASE_UNREACHABLE',
    exitCode: 3,
  })
})

test('the hint is about what is wrong with the URL, if it is that', async () => {
  const hint = async (code: string): Promise<unknown> =>
    ((await namedFailure(explainFailure(thrown(code, ''), ''), target)) as { hint?: string }).hint
  expect(await hint('3D000')).toBe('Create it (createdb jobs), or name another: --database URL')
  expect(await hint('28000')).toBe('Look at user and password in DATABASE_URL or --database.')
  expect(await hint('08006')).toContain('Workers keep running what they hold')
})

test('what is not about the connection is left as it is', async () => {
  for (const code of ['42501', '25006', '22003', 'LH006', 'XX000']) {
    const error = explainFailure(thrown(code, 'no'), 'stats')
    expect(await namedFailure(error, target)).toBe(error)
  }
})
