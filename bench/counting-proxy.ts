/**
 * Stands between one worker and the server, hands on every byte, and notes each statement that the worker sends and when.
 *
 * Only the client's half of the wire protocol is read: after a start-up message without a type, every message is a type, a length
 * and a body. A statement is a simple query (`Q`), or the execution (`B`) of what was parsed (`P`) under the same name on that connection.
 */
import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { parseDatabaseUrl } from '../src/db/connect.ts'
import { portOf } from './pooler.ts'
import { nowMs } from './reports.ts'

const TEXT_SHOWN = 120

export interface SentStatement {
  readonly atMs: number
  readonly text: string
}

export class CountingProxy {
  readonly statements: SentStatement[] = []
  readonly url: string
  readonly #server: Server
  readonly #sockets: Set<Socket>

  private constructor(server: Server, url: string, sockets: Set<Socket>) {
    this.#server = server
    this.url = url
    this.#sockets = sockets
  }

  static async start(databaseUrl: string): Promise<CountingProxy> {
    const [host] = parseDatabaseUrl(databaseUrl).hosts
    const sockets = new Set<Socket>()
    const server = createServer((client) => {
      const upstream = connect(host?.port ?? 5432, host?.host)
      client.setNoDelay()
      upstream.setNoDelay()
      const read = statementReader((text) => proxy.statements.push({ atMs: nowMs(), text }))
      client.on('data', read)
      client.pipe(upstream)
      upstream.pipe(client)
      for (const [socket, other] of [
        [client, upstream],
        [upstream, client],
      ] as const) {
        sockets.add(socket)
        socket.on('error', () => other.destroy())
        socket.on('close', () => {
          sockets.delete(socket)
          other.destroy()
        })
      }
    }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const url = new URL(databaseUrl)
    url.hostname = '127.0.0.1'
    url.port = String(portOf(server))
    const proxy = new CountingProxy(server, url.href, sockets)
    return proxy
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    this.#server.close()
    await once(this.#server, 'close')
  }
}

/** Takes a connection's bytes in any pieces and calls `onStatement` for each statement in them. */
function statementReader(onStatement: (text: string) => void): (bytes: Buffer) => void {
  let rest: Buffer = Buffer.alloc(0)
  let started = false
  const parsed = new Map<string, string>()
  return (bytes) => {
    rest = rest.length === 0 ? bytes : Buffer.concat([rest, bytes])
    for (;;) {
      const head = started ? 1 : 0
      if (rest.length < head + 4) return
      const end = head + rest.readInt32BE(head)
      if (rest.length < end) return
      const type = started ? String.fromCharCode(rest[0] ?? 0) : ''
      const body = rest.subarray(head + 4, end)
      started = true
      rest = rest.subarray(end)
      const [first = '', second = ''] = body.toString().split('\0', 2)
      if (type === 'P') parsed.set(first, textOf(second))
      if (type === 'B') onStatement(parsed.get(second) ?? '')
      if (type === 'Q') onStatement(textOf(first))
    }
  }
}

function textOf(text: string): string {
  return text.replaceAll(/\s+/g, ' ').trim().slice(0, TEXT_SHOWN)
}
