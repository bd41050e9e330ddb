import type { Command } from 'commander'
import { UsageError } from '../../errors.ts'
import { given } from '../arguments.ts'
import { documented } from '../help.ts'
import { flagsOf, withSession } from '../session.ts'
import { renderRun } from '../terminal/runs-view.ts'

/** `runs update`: which stage it is in, and that nothing more will be put in. */
export function registerRunsUpdate(runs: Command): void {
  documented(runs.command('update <RUN>'), {
    says: 'Says of a run that goes on which stage it is in, or that it is filled: it is then over as soon as its jobs are.',
    examples: [
      'leasehold runs update nightly-eval --stage scoring',
      'leasehold runs update nightly-eval --filled',
      'leasehold runs update a41c9e --stage "second pass" --json | jq -r .stage',
    ],
    exits: '0 done · 2 wrong usage · 4 no such run · 5 refused, it has ended',
  })
    .option('--stage <NAME>', 'where it is, in your own words')
    .option('--filled', 'no more jobs will come')
    .action((run: string, _flags, command: Command) => {
      const { stage, filled } = flagsOf<{ stage?: string; filled?: true }>(command)
      if (stage === undefined && filled === undefined)
        throw new UsageError('runs update needs --stage or --filled.')
      return withSession(command, async ({ client, output }) => {
        const document = await client.runs.update(run, given({ stage, filled }))
        output.result(document, (terminal) => renderRun(terminal, document))
      })
    })
}
