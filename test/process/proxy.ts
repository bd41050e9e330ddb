/**
 * Stands between a worker and PostgreSQL, and knows the text of every statement that passed. It can swallow every packet without closing
 * a connection (as a firewall that drops does), of all connections or of those of one application name; refuse everybody (as one that
 * rejects does); hold back the answer to one statement; and tell clients of a server process that is not the one that answers, as poolers
 * do.
 */
import { createServer, connect, type Server, type Socket } from 'node:net'
import { FrontendMessages, type Statement } from '../../bench/frontend-messages.ts'

interface Passed extends Statement {
  readonly atMs: number
}

/** Application names: the worker's pool and the connection that claims and listens, and the one that renews. */
type Connection = 'leasehold worker' | 'leasehold lifeline'

interface Hold {
  readonly of: Connection
  readonly statement: string
  /** The connection whose answers are held, once the statement has passed. */
  near: Socket | null
  readonly answers: Buffer[]
  readonly arrived: () => void
}

export class Proxy implements AsyncDisposable {
  readonly url: string
  readonly statements: Passed[] = []
  readonly #server: Server
  readonly #sockets: Set<Socket>
  #dropping: Connection | 'all' | null = null
  /** Connections that were dropped alone: others of their name, made later, are well. */
  readonly #dead = new Set<Socket>()
  readonly #open = new Map<Socket, FrontendMessages>()
  #hold: Hold | null = null
  /** Whether connections made from now on look like those of a pooler. */
  likePooler = false

  private constructor(url: string, server: Server, sockets: Set<Socket>) {
    this.url = url
    this.#server = server
    this.#sockets = sockets
  }

  static async open(databaseUrl: string): Promise<Proxy> {
    const target = new URL(databaseUrl)
    const sockets = new Set<Socket>()
    const server = createServer()
    await listen(server, 0)
    const url = new URL(databaseUrl)
    url.hostname = '127.0.0.1'
    url.port = String((server.address() as { port: number }).port)
    const proxy = new Proxy(url.href, server, sockets)
    server.on('connection', (near) => proxy.#connected(near, target))
    return proxy
  }

  #connected(near: Socket, target: URL): void {
    const far = connect(Number(target.port || 5432), target.hostname)
    const messages = new FrontendMessages((statement) => {
      if (dropped()) return
      this.statements.push({ ...statement, atMs: performance.now() })
      const hold = this.#hold
      if (
        hold?.near === null &&
        hold.of === messages.application &&
        statement.text.includes(hold.statement)
      )
        hold.near = near
    })
    this.#open.set(near, messages)
    const dropped = (): boolean =>
      this.#dropping === 'all' ||
      this.#dead.has(near) ||
      (this.#dropping !== null && this.#dropping === messages.application)
    near.on('data', (bytes) => {
      // The start of a connection says whose it is.
      if (this.#dropping !== 'all') messages.take(bytes)
      if (!dropped()) far.write(bytes)
    })
    let disguised = !this.likePooler
    far.on('data', (bytes) => {
      if (dropped()) return
      disguised ||= disguise(bytes)
      if (this.#hold?.near === near) {
        this.#hold.answers.push(bytes)
        this.#hold.arrived()
      } else {
        near.write(bytes)
      }
    })
    for (const [socket, other] of [
      [near, far],
      [far, near],
    ] as const) {
      this.#sockets.add(socket)
      socket.on('error', () => undefined)
      // A dropped packet is also one that would have closed the connection.
      socket.on('close', () => {
        this.#sockets.delete(socket)
        this.#open.delete(near)
        if (!dropped()) other.destroy()
      })
    }
  }

  /** Application names of the connections that are open. */
  get applications(): string[] {
    return [...this.#open.values()].map(({ application }) => application ?? '')
  }

  /** From now on no packet of these connections passes, in either direction, and none of them is closed for it. */
  drop(connections: Connection | 'all' = 'all'): void {
    this.#dropping = connections
  }

  /** The same for those of these connections that there are now: what a firewall does that has forgotten them. */
  forget(connections: Connection): void {
    for (const [near, { application }] of this.#open)
      if (application === connections) this.#dead.add(near)
  }

  /** From now on every connection is closed and refused. */
  async refuse(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve))
    for (const socket of this.#sockets) socket.destroy()
    await closed
  }

  /** Packets pass again; connections that lost some are of no use any more. */
  async heal(): Promise<void> {
    this.#dropping = null
    this.#dead.clear()
    for (const socket of this.#sockets) socket.destroy()
    if (!this.#server.listening) await listen(this.#server, Number(new URL(this.url).port))
  }

  /**
   * Holds back the answer to the next statement of this connection that contains the text, and all that follows there. Resolves when
   * the server has answered, to what lets the answer through.
   */
  async holdAnswer(of: Connection, statement: string): Promise<() => void> {
    await new Promise<void>((resolve) => {
      this.#hold = { of, statement, near: null, answers: [], arrived: resolve }
    })
    return () => {
      const { near, answers } = this.#hold as Hold
      this.#hold = null
      for (const bytes of answers) near?.write(bytes)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#server.listening) await this.refuse()
  }
}

/** Changes the process id that a server tells (`K`, 12 bytes long, or longer with a longer key), if these are the bytes that do. */
function disguise(bytes: Buffer): boolean {
  for (let at = 0; at + 9 <= bytes.length; at += 1 + bytes.readInt32BE(at + 1)) {
    if (bytes[at] !== 'K'.charCodeAt(0)) continue
    bytes.writeInt32BE(bytes.readInt32BE(at + 5) + 1, at + 5)
    return true
  }
  return false
}

function listen(server: Server, port: number): Promise<void> {
  return new Promise((resolve) => server.listen(port, '127.0.0.1', resolve))
}
