/** Workers of ours without a process: for measures of the SQL functions alone, with far more workers or jobs than a machine has. */
import { randomUUID } from 'node:crypto'
import type { Database } from '../../src/db/connect.ts'
import { claim, register } from '../../src/sql/protocol.ts'

const NAMESPACE = 'default'
const QUEUES = ['default']
const TYPES = ['bench.noop']
/** Long enough that no lease lapses while others are still being made. */
const LEASE_MS = 900_000

export class DirectWorker {
  readonly #db: Database
  readonly #incarnation: string

  private constructor(db: Database, incarnation: string) {
    this.#db = db
    this.#incarnation = incarnation
  }

  static async register(db: Database, number: number): Promise<DirectWorker> {
    const incarnation = randomUUID()
    await register(db, NAMESPACE, {
      incarnation,
      machineId: `bench-${number % 50}`,
      hostname: 'bench',
      pid: number + 1,
      bootId: null,
      pidNamespace: null,
      processStarted: null,
      parentPid: 1,
      kind: 'bench',
      version: 'bench',
      command: 'bench',
      concurrency: 100,
      queues: QUEUES,
      types: TYPES,
      labels: [],
      leaseMs: LEASE_MS,
      renewMs: LEASE_MS / 3,
      idleBeatMs: LEASE_MS / 3,
      direct: false,
    })
    return new DirectWorker(db, incarnation)
  }

  /** Claims up to so many jobs; how many it got. */
  async claim(want: number): Promise<number> {
    const input = { incarnation: this.#incarnation, claim: randomUUID(), want }
    const claimed = await claim(this.#db, { ...input, queues: QUEUES, types: TYPES })
    if (claimed.outcome !== 'claimed')
      throw new Error('A worker of the measure has lost its lease.')
    return claimed.jobs.length
  }
}
