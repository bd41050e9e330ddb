import type { Command } from 'commander'
import { documented } from '../help.ts'
import { listDocument } from '../output.ts'
import { withSession } from '../session.ts'
import { renderEvents } from '../terminal/jobs-view.ts'

/** `jobs events`: what happened to a job, oldest first. */
export function registerJobsEvents(jobs: Command): void {
  documented(jobs.command('events <ID>'), {
    says: 'Lists what happened to a job, oldest first, and which worker or operator did it.',
    examples: [
      'leasehold jobs events a41c9e',
      "leasehold jobs events a41c9e --json | jq '.items[] | {at, kind}'",
      'leasehold jobs events a41c9e | cut -f 1,2',
    ],
    exits: '0 done · 2 ambiguous id · 4 no such job',
  }).action((id: string, _flags, command: Command) =>
    withSession(command, async ({ client, output }) => {
      const { events = [] } = await client.get(await client.resolveJobId(id))
      output.result(listDocument(events), (terminal) => renderEvents(terminal, events))
    }),
  )
}
