import type { Command } from 'commander'
import { documented } from '../help.ts'
import { lines } from '../output.ts'
import { withSession } from '../session.ts'
import { workerName } from '../terminal/format.ts'
import { marked, workerMarks } from '../terminal/marks.ts'

/** `workers resume`: a drained worker takes jobs again. */
export function registerWorkersResume(workers: Command): void {
  documented(workers.command('resume <ID>'), {
    says: 'Lets a drained worker take new jobs again.',
    examples: [
      'leasehold workers resume 5be0d1c2',
      'leasehold workers resume render-a-4131',
      'leasehold workers resume 5be0d1c2 --json | jq -r .status',
    ],
    exits: '0 done · 4 no such worker · 5 refused, it is offline',
  }).action((id: string, _flags, command: Command) =>
    withSession(command, async ({ client, output }) => {
      const { id: workerId } = await client.workers.get(id)
      await client.workers.resume(workerId)
      const worker = await client.workers.get(workerId)
      output.result(worker, (terminal) => {
        const name = terminal.isTerminal ? workerName(worker.id) : worker.id
        const words = `${name} is ${worker.status}: ${worker.reason ?? 'no reason was kept'}`
        return { output: lines(marked(terminal, workerMarks[worker.status], words)), note: '' }
      })
    }),
  )
}
