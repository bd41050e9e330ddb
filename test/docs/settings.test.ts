/** docs/reference/settings.md states every default and limit as the code has it, and every variable that is read. */
import { expect, test } from 'vitest'
import { z } from 'zod'
import { defineJob } from '../../src/client/define-job.ts'
import {
  INPUT_BYTES_MAX,
  LEASE_MS_MIN,
  VALUE_BYTES_MAX,
  WORKER_DEFAULTS,
  fenceMarginMs,
  resolveSettings,
} from '../../src/config.ts'
import { CONNECT_DEFAULTS } from '../../src/db/connect.ts'
import { ARCHIVE_LIMIT_MS } from '../../src/client/retention.ts'
import { BACKOFF_DEFAULTS } from '../../src/domain/backoff.ts'
import { SPOOL_BYTES_MAX } from '../../src/worker/spool.ts'
import { createTestDatabase } from '../support/database.ts'
import { code, readPage, section, tables } from './documents.ts'

const page = readPage('docs/reference/settings.md')

/** Name and default of each row. */
function defaults(heading: string, firstHeading: string): Record<string, string> {
  return Object.fromEntries(
    tables(section(page, heading), firstHeading).map((row) => [
      code(row[firstHeading]),
      code(row['Default']),
    ]),
  )
}

const asText = (values: object): Record<string, string> =>
  Object.fromEntries(Object.entries(values).map(([name, value]) => [name, String(value)]))

test('the settings of a worker and their defaults', () => {
  expect(defaults('## A worker', 'Setting')).toEqual(asText(WORKER_DEFAULTS))
})

test('what is derived from the lease', () => {
  const derived = section(page, '## A worker')
  expect(derived).toMatch(new RegExp(`smallest lease\\s+\\| ${LEASE_MS_MIN} ms`))
  expect(() => resolveSettings({ leaseMs: LEASE_MS_MIN })).not.toThrow()
  expect(() => resolveSettings({ leaseMs: LEASE_MS_MIN - 1 })).toThrow('must be at least')
  expect(derived).toContain('The larger of a sixth of the lease and 2000 ms')
  expect([fenceMarginMs(6_000), fenceMarginMs(30_000)]).toEqual([2_000, 5_000])
  expect(derived).toContain('At least 500')
  expect(() => resolveSettings({ renewMs: 499 })).toThrow('500')
  expect(derived).toContain('The grace and 5000')
  expect(resolveSettings({ shutdownGraceMs: 1_000 }).hardExitMs).toBe(6_000)
  expect(derived).toContain('from 1 to 1000')
  expect(() => resolveSettings({ concurrency: 1_001 })).toThrow('1000')
})

test('how much a spool holds', () => {
  expect(section(page, '## A worker')).toContain(`${SPOOL_BYTES_MAX / 1_048_576} MiB`)
})

test('the options of a worker that are no settings', () => {
  const source = readPage('src/worker/worker-options.ts')
  expect(Object.keys(defaults('## A worker', 'Option')).toSorted()).toEqual(
    optionsOf(source, 'WorkerOptions').filter((name) => name !== 'databaseUrl' && name !== 'jobs'),
  )
  expect(defaults('## A worker', 'Option')['schema']).toBe(CONNECT_DEFAULTS.schema)
})

test('the members of a worker, none of which can be set', () => {
  const body = readPage('src/worker/worker.ts').split('export interface Worker ')[1] ?? ''
  const members = [...(body.split('\n}')[0] ?? '').matchAll(/^ {2}(?:readonly (\w+):|(\w+)[(<])/gm)]
  const documented = tables(section(page, '## A worker'), 'Member').map((row) =>
    code(row['Member']),
  )
  expect(documented.toSorted()).toEqual(
    members.map((match) => match[1] ?? match[2] ?? '').toSorted(),
  )
  expect(body.split('\n}')[0]).not.toMatch(/^ {2}\w+\??:/m)
})

test('the options of a job type and their defaults', () => {
  const documented = defaults('## A job type', 'Option')
  const source = readPage('src/client/define-job.ts')
  expect(Object.keys(documented).toSorted()).toEqual(
    optionsOf(source, 'JobOptions<Input, Parsed, Result>').filter(
      (name) => !['type', 'input', 'run'].includes(name),
    ),
  )
  const { queue, maxAttempts, maxLost, onWorkerLost, onDeaf, cancelGraceMs } = defineJob({
    type: 'test',
    input: z.unknown(),
    run: () => null,
  })
  expect(documented).toMatchObject(
    asText({ queue, maxAttempts, maxLost, onWorkerLost, onDeaf, cancelGraceMs }),
  )
})

test('the back-off after a failure', () => {
  expect(defaults('## A job type', 'Value of `backoff`')).toEqual(asText(BACKOFF_DEFAULTS))
})

test('the options of a new job', () => {
  expect(Object.keys(defaults('## A new job', 'Option')).toSorted()).toEqual(
    optionsOf(readPage('src/client/new-job-options.ts'), 'NewJobOptions'),
  )
})

test('the options of a client', () => {
  const documented = defaults('## A client', 'Option')
  expect(Object.keys(documented).toSorted()).toEqual(
    optionsOf(readPage('src/client/client.ts'), 'ClientOptions'),
  )
  expect(documented).toMatchObject(
    asText({ schema: CONNECT_DEFAULTS.schema, connectionsMax: CONNECT_DEFAULTS.connectionsMax }),
  )
})

test('how long ended jobs are kept, on both pages', async () => {
  const db = await createTestDatabase()
  const [row] = await db.rows<{ retention: Record<string, unknown> }>(
    `select %s.retention_of('any') as retention`,
  )
  const { keepMs, keepCount, archive } = row!.retention
  const stated = asText({ keepMs, keepCount, archive })
  expect(defaults('## Retention', 'Setting')).toEqual(stated)
  const rows = tables(readPage('docs/retention.md'), 'Setting')
  expect(
    Object.fromEntries(rows.map((cells) => [code(cells['Setting']), code(cells['Default'])])),
  ).toEqual(stated)
})

test('limits, and the numbers of the protocol as the database has them', async () => {
  const documented = Object.fromEntries(
    tables(section(page, '## Limits and numbers of the protocol'), 'Name').map((row) => [
      code(row['Name']),
      Number(row['Value']),
    ]),
  )
  const db = await createTestDatabase()
  const [constants] = await db.rows<Record<string, number>>(
    `select %s.interruptions_max(), %s.sweep_every_ms(), %s.connection_grace_ms(), %s.gap_ms(),
            %s.keep_min_ms()::integer, %s.retention_every_ms(), %s.retention_lease_ms(),
            %s.fill_grace_ms()`,
  )
  expect(documented).toEqual({ INPUT_BYTES_MAX, VALUE_BYTES_MAX, ARCHIVE_LIMIT_MS, ...constants })
  const limits = await db.rows(
    `select %s.input_bytes_max() as input, %s.value_bytes_max() as value`,
  )
  expect(limits).toEqual([{ input: INPUT_BYTES_MAX, value: VALUE_BYTES_MAX }])
})

test('the environment that the program reads', () => {
  const source = readPage('src/cli/resolve.ts')
  const read = [
    ...source.matchAll(/env\['([A-Z_]+)'\]/g),
    ...source.matchAll(/secondsOf\('([A-Z_]+)'/g),
  ].map((match) => match[1] ?? '')
  const documented = tables(section(page, '## Environment of the program'), 'Variable').map((row) =>
    code(row['Variable']),
  )
  expect(documented.toSorted()).toEqual([...new Set(read)].toSorted())
})

/** Names of the members of an interface, as written in the source. */
function optionsOf(source: string, name: string): string[] {
  const body = source.split(`export interface ${name} `)[1]?.split('\n}')[0]
  if (body === undefined) throw new Error(`there is no interface ${name}`)
  return [...body.matchAll(/^ {2}readonly (\w+)\??:/gm)].map((match) => match[1] ?? '').toSorted()
}
