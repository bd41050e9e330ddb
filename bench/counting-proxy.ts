/**
 * Stands between one worker and the server, hands on every byte, and notes each statement that the worker sends and when.
 */
import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { monotonicMs } from '../src/clock.ts'
import { parseDatabaseUrl } from '../src/db/connect.ts'
import { FrontendMessages } from './frontend-messages.ts'
import { portOf } from './pooler.ts'

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
      const messages = new FrontendMessages(({ text }) =>
        proxy.statements.push({ atMs: monotonicMs(), text: textOf(text) }),
      )
      client.on('data', (bytes) => messages.take(bytes))
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

function textOf(text: string): string {
  return text.replaceAll(/\s+/g, ' ').trim().slice(0, TEXT_SHOWN)
}
