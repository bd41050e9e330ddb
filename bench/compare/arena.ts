/**
 * Where contestants meet: one PostgreSQL, one Redis, one Node.js for all of them, and for every single reading a database of its own
 * that is dropped afterwards, so that none inherits another's dead rows, statistics or listeners.
 *
 * A round is one reading of one contestant: its database, and the processes that work on it. They are killed when it is over,
 * since nobody needs what they would still settle.
 */
import pg from 'pg'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { parseDatabaseUrl } from '../../src/db/connect.ts'
import type { Server } from '../server.ts'
import { PeerProcess, type PeerEvent, type Settings } from './process.ts'
import type { Redis } from './redis.ts'

const ROOT = path.resolve(import.meta.dirname, '..', '..')
const PEERS_DIR = path.join(ROOT, 'bench', 'peers')

export type Mode = 'default' | 'fast'
export const OURS = 'leasehold'
export const PEERS = ['graphile-worker', 'pg-boss', 'bullmq', 'bullmq-pg', 'openworkflow'] as const

/** Peers that would belong here, and why they are not. */
export const LEFT_OUT: Readonly<Record<string, string>> = {
  absurd: 'its package on npm comes without its schema, which is a file of its repository',
}

/** Bare SQL in the place of a queue: a ceiling of its own, not a peer. */
const BARE = 'raw-sql'

export type ContestantName = typeof OURS | (typeof PEERS)[number] | typeof BARE

export interface Contestant {
  readonly name: ContestantName
  readonly version: string
  readonly modes: Readonly<Record<string, Settings>>
}

export interface Arena {
  readonly server: Server
  readonly redis: Redis | null
  readonly contestants: readonly Contestant[]
  readonly options: ArenaOptions
  progress(text: string): void
}

export interface ArenaOptions {
  readonly quick: boolean
  readonly repetitions: number
  /** Backlogs up to 10 million instead of 1 million. */
  readonly big: boolean
  /** How long the horizon is pinned. */
  readonly pinMs: number
  /** How long the same runs without a pin; 0 leaves it out. */
  readonly freeMs: number
}

/** Loads a contestant in a process of its own, or says why it can't be here. */
export async function enter(
  name: ContestantName,
  redis: Redis | string | null,
): Promise<Contestant | string> {
  if (name === 'bullmq' && (redis === null || typeof redis === 'string'))
    return redis ?? 'without Redis'
  const loaded = new PeerProcess(name, { onEvent: () => undefined })
  try {
    return { name, version: versionOf(name), modes: await loaded.ready() }
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  } finally {
    await loaded.kill()
  }
}

/** Two processes that hand rows to each other, with all that a round has. */
export const BARE_SQL: Contestant = { name: BARE, version: '', modes: { default: {}, fast: {} } }

function versionOf(name: ContestantName): string {
  const directory =
    name === OURS
      ? ROOT
      : path.join(PEERS_DIR, 'node_modules', name === 'bullmq-pg' ? 'bullmq' : name)
  const manifest: { version: string } = JSON.parse(
    readFileSync(path.join(directory, 'package.json'), 'utf8'),
  )
  return manifest.version
}

export class Round {
  readonly place: { databaseUrl: string; redisUrl: string | null; mode: Mode }
  readonly #contestant: Contestant
  readonly #eyes: pg.Client
  readonly #processes: PeerProcess[] = []
  readonly #listeners = new Set<(event: PeerEvent) => void>()

  constructor(contestant: Contestant, place: Round['place'], eyes: pg.Client) {
    this.#contestant = contestant
    this.place = place
    this.#eyes = eyes
  }

  async start(): Promise<PeerProcess> {
    const process = new PeerProcess(this.#contestant.name, {
      onEvent: (event) => {
        for (const listener of this.#listeners) listener(event)
      },
    })
    this.#processes.push(process)
    await process.ready()
    return process
  }

  /** Starts so many processes that work. */
  async work(
    processes: number,
    options: { concurrency?: number; databaseUrl?: string } = {},
  ): Promise<PeerProcess[]> {
    const started = await Promise.all(Array.from({ length: processes }, () => this.start()))
    const { databaseUrl = this.place.databaseUrl, ...others } = options
    const place = { ...this.place, databaseUrl }
    await Promise.all(started.map((each) => each.call('work', { place, ...others })))
    return started
  }

  on(listener: (event: PeerEvent) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** Handlers called, in all processes of this round. */
  get handled(): number {
    return this.#processes.reduce((sum, { handled }) => sum + handled, 0)
  }

  /** Whether so many handlers were called within the limit. */
  handledBy(count: number, limitMs: number): Promise<boolean> {
    return new Promise((resolve) => {
      const settle = (enough: boolean): void => {
        off()
        clearTimeout(timer)
        resolve(enough)
      }
      const off = this.on(() => {
        if (this.handled >= count) settle(true)
      })
      const timer = setTimeout(() => settle(false), limitMs)
      if (this.handled >= count) settle(true)
    })
  }

  async rows<Row extends pg.QueryResultRow>(text: string, values: unknown[] = []): Promise<Row[]> {
    const { rows } = await this.#eyes.query<Row>(text, values)
    return rows
  }

  /** Fresh statistics and nothing left to flush, as after some time of rest. */
  async rest(): Promise<void> {
    await this.#eyes.query('analyze')
    await this.#eyes.query('checkpoint')
  }

  async close(): Promise<void> {
    await Promise.all(this.#processes.map((each) => each.kill()))
    await this.#eyes.end()
  }
}

export interface Entry {
  readonly contestant: Contestant
  readonly mode: Mode
}

/** One reading of one contestant, in a database of its own. */
export async function inRound<Result>(
  arena: Arena,
  { contestant, mode }: Entry,
  work: (round: Round) => Promise<Result>,
): Promise<Result> {
  return inDatabase(arena, contestant.name, async (databaseUrl, eyes) => {
    await arena.redis?.empty()
    const place = { databaseUrl, redisUrl: arena.redis?.url ?? null, mode }
    const round = new Round(contestant, place, eyes)
    try {
      const first = await round.start()
      await first.call('setup', place)
      await first.kill()
      return await work(round)
    } finally {
      await round.close()
    }
  })
}

/** A database that exists as long as the work on it. */
export async function inDatabase<Result>(
  arena: Arena,
  name: string,
  work: (databaseUrl: string, eyes: pg.Client) => Promise<Result>,
): Promise<Result> {
  const database = `leasehold_bench_${name.replaceAll('-', '_')}`
  const admin = await connect(arena.server.url)
  const url = new URL(arena.server.url)
  url.pathname = `/${database}`
  const drop = `drop database if exists ${database} with (force)`
  await admin.query(drop)
  await admin.query(`create database ${database}`)
  try {
    const eyes = await connect(url.href)
    try {
      return await work(url.href, eyes)
    } finally {
      // A round may have ended it already.
      await eyes.end().catch(() => undefined)
    }
  } finally {
    await admin.query(drop)
    await admin.end()
  }
}

export async function connect(databaseUrl: string): Promise<pg.Client> {
  const { hosts, config } = parseDatabaseUrl(databaseUrl)
  const client = new pg.Client({ ...config, host: hosts[0]?.host, port: hosts[0]?.port })
  // The database is dropped by force while somebody may still be connected.
  client.on('error', () => undefined)
  await client.connect()
  return client
}
