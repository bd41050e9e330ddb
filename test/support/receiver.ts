/** A receiver of webhooks: a real HTTP server that answers as a test says, and keeps what came. */
import { createHmac } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { TestContext } from 'vitest'
import { until } from './until.ts'

export interface Received {
  readonly id: string
  readonly timestamp: number
  readonly signature: string
  readonly body: string
  readonly document: { type: string; timestamp: string; data: Record<string, unknown> }
  readonly path: string
  readonly atMs: number
}

/** What to do with a request: an HTTP status, or something of one's own (to answer late, or never). */
export type Answer = number | ((response: ServerResponse, request: IncomingMessage) => void)

export interface Receiver {
  readonly url: string
  readonly received: Received[]
  /** Answers in turn; the last one for all that come after. */
  answers(...answers: Answer[]): void
  when(what: string, fits: (received: Received) => boolean, limitMs?: number): Promise<Received>
}

export async function openReceiver(context: TestContext): Promise<Receiver> {
  const received: Received[] = []
  let turns: Answer[] = [204]
  const server = createServer((request, response) => {
    let body = ''
    request.setEncoding('utf8').on('data', (text: string) => (body += text))
    request.on('end', () => {
      const header = (name: string): string => String(request.headers[name] ?? '')
      received.push({
        id: header('webhook-id'),
        timestamp: Number(header('webhook-timestamp')),
        signature: header('webhook-signature'),
        body,
        document: JSON.parse(body) as Received['document'],
        path: request.url ?? '',
        atMs: Date.now(),
      })
      const answer = (turns.length > 1 ? turns.shift() : turns[0]) ?? 204
      if (typeof answer === 'number') response.writeHead(answer).end()
      else answer(response, request)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  context.onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook`,
    received,
    answers: (...answers) => (turns = answers),
    when: (what, fits, limitMs) =>
      until(`webhook ${what}`, () => received.find(fits), {
        ...(limitMs === undefined ? {} : { limitMs }),
        told: () => `\nreceived: ${JSON.stringify(received, null, 1)}`,
      }),
  }
}

/** The signature as a receiver makes it, written apart from the one that is tested. */
export function signatureOf(secret: string, { id, timestamp, body }: Received): string {
  const key = Buffer.from(secret.replace(/^whsec_/, ''), 'base64')
  return `v1,${createHmac('sha256', key).update(`${id}.${timestamp}.${body}`).digest('base64')}`
}
