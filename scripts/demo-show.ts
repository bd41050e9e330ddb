/**
 * The main job, on real input, with real deaths: `npm run demo`. The job itself is examples/digest; this is the show around it.
 *
 * Digests every file of node_modules with three worker processes under a supervisor. In the middle one worker is killed with SIGKILL
 * and another is stopped with SIGTERM; what was theirs goes on elsewhere from its checkpoints. At the end the manifest is compared,
 * byte for byte, with what sha256sum says. Exit code 0 only if everything that the last table claims is true.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdir, readdir, readFile, rm } from 'node:fs/promises'
import { constants } from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  createClient,
  type AttemptDocument,
  type Client,
  type JobDocument,
  migrate,
} from 'leasehold'
import { startEmbedded } from 'leasehold/embedded'
import { progressBar } from '../src/cli/terminal/bar.ts'
import { formatDuration, formatId } from '../src/cli/terminal/format.ts'
import { createLiveRegion } from '../src/cli/terminal/live.ts'
import { createTerminal, paint } from '../src/cli/terminal/style.ts'
import { digestFolder, filesBelow } from '../examples/digest/handlers.ts'

const ROOT = path.resolve(import.meta.dirname, '..')
const HOME = path.join(ROOT, '.leasehold', 'demo')
const PROCESSES = 3
const LIMIT_MS = 110_000

const stream = process.stdout
const terminal = createTerminal(stream, process.env)
const say = (line = ''): void => {
  if (terminal.isTerminal) stream.write(`${line}\n`)
  else if (line.trim() !== '') stream.write(`demo: ${line.trim()}\n`)
}
const mark = (good: boolean): string =>
  terminal.isTerminal && terminal.unicode
    ? paint(terminal, [good ? 'green' : 'red'], good ? '✓' : '✕')
    : good
      ? 'ok'
      : 'FAILED'

/** The first signal takes everything down, a second one ends the show where it stands. */
const stopped = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    const code = 128 + constants.signals[signal]
    if (stopped.signal.aborted) process.exit(code)
    process.exitCode = code
    stopped.abort(new Error(`stopped by ${signal}`))
  })
}

interface Step {
  readonly folder: string
  readonly files: number
}

interface Fleet {
  readonly process: ChildProcess
  /** Worker id by process id, of the children that are ready. */
  readonly workers: Map<number, string>
  readonly exits: Map<number, string>
}

async function main(): Promise<boolean> {
  say()
  say(
    paint(terminal, ['bold'], 'Leasehold demo. Everything below really happens, on this machine.'),
  )
  say()
  await rm(path.join(HOME, 'manifest'), { recursive: true, force: true })
  await mkdir(HOME, { recursive: true })
  const server = await setUp(
    'PostgreSQL',
    () => startEmbedded({ dataDir: path.join(HOME, 'pg'), onParentExit: 'stop' }),
    (s) => s.version,
  )
  const schema = `demo_${process.pid}`
  const databaseUrl = server.url
  const client = createClient({ databaseUrl, schema })
  let fleet: Fleet | null = null
  try {
    await setUp(
      'schema',
      () => migrate({ databaseUrl, schema }),
      (m) => `${m.applied.length} migrations`,
    )
    const root = path.join(ROOT, 'node_modules')
    const steps = await setUp(
      'input',
      () => foldersOf(root),
      (found) => {
        const files = found.reduce((sum, step) => sum + step.files, 0)
        return `${files} files in ${found.length} folders of node_modules`
      },
    )
    fleet = await setUp(
      `${PROCESSES} workers`,
      () => startFleet(databaseUrl, schema),
      () => 'one supervisor, 2 jobs at once each',
    )
    return await digest(client, fleet, root, steps)
  } finally {
    if (fleet !== null) await stopFleet(fleet)
    await client.close()
    await server.stop()
    await rm(HOME, { recursive: true, force: true })
  }
}

async function setUp<T>(
  name: string,
  work: () => Promise<T>,
  detail: (result: T) => string,
): Promise<T> {
  stopped.signal.throwIfAborted()
  const startedMs = performance.now()
  const result = await work()
  const took = formatDuration(performance.now() - startedMs).padStart(8)
  say(`  ${mark(true)} ${name.padEnd(14)} ${took}   ${paint(terminal, ['dim'], detail(result))}`)
  return result
}

/** One job a top folder (scoped packages each), largest first, so that the long ones are not left for the end. */
async function foldersOf(root: string): Promise<Step[]> {
  const top = (await readdir(root, { withFileTypes: true })).filter((entry) => entry.isDirectory())
  const folders = await Promise.all(
    top.map(async ({ name }) =>
      name.startsWith('@')
        ? (await readdir(path.join(root, name))).map((inner) => path.join(name, inner))
        : [name],
    ),
  )
  const steps = await Promise.all(
    ['.', ...folders.flat()].map(async (folder) => ({
      folder,
      files: (await filesBelow(root, folder)).length,
    })),
  )
  return steps.filter((step) => step.files > 0).sort((a, b) => b.files - a.files)
}

async function startFleet(databaseUrl: string, schema: string): Promise<Fleet> {
  const program = spawn(
    process.execPath,
    [
      path.join(ROOT, 'dist/cli/main.js'),
      'worker',
      path.join(ROOT, 'examples/digest/handlers.ts'),
      '--processes',
      String(PROCESSES),
      '--concurrency',
      '2',
      '--shutdown-grace',
      '500ms',
    ],
    {
      env: { ...process.env, DATABASE_URL: databaseUrl, LEASEHOLD_SCHEMA: schema },
      stdio: ['ignore', 'ignore', 'pipe'],
    },
  )
  const fleet: Fleet = { process: program, workers: new Map(), exits: new Map() }
  const trouble: string[] = []
  const ready = new Promise<void>((resolve, reject) => {
    createInterface({ input: program.stderr as NodeJS.ReadableStream }).on('line', (line) => {
      const event = parse(line)
      if (event === null) trouble.push(line)
      if (event?.['event'] === 'child.ready')
        fleet.workers.set(Number(event['pid']), String(event['workerId']))
      if (event?.['event'] === 'child.exited') {
        fleet.workers.delete(Number(event['pid']))
        fleet.exits.set(
          Number(event['pid']),
          (event['signal'] as string | null) ?? `code ${String(event['exitCode'])}`,
        )
      }
      if (fleet.workers.size === PROCESSES) resolve()
    })
    program.once('exit', (code) =>
      reject(new Error(`the workers ended with code ${code}:\n${trouble.join('\n')}`)),
    )
  })
  await ready
  return fleet
}

function parse(line: string): Record<string, unknown> | null {
  try {
    return JSON.parse(line) as Record<string, unknown>
  } catch {
    return null // A line that is not ours: node's own warnings, say.
  }
}

async function stopFleet(fleet: Fleet): Promise<void> {
  if (fleet.process.exitCode !== null) return
  fleet.process.kill('SIGTERM')
  const killed = sleep(15_000, undefined, { ref: false }).then(() => fleet.process.kill('SIGKILL'))
  await Promise.race([once(fleet.process, 'exit'), killed])
}

async function digest(
  client: Client,
  fleet: Fleet,
  root: string,
  steps: readonly Step[],
): Promise<boolean> {
  const startedMs = performance.now()
  const total = steps.reduce((sum, step) => sum + step.files, 0)
  const out = path.join(HOME, 'manifest')
  // A few seconds more than reading takes, spread over the files, so that a person can follow.
  const paceMs = Math.max(0, Math.min(20, Math.round((12_000 * PROCESSES * 2) / total)))
  say()
  say(paint(terminal, ['bold'], '1. One job a folder, a checkpoint every 5 files'))
  say(paint(terminal, ['dim'], `   paced at ${paceMs} ms a file, so that you can follow`))
  say()
  const ids = await client.enqueueMany(
    digestFolder,
    steps.map((step) => ({ root, folder: step.folder, out, paceMs })),
  )
  const folders = new Map(ids.map((id, index) => [id, steps[index]?.folder ?? '']))
  const story = new Story(client, fleet, folders, total)
  await story.follow(startedMs)
  const jobs = await Promise.all(ids.map((id) => client.get(id)))
  return conclude(jobs, root, out, story, performance.now() - startedMs)
}

/** What is shown while the jobs run, and the two deaths in the middle. */
class Story {
  killed: { pid: number; worker: string; atMs: number; jobs: JobDocument[] } | null = null
  stopped: { pid: number; worker: string; atMs: number; jobs: JobDocument[] } | null = null
  readonly #client: Client
  readonly #fleet: Fleet
  readonly #folders: ReadonlyMap<string, string>
  readonly #total: number
  readonly #told = new Set<string>()
  readonly #live = createLiveRegion(terminal, stream)

  constructor(client: Client, fleet: Fleet, folders: ReadonlyMap<string, string>, total: number) {
    this.#client = client
    this.#fleet = fleet
    this.#folders = folders
    this.#total = total
  }

  async follow(startedMs: number): Promise<void> {
    let printedMs = -Infinity
    try {
      for (;;) {
        const { items: running } = await this.#client.list({
          states: ['running', 'lost', 'cancelling'],
          limit: 50,
        })
        const stats = await this.#client.stats()
        const done = await this.#filesDone()
        await this.#tellOf(this.killed)
        await this.#tellOf(this.stopped)
        if (done >= this.#total * 0.3) this.#kill(running)
        if (done >= this.#total * 0.6) this.#stop(running)
        this.#live.update(this.#frame(running, done, startedMs))
        if (!terminal.isTerminal && performance.now() - printedMs > 2_000) {
          printedMs = performance.now()
          say(
            `${Math.min(done, this.#total)} of ${this.#total} files, ${stats.jobs.running} jobs running, ${stats.jobs.pending} waiting`,
          )
        }
        if (stats.jobs.completed + stats.jobs.failed >= this.#folders.size) break
        if (performance.now() - startedMs > LIMIT_MS)
          throw new Error(`not finished after ${formatDuration(LIMIT_MS)}`)
        await sleep(150, undefined, { signal: stopped.signal })
      }
      await this.#tellOf(this.killed)
      await this.#tellOf(this.stopped)
    } finally {
      this.#live.close()
    }
  }

  async #filesDone(): Promise<number> {
    const file = path.join(HOME, 'manifest', 'files-read.log')
    return existsSync(file) ? (await readFile(file, 'utf8')).split('\n').length - 1 : 0
  }

  #frame(running: readonly JobDocument[], done: number, startedMs: number): string[] {
    const width = Math.max(10, Math.min(32, terminal.width - 62))
    const rows = running.slice(0, 8).map((job) => {
      const { done: at, total } = job.progress ?? { done: 0, total: null }
      const worker = shortName(job.workerId ?? '')
        .padEnd(14)
        .slice(-14)
      const folder = (this.#folders.get(job.id) ?? '').slice(0, 22).padEnd(22)
      const state =
        job.state === 'running'
          ? paint(terminal, ['blue'], '●')
          : paint(terminal, ['brightRed', 'bold'], '◌')
      const bar = progressBar(terminal, { done: at, total: total ?? 1, width })
      return `  ${worker}  ${state} ${folder}  ${bar} ${String(at).padStart(5)}/${total ?? '?'}`
    })
    const bar = progressBar(terminal, {
      done: Math.min(done, this.#total),
      total: this.#total,
      width: width + 24,
    })
    return [
      ...rows,
      '',
      `  all            ${bar} ${Math.min(done, this.#total)}/${this.#total}  ${formatDuration(performance.now() - startedMs)}`,
    ]
  }

  #kill(running: readonly JobDocument[]): void {
    if (this.killed !== null) return
    const victim = this.#busiest(running)
    if (victim === null) return
    process.kill(victim.pid, 'SIGKILL')
    this.killed = { ...victim, atMs: Date.now() }
    this.#tell(
      `  ${paint(terminal, ['red'], `kill -9 ${victim.pid}`)}   ${shortName(victim.worker)} dies with ${victim.jobs.length} ${victim.jobs.length === 1 ? 'job' : 'jobs'}`,
    )
  }

  #stop(running: readonly JobDocument[]): void {
    if (this.stopped !== null || this.killed === null) return
    const victim = this.#busiest(running)
    if (victim === null) return
    process.kill(victim.pid, 'SIGTERM')
    this.stopped = { ...victim, atMs: Date.now() }
    this.#tell(
      `  ${paint(terminal, ['yellow'], `kill -15 ${victim.pid}`)}  ${shortName(victim.worker)} is asked to stop; its grace here is 500 ms`,
    )
  }

  #tell(line: string): void {
    if (terminal.isTerminal) this.#live.commit(line)
    else say(line)
  }

  /** The worker whose jobs have most left to do, so that its end matters. */
  #busiest(
    running: readonly JobDocument[],
  ): { pid: number; worker: string; jobs: JobDocument[] } | null {
    const candidates = [...this.#fleet.workers].map(([pid, worker]) => {
      const jobs = running.filter(
        (job) => job.workerId === worker && job.state === 'running' && job.checkpoint !== null,
      )
      const left = jobs.map((job) => (job.progress?.total ?? 0) - (job.progress?.done ?? 0))
      return { pid, worker, jobs, left: Math.max(0, ...left) }
    })
    const best = candidates.sort((a, b) => b.left - a.left)[0]
    return best !== undefined && best.left > 60 ? best : null
  }

  /** Prints how each job of a worker that died went on, once it has. */
  async #tellOf(death: Story['killed']): Promise<void> {
    for (const { id } of death?.jobs ?? []) {
      if (death === null || this.#told.has(`${death.pid}${id}`)) continue
      const job = await this.#client.get(id)
      const ended = job.attempts?.find((attempt) => attempt.workerId === death.worker)
      if (ended?.endedAt == null) continue
      const next = job.attempts?.find((attempt) => attempt.attempt === ended.attempt + 1)
      if (next === undefined && ended.endedAs !== 'completed') continue
      this.#told.add(`${death.pid}${id}`)
      for (const line of handOver(job, ended, next, death.atMs, this.#folders.get(id) ?? ''))
        this.#tell(line)
    }
  }
}

const LAYERS: Readonly<Record<string, string>> = {
  0: 'the worker itself',
  1: 'its supervisor',
  2: 'a neighbour',
  3: 'its connection',
  4: 'its lease',
}

/** What became of one attempt of a worker that died, in lines that fit 80 columns. */
function handOver(
  job: JobDocument,
  ended: AttemptDocument,
  next: AttemptDocument | undefined,
  atMs: number,
  folder: string,
): string[] {
  const name = `    ${formatId(terminal, job.id)} ${folder}`.slice(0, 78)
  if (next === undefined) return [`${name}: finished within the grace`]
  const after = (iso: string | null): string =>
    formatDuration(Math.max(0, Date.parse(iso ?? '') - atMs))
  const layer = String(ended.endReason?.layer ?? 0)
  const from = (next.fromCheckpoint as { files?: number } | null)?.files ?? 0
  const verb = ended.endedAs === 'lost' ? 'taken back' : 'given back'
  const by = `${LAYERS[layer] ?? 'somebody'} (layer ${layer})`
  return [
    name,
    paint(terminal, ['dim'], `      ${verb} after ${after(ended.endedAt)}, noticed by ${by}`),
    paint(
      terminal,
      ['dim'],
      `      again on ${shortName(next.workerId ?? '')} after ${after(next.startedAt)}, at the next free slot, from file ${from}`,
    ),
  ]
}

async function conclude(
  jobs: readonly JobDocument[],
  root: string,
  out: string,
  story: Story,
  tookMs: number,
): Promise<boolean> {
  const attempts = jobs.flatMap((job) => job.attempts ?? [])
  const count = (end: string): number =>
    attempts.filter((attempt) => attempt.endedAs === end).length
  const read = (await readFile(path.join(out, 'files-read.log'), 'utf8')).trim().split('\n').length
  const parts = await Promise.all(
    jobs.map((job) =>
      readFile(
        path.join(out, (job.result as { part: string } | null)?.part ?? 'missing'),
        'utf8',
      ).catch(() => ''),
    ),
  )
  const manifest = sorted(parts.join('').split('\n'))
  const truth = sorted(await sha256sum(root))
  const wrong = difference(manifest, truth) + difference(truth, manifest)
  const completed = jobs.filter((job) => job.status === 'completed').length
  const interrupted = count('interrupted')
  const lost = count('lost')
  // What it had, not what a list showed just before: a job may have ended or begun in between.
  const lostBy = attempts.filter(({ endedAs }) => endedAs === 'lost').map((one) => one.workerId)

  const facts: [string, string, boolean][] = [
    ['jobs completed', `${completed} of ${jobs.length}`, completed === jobs.length],
    [
      'attempts',
      String(attempts.length),
      attempts.length === jobs.length + lost + interrupted + count('released'),
    ],
    ['lost', `${lost}, by SIGKILL`, lost >= 1 && lostBy.every((by) => by === story.killed?.worker)],
    ['interrupted', `${interrupted}, by SIGTERM`, story.stopped !== null && interrupted >= 1],
    ['failures', String(count('failed')), count('failed') === 0],
    [
      'repeated work',
      `${read - truth.length} of ${truth.length} files read twice`,
      read - truth.length <= 5 * (lost + interrupted) + lost + interrupted,
    ],
    ['wrong digests', String(wrong), wrong === 0 && truth.length > 0],
  ]
  say()
  say(paint(terminal, ['bold'], '2. Compared with sha256sum'))
  say()
  for (const [name, value, good] of facts) say(`  ${mark(good)} ${name.padEnd(16)} ${value}`)
  say()
  const good = facts.every(([, , ok]) => ok)
  say(
    good
      ? `${mark(true)} The manifest of ${truth.length} files is identical, after ${formatDuration(tookMs)} and two deaths.`
      : `${mark(false)} Not everything above is as it should be.`,
  )
  return good
}

/** What the system's own tool says of the same files, as lines of the same form. */
async function sha256sum(root: string): Promise<string[]> {
  const names = await filesBelow(root, '')
  const tool = process.platform === 'darwin' ? ['shasum', '-a', '256'] : ['sha256sum']
  const { stdout, status } = spawnSync('xargs', ['-0', ...tool], {
    cwd: root,
    input: names.join('\0'),
    encoding: 'utf8',
    maxBuffer: 1 << 28,
  })
  if (status !== 0) throw new Error(`${tool[0]} ended with status ${status}`)
  return stdout.split('\n')
}

const sorted = (lines: readonly string[]): string[] => lines.filter((line) => line !== '').sort()

function difference(some: readonly string[], others: readonly string[]): number {
  const known = new Set(others)
  return some.filter((line) => !known.has(line)).length + (some.length - new Set(some).size)
}

function shortName(workerId: string): string {
  return workerId.replace(/-[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/, '')
}

try {
  process.exit((await main()) ? 0 : 1)
} catch (error) {
  if (!stopped.signal.aborted) throw error
  say('Stopped: the workers, the database and its data are gone.')
  process.exit()
}
