import type { Command } from 'commander'
import { actOnJobs } from '../act-on-jobs.ts'
import { given } from '../arguments.ts'
import { documented } from '../help.ts'
import { flagsOf } from '../session.ts'

/** `jobs cancel`: running jobs are asked to stop, waiting ones end. */
export function registerJobsCancel(jobs: Command): void {
  documented(jobs.command('cancel <ID...>'), {
    says: 'Asks running jobs to stop and ends waiting ones. Safe to repeat.',
    examples: [
      'leasehold jobs cancel a41c9e',
      'leasehold jobs cancel a41c9e c07d11 --reason "wrong dataset"',
      "leasehold jobs list --state pending --type 'train.*' --json \\\n  | jq -r '.items[].id' | xargs leasehold jobs cancel",
    ],
    exits: '0 done · 4 no such job · 5 refused, it has ended',
  })
    .option('--reason <TEXT>', 'kept with the job')
    .action((ids: string[], _flags, command: Command) => {
      const { reason } = flagsOf<{ reason?: string }>(command)
      return actOnJobs(command, ids, {
        participle: 'cancelled',
        act: (client, jobId) => client.cancel(jobId, given({ reason })),
      })
    })
}
