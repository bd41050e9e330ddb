import type { Command } from 'commander'
import type { Client } from '../../client/client.ts'
import type { RunDocument } from '../../client/documents.ts'
import type { EndRunOptions } from '../../client/runs.ts'
import { given, oneOf } from '../arguments.ts'
import { documented } from '../help.ts'
import { flagsOf, withSession } from '../session.ts'
import { renderRunEnded } from '../terminal/runs-view.ts'

type End = (client: Client, run: string, options: EndRunOptions) => Promise<RunDocument>

/** `runs complete`, `runs fail`, `runs archive`: ends by hand. */
export function registerRunsEnds(runs: Command): void {
  register(runs, 'complete', 'completed', (client, run, options) =>
    client.runs.complete(run, options),
  )
  register(runs, 'fail', 'error', (client, run, options) => client.runs.fail(run, options))
  register(runs, 'archive', 'archived', (client, run, options) => client.runs.archive(run, options))
}

function register(runs: Command, verb: string, status: string, end: End): void {
  documented(runs.command(`${verb} <RUN>`), {
    says: `Ends a run as ${status}. What is left of it is cancelled, or goes on without it. Safe to repeat.`,
    examples: [
      `leasehold runs ${verb} nightly-eval`,
      `leasehold runs ${verb} nightly-eval --rest cancel --json | jq .counts`,
      `leasehold runs ${verb} a41c9e --rest keep --reason "enough for today"`,
    ],
    exits: '0 done · 4 no such run · 5 refused, it has ended otherwise',
  })
    .option(
      '--rest <R>',
      'cancel or keep what is left (as the run was made)',
      oneOf('--rest', ['cancel', 'keep']),
    )
    .option('--reason <TEXT>', 'kept with the run')
    .action((run: string, _flags, command: Command) =>
      withSession(command, async ({ client, output }) => {
        const { rest, reason } = flagsOf<{ rest?: 'cancel' | 'keep'; reason?: string }>(command)
        const document = await end(client, run, given({ rest, reason }))
        output.result(document, (terminal) => renderRunEnded(terminal, document))
      }),
    )
}
