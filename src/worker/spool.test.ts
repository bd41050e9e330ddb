/** The spool's files: what is on disk, who may take it, and what happens when the disk does not play along. */
import { spawnSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync } from 'node:fs'
import { rmSync, statSync, truncateSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import type { ProcessIdentity, Settlement } from '../sql/protocol.ts'
import { ownIdentity } from './identity.ts'
import { Spool, type SpoolOptions, spoolDirectory } from './spool.ts'

/** Unix has the modes and the identities that are tested here. */
const unix = test.skipIf(process.platform === 'win32')

interface Place {
  readonly directory: string
  readonly degraded: string[]
  open(options?: Partial<SpoolOptions>): Spool
  /** Names of the files that can be taken over. */
  files(): string[]
}

function place(): Place {
  const parent = mkdtempSync(path.join(tmpdir(), 'leasehold-spool-'))
  onTestFinished(() => rmSync(parent, { recursive: true, force: true }))
  const directory = path.join(parent, 'a', 'b')
  const degraded: string[] = []
  return {
    directory,
    degraded,
    open: (options = {}) =>
      new Spool({ directory, onDegraded: (reason) => degraded.push(reason), ...options }),
    files: () =>
      existsSync(directory) ? readdirSync(directory).filter((name) => name.endsWith('.jsonl')) : [],
  }
}

/** A process that has been: its pid is free, or belongs to somebody who started at another time. */
function goneProcess(): ProcessIdentity {
  const { pid } = spawnSync(process.execPath, ['-e', ''])
  return { ...ownIdentity(randomUUID()), pid, processStarted: '1' }
}

function outcome(value: unknown = { paid: 'for' }): Settlement {
  return {
    jobId: randomUUID(),
    token: randomUUID(),
    outcome: 'completed',
    value: JSON.stringify(value),
    delayMs: null,
  }
}

/** A file as a killed process leaves it. */
async function leave(at: Place, outcomes: readonly Settlement[]): Promise<string> {
  const spool = at.open({ owner: goneProcess() })
  for (const one of outcomes) spool.keep(one)
  await spool.close()
  return path.join(at.directory, at.files()[0] ?? '')
}

const settlements = (left: Awaited<ReturnType<Spool['takeLeft']>>): Settlement[] =>
  left.flatMap(({ lines }) => lines.map((line) => line.settlement))

test('what is kept is found by the next process, with every field, and goes once it is answered', async () => {
  const at = place()
  const outcomes: Settlement[] = [
    outcome({ text: 'ü — \n "quoted" \u{1F600}' }),
    { ...outcome(), outcome: 'failed', delayMs: 1_500 },
    { ...outcome(), outcome: 'released', value: null },
  ]
  await leave(at, outcomes)
  const next = at.open()
  const left = await next.takeLeft()
  expect(settlements(left)).toEqual(outcomes)
  expect(left.map(({ unreadable }) => unreadable)).toEqual([0])
  expect(next.depth).toBe(3)
  expect(await next.takeLeft()).toEqual([])

  const [first, ...others] = left.flatMap(({ lines }) => lines)
  for (const line of others) next.forget(line)
  await next.written()
  expect(at.files()).toHaveLength(1)
  if (first !== undefined) next.forget(first)
  await next.written()
  expect(at.files()).toEqual([])
  expect(at.degraded).toEqual([])
})

test('many outcomes are one file, and the file goes when the last is answered', async () => {
  const at = place()
  const spool = at.open()
  const lines = Array.from({ length: 200 }, () => spool.keep(outcome()))
  await spool.written()
  expect(at.files()).toHaveLength(1)
  expect([spool.depth, lines.every(({ state }) => state === 'kept')]).toEqual([200, true])
  for (const line of lines) spool.forget(line)
  await spool.written()
  expect([at.files(), spool.depth]).toEqual([[], 0])
  // The next trouble begins a file anew.
  spool.keep(outcome())
  await spool.written()
  expect(at.files()).toHaveLength(1)
  await spool.close()
})

test('an outcome that is answered before it was written leaves nothing behind', async () => {
  const at = place()
  const spool = at.open()
  spool.forget(spool.keep(outcome()))
  const early = spool.keep(outcome())
  await new Promise((resolve) => setImmediate(resolve))
  spool.forget(early)
  await spool.written()
  expect([at.files(), spool.depth]).toEqual([[], 0])
})

test('a crash in the middle of a line costs that line alone', async () => {
  const at = place()
  const outcomes = [outcome(), outcome(), outcome()]
  const file = await leave(at, outcomes)
  truncateSync(file, statSync(file).size - 10)
  const left = await at.open().takeLeft()
  expect(settlements(left)).toEqual(outcomes.slice(0, 2))
  expect(left[0]?.unreadable).toBe(1)
})

test('a line that does not fit its CRC is skipped, those before and after it are used', async () => {
  const at = place()
  const outcomes = [outcome('one'), outcome('two'), outcome('three')]
  const file = await leave(at, outcomes)
  writeFileSync(file, readFileSync(file, 'utf8').replace('two', 'too'))
  const left = await at.open().takeLeft()
  expect(settlements(left)).toEqual([outcomes[0], outcomes[2]])
  expect(left[0]?.unreadable).toBe(1)
})

test('a line that the database could never take is not sent, whoever wrote it', async () => {
  const at = place()
  await leave(at, [
    { ...outcome(), jobId: 'no uuid' },
    { ...outcome(), outcome: 'promoted' as 'completed' },
  ])
  const next = at.open()
  expect(await next.takeLeft()).toMatchObject([{ lines: [], unreadable: 2 }])
  await next.written()
  expect(at.files()).toEqual([])
})

test('of many takers exactly one gets a file', async () => {
  const at = place()
  const outcomes = [outcome(), outcome()]
  await leave(at, outcomes)
  const takers = Array.from({ length: 8 }, () => at.open())
  const left = await Promise.all(takers.map((taker) => taker.takeLeft()))
  expect(left.filter((files) => files.length > 0)).toHaveLength(1)
  expect(left.flatMap(settlements)).toEqual(outcomes)
  expect(at.files()).toHaveLength(1)
})

unix('what a taker has not delivered when it dies is taken over again', async () => {
  const at = place()
  const outcomes = [outcome()]
  await leave(at, outcomes)
  const second = at.open({ owner: goneProcess() })
  expect(settlements(await second.takeLeft())).toEqual(outcomes)
  expect(settlements(await at.open().takeLeft())).toEqual(outcomes)
})

test('the file of a living process is left alone', async () => {
  const at = place()
  const spool = at.open()
  spool.keep(outcome())
  await spool.written()
  expect(await at.open().takeLeft()).toEqual([])
  await spool.close()
})

test('what a worker leaves at its stop is there at once for the next, in the same process too', async () => {
  const at = place()
  const spool = at.open()
  const kept = outcome()
  spool.keep(kept)
  await spool.close()
  expect(settlements(await at.open().takeLeft())).toEqual([kept])
})

test('where a process can’t be looked for, its file is left once it was not touched for ten seconds', async () => {
  const at = place()
  const elsewhere = { ...ownIdentity(randomUUID()), bootId: 'another boot' }
  const owner = at.open({ owner: elsewhere })
  const kept = outcome()
  owner.keep(kept)
  await owner.written()
  const file = path.join(at.directory, at.files()[0] ?? '')
  const looker = at.open()
  expect(await looker.takeLeft()).toEqual([])
  utimesSync(file, Date.now() / 1_000 - 60, Date.now() / 1_000 - 60)
  // Its owner lives after all, and looks around as all do.
  await owner.takeLeft()
  expect(await looker.takeLeft()).toEqual([])
  utimesSync(file, Date.now() / 1_000 - 60, Date.now() / 1_000 - 60)
  expect(settlements(await looker.takeLeft())).toEqual([kept])
  await owner.close()
})

test('an owner whose file was taken by mistake writes to a new one', async () => {
  const at = place()
  const owner = at.open()
  const first = owner.keep(outcome())
  await owner.written()
  const file = path.join(at.directory, at.files()[0] ?? '')
  utimesSync(file, 0, 0)
  const looker = at.open()
  expect(await looker.takeLeft()).toHaveLength(1)
  const second = owner.keep(outcome())
  await owner.written()
  expect(second.state).toBe('kept')
  expect(at.files()).toHaveLength(2)
  owner.forget(first)
  owner.forget(second)
  await owner.written()
  // What the taker has is the taker's.
  expect(at.files()).toHaveLength(1)
  expect(at.degraded).toEqual([])
})

unix('results are readable by their user alone', async () => {
  const at = place()
  const file = await leave(at, [outcome()])
  expect(statSync(at.directory).mode & 0o777).toBe(0o700)
  expect(statSync(file).mode & 0o777).toBe(0o600)
})

unix('a directory that others can read is not used', async () => {
  const at = place()
  mkdirSync(at.directory, { recursive: true })
  chmodSync(at.directory, 0o755)
  const spool = at.open()
  const line = spool.keep(outcome())
  await spool.written()
  expect([line.state, at.files()]).toEqual(['failed', []])
  expect(at.degraded).toEqual([expect.stringContaining('open to other users')])
})

test('a disk that takes nothing is told of once, and again only after it has taken something', async () => {
  const at = place()
  // Works for root too, whom no mode stops.
  const inTheWay = path.dirname(at.directory)
  writeFileSync(inTheWay, '')
  const spool = at.open()
  for (let n = 0; n < 3; n += 1) {
    const line = spool.keep(outcome())
    await spool.written()
    expect(line.state).toBe('failed')
  }
  expect(await spool.keepRefused(outcome())).toBeNull()
  expect(await spool.takeLeft()).toEqual([])
  expect(at.degraded).toHaveLength(1)

  rmSync(inTheWay)
  const line = spool.keep(outcome())
  await spool.written()
  expect([line.state, spool.depth]).toEqual(['kept', 1])
  await spool.close()
})

test('beyond its greatest size it keeps what fits, says so, and has room again once outcomes are answered', async () => {
  const at = place()
  const spool = at.open({ bytesMax: 1_000 })
  const small = spool.keep(outcome('small'))
  const large = spool.keep(outcome('x'.repeat(1_000)))
  const another = spool.keep(outcome('small'))
  await spool.written()
  expect([small.state, large.state, another.state]).toEqual(['kept', 'failed', 'kept'])
  expect(at.degraded).toEqual(['it has reached its greatest size'])
  spool.forget(small)
  spool.forget(another)
  await spool.written()
  const later = spool.keep(outcome('y'.repeat(500)))
  await spool.written()
  expect(later.state).toBe('kept')
  await spool.close()
})

test('an outcome that was refused is kept for people and never taken over', async () => {
  const at = place()
  const refused = outcome('no')
  const file = (await at.open().keepRefused(refused)) ?? ''
  expect(readFileSync(file, 'utf8')).toContain(refused.token)
  utimesSync(file, 0, 0)
  expect(await at.open().takeLeft()).toEqual([])
  expect(existsSync(file)).toBe(true)
})

test('each database, schema and namespace has a directory of its own, however its hosts are ordered', () => {
  const of = (databaseUrl: string, schema?: string, namespace = 'default'): string =>
    spoolDirectory(
      '/spool',
      schema === undefined ? { databaseUrl } : { databaseUrl, schema },
      namespace,
    )
  const url = 'postgres://me:secret@a:1,b:2/app'
  expect(of(url)).toBe(of('postgres://you:other@b:2,a:1/app', 'leasehold'))
  const all = [
    of(url),
    of('postgres://me:secret@a:1/app'),
    of('postgres://me:secret@a:1,b:2/other'),
    of(url, 'jobs'),
    of(url, undefined, 'other'),
  ]
  expect(new Set(all).size).toBe(all.length)
  expect(path.dirname(of(url))).toBe(path.resolve('/spool'))
})
