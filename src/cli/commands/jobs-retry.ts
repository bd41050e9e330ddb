import type { Command } from 'commander'
import { actOnJobs } from '../act-on-jobs.ts'
import { documented } from '../help.ts'

/** `jobs retry`: a new start for jobs that have ended or are held. */
export function registerJobsRetry(jobs: Command): void {
  documented(jobs.command('retry <ID...>'), {
    says: 'Gives ended or held jobs a new start, their budgets cleared. They go on from the last checkpoint.',
    examples: [
      'leasehold jobs retry a41c9e',
      'leasehold jobs retry a41c9e c07d11 --json',
      "leasehold jobs list --state failed --json \\\n  | jq -r '.items[].id' | xargs leasehold jobs retry",
    ],
    exits: '0 done · 4 no such job · 5 refused, it waits or runs',
  }).action((ids: string[], _flags, command: Command) =>
    actOnJobs(command, ids, {
      participle: 'retried',
      accepts: ({ status }) => ['completed', 'failed', 'cancelled', 'held'].includes(status),
      act: (client, jobId) => client.retry(jobId),
    }),
  )
}
