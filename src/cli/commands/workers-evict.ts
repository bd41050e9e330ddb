import type { Command } from 'commander'
import type { JobDocument } from '../../client/documents.ts'
import { StateRefusedError } from '../../errors.ts'
import { renderActed } from '../act-on-jobs.ts'
import { documented } from '../help.ts'
import { lines } from '../output.ts'
import { flagsOf, withSession } from '../session.ts'
import { plural, workerName } from '../terminal/format.ts'

/** `workers evict`: fenced first, then its jobs go back. */
export function registerWorkersEvict(workers: Command): void {
  documented(workers.command('evict <ID>'), {
    says: 'Ends a worker from outside: fences it first, so that nothing it still writes is accepted, then hands its jobs back uncharged. A living one is told and stops.',
    examples: [
      'leasehold workers evict 5be0d1c2',
      'leasehold workers evict render-a-4131 --dry-run',
      "leasehold workers evict 5be0d1c2 --json | jq '.released[].id'",
    ],
    exits: '0 done · 4 no such worker · 5 refused, it has ended',
  })
    .option('--dry-run', 'only say what it would hand back')
    .action((id: string, _flags, command: Command) =>
      withSession(command, async ({ client, output }) => {
        const { dryRun = false } = flagsOf<{ dryRun?: boolean }>(command)
        const before = await client.workers.get(id)
        if (before.stoppedAt !== null) {
          throw new StateRefusedError(
            `worker ${before.id} has ended already: ${before.reason ?? 'no reason was kept'}.`,
            { hint: 'If its process is still there, on that machine: leasehold workers reap' },
          )
        }
        const released = dryRun
          ? (await client.list({ workerId: before.id, limit: 500 })).items.map((job) => ({
              job: job.id,
              status: job.status,
            }))
          : await client.workers.evict(before.id)
        const worker = dryRun ? before : await client.workers.get(before.id)
        const document = {
          worker,
          dryRun,
          released: released.map(({ job, status }) => ({ id: job, status })),
        }
        const jobs: JobDocument[] = output.json
          ? []
          : await Promise.all(released.map(({ job }) => client.get(job)))
        output.result(document, (terminal) => ({
          output: renderActed(terminal, jobs).output,
          note: lines(
            dryRun
              ? `Dry run: nothing was changed. ${workerName(worker.id)} would end, and ${plural(jobs.length, 'job')} go back.`
              : `${workerName(worker.id)} is fenced and offline; ${plural(jobs.length, 'job')} handed back.`,
          ),
        }))
      }),
    )
}
