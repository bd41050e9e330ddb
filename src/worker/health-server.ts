/**
 * Serves health over HTTP from the lifeline's thread, and no other. That thread proves the worker's life to the database and is the
 * watchdog of the rest, so it has the facts without asking anybody; it answers while a handler blocks the main thread, and to the very
 * end of a shutdown. A thread of its own would go on saying "alive" when the lifeline hangs; here that is silence, as it should be.
 * The price is that requests share a thread with renewals: they are tiny, closed after one answer, and few at a time.
 */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { HealthPortError } from '../errors.ts'
import type { HealthAnswer } from './health.ts'

const CONNECTIONS_MAX = 32
/** For a whole request to arrive. */
const REQUEST_MS_MAX = 2_000

/** Resolves to the port once it is listened on. @throws {HealthPortError} */
export function serveHealth(
  { host, port }: { host: string; port: number },
  answer: (path: string) => HealthAnswer,
): Promise<number> {
  const server = createServer(
    {
      requestTimeout: REQUEST_MS_MAX,
      headersTimeout: REQUEST_MS_MAX,
      connectionsCheckingInterval: REQUEST_MS_MAX,
    },
    (request, response) => {
      const reads = request.method === 'GET' || request.method === 'HEAD'
      const { status, type, body } = reads
        ? answer((request.url ?? '').replace(/\?.*/s, ''))
        : { status: 405, type: 'text/plain; charset=utf-8', body: 'GET and HEAD alone\n' }
      response.writeHead(status, {
        'content-type': type,
        'content-length': Buffer.byteLength(body),
        'cache-control': 'no-store',
        connection: 'close',
        ...(reads ? {} : { allow: 'GET, HEAD' }),
      })
      response.end(request.method === 'HEAD' ? undefined : body)
    },
  )
  server.maxConnections = CONNECTIONS_MAX
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => reject(refused(host, port, error)))
    server.listen({ host, port }, () => resolve((server.address() as AddressInfo).port))
  })
}

function refused(host: string, port: number, error: NodeJS.ErrnoException): HealthPortError {
  const why =
    error.code === 'EADDRINUSE'
      ? 'another process listens there'
      : error.code === 'EACCES'
        ? 'this user may not take so low a port'
        : error.message
  return new HealthPortError(`health can't be served on ${host}:${port}: ${why}.`, {
    cause: error,
    hint:
      error.code === 'EADDRINUSE'
        ? 'Take another port; 0 takes a free one and says which.'
        : undefined,
  })
}
