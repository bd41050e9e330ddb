import type { Command } from 'commander'
import { documented } from '../help.ts'
import { listDocument } from '../output.ts'
import { withSession } from '../session.ts'
import { renderSupervisorList } from '../terminal/supervisors-view.ts'

/** `supervisors list`: who keeps worker processes, and what became of them. */
export function registerSupervisors(program: Command): void {
  const supervisors = program
    .command('supervisors')
    .description('What keeps worker processes on machines: worker --processes.')
    .helpGroup('Workers')
  documented(supervisors.command('list'), {
    says: 'Lists supervisors by machine, each with its processes, how often one had to be started anew, and how the last one ended. Also those that ended within the last hour.',
    examples: [
      'leasehold supervisors list',
      "leasehold supervisors list --json | jq '.items[] | {name, restarts, lastExit}'",
      'leasehold supervisors list --json | jq -r \'.items[] | select(.status == "online") | .pid\' | xargs kill -USR2',
    ],
    exits: '0 done, also when there is none',
  }).action((_flags, command: Command) =>
    withSession(command, async ({ client, output }) => {
      const items = await client.supervisors.list()
      output.result(listDocument(items), (terminal) => renderSupervisorList(terminal, items))
    }),
  )
}
