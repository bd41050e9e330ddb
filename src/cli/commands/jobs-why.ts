import type { Command } from 'commander'
import { documented } from '../help.ts'
import { lines } from '../output.ts'
import { remedy } from '../remedy.ts'
import { withSession } from '../session.ts'
import { plain } from '../terminal/text.ts'

/** `jobs why`: one sentence. */
export function registerJobsWhy(jobs: Command): void {
  documented(jobs.command('why <ID>'), {
    says: 'Says in one sentence what a job waits for, or why it ended.',
    examples: [
      'leasehold jobs why a41c9e',
      'leasehold jobs why a41c9e --json | jq -r .why',
      "leasehold jobs list --state failed --json \\\n  | jq -r '.items[].id' | xargs -n1 leasehold jobs why",
    ],
    exits: '0 done · 2 ambiguous id · 4 no such job',
  }).action((id: string, _flags, command: Command) =>
    withSession(command, async ({ client, output }) => {
      const job = await client.get(await client.resolveJobId(id))
      const remedyOrNull = remedy(job)
      output.result({ id: job.id, state: job.state, why: job.why, remedy: remedyOrNull }, () => ({
        output: lines(plain(job.why)),
        note: remedyOrNull === null ? '' : lines(remedyOrNull),
      }))
    }),
  )
}
