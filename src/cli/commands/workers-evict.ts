import type { Command } from 'commander'
import { renderActed } from '../act-on-jobs.ts'
import { documented } from '../help.ts'
import { lines } from '../output.ts'
import { withSession } from '../session.ts'
import { plural, workerName } from '../terminal/format.ts'

/** `workers evict`: fenced first, then its jobs go back. */
export function registerWorkersEvict(workers: Command): void {
  documented(workers.command('evict <ID>'), {
    says: 'Ends a worker from outside: fences it first, so that nothing it still writes is accepted, then hands its jobs back uncharged. A living one is told and stops.',
    examples: [
      'leasehold workers evict 5be0d1c2',
      'leasehold workers evict render-a-4131',
      "leasehold workers evict 5be0d1c2 --json | jq '.released[].id'",
    ],
    exits: '0 done · 4 no such worker · 5 refused, it has ended',
  }).action((id: string, _flags, command: Command) =>
    withSession(command, async ({ client, output }) => {
      const { id: workerId } = await client.workers.get(id)
      const released = await client.workers.evict(workerId)
      const worker = await client.workers.get(workerId)
      const document = {
        worker,
        released: released.map(({ job, status }) => ({ id: job, status })),
      }
      const jobs = output.json ? [] : await Promise.all(released.map(({ job }) => client.get(job)))
      output.result(document, (terminal) => ({
        output: renderActed(terminal, jobs).output,
        note: lines(
          `${workerName(worker.id)} is fenced and offline; ${plural(jobs.length, 'job')} handed back.`,
        ),
      }))
    }),
  )
}
