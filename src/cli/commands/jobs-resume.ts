import type { Command } from 'commander'
import { actOnJobs } from '../act-on-jobs.ts'
import { documented } from '../help.ts'

/** `jobs resume`: held jobs go on. */
export function registerJobsResume(jobs: Command): void {
  documented(jobs.command('resume <ID...>'), {
    says: 'Lets held jobs go on from their last checkpoint.',
    examples: [
      'leasehold jobs resume a41c9e',
      'leasehold jobs resume a41c9e c07d11 --json',
      "leasehold jobs list --state held --json \\\n  | jq -r '.items[].id' | xargs leasehold jobs resume",
    ],
    exits: '0 done · 4 no such job · 5 refused, it is not held',
  }).action((ids: string[], _flags, command: Command) =>
    actOnJobs(command, ids, {
      participle: 'resumed',
      accepts: ({ status }) => status === 'held',
      act: (client, jobId) => client.resume(jobId),
    }),
  )
}
