/**
 * The processes that a measure works with: real `leasehold worker` programs, whose handlers report on standard output and whose log
 * lines, JSON on standard error, tell what happens. A fleet ends all that it has started, whatever state it is in.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { cleanEnvironment } from './environment.ts'
import { Feed } from './feed.ts'
import { parseReport, type Report } from './reports.ts'

const ROOT = path.resolve(import.meta.dirname, '..')
/** A worker with deaf handlers needs its grace; what is left then is killed. */
const STOP_MS_MAX = 10_000
const LAST_LINES = 15

/** A line of a worker's log. */
export interface LogLine {
  readonly event: string
  readonly pid: number
  readonly [field: string]: unknown
}

export interface WorkerChoice {
  /** Arguments of `leasehold worker`. */
  readonly args?: readonly string[]
  /** Settings in its environment, such as LEASE_DURATION. */
  readonly env?: Readonly<Record<string, string>>
  /** Instead of the fleet's, such as that of a pooler. */
  readonly databaseUrl?: string
  /** It logs only warnings, so it does not say that it has registered, and `start` does not wait for that. */
  readonly quiet?: boolean
}

export class BenchWorker {
  readonly choice: WorkerChoice
  readonly log = new Feed<LogLine>()
  readonly exited: Promise<{ code: number | null; signal: NodeJS.Signals | null }>
  /** What it has written that is no log line, such as an error message. */
  readonly said: string[] = []
  readonly #process: ChildProcess

  constructor(child: ChildProcess, choice: WorkerChoice) {
    this.#process = child
    this.choice = choice
    this.exited = new Promise((resolve) => {
      child.once('exit', (code, signal) => resolve({ code, signal }))
    })
  }

  get pid(): number {
    return this.#process.pid ?? 0
  }

  get running(): boolean {
    return this.#process.exitCode === null && this.#process.signalCode === null
  }

  kill(signal: NodeJS.Signals): void {
    this.#process.kill(signal)
  }

  /** Resolves when this many worker processes have registered. */
  async ready(processes: number): Promise<void> {
    const enough = (): boolean =>
      this.log.items.filter((line) => line.event === 'worker.started').length >= processes
    await this.orEnded(this.log.first('a worker to register', enough))
  }

  /** Waits for something that this worker will do; should it end instead, the error has its last words. */
  orEnded<Value>(wait: Promise<Value>): Promise<Value> {
    const ended = this.exited.then(({ code, signal }) => {
      const last = this.said.slice(-LAST_LINES).join('\n')
      throw new Error(`A worker has ended (${signal ?? `status ${code}`}):\n${last}`)
    })
    return Promise.race([wait, ended])
  }
}

export class Fleet {
  readonly reports = new Feed<Report>()
  readonly workers = new Set<BenchWorker>()
  static readonly #everywhere = new Set<BenchWorker>()
  readonly #databaseUrl: string
  readonly #schema: string

  constructor(options: { databaseUrl: string; schema: string }) {
    this.#databaseUrl = options.databaseUrl
    this.#schema = options.schema
  }

  /** Starts a worker, or with `--processes` a supervisor; resolves when it has registered. */
  async start(choice: WorkerChoice = {}): Promise<BenchWorker> {
    const args = choice.args ?? []
    const program = path.join(ROOT, 'dist', 'cli', 'main.js')
    const child = spawn(process.execPath, [program, 'worker', 'bench/handlers.ts', ...args], {
      cwd: ROOT,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: {
        ...cleanEnvironment(),
        DATABASE_URL: choice.databaseUrl ?? this.#databaseUrl,
        LEASEHOLD_SCHEMA: this.#schema,
        ...(choice.quiet === true ? { LEASEHOLD_LOG_LEVEL: 'warn' } : {}),
        ...choice.env,
      },
    })
    const worker = new BenchWorker(child, choice)
    for (const workers of [this.workers, Fleet.#everywhere]) {
      workers.add(worker)
      void worker.exited.then(() => workers.delete(worker))
    }
    createInterface({ input: child.stdout }).on('line', (line) => {
      const report = parseReport(line)
      if (report !== null) this.reports.push(report)
    })
    createInterface({ input: child.stderr }).on('line', (line) => {
      const logged = parseLogLine(line)
      worker.said.push(line)
      if (logged !== null) worker.log.push(logged)
    })
    if (choice.quiet === true) return worker
    const at = args.indexOf('--processes')
    await worker.ready(at === -1 ? 1 : Number(args[at + 1]))
    return worker
  }

  /** The report of the handler of this attempt, from its start. */
  started(job: string, attempt: number, options: { limitMs?: number } = {}): Promise<Report> {
    return this.reports.first(
      `attempt ${attempt} of job ${job} to start`,
      (report) => report.event === 'started' && report.job === job && report.attempt === attempt,
      options,
    )
  }

  /** The worker whose process has this id. */
  byPid(pid: number): BenchWorker {
    const found = [...this.workers].find((worker) => worker.pid === pid)
    if (found === undefined) throw new Error(`No worker of this fleet has the process id ${pid}.`)
    return found
  }

  /** Ends what any fleet has started, at once: for the benchmark's own last moments. Supervised children see it and stop. */
  static killAll(): void {
    for (const worker of Fleet.#everywhere) worker.kill('SIGKILL')
  }

  async stop(): Promise<void> {
    await Promise.all([...this.workers].map(stopWorker))
  }
}

async function stopWorker(worker: BenchWorker): Promise<void> {
  // A frozen process would hear nothing else.
  worker.kill('SIGCONT')
  worker.kill('SIGTERM')
  const limit = setTimeout(() => worker.kill('SIGKILL'), STOP_MS_MAX)
  await worker.exited
  clearTimeout(limit)
}

function parseLogLine(line: string): LogLine | null {
  try {
    if (!line.startsWith('{')) return null
    const logged: LogLine = JSON.parse(line)
    return logged
  } catch {
    return null // Half a line of a process that was killed while it wrote.
  }
}
