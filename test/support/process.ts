/**
 * Workers as real processes on a real PostgreSQL, for tests that kill, freeze and cut them off.
 *
 * A scenario has a schema, a directory and a client of its own, starts processes of the built program, and when its test ends kills
 * every one of them. All the while it asks the database for broken invariants (A5): one that was ever seen fails the test.
 *
 * Nothing here sleeps for a fixed time. Tests wait for a log line of a process, for its exit, or for something that the database
 * says, each with a limit that only a hang reaches; a wait that never ends fails with its name and with what the processes logged.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { appendFileSync, cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync } from 'node:fs'
import { readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as delay } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import ts from 'typescript'
import { expect, type TestContext } from 'vitest'
import { type Client, createClient } from '../../src/client/client.ts'
import type { JobDocument } from '../../src/client/documents.ts'
import type * as MigrateModule from '../../src/db/migrate.ts'
import type * as PublicApi from '../../src/index.ts'
import { connectOne, type Database, openDatabase } from '../../src/db/connect.ts'
import { dropSchema, testDatabaseUrl } from './database.ts'
import { LIMIT_MS, until } from './until.ts'

const ROOT = path.resolve(import.meta.dirname, '..', '..')

/** A line that a worker logged. */
export interface LogLine {
  readonly event: string
  readonly [field: string]: unknown
}

/** A line that a handler wrote to the scenario's journal. */
export interface JournalLine {
  readonly jobId: string
  readonly attempt: number
  readonly pid: number
  /** Wall clock of this machine, which all processes of a test share. */
  readonly atMs: number
  readonly what: string
}

export interface WorkerStart {
  readonly machine?: string
  readonly args?: readonly string[]
  readonly env?: NodeJS.ProcessEnv
  readonly databaseUrl?: string
  /** Do not wait until it has registered. */
  readonly unready?: boolean
}

let built: string | undefined

/**
 * The program as it is published: LEASEHOLD_TEST_PROGRAM if that is set, `dist` under `npm test`, which has built it, else a build of
 * the sources as they are now. A file of tests stays with the build that it began with, whatever is edited meanwhile.
 */
export function builtProgram(): string {
  return (built ??= build())
}

function build(): string {
  const given = process.env['LEASEHOLD_TEST_PROGRAM']
  if (given) return path.resolve(given)
  if (process.env['npm_lifecycle_event'] === 'test') return path.join(ROOT, 'dist/cli/main.js')
  const digest = createHash('sha256')
  for (const entry of readdirSync(path.join(ROOT, 'src'), {
    recursive: true,
    encoding: 'utf8',
  }).sort()) {
    const file = path.join(ROOT, 'src', entry)
    if (/\.(ts|sql)$/.test(entry)) digest.update(entry).update(readFileSync(file))
  }
  const home = path.join(ROOT, '.leasehold/test-build', digest.digest('hex').slice(0, 16))
  const program = path.join(home, 'dist/cli/main.js')
  if (existsSync(program)) return program
  const unfinished = `${home}.${process.pid}`
  const tsc = path.join(ROOT, 'node_modules/typescript/bin/tsc')
  execFileSync(
    process.execPath,
    [tsc, '-p', 'tsconfig.build.json', '--outDir', path.join(unfinished, 'dist')],
    { cwd: ROOT, stdio: 'inherit' },
  )
  cpSync(path.join(ROOT, 'src/sql'), path.join(unfinished, 'dist/sql'), {
    recursive: true,
    filter: (file) => statSync(file).isDirectory() || file.endsWith('.sql'),
  })
  cpSync(path.join(ROOT, 'migrations'), path.join(unfinished, 'migrations'), { recursive: true })
  cpSync(path.join(ROOT, 'package.json'), path.join(unfinished, 'package.json'))
  try {
    renameSync(unfinished, home)
  } catch {
    rmSync(unfinished, { recursive: true, force: true }) // Another test file was faster.
  }
  return program
}

/** The public API of that program, for workers in the process of a test: their thread can't be loaded from TypeScript everywhere. */
export async function builtApi(): Promise<typeof PublicApi> {
  const file = path.join(path.dirname(builtProgram()), '../index.js')
  return (await import(pathToFileURL(file).href)) as typeof PublicApi
}

/** The handlers of these tests, as JavaScript that needs no loader: processes start twice as fast. */
function builtHandlers(): string {
  const dist = path.dirname(path.dirname(builtProgram()))
  const text = readFileSync(path.join(ROOT, 'test/process/handlers.ts'), 'utf8').replaceAll(
    /'\.\.\/\.\.\/src\/(.*?)\.ts'/g,
    (_, name: string) => `'${pathToFileURL(path.join(dist, name)).href}.js'`,
  )
  const file = path.join(
    temporary(),
    `handlers-${createHash('sha256').update(text).digest('hex').slice(0, 16)}.mjs`,
  )
  if (!existsSync(file)) {
    writeFileSync(`${file}.${process.pid}`, stripTypes(text))
    renameSync(`${file}.${process.pid}`, file)
  }
  return file
}

function stripTypes(text: string): string {
  const { ESNext } = ts.ScriptTarget
  return ts.transpileModule(text, {
    compilerOptions: { target: ESNext, module: ts.ModuleKind.ESNext },
  }).outputText
}

/** One process of the program. */
export class Program {
  readonly child: ChildProcess
  readonly lines: LogLine[] = []
  readonly arrivedMs: number[] = []
  readonly exited: Promise<{ code: number | null; signal: NodeJS.Signals | null; atMs: number }>
  text = ''
  #ended = false

  constructor(args: readonly string[], env: NodeJS.ProcessEnv, cwd: string) {
    this.child = spawn(process.execPath, args, { env, cwd, stdio: ['ignore', 'pipe', 'pipe'] })
    for (const stream of [this.child.stdout, this.child.stderr]) {
      if (stream === null) continue
      createInterface({ input: stream }).on('line', (line) => this.#take(line))
    }
    this.exited = new Promise((resolve) => {
      this.child.once('exit', (code, signal) => {
        this.#ended = true
        resolve({ code, signal, atMs: Date.now() })
      })
    })
  }

  get pid(): number {
    return this.child.pid ?? 0
  }

  get ended(): boolean {
    return this.#ended
  }

  /** The first line of this event that fits, in what was logged or will be. */
  event(
    name: string,
    fits: (line: LogLine) => boolean = () => true,
    limitMs: number = LIMIT_MS,
  ): Promise<LogLine> {
    return until(
      `event ${name} of process ${this.pid}`,
      () => this.lines.find((line) => line.event === name && fits(line)),
      { limitMs, told: () => this.told() },
    )
  }

  events(name: string): LogLine[] {
    return this.lines.filter((line) => line.event === name)
  }

  kill(signal: NodeJS.Signals): void {
    process.kill(this.pid, signal)
  }

  /** The end of this process, within the limit. */
  async exit(
    limitMs: number = LIMIT_MS,
  ): Promise<{ code: number | null; signal: string | null; atMs: number }> {
    await until(`exit of process ${this.pid}`, () => this.#ended, {
      limitMs,
      told: () => this.told(),
    })
    return this.exited
  }

  told(): string {
    return `\nprocess ${this.pid} said:\n${this.text.slice(-6_000)}`
  }

  #take(line: string): void {
    this.text += `${line}\n`
    if (!line.startsWith('{')) return
    this.lines.push(JSON.parse(line) as LogLine)
    this.arrivedMs.push(Date.now())
  }
}

export interface ScenarioOptions {
  /** Another server, or a proxy in front of it, instead of the tests' own. */
  readonly databaseUrl?: string
  /** A database of its own, so that all of its connections are this scenario's. */
  readonly ownDatabase?: boolean
  readonly namespace?: string
  /** Whether to look for broken invariants meanwhile. Default true. */
  readonly watch?: boolean
}

export class Scenario {
  readonly databaseUrl: string
  readonly schemaName: string
  readonly db: Database
  readonly client: Client
  readonly directory: string
  readonly journalFile: string
  readonly context: TestContext
  readonly #programs: Program[] = []
  readonly #broken = new Set<string>()
  readonly #options: ScenarioOptions
  #closed = false
  #watching: Promise<void> = Promise.resolve()

  private constructor(context: TestContext, databaseUrl: string, options: ScenarioOptions) {
    this.context = context
    this.databaseUrl = databaseUrl
    this.#options = options
    this.schemaName = `process_${randomBytes(5).toString('hex')}`
    this.db = openDatabase({ databaseUrl, schema: this.schemaName, connectionsMax: 8 })
    this.client = createClient({
      databaseUrl,
      schema: this.schemaName,
      namespace: options.namespace ?? 'default',
      connectionsMax: 4,
    })
    this.directory = mkdtempSync(path.join(temporary(), 'scenario-'))
    this.journalFile = path.join(this.directory, 'journal')
    appendFileSync(this.journalFile, '')
  }

  static async open(context: TestContext, options: ScenarioOptions = {}): Promise<Scenario> {
    context.onTestFinished(await takePlace())
    let databaseUrl = options.databaseUrl ?? testDatabaseUrl()
    let drop: (() => Promise<void>) | null = null
    if (options.ownDatabase === true) {
      const name = `process_${randomBytes(5).toString('hex')}`
      const admin = openDatabase({ databaseUrl, connectionsMax: 1 })
      await admin.query(`create database ${name}`, [])
      const url = new URL(databaseUrl)
      url.pathname = `/${name}`
      databaseUrl = url.href
      drop = async () => {
        await admin.query(`drop database ${name} with (force)`, [])
        await admin.close()
      }
    }
    const scenario = new Scenario(context, databaseUrl, options)
    context.onTestFinished(async ({ task }) => {
      await scenario.#close(task.result?.state === 'fail')
      await drop?.()
      expect([...scenario.#broken], 'invariants that were seen broken').toEqual([])
    })
    // The program's own, so that both agree on which functions are current.
    const file = path.join(path.dirname(builtProgram()), '../db/migrate.js')
    const { migrate } = (await import(pathToFileURL(file).href)) as typeof MigrateModule
    await migrate({ databaseUrl, schema: scenario.schemaName })
    if (options.watch !== false) scenario.#watching = scenario.#watch()
    return scenario
  }

  /** Starts a worker process with the handlers of these tests, and waits until it is ready. */
  async worker(start: WorkerStart = {}): Promise<Program> {
    const worker = this.run(['worker', builtHandlers(), ...(start.args ?? [])], start)
    if (start.unready !== true) await worker.event('worker.started')
    return worker
  }

  /** Starts the program with these arguments. */
  run(args: readonly string[], start: WorkerStart = {}): Program {
    const { npm_lifecycle_event: _n, ...inherited } = process.env
    const program = new Program(
      [builtProgram(), ...args],
      {
        ...inherited,
        TMPDIR: temporary(),
        DATABASE_URL: start.databaseUrl ?? this.databaseUrl,
        LEASEHOLD_SCHEMA: this.schemaName,
        LEASEHOLD_NAMESPACE: this.client.namespace,
        LEASEHOLD_MACHINE_ID: start.machine ?? 'machine-a',
        TEST_JOURNAL: this.journalFile,
        ...start.env,
      },
      this.directory,
    )
    this.#programs.push(program)
    return program
  }

  /** Arguments that name the handlers of these tests, for a program that is started by hand. */
  handlers(): readonly string[] {
    return [builtHandlers()]
  }

  enqueue(type: string, input: unknown = {}, options = {}): Promise<string> {
    return this.client.enqueueRaw(type, input, options)
  }

  async enqueueSome(count: number, type: string, input: unknown = {}): Promise<string[]> {
    return Promise.all(Array.from({ length: count }, () => this.enqueue(type, input)))
  }

  /** Rows of one statement; `%s` stands for the quoted schema. */
  async rows<T = Record<string, unknown>>(text: string, values: unknown[] = []): Promise<T[]> {
    return (await this.db.query(text.replaceAll('%s', this.db.schema), values)).rows as T[]
  }

  job(jobId: string): Promise<JobDocument> {
    return this.client.get(jobId)
  }

  /** The job, once it fits. */
  jobWhen(
    what: string,
    jobId: string,
    fits: (job: JobDocument) => boolean,
    limitMs: number = LIMIT_MS,
  ): Promise<JobDocument> {
    let last: JobDocument | null = null
    return until(
      `job is ${what}`,
      async () => {
        last = await this.job(jobId)
        return fits(last) ? last : null
      },
      { limitMs, told: () => `\n${JSON.stringify(last, null, 1)}${this.told()}` },
    )
  }

  jobIs(jobId: string, status: string, limitMs: number = LIMIT_MS): Promise<JobDocument> {
    return this.jobWhen(status, jobId, (job) => job.status === status, limitMs)
  }

  until<T>(
    what: string,
    look: () => Promise<T | null | undefined | false> | T | null | undefined | false,
    limitMs: number = LIMIT_MS,
  ): Promise<T> {
    return until(what, look, { limitMs, told: () => this.told() })
  }

  journal(jobId?: string): JournalLine[] {
    return readFileSync(this.journalFile, 'utf8')
      .split('\n')
      .filter((line) => line.endsWith('}'))
      .map((line) => JSON.parse(line) as JournalLine)
      .filter((line) => jobId === undefined || line.jobId === jobId)
  }

  /** The first line of this kind in the journal, once it is there. */
  journalLine(
    what: string,
    fits: (line: JournalLine) => boolean = () => true,
    limitMs: number = LIMIT_MS,
  ): Promise<JournalLine> {
    return this.until(
      `journal line ${what}`,
      () => this.journal().find((line) => line.what === what && fits(line)),
      limitMs,
    )
  }

  /** A name in this scenario's directory: handlers that wait for it go on when `open` makes it. */
  gate(name: string): { file: string; open: () => void } {
    const file = path.join(this.directory, name)
    return { file, open: () => mkdirSync(file) }
  }

  /** Holds a table that transitions write to at their end, so that none can commit until it is released. */
  async holdTable(
    table: 'attempt' | 'event',
  ): Promise<AsyncDisposable & { release: () => Promise<void> }> {
    const session = await connectOne({ databaseUrl: this.databaseUrl })
    await session.query('begin')
    await session.query(`lock table ${this.db.schema}.${table} in share mode`)
    let held = true
    const release = async (): Promise<void> => {
      if (held) await session.end()
      held = false
    }
    return { release, [Symbol.asyncDispose]: release }
  }

  told(): string {
    return this.#programs.map((program) => program.told()).join('')
  }

  async #watch(): Promise<void> {
    while (!this.#closed) {
      try {
        const broken = await this.rows<{ rule: string; job_id: string }>(
          'select * from %s.invariants()',
        )
        for (const { rule, job_id } of broken) this.#broken.add(`${rule}: ${job_id}`)
      } catch {
        // The test has taken the database away for a moment.
      }
      await delay(250)
    }
  }

  async #close(failed: boolean): Promise<void> {
    this.#closed = true
    await this.#watching
    for (const program of this.#programs) {
      if (program.ended) continue
      program.kill('SIGKILL')
      await program.exit()
    }
    await this.client.close()
    if (failed) {
      process.stderr.write(`kept for a look: schema ${this.schemaName}\n${this.told()}\n`)
    } else if (this.#options.ownDatabase !== true && this.#options.databaseUrl === undefined) {
      await dropSchema(this.db)
    }
    await this.db.close().catch(() => undefined)
    rmSync(this.directory, { recursive: true, force: true })
  }
}

/** Scenarios of one file at a time: more would only measure how a small machine behaves when it is overloaded. */
let places = 3
const queue: (() => void)[] = []

async function takePlace(): Promise<() => void> {
  if (places === 0) await new Promise<void>((resolve) => queue.push(resolve))
  else places -= 1
  return () => {
    const next = queue.shift()
    if (next === undefined) places += 1
    else next()
  }
}

/** Whether some process has this pid. */
export function exists(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

/** A worker that leaves nothing but its logs: workers of a scenario share a schema, so they never see those of another. */
function temporary(): string {
  const directory = path.join(tmpdir(), `leasehold-process-tests-${process.getuid?.() ?? 'user'}`)
  mkdirSync(directory, { recursive: true })
  return directory
}
