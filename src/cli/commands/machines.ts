import type { Command } from 'commander'
import { documented } from '../help.ts'
import { listDocument } from '../output.ts'
import { withSession } from '../session.ts'
import { renderMachineList } from '../terminal/workers-view.ts'

/** `machines list`: the hosts that workers run on. */
export function registerMachines(program: Command): void {
  const machines = program
    .command('machines')
    .description('The hosts that workers run on.')
    .helpGroup('Workers')
  documented(machines.command('list'), {
    says: 'Lists machines. One is online exactly if a worker on it is.',
    examples: [
      'leasehold machines list',
      'leasehold machines list --namespace studio',
      "leasehold machines list --json | jq -r '.items[].hostname'",
    ],
    exits: '0 done, also when there is none',
  }).action((_flags, command: Command) =>
    withSession(command, async ({ client, output }) => {
      const items = await client.machines.list()
      output.result(listDocument(items), (terminal) => renderMachineList(terminal, items))
    }),
  )
}
