import type { Command } from 'commander'
import type { SupervisorDocument } from '../../client/documents.ts'
import { recognise } from '../../worker/identity.ts'
import { documented } from '../help.ts'
import { listDocument } from '../output.ts'
import { withSession } from '../session.ts'
import { renderSupervisorList } from '../terminal/supervisors-view.ts'

/** On its own machine a process that was killed is known to be gone at once, and its lease lasts for a minute and a half. */
function seenFromHere(item: SupervisorDocument): SupervisorDocument {
  if (item.status === 'offline') return item
  const sight = recognise(item)
  if (sight !== 'gone' && sight !== 'another') return item
  return { ...item, status: 'offline', reason: 'its process is gone' }
}

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
      'leasehold supervisors list --json \\\n  | jq -r --arg host "$(hostname)" \\\n      \'.items[] | select(.status == "online" and .hostname == $host).pid\' \\\n  | xargs -r kill -USR2',
    ],
    exits: '0 done, also when there is none',
  }).action((_flags, command: Command) =>
    withSession(command, async ({ client, output }) => {
      const items = (await client.supervisors.list()).map(seenFromHere)
      output.result(listDocument(items), (terminal) => renderSupervisorList(terminal, items))
    }),
  )
}
