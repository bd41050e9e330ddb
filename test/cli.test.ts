/**
 * The program against a real database: every command as a person and as a script runs it, the built binary with a schema of its
 * own for each test. Workers are rows and claims made through the protocol's functions, so that a test decides when one is lost.
 *
 * LEASEHOLD_TEST_PROGRAM names another build, such as the one of the packed tarball.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import { createTestDatabase, testDatabaseUrl } from './support/database.ts'
import { heldOf } from './support/functions.ts'
import { openProtocol, type Protocol } from './support/protocol.ts'
import { builtProgram } from './support/process.ts'
import { openReceiver, signatureOf } from './support/receiver.ts'
import { until } from './support/until.ts'

const program = process.env['LEASEHOLD_TEST_PROGRAM'] ?? builtProgram()
const defineJob = pathToFileURL(path.join(path.dirname(program), '../client/define-job.js')).href

const HANDLERS = `
import { defineJob } from ${JSON.stringify(defineJob)}
const episode = {
  '~standard': {
    version: 1,
    vendor: 'test',
    validate: (value: { episode?: unknown } | null) =>
      typeof value?.episode === 'number'
        ? { value }
        : { issues: [{ message: 'expected a number', path: ['episode'] }] },
  },
}
export const transcode = defineJob({ type: 'video.transcode', input: episode as never, queue: 'video', maxAttempts: 7, run: () => null })
export const more = [transcode, defineJob({ type: 'audio.align', input: episode as never, run: () => null })]
`

interface Ran {
  stdout: string
  stderr: string
  code: number | null
}

let dir: string

beforeEach(() => {
  dir = fs.mkdtempSync(path.join(fs.realpathSync(os.tmpdir()), 'leasehold-cli-'))
  fs.chmodSync(dir, 0o755)
  fs.writeFileSync(path.join(dir, 'handlers.ts'), HANDLERS)
  fs.writeFileSync(path.join(dir, 'ep-114.json'), '{"episode": 114}')
  onTestFinished(() => fs.rmSync(dir, { recursive: true, force: true, maxRetries: 10 }))
})

function start(args: readonly string[], env: NodeJS.ProcessEnv): ChildProcess {
  const { PATH, HOME, USER } = process.env
  return spawn(process.execPath, [program, ...args], {
    cwd: dir,
    env: { PATH, HOME, USER, LANG: 'C.UTF-8', ...env },
  })
}

async function run(
  args: readonly string[],
  env: NodeJS.ProcessEnv = {},
  input?: string,
): Promise<Ran> {
  const child = start(args, env)
  const ran: Ran = { stdout: '', stderr: '', code: null }
  child.stdout!.setEncoding('utf8').on('data', (text: string) => (ran.stdout += text))
  child.stderr!.setEncoding('utf8').on('data', (text: string) => (ran.stderr += text))
  child.stdin!.on('error', () => undefined)
  child.stdin!.end(input)
  const ended: (number | null)[] = await once(child, 'close')
  ran.code = ended[0] ?? null
  return ran
}

interface Cli {
  p: Protocol
  env: NodeJS.ProcessEnv
  run: (args: readonly string[], input?: string) => Promise<Ran>
  /** The document of a command that must succeed. */
  json: (...args: readonly string[]) => Promise<any>
}

async function open(): Promise<Cli> {
  const p = await openProtocol()
  const env = {
    DATABASE_URL: p.db.databaseUrl,
    LEASEHOLD_SCHEMA: p.db.schemaName,
    LEASEHOLD_NAMESPACE: p.namespace,
  }
  return {
    p,
    env,
    run: (args, input) => run(args, env, input),
    async json(...args) {
      const ran = await run([...args, '--json'], env)
      expect(ran).toMatchObject({ code: 0, stderr: '' })
      return JSON.parse(ran.stdout)
    },
  }
}

/** Output with what differs from run to run replaced. */
function stable(text: string, names: Record<string, string> = {}): string {
  let replaced = text
  // An ending of an id after the id; an ending of digits alone would be first in an object.
  const longestFirst = Object.entries(names).toSorted(([a], [b]) => b.length - a.length)
  for (const [value, name] of longestFirst) replaced = replaced.replaceAll(value, name)
  return replaced
    .replaceAll(/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/g, '<id>')
    .replaceAll(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, '<time>')
    .replaceAll(/\d\d:\d\d:\d\d( UTC|Z)/g, '<clock>$1')
    .replaceAll(/\d+(\.\d)? (ms|s)\b/g, '<age>')
    .replaceAll(/\bhost-\d+/g, 'host-<pid>')
    .replaceAll(dir, '<dir>')
}

const NOWHERE = { DATABASE_URL: 'postgres://user:secret@127.0.0.1:1/app' }

describe('the program without a command', () => {
  test('alone prints its commands in groups', async () => {
    const ran = await run([])
    expect(ran).toMatchObject({ code: 0, stderr: '' })
    expect(ran.stdout).toMatchSnapshot()
  })

  test('a group alone prints its commands', async () => {
    const ran = await run(['jobs'])
    expect(ran).toMatchObject({ code: 0, stderr: '' })
    expect(ran.stdout).toContain('release-stuck')
  })

  test('--version is that of the package', async () => {
    const { version } = JSON.parse(fs.readFileSync('package.json', 'utf8'))
    expect(await run(['--version'])).toEqual({ stdout: `${version}\n`, stderr: '', code: 0 })
  })

  test('help has usage, options, three examples and exit codes', async () => {
    const { stdout, code } = await run(['jobs', 'cancel', '--help'])
    expect(code).toBe(0)
    expect(stdout).toMatchSnapshot()
  })

  test('help never is longer than a screen and a bit, nor wider than 80 columns', async () => {
    for (const command of ['enqueue', 'worker', 'jobs list', 'workers drain', 'sweep']) {
      const { stdout } = await run([...command.split(' '), '--help'])
      expect(stdout.split('\n').length, command).toBeLessThan(40)
      const long = stdout.split('\n').filter((line) => line.length > 84)
      expect(long, command).toEqual([])
    }
  })
})

describe('wrong usage exits with 2 in our own words', () => {
  test.each([
    ['an unknown command suggests the nearest', ['job']],
    ['an unknown verb suggests the nearest', ['jobs', 'lst']],
    ['an unknown flag suggests the nearest', ['jobs', 'list', '--stat', 'lost']],
    ['a flag of a feature that does not exist is unknown', ['enqueue', 'a', '--schedule', 'b']],
    ['a missing argument', ['jobs', 'cancel']],
    ['an argument too many', ['stats', 'now']],
    ['a state that does not exist', ['jobs', 'list', '--state', 'runing']],
    ['a limit out of range', ['jobs', 'list', '--limit', '501']],
    ['a duration without a unit', ['enqueue', 'a', '--delay', '30']],
    ['a time without a zone', ['enqueue', 'a', '--at', '2026-11-23 10:00']],
    ['delay and time together', ['enqueue', 'a', '--delay', '1s', '--at', '2026-11-23T10:00:00Z']],
    ['a budget of nothing', ['runs', 'create', 'a', '--budget-usd', '0']],
    ['a change of a run that changes nothing', ['runs', 'update', 'a']],
    ['what follows without a target', ['enqueue', 'a', '--if-offline', 'fail']],
    ['a policy that does not exist', ['enqueue', 'a', '--on-worker-lost', 'holt']],
    ['a URL that is none', ['stats', '--database', 'mysql://user:secret@host/app']],
    ['a port that is none', ['stats', '--database', 'postgres://user:secret@host:99999/app']],
    ['a key that is empty', ['enqueue', 'a', '--key', '']],
    ['a queue that is empty', ['enqueue', 'a', '--queue', ' ']],
    ['a target that is empty', ['enqueue', 'a', '--target', '']],
    ['a timeout of nothing', ['enqueue', 'a', '--timeout', '0s']],
    ['a type that can not be defined', ['enqueue', 'a b', '--force']],
    ['queues that are empty', ['worker', 'handlers.ts', '--queue', ',']],
    ['a label that is empty', ['worker', 'handlers.ts', '--target', 'gpu', '--target', '']],
    ['following as one document', ['jobs', 'logs', 'aaaa', '--follow', '--json']],
  ])('%s', async (_name, args) => {
    const ran = await run(args, args.includes('--follow') ? { ...(await open()).env } : NOWHERE)
    expect(ran.code).toBe(2)
    expect(ran.stderr + ran.stdout).not.toContain('secret')
    expect(ran.stderr + ran.stdout).toMatchSnapshot()
  })

  test('a DATABASE_URL that is set and empty is not the embedded database', async () => {
    const ran = await run(['stats'], { DATABASE_URL: '' })
    expect(ran).toMatchObject({ code: 2, stdout: '' })
    expect(ran.stderr).toMatch(/^error: DATABASE_URL is set and empty\.\n.*unset it/)
    expect(fs.existsSync(path.join(dir, '.leasehold'))).toBe(false)
  })

  test('a schema that can not have been meant is refused', async () => {
    const ran = await run(['stats'], { ...NOWHERE, LEASEHOLD_SCHEMA: 'bad schema;' })
    expect(ran).toMatchObject({ code: 2, stdout: '' })
    expect(ran.stderr).toContain('LEASEHOLD_SCHEMA is the name of a schema')
  })

  test('with --json the error is the one document on standard output', async () => {
    const ran = await run(['jobs', 'list', '--nope', '--json'])
    expect(ran).toMatchObject({ code: 2, stderr: '' })
    expect(JSON.parse(ran.stdout)).toMatchObject({ error: { code: 'ERR_USAGE' } })
  })
})

describe('a database that can not be used', () => {
  test('one that refuses connections exits with 3 and names the server, not the password', async () => {
    const ran = await run(['jobs', 'list'], NOWHERE)
    expect(ran).toMatchObject({ code: 3, stdout: '' })
    expect(ran.stderr).toMatchInlineSnapshot(`
      "error: the database at 127.0.0.1:1 refuses connections.
             Workers keep running what they hold, up to their limit.
             Look at the server, or name another: --database URL
             (ERR_DATABASE_UNREACHABLE, exit 3)
      "
    `)
  })

  test('a host that does not exist, a wrong password and a missing database say so', async () => {
    const url = new URL(testDatabaseUrl())
    url.pathname = '/no_such_database'
    const missing = await run(['stats'], { DATABASE_URL: url.href })
    expect(missing.code).toBe(3)
    expect(missing.stderr).toContain('database "no_such_database" does not exist')
    const unknown = await run(['stats'], { DATABASE_URL: 'postgres://u:p@no-such-host.invalid/x' })
    expect(unknown.code).toBe(3)
    expect(unknown.stderr).toContain('no-such-host.invalid:5432 has a host name that is not known')
    url.pathname = '/postgres'
    url.password = ''
    const without = await run(['stats'], { DATABASE_URL: url.href })
    expect(without.code).toBe(3)
    expect(without.stderr).toContain('wants a password, and none was given')
    expect(without.stderr).toContain('Look at user and password')
  })

  test('an embedded database that has no place says so', async () => {
    fs.writeFileSync(path.join(dir, '.leasehold'), '')
    for (const args of [['stats'], ['db', 'start'], ['db', 'status']]) {
      const ran = await run(args)
      expect(ran.code, args.join(' ')).toBe(3)
      expect(ran.stderr).toMatch(
        /^error: The embedded database can't be kept in .*\n.*DATABASE_URL/,
      )
    }
  })

  test('a role that takes no writes exits with 3', async () => {
    const { env, p } = await open()
    const role = await login(p, ['default_transaction_read_only = on'])
    const ran = await run(['stats'], { ...env, DATABASE_URL: role })
    expect(ran.code).toBe(3)
    expect(ran.stderr).toMatch(/takes no writes.*\n.*\n.*ERR_DATABASE_READ_ONLY, exit 3/)
  })

  test('a role without rights exits with 5, one with the client role may look but not sweep', async () => {
    const { env, p } = await open()
    const nobody = await run(['stats'], { ...env, DATABASE_URL: await login(p) })
    expect(nobody.code).toBe(5)
    expect(nobody.stderr).toContain('ERR_PERMISSION_DENIED')
    const client = await login(p, [], 'leasehold_client')
    expect((await run(['stats'], { ...env, DATABASE_URL: client })).code).toBe(0)
    expect((await run(['sweep'], { ...env, DATABASE_URL: client })).code).toBe(5)
  })

  test('an isolation level that would be unsafe exits with 5', async () => {
    const { env, p } = await open()
    const settings = ["default_transaction_isolation = 'repeatable read'"]
    const role = await login(p, settings, 'leasehold_admin')
    const ran = await run(['enqueue', 'a', '--force'], { ...env, DATABASE_URL: role })
    expect(ran).toMatchObject({ code: 5, stdout: '' })
    expect(ran.stderr).toContain('ERR_DATABASE_UNSAFE')
  })

  test('a schema made by a newer program is left alone', async () => {
    const { run: cli, p } = await open()
    await p.db.rows(`update %s.installed set program = '99.0.0'`)
    for (const args of [['stats'], ['migrate']]) {
      const ran = await cli(args)
      expect(ran.code, args.join(' ')).toBe(5)
      expect(ran.stderr).toContain('ERR_SCHEMA_NEWER')
    }
    const check = await cli(['migrate', '--check', '--json'])
    expect(check.code).toBe(5)
    expect(JSON.parse(check.stdout)).toMatchObject({ state: 'newer' })
  })

  test('a missing schema is made by the first command that needs it, and by none that only looks', async () => {
    const db = await createTestDatabase()
    const { databaseUrl, schemaName } = db
    const env = { DATABASE_URL: databaseUrl, LEASEHOLD_SCHEMA: schemaName }
    await db.rows('drop schema %s cascade')
    const before = await run(['migrate', '--check', '--json'], env)
    expect(before.code).toBe(5)
    expect(JSON.parse(before.stdout)).toMatchObject({ schema: schemaName, state: 'missing' })
    for (const args of [['stats'], ['jobs', 'list'], ['workers', 'list']]) {
      const looks = await run(args, env)
      expect(looks, args.join(' ')).toMatchObject({ code: 5, stdout: '' })
      expect(looks.stderr).toMatch(
        /^error: this database has no Leasehold schema ".*", so there is nothing to see\.\n.*leasehold migrate/,
      )
    }
    expect((await run(['migrate', '--check'], env)).code).toBe(5)
    expect((await run(['enqueue', 'a', '--force'], env)).code).toBe(0)
    expect((await run(['stats'], env)).code).toBe(0)
    expect((await run(['migrate', '--check'], env)).code).toBe(0)
    const again = await run(['migrate'], env)
    expect(again.code).toBe(0)
    expect(again.stdout).toContain('was current')
  })
})

describe('enqueue', () => {
  test('prints the id alone and takes every option', async () => {
    const { run: cli, json } = await open()
    const options =
      '--queue q --priority -5 --key k --max-attempts 9 --max-lost 2 --on-worker-lost hold --timeout 90s --delay 1h'
    const ran = await cli(['enqueue', 'a', '{"n": 1}', '--force', ...options.split(' ')])
    expect(ran).toMatchObject({ code: 0, stderr: '' })
    expect(ran.stdout).toMatch(/^[0-9a-f-]{36}\n$/)
    const job = await json('jobs', 'show', ran.stdout.trim())
    expect(job).toMatchObject({
      type: 'a',
      input: { n: 1 },
      queue: 'q',
      priority: -5,
      key: 'k',
      maxAttempts: 9,
      maxLost: 2,
      state: 'scheduled',
    })
    const again = await cli(['enqueue', 'a', '{"n": 2}', '--force', '--key', 'k'])
    expect(again.stdout).toBe(ran.stdout)
  })

  test('reads the input from a file and from standard input', async () => {
    const { run: cli, json } = await open()
    const file = await cli(['enqueue', 'a', '@ep-114.json', '--force'])
    const pipe = await cli(['enqueue', 'a', '-', '--force'], '\uFEFF[1, 2]\n')
    expect(await json('jobs', 'show', file.stdout.trim())).toMatchObject({
      input: { episode: 114 },
    })
    expect(await json('jobs', 'show', pipe.stdout.trim())).toMatchObject({ input: [1, 2] })
  })

  test.each([
    ['{"episode": 114', 'line 1, column 16: expected , or }, found the end'],
    ["{'episode': 1}", "line 1, column 2: expected a name in double quotes, found 'episode': 1}"],
    ['{"a": 1,}', 'line 1, column 9: expected a name in double quotes, found }'],
    ['{\n  "a": tru\n}', 'line 2, column 8: expected a value, found tru'],
    ['{} {}', 'line 1, column 4: expected nothing more, found {}'],
    ['"a\tb"', 'line 1, column 3: expected " or a valid character, found'],
    ['', 'line 1, column 1: expected a value, found the end'],
    ['ep-114.json', 'To read a file: @ep-114.json'],
  ])('malformed JSON %j is refused with its position', async (text, words) => {
    const ran = await run(['enqueue', 'a', text], NOWHERE)
    expect(ran).toMatchObject({ code: 2, stdout: '' })
    expect(ran.stderr).toContain(words)
    expect(ran.stderr).toContain('ERR_INPUT_INVALID')
  })

  test('an input file that is missing, and an input that is too large', async () => {
    const { run: cli, json } = await open()
    expect((await cli(['enqueue', 'a', '@no.json'])).stderr).toContain('there is no such file')
    const large = await cli(['enqueue', 'a', '-', '--force'], JSON.stringify('x'.repeat(1_048_576)))
    expect(large.code).toBe(2)
    expect(large.stderr).toContain('1048578 bytes, and at most 1048576 are stored')
    const endless = await cli(['enqueue', 'a', '-', '--force'], 'x'.repeat(9_000_000))
    expect(endless.code).toBe(2)
    expect(endless.stderr).toContain('ERR_INPUT_TOO_LARGE')
    expect((await json('jobs', 'list')).items).toEqual([])
  })

  test('an input that is nested without end is refused', async () => {
    const deep = `{"a": ${'['.repeat(100_000)}"]"${']'.repeat(100_000)}}`
    fs.writeFileSync(path.join(dir, 'deep.json'), deep)
    const ran = await run(['enqueue', 'a', '@deep.json', '--force'], NOWHERE)
    expect(ran).toMatchObject({ code: 2, stdout: '' })
    expect(ran.stderr).toMatch(/^error: deep\.json is nested more than 1000 deep/)
  })

  test.skipIf(!fs.existsSync('/dev/full'))(
    'where standard output takes nothing, the id of what was stored is on standard error',
    async () => {
      const { env, p } = await open()
      const full = fs.openSync('/dev/full', 'w')
      onTestFinished(() => fs.closeSync(full))
      const { PATH, HOME } = process.env
      const child = spawn(process.execPath, [program, 'enqueue', 'a', '--force'], {
        cwd: dir,
        env: { PATH, HOME, ...env },
        stdio: ['ignore', full, 'pipe'],
      })
      let text = ''
      child.stderr!.setEncoding('utf8').on('data', (more: string) => (text += more))
      const [code] = (await once(child, 'close')) as [number]
      const [stored] = await p.db.rows<{ id: string }>('select id from %s.job')
      expect({ code, text }).toEqual({
        code: 1,
        text: `error: standard output can't be written (ENOSPC: no space left on device). The job is stored: ${stored?.id}\n`,
      })
    },
  )

  test('a type that no live worker runs is refused, with the nearest that one does', async () => {
    const { run: cli, p } = await open()
    const none = await cli(['enqueue', 'video.transcode'])
    expect(none.code).toBe(4)
    expect(none.stderr).toContain('No worker is online. Start one: leasehold worker handlers.ts')
    await p.register({ types: ['video.transcode', 'audio.align'], queues: ['video'] })
    const mistyped = await cli(['enqueue', 'video.transcod'])
    expect(mistyped).toMatchObject({ code: 4, stdout: '' })
    expect(mistyped.stderr).toMatchInlineSnapshot(`
      "error: no live worker in namespace app runs video.transcod. Did you mean "video.transcode"?
             Known are audio.align, video.transcode
             To enqueue it all the same: --force
             (ERR_JOB_TYPE_UNKNOWN, exit 4)
      "
    `)
    const elsewhere = await cli(['enqueue', 'video.transcode'])
    expect(elsewhere.code).toBe(4)
    expect(elsewhere.stderr).toContain('from queue default, only from video')
    expect((await cli(['enqueue', 'video.transcode', '--queue', 'video'])).code).toBe(0)
  })

  test('a machine as target is named by its id, its ending or its host name', async () => {
    const { run: cli, p, json } = await open()
    await p.register({ machineId: 'machine-4711', hostname: 'render-a' })
    for (const named of ['machine-4711', '4711', 'render-a']) {
      const { id } = await json('enqueue', 'a', '--force', '--target', `machine:${named}`)
      expect((await p.job(id)).target).toBe('machine:machine-4711')
    }
    const unseen = await cli(['enqueue', 'a', '--force', '--target', 'machine:render-b'])
    expect(unseen.code).toBe(0)
    expect(unseen.stderr).toBe(
      'No machine render-b has been seen yet, and the job waits for it; known are machine-4711 (render-a).\n',
    )
    expect((await p.job(unseen.stdout.trim())).target).toBe('machine:render-b')
    await p.register({ machineId: 'machine-4712', hostname: 'render-a' })
    const several = await cli(['enqueue', 'a', '--force', '--target', 'machine:render-a'])
    expect(several).toMatchObject({ code: 2, stdout: '' })
    expect(several.stderr).toContain('machine-4711, machine-4712')
  })

  test('with --handlers an input that was forgotten is said to be', async () => {
    const ran = await run(
      ['enqueue', 'video.transcode', '--handlers', 'handlers.ts'],
      (await open()).env,
    )
    expect(ran).toMatchObject({ code: 2, stdout: '' })
    expect(ran.stderr).toMatch(/^error: no input was given, and the input of video\.transcode/)
  })

  test('with --handlers the definition gives the options and checks the input', async () => {
    const { run: cli, json } = await open()
    const misfit = await cli(['enqueue', 'video.transcode', '{}', '--handlers', 'handlers.ts'])
    expect(misfit).toMatchObject({ code: 2, stdout: '' })
    expect(misfit.stderr).toContain('episode: expected a number')
    expect(misfit.stderr).toContain('Nothing was stored.')
    const unknown = await cli(['enqueue', 'video', '{}', '--handlers', 'handlers.ts'])
    expect(unknown.code).toBe(4)
    expect(unknown.stderr).toContain('It defines video.transcode, audio.align')
    const good = await cli(
      ['enqueue', 'video.transcode', '@ep-114.json', '--handlers', 'handlers.ts'],
      '',
    )
    expect(good).toMatchObject({ code: 0, stderr: '' })
    const job = await json('jobs', 'show', good.stdout.trim())
    expect(job).toMatchObject({ queue: 'video', maxAttempts: 7, input: { episode: 114 } })
  })

  test('--wait exits by the outcome and says what happened on standard error', async () => {
    const { p, env } = await open()
    const worker = await p.register()
    const outcomes = [
      [0, 'completed', 'completed attempts=1'],
      [1, 'failed_finally', 'failed attempts=1'],
    ] as const
    for (const [code, outcome, words] of outcomes) {
      const waiting = run(['enqueue', 'work', '--wait'], env)
      await claimOne(p, worker, outcome)
      const ran = await waiting
      expect(ran.code).toBe(code)
      expect(ran.stdout).toMatch(/^[0-9a-f-]{36}\n$/)
      expect(ran.stderr).toContain(words)
    }
    const document = run(['enqueue', 'work', '--wait', '--json'], env)
    await claimOne(p, worker, 'completed')
    const { stdout, stderr, code } = await document
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(JSON.parse(stdout)).toMatchObject({ status: 'completed', result: { ok: true } })
  })

  test('Ctrl-C while waiting exits with 130 and does not cancel', async () => {
    const { env, json } = await open()
    const child = start(['enqueue', 'work', '--wait', '--force'], env)
    let stdout = ''
    let stderr = ''
    child.stdout!.setEncoding('utf8').on('data', (text: string) => (stdout += text))
    child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      stderr += text
      if (/^\S+ pending$/m.test(text)) child.kill('SIGINT')
    })
    const [code] = await once(child, 'close')
    expect(code).toBe(130)
    const id = stdout.trim()
    expect(stderr).toContain(`still pending; \`leasehold jobs cancel ${id.slice(-6)}\` ends it`)
    expect(await json('jobs', 'show', id)).toMatchObject({ state: 'pending' })
  })
})

describe('handler modules', () => {
  test.each([
    ['missing.ts', null, 'there is no handler module missing.ts'],
    ['throws.ts', `const x: number = 1\nthrow new Error('no API key')`, 'no API key\n'],
    ['broken.ts', `export const = 1`, 'broken.ts throws when it is imported'],
    ['empty.mjs', 'export const a = 1', 'empty.mjs exports no job definition'],
    ['data.json', '{}', 'data.json is a .json file'],
    ['never.mts', 'await new Promise(() => {})', 'never.mts never finished loading.'],
    ['never.mjs', 'await new Promise(() => {})', 'never.mjs never finished loading.'],
    [
      'twice.mjs',
      `import { defineJob } from ${JSON.stringify(defineJob)}
       const input = { '~standard': { version: 1, vendor: 'x', validate: (value) => ({ value }) } }
       export const a = defineJob({ type: 't', input, run() {} })
       export const b = { c: defineJob({ type: 't', input, run() {} }) }`,
      'the job type t is defined twice in twice.mjs',
    ],
  ])('%s is refused with exit 2', async (file, text, words) => {
    if (text !== null) fs.writeFileSync(path.join(dir, file), text)
    const ran = await run(['enqueue', 't', '{}', '--handlers', file], NOWHERE)
    expect(ran).toMatchObject({ code: 2, stdout: '' })
    expect(ran.stderr.replaceAll(/\n {7}/g, '\n')).toContain(words)
    expect(ran.stderr).toContain('ERR_HANDLER_MODULE')
    if (file === 'throws.ts') expect(ran.stderr).toMatch(/at .*throws\.ts:2/)
  })

  test.each(['none', 'module', 'commonjs'])(
    'a TypeScript module loads in a package of type %s, with what it imports',
    async (type) => {
      const { run: cli } = await open()
      if (type !== 'none')
        fs.writeFileSync(path.join(dir, 'package.json'), JSON.stringify({ type }))
      fs.writeFileSync(path.join(dir, 'index.ts'), `export * from './handlers'`)
      const ran = await cli(['enqueue', 'audio.align', '@ep-114.json', '--handlers', 'index.ts'])
      expect(ran).toMatchObject({ code: 0, stderr: '' })
    },
  )

  test('one archive hook may stand in a module of its own, two are refused, and a job of that name is none', async () => {
    const { run: cli } = await open()
    fs.writeFileSync(path.join(dir, 'archive.mjs'), 'export async function archive(jobs) {}')
    fs.writeFileSync(path.join(dir, 'more.mjs'), 'export const archive = (jobs) => undefined')
    fs.writeFileSync(
      path.join(dir, 'job.mjs'),
      `import { defineJob } from ${JSON.stringify(defineJob)}
       const input = { '~standard': { version: 1, vendor: 'x', validate: (value) => ({ value }) } }
       export const archive = defineJob({ type: 'archive', input, run: () => null })`,
    )
    const refused = await run(['worker', 'handlers.ts', 'archive.mjs', 'more.mjs'], NOWHERE)
    expect(refused).toMatchObject({ code: 2, stdout: '' })
    expect(refused.stderr).toContain('an archive hook is exported by archive.mjs and by more.mjs')
    const handlers = ['job.mjs', 'archive.mjs'].flatMap((file) => ['--handlers', file])
    expect(await cli(['enqueue', 'archive', '{}', ...handlers])).toMatchObject({
      code: 0,
      stderr: '',
    })
  })

  test('a worker with an unsafe lease is refused before anything starts', async () => {
    const ran = await run(['worker', 'handlers.ts'], { ...NOWHERE, HEARTBEAT_INTERVAL: '15' })
    expect(ran).toMatchObject({ code: 2, stdout: '' })
    expect(ran.stderr).toContain('at most a third of the lease')
    expect(ran.stderr).toContain('ERR_CONFIG_UNSAFE')
    const word = await run(['worker', 'handlers.ts'], { ...NOWHERE, LEASE_DURATION: 'long' })
    expect(word.code).toBe(2)
    expect(word.stderr).toContain('LEASE_DURATION is a number of seconds, got "long"')
  })
})

describe('looking at jobs', () => {
  test('list prints tabs in a pipe, and one document with --json', async () => {
    const { run: cli, p, json } = await open()
    const { ids, worker } = await p.running(1)
    await p.enqueue(2, { queue: 'other' })
    const piped = await cli(['jobs', 'list'])
    expect(piped.code).toBe(0)
    expect(stable(piped.stdout, { [worker.id]: '<worker>' })).toMatchInlineSnapshot(`
      "state	id	type	queue	run	attempt	progress	worker	created	why
      pending	<id>	work	other		0			<time>	Waits for a worker that runs work in queue other; there has been none.
      pending	<id>	work	other		0			<time>	Waits for a worker that runs work in queue other; there has been none.
      running	<id>	work	default		1		<worker>	<time>	Running on host-<pid> since <clock> UTC; its lease holds for <age> more.
      "
    `)
    expect(piped.stderr).toBe('3 jobs.\n')
    const all = await json('jobs', 'list')
    expect(all.items.map((job: { state: string }) => job.state)).toEqual([
      'pending',
      'pending',
      'running',
    ])
    expect(all.nextCursor).toBeNull()
    const mine = await json('jobs', 'list', '--worker', worker.incarnation.slice(-8))
    expect(mine.items.map((job: { id: string }) => job.id)).toEqual(ids)
    expect((await json('jobs', 'list', '--state', 'running,lost')).items).toHaveLength(1)
    expect((await json('jobs', 'list', '--type', 'wo*', '--queue', 'other')).items).toHaveLength(2)
  })

  test('pages follow each other and say where the next one begins', async () => {
    const { run: cli, p, json } = await open()
    const ids = await p.enqueue(5)
    const seen: string[] = []
    let after: string[] = []
    do {
      const page = await json('jobs', 'list', '--limit', '2', ...after)
      seen.push(...page.items.map((job: { id: string }) => job.id))
      after = page.nextCursor === null ? [] : ['--after', page.nextCursor]
    } while (after.length > 0)
    expect(seen).toEqual(ids.toReversed())
    const { stderr } = await cli(['jobs', 'list', '--limit', '2', '--state', 'pending'])
    expect(stderr).toBe(`2 of 5. Next: --after ${ids[3]}\n`)
  })

  test('a filter that matches nothing says so and exits with 0', async () => {
    const { run: cli, p } = await open()
    await p.enqueue(1)
    const ran = await cli(['jobs', 'list', '--state', 'lost', '--type', 'nope'])
    expect(ran.code).toBe(0)
    expect(ran.stderr).toBe(
      'No job matches state:lost type:nope. 1 job is in namespace app: leasehold jobs list\n',
    )
  })

  test('a job is named by a unique ending, and an unknown or ambiguous one is refused', async () => {
    const { run: cli, p, json } = await open()
    const ids = await p.enqueue(3_000)
    const sharers = (id: string): number =>
      ids.filter((other) => other.endsWith(id.slice(-4))).length
    const alone = ids.find((id) => sharers(id) === 1)!
    const shared = ids.find((id) => sharers(id) > 1)!
    expect(await json('jobs', 'show', alone.slice(-4))).toMatchObject({ id: alone })
    const ambiguous = await cli(['jobs', 'show', shared.slice(-4)])
    expect(ambiguous.code).toBe(2)
    expect(ambiguous.stderr).toContain('ERR_ID_AMBIGUOUS')
    const unknown = await cli(['jobs', 'why', '00000000-0000-7000-8000-000000000000'])
    expect(unknown.code).toBe(4)
    expect(unknown.stderr).toContain('ERR_NOT_FOUND')
    const short = await cli(['jobs', 'why', 'abc'])
    expect(short.code).toBe(2)
    const byBeginning = await cli(['jobs', 'show', '01a2228a'])
    expect(byBeginning.code).toBe(4)
    expect(byBeginning.stderr).toContain('A job is named by the end of its id')
  })

  test('why is one sentence, and what to do goes to standard error', async () => {
    const { run: cli, p, json } = await open()
    const [id] = await p.enqueue(1, { queue: 'video' })
    const ran = await cli(['jobs', 'why', id!])
    expect(ran).toEqual({
      stdout: 'Waits for a worker that runs work in queue video; there has been none.\n',
      stderr: 'Start one: leasehold worker handlers.ts --queue video\n',
      code: 0,
    })
    expect(await json('jobs', 'why', id!)).toEqual({
      id,
      state: 'pending',
      why: ran.stdout.trim(),
      remedy: ran.stderr.trim(),
    })
  })

  test('show, events and logs tell the story of a job', async () => {
    const { run: cli, p, json } = await open()
    const { ids, held, worker } = await p.running(1)
    const id = ids[0]!
    await p.log(held, ['first'])
    await p.progress(held, [41])
    await p.lapse()
    await p.sweep()
    const names = { [worker.id]: '<worker>', [id]: '<job>' }
    const shown = await cli(['jobs', 'show', id])
    expect(stable(shown.stdout, names)).toMatchInlineSnapshot(`
      "id	<job>
      type	work
      state	pending
      why	Waits for a worker that runs work in queue default; none is online, the last was seen <age> ago.
      progress	41/100
      failures	0 of 3
      lost	1 of 3
      interruptions	0
      queue	default
      run	
      priority	0
      target	
      worker	
      machine	
      leaseExpires	
      created	<time>
      runAt	<time>
      started	<time>
      finished	
      error	
      result	

      attempt	worker	started	ended	endedAs	from	last	layer	why
      1	<worker>	<time>	<time>	lost			lease	its lease lapsed without a renewal

      at	kind	attempt	worker	message
      <time>	job.created			
      <time>	job.picked_up	1	<worker>	
      <time>	job.recovered	1	<worker>	its lease lapsed without a renewal
      "
    `)
    const events = await cli(['jobs', 'events', id])
    expect(stable(events.stdout, names)).toMatchInlineSnapshot(`
      "at	kind	attempt	worker	message
      <time>	job.created			
      <time>	job.picked_up	1	<worker>	
      <time>	job.recovered	1	<worker>	its lease lapsed without a renewal
      "
    `)
    const logs = await cli(['jobs', 'logs', id])
    expect(stable(logs.stdout, names)).toMatchInlineSnapshot(`
      "at	attempt	level	message	fields
      <time>	1	info	first	{"n":1}
      "
    `)
    expect(await json('jobs', 'show', id)).toMatchObject({
      id,
      lost: 1,
      attempts: [{ attempt: 1, endedAs: 'lost', workerId: worker.id }],
    })
    expect((await json('jobs', 'events', id)).items[0]).toMatchObject({ kind: 'job.created' })
    expect((await json('jobs', 'logs', id)).items).toMatchObject([{ attempt: 1, message: 'first' }])
    const none = await cli(['jobs', 'logs', id, '--attempt', '2'])
    expect(none).toMatchObject({ code: 0, stdout: '' })
    expect(none.stderr).toContain('No log line of attempt 2')
  })

  test('following the logs ends with the job', async () => {
    const { p, env } = await open()
    const { ids, held } = await p.running(1)
    await p.log(held, ['first'])
    const child = start(['jobs', 'logs', ids[0]!, '--follow'], env)
    let stdout = ''
    const ended = once(child, 'close')
    for await (const text of child.stdout!.setEncoding('utf8')) {
      stdout += String(text)
      if (stdout.includes('first') && !stdout.includes('last')) {
        await p.log(held, ['last'])
        await p.complete(held, [{}])
      }
    }
    expect((await ended)[0]).toBe(0)
    const messages = stdout
      .trim()
      .split('\n')
      .map((line) => line.split('\t')[3])
    expect(messages).toEqual(['message', 'first', 'last'])
  })

  test('a reader that has had enough ends the program quietly', async () => {
    const { p, env } = await open()
    await p.enqueue(500)
    const child = start(['jobs', 'list', '--limit', '500', '--json'], env)
    let stderr = ''
    child.stderr!.setEncoding('utf8').on('data', (text: string) => (stderr += text))
    child.stdout!.destroy()
    const [code] = await once(child, 'close')
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  })
})

describe('acting on jobs', () => {
  test('cancel ends what waits and asks what runs, and a job that has ended is refused with 5', async () => {
    const { run: cli, p, json } = await open()
    const { ids } = await p.running(1)
    const [waiting] = await p.enqueue(1)
    const { items } = await json('jobs', 'cancel', ids[0]!, waiting!, '--reason', 'wrong data set')
    expect(items).toMatchObject([
      { id: ids[0], type: 'work', state: 'cancelling' },
      { id: waiting, state: 'cancelled' },
    ])
    expect(items[1].why).toContain('wrong data set')
    expect((await cli(['jobs', 'cancel', waiting!])).code).toBe(0)
    const { ids: ended, held } = await p.running(1)
    await p.complete(held, [1])
    const refused = await cli(['jobs', 'cancel', ended[0]!])
    expect(refused).toMatchObject({ code: 5, stdout: '' })
    const names = { [ended[0]!]: '<job>', [ended[0]!.slice(-6)]: '<end>' }
    expect(stable(refused.stderr, names)).toMatchInlineSnapshot(`
      "error: work <job> is completed, and a completed job can't be cancelled.
             It ended at <time> on host-<pid>.
             To run it again: leasehold jobs retry <end>
             (ERR_JOB_TERMINAL, exit 5)
      "
    `)
  })

  test('of several ids each gets its turn, and the first refusal decides the exit code', async () => {
    const { run: cli, p } = await open()
    const [first, second] = await p.enqueue(2)
    const ran = await cli([
      'jobs',
      'cancel',
      first!,
      '00000000-0000-7000-8000-000000000000',
      second!,
    ])
    expect(ran.code).toBe(4)
    expect(ran.stdout.trim().split('\n')).toHaveLength(3)
    expect(ran.stderr).toContain('ERR_NOT_FOUND')
    const again = await cli(['jobs', 'release', first!, second!, '--json'])
    expect(again.code).toBe(5)
    expect(JSON.parse(again.stdout).items).toMatchObject([
      { id: first, error: { code: 'ERR_STATE_REFUSED' } },
      { id: second, error: { code: 'ERR_STATE_REFUSED' } },
    ])
  })

  test('retry starts an ended job anew, and refuses one that waits', async () => {
    const { run: cli, p, json } = await open()
    const { ids, held } = await p.running(1)
    await p.settle(held, ['failed_finally'], [{ message: 'no such file' }])
    const failed = await cli(['jobs', 'why', ids[0]!])
    expect(failed.stderr).toBe(`To run it again: leasehold jobs retry ${ids[0]!.slice(-6)}\n`)
    expect((await json('jobs', 'retry', ids[0]!)).items).toMatchObject([{ state: 'pending' }])
    expect((await cli(['jobs', 'retry', ids[0]!])).code).toBe(5)
  })

  test('resume lets a held job go on, and refuses one that is not held', async () => {
    const { run: cli, p, json } = await open()
    const [id] = await p.enqueue(1)
    await p.hold([id!])
    expect((await json('jobs', 'resume', id!)).items).toMatchObject([{ state: 'pending' }])
    expect((await cli(['jobs', 'resume', id!])).code).toBe(5)
  })
})

describe('unsticking needs no SQL and is safe beside live workers', () => {
  test('release voids the token of a living worker', async () => {
    const { run: cli, p, json } = await open()
    const { ids, held } = await p.running(1)
    expect((await json('jobs', 'release', ids[0]!)).items).toMatchObject([{ state: 'pending' }])
    expect(await p.checkpoint(held, [1])).toEqual(['lease_lost'])
    expect((await cli(['jobs', 'release', ids[0]!])).code).toBe(5)
  })

  test('release-stuck hands back the jobs of a silent worker and leaves those of a live one', async () => {
    const { run: cli, p, json } = await open()
    const silent = await p.running(1)
    const live = await p.running(1)
    await p.lapse([live.worker])
    const dry = await json('jobs', 'release-stuck', '--older-than', '20s', '--dry-run')
    expect(dry).toMatchObject({ dryRun: true, olderThanMs: 20_000, nextCursor: null })
    expect(dry.items).toEqual([{ id: silent.ids[0], status: 'running' }])
    expect((await p.job(silent.ids[0]!)).status).toBe('running')
    const ran = await cli(['jobs', 'release-stuck', '--older-than', '20s'])
    expect(ran).toMatchObject({ code: 0, stderr: '1 job handed back.\n' })
    expect(await p.job(silent.ids[0]!)).toMatchObject({ status: 'pending' })
    expect(await p.job(live.ids[0]!)).toMatchObject({ status: 'running' })
    const nothing = await cli(['jobs', 'release-stuck'])
    expect(nothing.stderr).toBe('No running job has a worker silent for 2 m or more.\n')
  })

  test('a dry sweep says what a sweep then does', async () => {
    const { p, json } = await open()
    const { ids, worker } = await p.running(2)
    await p.lapse()
    const fields = { success: true, markedOfflineCount: 1, affectedMachineIds: [worker.machineId] }
    const dry = await json('sweep', '--dry-run')
    expect(dry).toMatchObject({ ...fields, failed: [] })
    expect(new Set(dry.recovered)).toEqual(new Set(ids))
    expect((await p.job(ids[0]!)).state).toBe('lost')
    const swept = await json('sweep')
    expect(Object.keys(swept)).toEqual([
      'success',
      'markedOfflineCount',
      'affectedMachineIds',
      'recovered',
      'failed',
      'durationMs',
      'waiting',
      'notBefore',
      'dryRun',
    ])
    expect(swept).toMatchObject({ ...fields, failed: [] })
    expect(new Set(swept.recovered)).toEqual(new Set(ids))
    expect((await p.job(ids[0]!)).status).toBe('pending')
    expect(await json('sweep')).toMatchObject({ markedOfflineCount: 0, recovered: [] })
  })

  test('a dry sweep after an outage finds nothing that may be judged yet', async () => {
    const { p, json } = await open()
    await p.running(1)
    await p.outage(120_000)
    await p.sweep()
    const dry = await json('sweep', '--dry-run')
    expect(dry).toMatchObject({ markedOfflineCount: 0, affectedMachineIds: [], recovered: [] })
  })

  test('where nobody else writes, one sweep goes on until it has handed back what is lapsed', async () => {
    const { run: cli, p, json } = await open()
    const worker = await p.register({ leaseMs: 6_000, renewMs: 2_000 })
    const { ids } = await p.running(1, {}, worker)
    await p.outage(120_000)
    const foreseen = await json('sweep', '--dry-run')
    expect(foreseen).toMatchObject({ recovered: [], waiting: ids, dryRun: true })
    expect(foreseen.notBefore).not.toBeNull()
    const dry = await cli(['sweep', '--dry-run'])
    expect(dry.stdout).toContain('dryRun\ttrue')
    expect(dry.stderr).toMatch(/^Dry run: nothing was changed/)
    const why = await cli(['jobs', 'why', ids[0]!])
    expect(why.stdout).toMatch(
      /; nobody has written to the database since .* UTC, so an outage can't be told from a dead worker, and a sweep that lasts until .* UTC hands the job back\.$/m,
    )
    const swept = await cli(['sweep', '--json'])
    expect(swept).toMatchObject({ code: 0, stderr: '' })
    const { recovered, waiting, notBefore, durationMs } = JSON.parse(swept.stdout)
    expect({ recovered, waiting, notBefore }).toEqual({
      recovered: ids,
      waiting: [],
      notBefore: null,
    })
    expect(durationMs).toBeGreaterThan(5_000)
    expect((await p.job(ids[0]!)).status).toBe('pending')
  })

  test('a sweep that is interrupted says what still waits', async () => {
    const { env, p } = await open()
    const { ids } = await p.running(1)
    await p.outage(120_000)
    const child = start(['sweep'], env)
    let text = ''
    child.stdout!.setEncoding('utf8').on('data', (more: string) => (text += more))
    await until('the first pass', async () => {
      const [row] = await p.db.rows<{ done: boolean }>(
        `select writable_since > %s.clock() - interval '1 minute' as done from %s.tick`,
      )
      return row?.done
    })
    child.kill('SIGINT')
    const [code] = (await once(child, 'close')) as [number]
    expect(code).toBe(130)
    expect(text).toContain(`waiting\t${ids[0]}\n`)
    expect(text).toMatch(/^notBefore\t\d{4}-/m)
    expect((await p.job(ids[0]!)).state).toBe('lost')
  })

  test('release-stuck says what it skips while an outage may be the reason, and does it when forced', async () => {
    const { run: cli, p, json } = await open()
    const { ids } = await p.running(1)
    await p.outage(120_000)
    const skips = await cli(['jobs', 'release-stuck', '--older-than', '20s'])
    expect(skips).toMatchObject({ code: 5, stdout: '' })
    expect(skips.stderr).toMatch(
      /^1 job skipped, as an outage of the database may be why .* \(until .*\); --force releases them/,
    )
    const dry = await json('jobs', 'release-stuck', '--older-than', '20s', '--dry-run')
    expect(dry).toMatchObject({ items: [], skipped: [{ id: ids[0] }] })
    const forced = await json('jobs', 'release-stuck', '--older-than', '20s', '--force')
    expect(forced).toMatchObject({ items: [{ id: ids[0], status: 'pending' }], skipped: [] })
  })

  test.each([
    ['jobs release-stuck', '--older-than', '(2m)'],
    ['workers reap', '--grace', '(35s)'],
  ])('%s shows the default of %s as it is typed', async (command, flag, shown) => {
    const { stdout } = await run([...command.split(' '), '--help'])
    expect(stdout.split('\n').find((line) => line.includes(flag))).toContain(shown)
  })

  test('evict fences a worker before its jobs go back', async () => {
    const { run: cli, p, json } = await open()
    const { ids, held, worker } = await p.running(1)
    expect(await json('workers', 'evict', worker.id, '--dry-run')).toMatchObject({
      worker: { status: 'online' },
      dryRun: true,
      released: [{ id: ids[0], status: 'running' }],
    })
    const evicted = await json('workers', 'evict', worker.id)
    expect(evicted).toMatchObject({
      worker: { id: worker.id, status: 'offline' },
      released: [{ id: ids[0], status: 'pending' }],
    })
    expect(await p.complete(held, [1])).not.toEqual(['completed'])
    const again = await cli(['workers', 'evict', worker.id])
    expect(again.code).toBe(5)
    expect(again.stderr).toContain('ERR_STATE_REFUSED')
    expect(again.stderr).toContain('leasehold workers reap')
  })

  test.for([
    { args: ['--processes', '0'], says: '--processes is a whole number from 1 to 256' },
    { args: ['--processes', '8..2'], says: 'or a range of them such as 1..8, got "8..2"' },
    { args: ['--processes', '2', '--name', 'a b'], says: '--name is 1 to 64 letters' },
    { args: ['--name', 'a'], says: 'give --processes too' },
  ])('worker $args is refused', async ({ args, says }) => {
    const { run: cli } = await open()
    const refused = await cli(['worker', 'handlers.ts', ...args])
    expect(refused.code).toBe(2)
    expect(refused.stderr).toContain(says)
  })
})

describe('workers and machines', () => {
  test('list, show and machines agree', async () => {
    const { run: cli, p, json } = await open()
    const { worker, ids } = await p.running(1)
    const listed = await json('workers', 'list')
    expect(listed.items).toMatchObject([{ id: worker.id, status: 'online', running: 1 }])
    const piped = await cli(['workers', 'list'])
    expect(stable(piped.stdout, { [worker.id]: '<worker>', [String(worker.pid)]: '<pid>' }))
      .toMatchInlineSnapshot(`
        "status	id	machine	hostname	pid	lastSeen	leaseExpires	running	concurrency	loopMs	spool	labels	why
        online	<worker>	machine-1	host	<pid>	<time>	<time>	1	10	0	0		renews on time
        "
      `)
    expect(piped.stderr).toBe('1 of 1 online.\n')
    const shown = await cli(['workers', 'show', worker.id])
    expect(shown.stdout).toContain(`jobs\t${ids[0]}`)
    expect(await json('workers', 'show', worker.incarnation)).toMatchObject({ id: worker.id })
    expect((await json('machines', 'list')).items).toMatchObject([
      { id: worker.machineId, status: 'online', workersOnline: 1, workersTotal: 1 },
    ])
    expect((await cli(['workers', 'show', 'nobody'])).code).toBe(4)
  })

  test('an ended worker is shown with --all', async () => {
    const { run: cli, p, json } = await open()
    await p.endWorker(await p.register(), 'released')
    expect((await json('workers', 'list')).items).toEqual([])
    expect((await json('workers', 'list', '--all')).items).toMatchObject([{ status: 'offline' }])
    expect((await cli(['workers', 'list'])).stderr).toBe(
      'No worker is there now. 1 ended in the last hour: --all\n',
    )
    await p.register()
    await p.endWorker(await p.register(), 'released')
    const all = (await json('workers', 'list', '--all')).items as { status: string }[]
    expect(all.map(({ status }) => status)).toEqual(['online', 'offline', 'offline'])
  })

  test('drain and resume, and draining waits until nothing runs', async () => {
    const { run: cli, p, env, json } = await open()
    const { worker, held } = await p.running(1)
    expect(await json('workers', 'drain', worker.id)).toMatchObject({ status: 'draining' })
    expect(await json('workers', 'resume', worker.id)).toMatchObject({ status: 'online' })
    const waiting = run(['workers', 'drain', worker.id, '--wait'], env)
    for (let drained = false; !drained;) drained = (await p.worker(worker)).status === 'draining'
    await p.complete(held, [1])
    const ran = await waiting
    expect(ran.code).toBe(0)
    expect(ran.stdout).toContain('is draining, and runs nothing')
    await p.endWorker(worker, 'released')
    const refused = await cli(['workers', 'drain', worker.id])
    expect(refused.code).toBe(5)
  })

  test('retention shows, changes and drops, and refuses what it can not mean', async () => {
    const { p, run: cli, json } = await open()
    expect(await json('retention')).toEqual({
      namespace: p.namespace,
      keepMs: 14 * 86_400_000,
      keepCount: null,
      archive: false,
      passedAt: null,
      dueAt: null,
      dropped: 0,
      problem: null,
    })
    const jobs = await p.enqueue(3)
    await p.cancel(jobs)
    await p.passTime(31 * 86_400_000)
    expect(await json('retention', '--keep', '30d', '--keep-count', '2')).toMatchObject({
      keepMs: 30 * 86_400_000,
      keepCount: 2,
    })
    expect(await json('retention', '--keep', 'forever', '--run')).toMatchObject({
      keepMs: null,
      keepCount: 2,
      dropped: 1,
      droppedNow: 1,
    })
    const piped = await cli(['retention', '--keep-count', 'all', '--run'])
    expect(piped).toMatchObject({ code: 0, stderr: '0 jobs dropped.\n' })
    expect(piped.stdout).toContain('keepCount\t\n')
    expect((await cli(['jobs', 'show', jobs[0]!])).code).toBe(4)
    for (const wrong of [
      ['--keep', '59m'],
      ['--keep', '14'],
      ['--keep', '999999d'],
      ['--keep-count', '-1'],
      ['--keep-count', 'many'],
    ])
      expect(await cli(['retention', ...wrong]), wrong.join(' ')).toMatchObject({ code: 2 })
    await json('retention', '--keep', '1h', '--archive')
    const refused = await cli(['retention', '--run'])
    expect(refused).toMatchObject({ code: 5, stdout: '' })
    expect(refused.stderr).toContain('leasehold retention --no-archive')
    expect(await json('retention', '--no-archive', '--run')).toMatchObject({ droppedNow: 2 })
  })

  test('stats counts jobs and workers', async () => {
    const { run: cli, p, json } = await open()
    await p.running(2)
    await p.enqueue(1)
    expect(await json('stats')).toMatchObject({
      jobs: { running: 2, pending: 1, lost: 0 },
      workers: { online: 1 },
    })
    const piped = await cli(['stats'])
    expect(piped.stdout).toContain('jobs.running\t2\n')
  })

  test('stats says of more than 10,000 that it is more, and 10001 in JSON', async () => {
    const { run: cli, p, json } = await open()
    await p.enqueue(10_000)
    expect((await cli(['stats'])).stdout).toContain('jobs.pending\t10000\n')
    await p.enqueue(2)
    expect((await cli(['stats'])).stdout).toContain('jobs.pending\t10000+\n')
    expect(await json('stats')).toMatchObject({ jobs: { pending: 10_001 } })
  })

  test('a namespace sees its own jobs and workers alone, and flags win over the environment', async () => {
    const { run: cli, p, env, json } = await open()
    const { ids } = await p.running(1)
    expect((await json('jobs', 'list', '--namespace', 'other')).items).toEqual([])
    expect((await cli(['jobs', 'show', ids[0]!, '--namespace', 'other'])).code).toBe(4)
    const flags = await run(['--database', p.db.databaseUrl, 'jobs', 'list', '--json'], {
      ...env,
      ...NOWHERE,
    })
    expect(JSON.parse(flags.stdout).items).toHaveLength(1)
  })
})

describe('machines and alerts', () => {
  test('K1: a machine is shown with its workers and crashes, drained and resumed', async () => {
    const { run: cli, p, json } = await open()
    const worker = await p.register()
    const crashed = await p.register()
    await p.reportDeath({}, 1, [crashed], { message: 'its process was killed by SIGSEGV' })
    expect(await json('machines', 'show', 'machine-1')).toMatchObject({
      id: 'machine-1',
      workersOnline: 1,
      versions: [{ version: '0.0.0', starts: 2, crashes: 1, lostJobs: 0 }],
    })
    const shown = await cli(['machines', 'show', 'machine-1'])
    expect(shown.stdout).toContain('\t2\t0\t1\t0\t')
    expect(shown.stdout).toContain('its process was killed by SIGSEGV')
    const drained = await cli(['workers', 'drain', '--machine', 'machine-1', '--wait'])
    expect(drained.code).toBe(0)
    expect(drained.stdout).toBe('machine-1 is drained: 1 worker, nothing runs\n')
    expect(drained.stderr).toContain('leasehold workers resume --machine machine-1')
    expect((await p.worker(worker)).status).toBe('draining')
    expect(await json('workers', 'resume', '--machine', 'machine-1')).toMatchObject({
      drainRequestedAt: null,
      witnessContradictedAt: null,
    })
    expect((await cli(['machines', 'show', 'nowhere'])).code).toBe(4)
    expect((await cli(['workers', 'drain', '--machine', 'nowhere'])).code).toBe(4)
    for (const args of [['drain'], ['drain', worker.id, '--machine', 'machine-1'], ['resume']]) {
      const refused = await cli(['workers', ...args])
      expect(refused.code).toBe(2)
      expect(refused.stderr).toContain('give the ID of a worker, or --machine ID, and not both.')
    }
  })

  test('K2: an alert is listed, acknowledged by an ending of its id, and over', async () => {
    const { run: cli, p, json } = await open()
    expect(await cli(['alerts', 'list'])).toMatchObject({ code: 0, stderr: 'No alert.\n' })
    await p.reportDeath({}, 1, [await p.register()])
    await p.sweep()
    const listed = await json('alerts', 'list')
    expect(listed.items).toMatchObject([
      { rule: 'worker_lost', subject: 'machine-1', status: 'open' },
    ])
    const id = String(listed.items[0].id)
    const acked = await json('alerts', 'ack', id.slice(-6), '--by', 'ana')
    expect(acked.items).toMatchObject([{ id, status: 'acknowledged', acknowledgedBy: 'ana' }])
    const piped = await cli(['alerts', 'list'])
    expect(piped.stdout.split('\n')[1]).toMatch(/^acknowledged\t.*\tworker_lost\tmachine-1\t/)
    expect(piped.stderr).toBe('0 open, 1 acknowledged.\n')
    await p.passTime(600_000)
    await p.sweep()
    expect((await json('alerts', 'list')).items).toEqual([])
    expect((await json('alerts', 'list', '--all')).items).toMatchObject([{ status: 'resolved' }])
    const over = await cli(['alerts', 'ack', id])
    expect(over.code).toBe(5)
    expect(over.stderr).toContain('is over and needs nobody any more')
    expect((await cli(['alerts', 'ack', 'abcdef'])).code).toBe(4)
    expect((await cli(['alerts', 'ack', 'no id'])).code).toBe(2)
    expect((await cli(['alerts', 'ack', id, '--namespace', 'other'])).code).toBe(4)
  })

  test('thresholds are set, shown, and put back', async () => {
    const { run: cli, json } = await open()
    expect(await json('alerts', 'set', 'oldest-pending', '--for', '2h')).toMatchObject({
      rule: 'oldest_pending',
      forMs: 7_200_000,
      changed: true,
    })
    const rules = (await json('alerts', 'rules')).items as { rule: string; changed: boolean }[]
    expect(rules.filter(({ changed }) => changed).map(({ rule }) => rule)).toEqual([
      'oldest_pending',
    ])
    expect(await json('alerts', 'set', 'oldest_pending', '--off')).toMatchObject({
      enabled: false,
      forMs: 7_200_000,
    })
    expect(await json('alerts', 'set', 'oldest_pending', '--default')).toMatchObject({
      enabled: true,
      forMs: 900_000,
      changed: false,
    })
    for (const [args, words] of [
      [['oldest_pendign', '--off'], 'Did you mean "oldest_pending"?'],
      [['oldest_pending'], 'say what to change'],
      [['oldest_pending', '--on', '--off'], 'exclude each other'],
      [['oldest_pending', '--at-least', '3'], 'the rule oldest_pending has no atLeast'],
      [['oldest_pending', '--for', '3d'], 'from 1 to 86400000'],
      [['oldest_pending', '--for', 'long'], '--for is a duration'],
    ] as const) {
      const refused = await cli(['alerts', 'set', ...args])
      expect(refused.code).toBe(2)
      expect(refused.stderr).toContain(words)
    }
  })

  test('webhooks are added, tested, listed and removed, and their secret is shown once', async (context) => {
    const { run: cli, json } = await open()
    const receiver = await openReceiver(context)
    const refused = await cli(['alerts', 'webhooks', 'add', receiver.url])
    expect(refused.code).toBe(2)
    expect(refused.stderr).toContain('--allow-private')
    for (const url of ['example.com', 'ftp://example.com/', 'https://me:pw@example.com/']) {
      const wrong = await cli(['alerts', 'webhooks', 'add', url])
      expect(wrong.code).toBe(2)
      expect(wrong.stderr).not.toContain('pw@')
    }
    const unknown = await cli(['alerts', 'webhooks', 'add', 'https://a.example/', '--rule', 'no'])
    expect(unknown.code).toBe(2)
    const add = ['alerts', 'webhooks', 'add', receiver.url, '--allow-private', '--rule', 'poison']
    const added = await cli(add)
    expect(added.stdout).toMatch(/^whsec_[A-Za-z0-9+/]{43}=\n$/)
    const secret = added.stdout.trim()
    const { items } = await json('alerts', 'webhooks', 'list')
    expect(items).toMatchObject([{ url: receiver.url, rules: ['poison'], waiting: 0 }])
    expect(JSON.stringify(items)).not.toContain(secret)
    const id = String(items[0].id)
    expect(await json('alerts', 'webhooks', 'test', id.slice(-6))).toEqual({
      id,
      delivered: true,
      status: 204,
      error: null,
    })
    expect(receiver.received).toHaveLength(1)
    expect(receiver.received[0]!.signature).toBe(signatureOf(secret, receiver.received[0]!))
    receiver.answers(500)
    const failed = await cli(['alerts', 'webhooks', 'test', receiver.url])
    expect(failed).toMatchObject({ code: 1, stdout: 'Not delivered: answered 500.\n' })
    // The same URL once more gets a new secret, and is still one webhook.
    expect((await cli(add)).stdout.trim()).not.toBe(secret)
    expect((await json('alerts', 'webhooks', 'list')).items).toMatchObject([{ id, givenUp: 1 }])
    expect((await cli(['alerts', 'webhooks', 'remove', id.slice(-6)])).code).toBe(0)
    expect((await json('alerts', 'webhooks', 'list')).items).toEqual([])
    expect((await cli(['alerts', 'webhooks', 'remove', id])).code).toBe(4)
  })

  test('a database that is no copy has nothing to confirm', async () => {
    const { run: cli, json } = await open()
    expect(await json('migrate', '--check')).toMatchObject({ state: 'current', copied: false })
    expect(await cli(['migrate', '--confirm-copy'])).toMatchObject({
      code: 0,
      stdout: 'This database is no copy, so there is nothing to confirm.\n',
    })
  })
})

test('without DATABASE_URL the embedded database is started, found again and stopped', async () => {
  const env = {}
  expect(await run(['db', 'status'], env)).toMatchObject({ code: 4 })
  expect(await run(['db', 'url'], env)).toMatchObject({ code: 4, stdout: '' })
  onTestFinished(async () => void (await run(['db', 'stop'], env)))
  const first = await run(['enqueue', 'a', '--force'], env)
  expect(first).toMatchObject({ code: 0, stderr: '' })
  expect(fs.readFileSync(path.join(dir, '.leasehold/.gitignore'), 'utf8')).toBe('*\n')
  const { stdout: url } = await run(['db', 'url'], env)
  const status = await run(['db', 'status', '--json'], env)
  expect(JSON.parse(status.stdout)).toMatchObject({
    running: true,
    port: Number(new URL(url).port),
    dataDir: path.join(dir, '.leasehold/pg'),
  })
  expect(await run(['db', 'stop'], env)).toMatchObject({ code: 0 })
  expect(await run(['db', 'start'], env)).toMatchObject({ code: 0 })
  expect((await run(['db', 'url'], env)).stdout).toBe(url)
  const listed = await run(['jobs', 'list', '--json'], env)
  expect(JSON.parse(listed.stdout).items.map((job: { id: string }) => job.id)).toEqual([
    first.stdout.trim(),
  ])
})

/** A job of the worker's, ended like this, as soon as there is one to claim. */
async function claimOne(
  p: Protocol,
  worker: Awaited<ReturnType<Protocol['register']>>,
  outcome: string,
): Promise<void> {
  const held = await until('there is a job to claim', async () => {
    const claimed = heldOf(await p.claim(worker, { want: 1 }))
    return claimed.length > 0 && claimed
  })
  await p.settle(held, [outcome], [outcome === 'completed' ? { ok: true } : { message: 'no' }])
}

/** The URL of a login role of this test's own. */
async function login(p: Protocol, settings: string[] = [], granted?: string): Promise<string> {
  const name = `lh_cli_${randomBytes(4).toString('hex')}`
  await p.db.rows(
    `create role ${name} login password 'secret'${granted === undefined ? '' : ` in role ${granted}`}`,
  )
  for (const setting of settings) await p.db.rows(`alter role ${name} set ${setting}`)
  const url = new URL(p.db.databaseUrl)
  url.username = name
  url.password = 'secret'
  onTestFinished(async () => {
    // The test's own pool is closed by now.
    const { default: pg } = await import('pg')
    const admin = new pg.Client({ connectionString: p.db.databaseUrl })
    await admin.connect()
    await admin.query(`drop role ${name}`)
    await admin.end()
  })
  return url.href
}
