/**
 * What every measure is given, and the rounds that several of them are made of.
 *
 * A measure owns a schema and a fleet for as long as it runs; `inPlace` takes both away whatever happens. Nothing is timed by
 * sleeping: `pause` only keeps rounds from starting in step with the timers of the workers.
 */
import { type Client, createClient } from '../src/client/client.ts'
import { sleep } from '../src/clock.ts'
import type { Figure } from './figures.ts'
import { Fleet } from './fleet.ts'
import { openPlace, type Place, type Server } from './server.ts'

export interface Measure {
  /** As `--only` takes it. */
  readonly name: string
  readonly what: string
  /** Part of `--quick`. */
  readonly quick: boolean
  run(bench: Bench): Promise<Figure[]>
}

export interface Bench {
  readonly server: Server
  /** Few repetitions, to see that all of it works. */
  readonly quick: boolean
  /** Shows how far the measure is. */
  progress(text: string): void
}

export interface Site extends Place {
  readonly client: Client
  readonly fleet: Fleet
}

export async function inPlace<Result>(
  bench: Bench,
  name: string,
  work: (site: Site) => Promise<Result>,
): Promise<Result> {
  const place = await openPlace(bench.server.url, name)
  const { databaseUrl, schema } = place
  const client = createClient({ databaseUrl, schema })
  const fleet = new Fleet(place)
  try {
    return await work({ ...place, client, fleet })
  } finally {
    await fleet.stop()
    await client.close()
    await place.close()
  }
}

/** A random pause between these. */
export function pause(fromMs: number, toMs: number): Promise<void> {
  return sleep(fromMs + Math.random() * (toMs - fromMs))
}

/** `7 of 20, last 212 ms` */
export function roundText(round: number, rounds: number, last: string): string {
  return `${round} of ${rounds}, last ${last}`
}
