import type { Command } from 'commander'
import { documented } from '../help.ts'
import { withSession } from '../session.ts'
import { renderRun } from '../terminal/runs-view.ts'

/** `runs show`: one run, how far it is and what it costs. */
export function registerRunsShow(runs: Command): void {
  documented(runs.command('show <RUN>'), {
    says: 'Shows one run: its rules, how far it is, what it has cost, and why it ended.',
    examples: [
      'leasehold runs show nightly-eval',
      'leasehold runs show a41c9e --json | jq .counts',
      'leasehold jobs list --run nightly-eval --state failed',
    ],
    exits: '0 done · 2 more than one matches · 4 no such run',
  }).action((run: string, _flags, command: Command) =>
    withSession(command, async ({ client, output }) => {
      const document = await client.runs.get(run)
      output.result(document, (terminal) => renderRun(terminal, document))
    }),
  )
}
