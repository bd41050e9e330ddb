import type { Command } from 'commander'
import { actOnJobs } from '../act-on-jobs.ts'
import { documented } from '../help.ts'

/** `jobs release`: running jobs are taken from their workers. */
export function registerJobsRelease(jobs: Command): void {
  documented(jobs.command('release <ID...>'), {
    says: 'Takes running jobs from their workers, dead or alive. They are due at once, and nothing is charged. What the old worker still writes is refused.',
    examples: [
      'leasehold jobs release a41c9e',
      'leasehold jobs release a41c9e c07d11 --json',
      "leasehold jobs list --state stalled --json \\\n  | jq -r '.items[].id' | xargs leasehold jobs release",
    ],
    exits: '0 done · 4 no such job · 5 refused, it does not run',
  }).action((ids: string[], _flags, command: Command) =>
    actOnJobs(command, ids, {
      participle: 'released',
      act: (client, jobId) => client.release(jobId),
    }),
  )
}
