import type { Command } from 'commander'
import { documented } from '../help.ts'
import { withSession } from '../session.ts'
import { renderWorker } from '../worker-facts.ts'

/** `workers show`: one worker and what it holds. */
export function registerWorkersShow(workers: Command): void {
  documented(workers.command('show <ID>'), {
    says: 'Shows one worker: its lease, its process, and the jobs that it holds.',
    examples: [
      'leasehold workers show 5be0d1c2',
      'leasehold workers show render-a-4131',
      'leasehold workers show 5be0d1c2 --json | jq .types',
    ],
    exits: '0 done · 2 more than one matches · 4 no such worker',
  }).action((id: string, _flags, command: Command) =>
    withSession(command, async ({ client, output }) => {
      const worker = await client.workers.get(id)
      const { items } = await client.list({ workerId: worker.id, limit: 500 })
      output.result(worker, (terminal) => renderWorker(terminal, worker, items))
    }),
  )
}
