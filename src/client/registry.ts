/** Workers, machines and supervisors from the client's side: who is there, how they fared, and what operators order. */
import type { Database } from '../db/connect.ts'
import { StateRefusedError } from '../errors.ts'
import * as inspect from '../sql/inspect.ts'
import { drainMachine, drainWorkers, evictWorkers } from '../sql/protocol.ts'
import { listSupervisors } from '../sql/supervisors.ts'
import type {
  MachineDetailDocument,
  MachineDocument,
  ShutdownsDocument,
  SupervisorDocument,
  WorkerDocument,
} from './documents.ts'
import { checkedName, onlyOne } from './only-one.ts'

/** Each is called by its id, the beginning or end of that, its incarnation, or the name of its host. */
export interface ClientWorkers {
  /** Those that are there, and those that ended within the time (default an hour). */
  list(options?: { endedWithinMs?: number }): Promise<WorkerDocument[]>
  /** @throws {NotFoundError} @throws {IdAmbiguousError} */
  get(id: string): Promise<WorkerDocument>
  drain(id: string): Promise<string>
  resume(id: string): Promise<string>
  /** Fences it first, then hands back its jobs. */
  evict(id: string): Promise<{ job: string; status: string }[]>
  /** How workers ended, by machine and version. Default those of the last seven days. */
  shutdowns(options?: { withinMs?: number }): Promise<ShutdownsDocument[]>
}

export interface ClientMachines {
  list(): Promise<MachineDocument[]>
  /** With the crashes of its workers. @throws {NotFoundError} @throws {IdAmbiguousError} */
  get(id: string): Promise<MachineDetailDocument>
  /** Its workers take no new jobs, nor do those that start there later, until `resume`. */
  drain(id: string): Promise<void>
  resume(id: string): Promise<void>
}

/** Those that are there, and those that ended within the time (default an hour). */
export interface ClientSupervisors {
  list(options?: { endedWithinMs?: number }): Promise<SupervisorDocument[]>
}

const HOUR_MS = 3_600_000
const WEEK_MS = 604_800_000

export function openWorkers(db: Database, namespace: string): ClientWorkers {
  const get = async (id: string): Promise<WorkerDocument> => {
    const text = checkedName('worker', id)
    const found = await inspect.findWorkers<WorkerDocument>(db, namespace, text)
    const exact = found.filter((one) => one.id === text || one.incarnation === text)
    const hint = 'See: leasehold workers list'
    return onlyOne(exact.length > 0 ? exact : found, { what: 'worker', text: id, namespace, hint })
  }
  const drain = async (id: string, drains: boolean): Promise<string> => {
    const worker = await get(id)
    const [answer = 'offline'] = await drainWorkers(db, namespace, [worker.incarnation], drains)
    if (answer === 'offline')
      throw new StateRefusedError(`worker ${worker.id} is offline: ${worker.reason}.`)
    return answer
  }
  return {
    list: ({ endedWithinMs = HOUR_MS } = {}) => inspect.listWorkers(db, namespace, endedWithinMs),
    get,
    drain: (id) => drain(id, true),
    resume: (id) => drain(id, false),
    async evict(id) {
      const worker = await get(id)
      const { evicted, released } = await evictWorkers(db, namespace, [worker.incarnation])
      if (evicted.length === 0)
        throw new StateRefusedError(`worker ${worker.id} has ended already: ${worker.reason}.`)
      return released
    },
    shutdowns: ({ withinMs = WEEK_MS } = {}) => inspect.shutdowns(db, namespace, withinMs),
  }
}

export function openMachines(db: Database, namespace: string): ClientMachines {
  const get = async (id: string): Promise<MachineDetailDocument> => {
    const text = checkedName('machine', id)
    const found = await inspect.findMachines<MachineDetailDocument>(db, namespace, text)
    const exact = found.filter((one) => one.id === text)
    const hint = 'See: leasehold machines list'
    return onlyOne(exact.length > 0 ? exact : found, { what: 'machine', text: id, namespace, hint })
  }
  const drain = async (id: string, drains: boolean): Promise<void> => {
    const machine = await get(id)
    await drainMachine(db, namespace, machine.id, drains)
  }
  return {
    list: () => inspect.listMachines(db, namespace),
    get,
    drain: (id) => drain(id, true),
    resume: (id) => drain(id, false),
  }
}

export function openSupervisors(db: Database, namespace: string): ClientSupervisors {
  return {
    list: ({ endedWithinMs = HOUR_MS } = {}) => listSupervisors(db, namespace, endedWithinMs),
  }
}
