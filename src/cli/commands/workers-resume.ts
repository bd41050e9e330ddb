import type { Command } from 'commander'
import { documented } from '../help.ts'
import { liveWorkersOf } from '../live-workers.ts'
import { lines } from '../output.ts'
import { flagsOf, withSession } from '../session.ts'
import { plural, workerName } from '../terminal/format.ts'
import { marked, WORKER_MARKS } from '../terminal/marks.ts'
import { workerOrMachine } from './workers-drain.ts'

/** `workers resume`: a drained worker, or a drained machine, takes jobs again. */
export function registerWorkersResume(workers: Command): void {
  documented(workers.command('resume [ID]'), {
    says: 'Lets a drained worker, or all of a drained machine, take new jobs again.',
    examples: [
      'leasehold workers resume 5be0d1c2',
      'leasehold workers resume --machine render-a',
      'leasehold workers resume 5be0d1c2 --json | jq -r .status',
    ],
    exits: '0 done · 4 no such worker · 5 refused, it is offline',
  })
    .option('--machine <ID>', 'all workers of this machine')
    .action((id: string | undefined, _flags, command: Command) =>
      withSession(command, async ({ client, output }) => {
        const asked = workerOrMachine(id, flagsOf<{ machine?: string }>(command).machine)
        if ('machine' in asked) {
          const { id: machineId } = await client.machines.get(asked.machine)
          await client.machines.resume(machineId)
          const machine = await client.machines.get(machineId)
          const live = await liveWorkersOf(client, machineId)
          output.result(machine, (terminal) => {
            const words = `${machine.id} takes jobs again: ${plural(live.length, 'worker')}`
            return {
              output: lines(marked(terminal, WORKER_MARKS[machine.status], words)),
              note: '',
            }
          })
          return
        }
        const { id: workerId } = await client.workers.get(asked.worker)
        await client.workers.resume(workerId)
        const worker = await client.workers.get(workerId)
        output.result(worker, (terminal) => {
          const name = terminal.isTerminal ? workerName(worker.id) : worker.id
          const words = `${name} is ${worker.status}: ${worker.reason ?? 'no reason was kept'}`
          return { output: lines(marked(terminal, WORKER_MARKS[worker.status], words)), note: '' }
        })
      }),
    )
}
