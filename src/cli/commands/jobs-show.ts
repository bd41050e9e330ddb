import type { Command } from 'commander'
import { documented } from '../help.ts'
import { databaseNow } from '../remedy.ts'
import { withSession } from '../session.ts'
import { renderJob } from '../terminal/jobs-view.ts'

/** `jobs show`: one job with its attempts. */
export function registerJobsShow(jobs: Command): void {
  documented(jobs.command('show <ID>'), {
    says: 'Shows one job: its state, budgets and attempts, and how it went from worker to worker.',
    examples: [
      'leasehold jobs show a41c9e',
      "leasehold jobs show a41c9e --json | jq '.attempts[].endReason'",
      'leasehold jobs show a41c9e | grep ^state',
    ],
    exits: '0 done · 2 ambiguous id · 4 no such job',
  }).action((id: string, _flags, command: Command) =>
    withSession(command, async ({ client, output }) => {
      const job = await client.get(await client.resolveJobId(id))
      output.result(job, (terminal) => renderJob(terminal, job, databaseNow(job)))
    }),
  )
}
