/**
 * Outcomes that the database could not take at once, on local disk, so that work that was done outlives the process that did it.
 *
 *     keep ── queued ──▶ kept (written and fdatasync'ed, many together) ── forget ──▶ its file goes with the last of its lines
 *                └─────▶ failed (full or read-only disk, size bound): it waits in memory alone; one warning until a write succeeds
 *
 * One append-only file for each process, one outcome a line: CRC-32 of the JSON, a space, the JSON. A line that was half written when
 * its process was killed, or that does not fit its CRC, is skipped; whole lines count. The file's name says who owns it:
 *
 *     <pid>-<start time of the process>-<digest of boot and pid namespace>-<uuid>.jsonl
 *
 * Renaming a file to a name of one's own takes it over; a rename succeeds once, so two takers never both have it, and a taker that dies
 * is an owner that is gone like any other. An owner is gone when its process provably no longer exists (same boot, same pid namespace);
 * where that can't be told (another boot, another container, not Linux), when it has not touched its file for ten seconds. A wrong
 * guess costs a second delivery under the same token, which changes nothing; and the owner notices by its next write that its file is
 * gone, and writes what it wrote once more.
 *
 * An outcome that the database refuses for its own sake goes into a file `<token>.refused`, which nobody takes over: it is for people.
 *
 * Not covered: an outcome is in memory alone until the database has failed to take it, or has been silent for a second.
 */
import { createHash, randomUUID } from 'node:crypto'
import { type FileHandle, lstat, mkdir, open, readdir, readFile } from 'node:fs/promises'
import { rename, rm, stat, utimes, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { crc32 } from 'node:zlib'
import { CONNECT_DEFAULTS, type ConnectOptions, parseDatabaseUrl } from '../db/connect.ts'
import { isId } from '../domain/id.ts'
import type { Outcome, ProcessIdentity, Settlement } from '../sql/protocol.ts'
import { hasCode, syncDirectory } from '../system.ts'
import { isGone, ownIdentity } from './identity.ts'

/** Days of an outage at ordinary sizes of results, and small beside any disk. */
export const SPOOL_BYTES_MAX = 67_108_864
/** Owners touch their files once a second; ten of these missed is no busy event loop any more. */
const UNTOUCHED_MS = 10_000
/** Refused outcomes are for people to look at, and nobody looks at more. */
const REFUSED_MAX = 100

/** The directory of one database and namespace, so that outcomes never go to another. */
export function spoolDirectory(
  spoolDir: string,
  connect: Pick<ConnectOptions, 'databaseUrl' | 'schema'>,
  namespace: string,
): string {
  const { hosts, config } = parseDatabaseUrl(connect.databaseUrl)
  const scope = [
    hosts.map(({ host, port }) => `${host}:${port}`).toSorted(),
    config.database,
    connect.schema ?? CONNECT_DEFAULTS.schema,
    namespace,
  ]
  return path.resolve(spoolDir, digest(scope, 16))
}

interface SpoolFile {
  readonly path: string
  /** Null in a file that was taken over: nothing is appended to it. */
  readonly handle: FileHandle | null
  bytes: number
  /** Lines that have no answer yet. */
  live: number
}

/** An outcome's place on disk. */
export interface Line {
  readonly settlement: Settlement
  readonly state: 'queued' | 'kept' | 'failed' | 'forgotten'
}

interface OwnLine extends Line {
  state: Line['state']
  file: SpoolFile | null
}

/** What one process has left. */
export interface Left {
  readonly pid: number
  readonly lines: readonly Line[]
  /** Lines that were half written or damaged. */
  readonly unreadable: number
}

export interface SpoolOptions {
  readonly directory: string
  /** Outcomes can't be kept on disk; told once until one can be. */
  readonly onDegraded: (reason: string) => void
  /** Default SPOOL_BYTES_MAX. */
  readonly bytesMax?: number
  /** Default this process. */
  readonly owner?: ProcessIdentity
}

export class Spool {
  readonly directory: string
  readonly #options: SpoolOptions
  readonly #owner: ProcessIdentity
  readonly #files = new Set<SpoolFile>()
  #current: SpoolFile | null = null
  #queue: OwnLine[] = []
  #working: Promise<void> | null = null
  #degraded = false

  constructor(options: SpoolOptions) {
    this.directory = options.directory
    this.#options = options
    this.#owner = options.owner ?? ownIdentity(randomUUID())
  }

  /** Outcomes that are on disk and have no answer yet. */
  get depth(): number {
    return [...this.#files].reduce((sum, file) => sum + file.live, 0)
  }

  /** Begins to write an outcome to disk. */
  keep(settlement: Settlement): Line {
    const line: OwnLine = { settlement, state: 'queued', file: null }
    this.#queue.push(line)
    this.#work()
    return line
  }

  /** The outcome has its answer. */
  forget(given: Line): void {
    const line = given as OwnLine
    line.state = 'forgotten'
    if (line.file === null) return
    line.file.live -= 1
    line.file = null
    this.#work()
  }

  /** Resolves once everything that was to be kept is on disk, or can't be. */
  written(): Promise<void> {
    return this.#working ?? Promise.resolve()
  }

  /** Takes over the files of processes that are gone. Never rejects. */
  async takeLeft(): Promise<Left[]> {
    const left: Left[] = []
    try {
      const now = new Date()
      for (const file of this.#files) await ifThere(utimes(file.path, now, now))
      for (const name of (await ifThere(readdir(this.directory))) ?? []) {
        const owner = this.#ownerOf(name)
        const from = path.join(this.directory, name)
        if (owner === null || this.#owns(from) || !(await this.#isLeft(owner, from))) continue
        const taken = await this.#take(from)
        if (taken !== null && taken.lines.length + taken.unreadable > 0)
          left.push({ pid: owner.pid, ...taken })
      }
    } catch (error) {
      this.#degrade(error)
    }
    return left
  }

  /** Keeps an outcome that must not be sent again. Resolves to its file, or to null when it can't be kept. Never rejects. */
  async keepRefused(settlement: Settlement): Promise<string | null> {
    try {
      await this.#makeDirectory()
      const names = await readdir(this.directory)
      const name = `${settlement.token}.refused`
      const others = names.filter((other) => other.endsWith('.refused') && other !== name)
      if (others.length >= REFUSED_MAX) {
        throw new Error(`${REFUSED_MAX} refused outcomes are there already`)
      }
      const file = path.join(this.directory, name)
      await writeFile(file, encode(settlement), { mode: 0o600, flush: true })
      return file
    } catch (error) {
      this.#degrade(error)
      return null
    }
  }

  /** Leaves what has no answer to whoever comes next, also in this process. */
  async close(): Promise<void> {
    while (this.#working !== null) await this.#working
    try {
      for (const file of this.#files) {
        await file.handle?.close()
        await ifThere(utimes(file.path, 0, 0))
      }
    } catch (error) {
      this.#degrade(error)
    }
    this.#files.clear()
    this.#current = null
  }

  #work(): void {
    this.#working ??= this.#workOff()
  }

  async #workOff(): Promise<void> {
    for (;;) {
      // A turn of the event loop gathers what is kept together.
      await new Promise((resolve) => setImmediate(resolve))
      const lines = this.#queue.filter((line) => line.state === 'queued')
      this.#queue = []
      const answered = [...this.#files].filter((file) => file.live === 0)
      if (lines.length > 0) await this.#append(lines)
      else if (answered.length > 0) await this.#remove(answered)
      else break
    }
    this.#working = null
  }

  async #append(lines: OwnLine[]): Promise<void> {
    try {
      const file = (this.#current ??= await this.#create())
      let room = (this.#options.bytesMax ?? SPOOL_BYTES_MAX) - this.#bytes()
      const records: Buffer[] = []
      const fitting: OwnLine[] = []
      for (const line of lines) {
        const record = encode(line.settlement)
        if (record.length > room) continue
        room -= record.length
        records.push(record)
        fitting.push(line)
      }
      const bytes = Buffer.concat(records)
      await file.handle?.appendFile(bytes)
      await file.handle?.datasync()
      file.bytes += bytes.length
      if ((await ifThere(stat(file.path))) === null) {
        // Somebody has taken it over, and may have read it before this was written.
        this.#current = null
        this.#queue.push(...lines)
        return
      }
      for (const line of fitting) {
        if (line.state !== 'queued') continue
        line.state = 'kept'
        line.file = file
        file.live += 1
      }
      if (fitting.length < lines.length) throw new Error('it has reached its greatest size')
      this.#degraded = false
    } catch (error) {
      for (const line of lines) if (line.state === 'queued') line.state = 'failed'
      await this.#cutBack()
      this.#degrade(error)
    }
  }

  /** After a write that failed: half a line takes room, and what came after it would be read as its rest. */
  async #cutBack(): Promise<void> {
    const file = this.#current
    try {
      await file?.handle?.truncate(file.bytes)
    } catch {
      this.#current = null // The next write begins a file of its own; a reader skips the half line.
    }
  }

  #bytes(): number {
    return [...this.#files].reduce((sum, file) => sum + file.bytes, 0)
  }

  async #remove(files: readonly SpoolFile[]): Promise<void> {
    for (const file of files) {
      this.#files.delete(file)
      if (this.#current === file) this.#current = null
      try {
        await file.handle?.close()
        await rm(file.path, { force: true })
      } catch (error) {
        this.#degrade(error)
      }
    }
  }

  async #create(): Promise<SpoolFile> {
    await this.#makeDirectory()
    const name = this.#ownName()
    const handle = await open(name, 'ax', 0o600)
    const file: SpoolFile = { path: name, handle, bytes: 0, live: 0 }
    this.#files.add(file)
    await syncDirectory(this.directory)
    return file
  }

  async #makeDirectory(): Promise<void> {
    await mkdir(this.directory, { recursive: true, mode: 0o700 })
    const { uid, mode } = await lstat(this.directory)
    if (process.getuid !== undefined && (uid !== process.getuid() || (mode & 0o077) !== 0)) {
      throw new Error('it is open to other users, and outcomes are nobody else’s business')
    }
  }

  async #take(from: string): Promise<Pick<Left, 'lines' | 'unreadable'> | null> {
    const now = new Date()
    const to = this.#ownName()
    await ifThere(utimes(from, now, now))
    if ((await ifThere(rename(from, to).then(() => true))) === null) return null
    const { settlements, unreadable } = decode(await readFile(to, 'utf8'))
    const file: SpoolFile = { path: to, handle: null, bytes: 0, live: settlements.length }
    this.#files.add(file)
    if (settlements.length === 0) this.#work()
    return {
      lines: settlements.map((settlement): OwnLine => ({ settlement, state: 'kept', file })),
      unreadable,
    }
  }

  #owns(file: string): boolean {
    return [...this.#files].some((own) => own.path === file)
  }

  #ownName(): string {
    const { pid, processStarted } = this.#owner
    const place = placeOf(this.#owner) ?? 'x'
    return path.join(
      this.directory,
      `${pid}-${processStarted ?? 'x'}-${place}-${randomUUID()}.jsonl`,
    )
  }

  /** Who owns a file of this name, as far as it is known here; null: it is no file to take over. */
  #ownerOf(name: string): ProcessIdentity | null {
    const match = /^(\d+)-(\d+|x)-([0-9a-f]{8}|x)-([0-9a-f-]{36})\.jsonl$/.exec(name)
    if (match === null) return null
    const [, pid, started = 'x', place, incarnation = ''] = match
    const near = place !== 'x' && place === placeOf(this.#owner)
    return {
      incarnation,
      pid: Number(pid),
      processStarted: started === 'x' ? null : started,
      bootId: near ? this.#owner.bootId : null,
      pidNamespace: near ? this.#owner.pidNamespace : null,
    }
  }

  async #isLeft(owner: ProcessIdentity, file: string): Promise<boolean> {
    if (owner.bootId !== null && isGone(owner)) return true
    const stats = await ifThere(stat(file))
    return stats !== null && Date.now() - stats.mtimeMs > UNTOUCHED_MS
  }

  #degrade(error: unknown): void {
    if (this.#degraded) return
    this.#degraded = true
    this.#options.onDegraded((error as Error).message)
  }
}

/** Boot and pid namespace in short, or null where they can't be read. */
function placeOf({ bootId, pidNamespace }: ProcessIdentity): string | null {
  return bootId === null || pidNamespace === null ? null : digest([bootId, pidNamespace], 8)
}

function digest(parts: readonly unknown[], length: number): string {
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex').slice(0, length)
}

function encode({ jobId, token, outcome, value, delayMs }: Settlement): Buffer {
  const json = JSON.stringify({ jobId, token, outcome, value, delayMs })
  return Buffer.from(`${crc32(json).toString(16).padStart(8, '0')} ${json}\n`)
}

function decode(text: string): { settlements: Settlement[]; unreadable: number } {
  const settlements: Settlement[] = []
  let unreadable = 0
  for (const line of text.split('\n')) {
    if (line === '') continue
    const settlement = decodeLine(line)
    if (settlement === null) unreadable += 1
    else settlements.push(settlement)
  }
  return { settlements, unreadable }
}

function decodeLine(line: string): Settlement | null {
  const json = line.slice(9)
  if (line[8] !== ' ' || Number.parseInt(line.slice(0, 8), 16) !== crc32(json)) return null
  const given = JSON.parse(json) as Settlement
  // A CRC tells damage from what was written, not by whom: what the database could never take must not be sent for ever.
  const valid =
    isId(given.jobId) &&
    isId(given.token) &&
    OUTCOMES.includes(given.outcome) &&
    (given.value === null || typeof given.value === 'string') &&
    (given.delayMs === null || Number.isSafeInteger(given.delayMs))
  return valid ? given : null
}

const OUTCOMES: readonly Outcome[] = [
  'completed',
  'failed',
  'failed_finally',
  'cancelled',
  'released',
  'interrupted',
]

/** What a file's operation resolves to, or null when the file is not there. */
async function ifThere<T>(operation: Promise<T>): Promise<T | null> {
  try {
    return await operation
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return null
    throw error
  }
}
