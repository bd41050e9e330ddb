import type { Command } from 'commander'
import { documented } from '../help.ts'
import { liveWorkersOf } from '../live-workers.ts'
import { listDocument } from '../output.ts'
import { withSession } from '../session.ts'
import { renderMachine, renderMachineList } from '../terminal/machines-view.ts'

/** `machines …`: the hosts that workers run on. */
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
  documented(machines.command('show <ID>'), {
    says: 'Shows one machine: its workers, and how often they crashed within the last day, by version.',
    examples: [
      'leasehold machines show render-a',
      'leasehold machines show render-a-5be0d1',
      "leasehold machines show render-a --json | jq '.versions[] | {version, crashes}'",
    ],
    exits: '0 done · 2 more than one matches · 4 no such machine',
  }).action((id: string, _flags, command: Command) =>
    withSession(command, async ({ client, output }) => {
      const machine = await client.machines.get(id)
      const workers = await liveWorkersOf(client, machine.id)
      output.result(machine, (terminal) => renderMachine(terminal, machine, workers))
    }),
  )
}
