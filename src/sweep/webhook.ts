/**
 * Sends the deliveries of webhooks, one POST for each try.
 *
 * At least once: a delivery is taken from the database with a token, sent, and settled; who dies in between leaves it to be taken again
 * half a minute later, under the same id. Never two at once: a try ends after ten seconds, by its own clock, long before anybody else is
 * given the delivery; one that was taken too long ago, by a process that was frozen, is not sent.
 *
 * What a URL may reach: http and https, no redirects (an answer of 3xx is a failure), and, unless the webhook was added for a private
 * network, no address that is private, local or the cloud's own metadata service. The address that was judged is the one that is
 * connected to, so a name that resolves to another address a moment later gains nothing. Of an answer nothing but its status is used.
 */
import { lookup as resolve } from 'node:dns'
import { request as httpRequest } from 'node:http'
import { request as httpsRequest } from 'node:https'
import { BlockList, isIP, type LookupFunction } from 'node:net'
import { elapsedMs } from '../clock.ts'
import type { Database } from '../db/connect.ts'
import { type Delivery, settleDelivery, takeDeliveries } from '../sql/alerts.ts'
import { PROGRAM_VERSION } from '../version.ts'

/** Receivers should answer at once and work later. A third of what keeps others from taking the delivery. */
const TRY_MS_MAX = 10_000
const TAKEN_AT_ONCE = 10

export interface TryOutcome {
  /** HTTP status of the answer, or null when there was none. */
  readonly status: number | null
  /** Null when it was answered with 2xx. */
  readonly error: string | null
}

/** Sends what is due, until nothing is or `stop` says so. Resolves to how many were delivered. */
export async function deliverDue(
  db: Database,
  options: { namespace: string; incarnation: string; stop: AbortSignal },
): Promise<number> {
  let delivered = 0
  while (!options.stop.aborted) {
    const takenMs = elapsedMs()
    const taken = await takeDeliveries(db, options.namespace, options.incarnation, TAKEN_AT_ONCE)
    const settled = await Promise.all(
      taken.map(async (delivery) => {
        if (elapsedMs() - takenMs > TRY_MS_MAX) return 'stale'
        const outcome = await sendDelivery(delivery, options.stop)
        // Cut by our own end, it is nobody's failure: it is due again soon.
        if (options.stop.aborted && outcome.error !== null) return 'stale'
        return settleDelivery(db, delivery, outcome)
      }),
    )
    delivered += settled.filter((answer) => answer === 'delivered').length
    if (taken.length < TAKEN_AT_ONCE) break
  }
  return delivered
}

/** One try. Never rejects: what goes wrong is the outcome. */
export function sendDelivery(delivery: Delivery, stop?: AbortSignal): Promise<TryOutcome> {
  return new Promise((done) => {
    const failed = (error: string): void => done({ status: null, error })
    const url = new URL(delivery.url)
    const literal = url.hostname.replace(/^\[|\]$/g, '')
    if (!delivery.allowPrivate && isIP(literal) !== 0 && isPrivateAddress(literal)) {
      failed(privateWords(literal))
      return
    }
    const limit = AbortSignal.timeout(TRY_MS_MAX)
    const send = url.protocol === 'https:' ? httpsRequest : httpRequest
    const request = send(url, {
      method: 'POST',
      agent: false,
      lookup: delivery.allowPrivate ? undefined : publicLookup,
      signal: stop === undefined ? limit : AbortSignal.any([limit, stop]),
      headers: {
        'content-type': 'application/json',
        'content-length': Buffer.byteLength(delivery.body),
        'user-agent': `leasehold/${PROGRAM_VERSION}`,
        'webhook-id': delivery.id,
        'webhook-timestamp': String(delivery.timestamp),
        'webhook-signature': delivery.signature,
      },
    })
    request.once('response', (response) => {
      const status = response.statusCode ?? 0
      // The status is all that is asked for; a receiver that goes on talking is hung up on.
      response.destroy()
      done({ status, error: status >= 200 && status < 300 ? null : statusWords(status) })
    })
    request.on('error', (error) =>
      failed(limit.aborted ? `no answer within ${TRY_MS_MAX / 1_000} s` : error.message),
    )
    request.end(delivery.body)
  })
}

function statusWords(status: number): string {
  return status >= 300 && status < 400
    ? `answered ${status}: redirects are not followed`
    : `answered ${status}`
}

function privateWords(address: string): string {
  return `${address} is an address of a private network, for which this webhook was not added`
}

/** Resolves as usual and refuses private addresses; the connection goes to the very address that was judged. */
const publicLookup: LookupFunction = (hostname, options, callback) => {
  resolve(hostname, { ...options, all: true }, (error, addresses) => {
    const first = addresses?.[0]
    const hidden = addresses?.find(({ address }) => isPrivateAddress(address))
    if (error !== null) callback(error, [])
    else if (hidden !== undefined) callback(new Error(privateWords(hidden.address)), [])
    else if (options.all === true) callback(null, addresses)
    else callback(null, first?.address ?? '', first?.family)
  })
}

const PRIVATE = new BlockList()
for (const [network, bits] of [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.168.0.0', 16],
  ['198.18.0.0', 15],
  ['224.0.0.0', 4],
  ['240.0.0.0', 4],
] as const)
  PRIVATE.addSubnet(network, bits, 'ipv4')
for (const [network, bits] of [
  ['::', 127],
  ['64:ff9b::', 96],
  ['fc00::', 7],
  ['fe80::', 10],
  ['ff00::', 8],
] as const)
  PRIVATE.addSubnet(network, bits, 'ipv6')

/** Whether an address is not one of the public internet. IPv4 addresses in IPv6 clothing count as what they are. */
export function isPrivateAddress(address: string): boolean {
  return PRIVATE.check(address, isIP(address) === 6 ? 'ipv6' : 'ipv4')
}
