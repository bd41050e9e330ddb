import type { Command } from 'commander'
import type { Client } from '../../client/client.ts'
import type { WorkerDocument } from '../../client/documents.ts'
import { sleep } from '../../clock.ts'
import { documented } from '../help.ts'
import { untilInterrupted } from '../interrupt.ts'
import { lines, type Output } from '../output.ts'
import { flagsOf, withSession } from '../session.ts'
import { formatDuration, plural, workerName } from '../terminal/format.ts'
import { createLiveRegion } from '../terminal/live.ts'
import { marked, workerMarks } from '../terminal/marks.ts'
import type { Terminal } from '../terminal/style.ts'

const LOOK_EVERY_MS = 500

/** `workers drain`: no new jobs for this worker. */
export function registerWorkersDrain(workers: Command): void {
  documented(workers.command('drain <ID>'), {
    says: 'Tells a worker to take no new jobs. What it runs goes on, and so does its process.',
    examples: [
      'leasehold workers drain 5be0d1c2',
      'leasehold workers drain 5be0d1c2 --wait',
      'leasehold workers drain 5be0d1c2 && leasehold workers resume 5be0d1c2',
    ],
    exits: '0 done · 4 no such worker · 5 refused, it is offline · 130 interrupted',
  })
    .option('--wait', 'until it runs nothing any more; Ctrl-C stops the waiting alone')
    .action((id: string, _flags, command: Command) =>
      withSession(command, async ({ client, output }) => {
        const { wait = false } = flagsOf<{ wait?: boolean }>(command)
        const { id: workerId } = await client.workers.get(id)
        await client.workers.drain(workerId)
        if (wait) await waitUntilIdle(client, workerId, output)
        const worker = await client.workers.get(workerId)
        output.result(worker, (terminal) => ({
          output: lines(drainedLine(terminal, worker)),
          note:
            worker.status === 'draining'
              ? lines(`To let it take jobs again: leasehold workers resume ${ending(worker)}`)
              : '',
        }))
      }),
    )
}

async function waitUntilIdle(client: Client, id: string, output: Output): Promise<void> {
  const region = createLiveRegion(output.noteTerminal, process.stderr)
  const startedMs = performance.now()
  try {
    await untilInterrupted(async (interrupted) => {
      // Ends when the worker holds nothing, or has ended and so holds nothing for long.
      while (!interrupted.aborted) {
        const worker = await client.workers.get(id)
        if (worker.running === 0 || worker.status === 'offline') return
        const since = formatDuration(performance.now() - startedMs)
        region.update([`${drainedLine(output.noteTerminal, worker)}   ${since}`])
        await sleep(LOOK_EVERY_MS, interrupted)
      }
    })
  } finally {
    region.close()
  }
}

function drainedLine(terminal: Terminal, worker: WorkerDocument): string {
  const { status, running } = worker
  const name = terminal.isTerminal ? workerName(worker.id) : worker.id
  const rest =
    status === 'offline'
      ? `offline: ${worker.reason ?? 'it ended'}`
      : running === 0
        ? `${status}, and runs nothing`
        : `${status}, and still runs ${plural(running, 'job')}`
  return marked(terminal, workerMarks[status], `${name} is ${rest}`)
}

/** What is enough of the id for the next command. */
function ending({ id }: WorkerDocument): string {
  return id.slice(-8)
}
