/** What `createWorker` is given. Its settings, with their defaults and bounds, are in config.ts. */
import type { AnyJobDefinition } from '../client/define-job.ts'
import type { Archive } from '../client/retention.ts'
import type { WorkerSettings } from '../config.ts'
import type { Logger } from './worker-events.ts'

export interface WorkerOptions extends Partial<WorkerSettings> {
  readonly databaseUrl: string
  readonly jobs: readonly AnyJobDefinition[]
  /** Default `default`. */
  readonly namespace?: string
  readonly schema?: string
  /** Queues to take from. Default those that the definitions name. */
  readonly queues?: readonly string[]
  /** Default the machine's own id. */
  readonly machineId?: string
  readonly labels?: readonly string[]
  /** Any logger shaped like pino's. Default none: a library is silent. */
  readonly logger?: Logger
  /** What this process is, as the registry shows it: of the program `worker` or `supervised`. Default `library`. */
  readonly kind?: string
  /** Id of the run whose jobs alone it takes. It stops by itself once that has ended. */
  readonly run?: string
  /** What then becomes of the jobs that it runs: it lets them `finish`, or aborts and gives them back. Default `finish`. */
  readonly onRunEnd?: 'finish' | 'release'
  /** Gets ended jobs before they are dropped. Once a worker had one, no job of the namespace is dropped without. Default none. */
  readonly archive?: Archive
}
