import type { Client } from '../client/client.ts'
import type { WorkerDocument } from '../client/documents.ts'

/** The workers of a machine that have not ended. */
export async function liveWorkersOf(client: Client, machine: string): Promise<WorkerDocument[]> {
  const workers = await client.workers.list()
  return workers.filter(({ machineId, stoppedAt }) => machineId === machine && stoppedAt === null)
}
