/**
 * Layer 2: workers on one machine watch each other's processes, which costs the database nothing.
 *
 * Each worker leaves a small file with its process identity in a directory that all workers of this user, machine, database and
 * namespace share, and looks every 250 ms whether the processes of the others still exist. It says *gone* only about a process of
 * the same boot and pid namespace; everything it can't read proves nothing. A wrong report costs a second execution, never a
 * wrong state: the database compares machine, boot and namespace again and fences the reported worker before anything else.
 *
 * Failure cases: no directory (read-only disk), another user's workers, another container: this layer is silent, layers 3 and 4
 * notice.
 *
 * It keeps when it last saw each process, so that a report says how old that sight is.
 */
import { createHash } from 'node:crypto'
import { lstatSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import { elapsedMs } from '../clock.ts'
import type { ProcessIdentity } from '../sql/protocol.ts'
import { isGone } from '../worker/identity.ts'

/** A quarter of a second: the median notice is then half of it, far below what a person perceives as stuck. */
export const WITNESS_EVERY_MS = 250

export interface GonePeer {
  readonly incarnation: string
  /** How long ago its process was last seen here, in milliseconds; null when it never was. */
  readonly seenAgoMs: number | null
}

export class Witness {
  readonly #directory: string | null
  readonly #peers = new Map<string, ProcessIdentity>()
  /** When the process of each peer was last seen, as an `elapsedMs` reading. */
  readonly #seenMs = new Map<string, number>()
  #own: ProcessIdentity | null = null

  /** @param scope What all members share and others do not: database, schema, namespace, machine. */
  constructor(scope: readonly string[]) {
    this.#directory = openDirectory(scope)
  }

  /** Makes this worker known to the others, and begins to watch those the database knows of. */
  join(own: ProcessIdentity, peers: readonly ProcessIdentity[]): void {
    this.leave()
    this.#own = own
    for (const peer of peers) this.#peers.set(peer.incarnation, peer)
    if (this.#directory === null) return
    try {
      writeFileSync(join(this.#directory, `${own.incarnation}.json`), JSON.stringify(own), {
        mode: 0o600,
      })
    } catch {
      // A full or read-only disk: the others learn of us from the database when they start, or notice by layer 3.
    }
  }

  /** Takes this worker's file away: from now on its end is nobody's business. */
  leave(): void {
    if (this.#own !== null) this.forget([this.#own.incarnation])
    this.#own = null
  }

  /** The peers whose processes no longer exist. They are named again until they are forgotten. */
  look(): GonePeer[] {
    const own = this.#own
    if (own === null || own.bootId === null || own.pidNamespace === null) return []
    this.#readDirectory()
    const nowMs = elapsedMs()
    const gone: GonePeer[] = []
    for (const peer of this.#peers.values()) {
      if (peer.incarnation === own.incarnation || peer.pid === own.pid) continue
      if (peer.bootId !== own.bootId || peer.pidNamespace !== own.pidNamespace) continue
      const { incarnation } = peer
      if (!isGone(peer)) this.#seenMs.set(incarnation, nowMs)
      else {
        const seenMs = this.#seenMs.get(incarnation)
        gone.push({ incarnation, seenAgoMs: seenMs === undefined ? null : nowMs - seenMs })
      }
    }
    return gone
  }

  forget(incarnations: readonly string[]): void {
    for (const incarnation of incarnations) {
      this.#drop(incarnation)
      if (this.#directory !== null)
        rmSync(join(this.#directory, `${incarnation}.json`), { force: true })
    }
  }

  #drop(incarnation: string): void {
    this.#peers.delete(incarnation)
    this.#seenMs.delete(incarnation)
  }

  #readDirectory(): void {
    if (this.#directory === null) return
    let names: string[]
    try {
      names = readdirSync(this.#directory)
    } catch {
      return // Somebody cleaned the temporary directory; those we know are watched on.
    }
    for (const name of names) {
      const incarnation = name.replace(/\.json$/, '')
      if (this.#peers.has(incarnation)) continue
      try {
        const peer = JSON.parse(
          readFileSync(join(this.#directory, name), 'utf8'),
        ) as ProcessIdentity
        if (peer.incarnation === incarnation && Number.isInteger(peer.pid))
          this.#peers.set(incarnation, peer)
      } catch {
        // Half written or just removed; the next look sees it.
      }
    }
    // Who left properly took its file along.
    for (const incarnation of this.#peers.keys()) {
      if (!names.includes(`${incarnation}.json`) && this.#fromDirectory.has(incarnation))
        this.#drop(incarnation)
    }
    this.#fromDirectory = new Set(names.map((name) => name.replace(/\.json$/, '')))
  }

  #fromDirectory: Set<string> = new Set()
}

function openDirectory(scope: readonly string[]): string | null {
  try {
    const uid = userInfo().uid
    const parent = join(tmpdir(), `leasehold-${uid}`)
    const directory = join(
      parent,
      createHash('sha256').update(JSON.stringify(scope)).digest('hex').slice(0, 16),
    )
    mkdirSync(directory, { recursive: true, mode: 0o700 })
    const { uid: owner, mode } = lstatSync(parent)
    // Somebody else's directory could be used to have our workers reported dead.
    return uid >= 0 && (owner !== uid || (mode & 0o022) !== 0) ? null : directory
  } catch {
    return null
  }
}
