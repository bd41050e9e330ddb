/**
 * Stands between a worker and PostgreSQL: it can swallow every packet without closing a connection (as a firewall that drops does),
 * and it knows the text of every statement that passed.
 */
import { createServer, connect, type Server, type Socket } from 'node:net'

export interface Passed {
  readonly text: string
  readonly atMs: number
}

export class Proxy implements AsyncDisposable {
  readonly url: string
  readonly statements: Passed[] = []
  readonly #server: Server
  readonly #sockets: Set<Socket>
  #dropping = false

  private constructor(url: string, server: Server, sockets: Set<Socket>) {
    this.url = url
    this.#server = server
    this.#sockets = sockets
  }

  static async open(databaseUrl: string): Promise<Proxy> {
    const target = new URL(databaseUrl)
    const sockets = new Set<Socket>()
    const server = createServer()
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const url = new URL(databaseUrl)
    url.hostname = '127.0.0.1'
    url.port = String((server.address() as { port: number }).port)
    const proxy = new Proxy(url.href, server, sockets)
    server.on('connection', (near) => {
      const far = connect(Number(target.port || 5432), target.hostname)
      const messages = new FrontendMessages((text) =>
        proxy.statements.push({ text, atMs: performance.now() }),
      )
      near.on('data', (bytes) => {
        if (proxy.#dropping) return
        messages.take(bytes)
        far.write(bytes)
      })
      far.on('data', (bytes) => {
        if (!proxy.#dropping) near.write(bytes)
      })
      for (const [socket, other] of [
        [near, far],
        [far, near],
      ] as const) {
        sockets.add(socket)
        socket.on('error', () => undefined)
        // A dropped packet is also one that would have closed the connection.
        socket.on('close', () => {
          sockets.delete(socket)
          if (!proxy.#dropping) other.destroy()
        })
      }
    })
    return proxy
  }

  /** From now on no packet passes, in either direction, and no connection is closed for it. */
  drop(): void {
    this.#dropping = true
  }

  /** Packets pass again; connections that lost some are of no use any more. */
  heal(): void {
    this.#dropping = false
    for (const socket of this.#sockets) socket.destroy()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve))
    for (const socket of this.#sockets) socket.destroy()
    await closed
  }
}

/** Takes the client's half of a connection apart: the first message has no type; `Q` and `P` carry statements. */
class FrontendMessages {
  readonly #found: (text: string) => void
  #bytes = Buffer.alloc(0)
  #started = false

  constructor(found: (text: string) => void) {
    this.#found = found
  }

  take(bytes: Buffer): void {
    this.#bytes = Buffer.concat([this.#bytes, bytes])
    for (;;) {
      const head = this.#started ? 1 : 0
      if (this.#bytes.length < head + 4) return
      const end = head + this.#bytes.readInt32BE(head)
      if (this.#bytes.length < end) return
      const type = this.#started ? String.fromCharCode(this.#bytes[0] ?? 0) : 'start'
      const body = this.#bytes.subarray(head + 4, end)
      if (type === 'Q') this.#found(body.toString('utf8', 0, body.length - 1))
      if (type === 'P') {
        const nameEnd = body.indexOf(0)
        this.#found(body.toString('utf8', nameEnd + 1, body.indexOf(0, nameEnd + 1)))
      }
      this.#started = true
      this.#bytes = this.#bytes.subarray(end)
    }
  }
}
