import type { Command } from 'commander'
import type { Client } from '../../client/client.ts'
import type { MachineDocument, WorkerDocument } from '../../client/documents.ts'
import { sleep } from '../../clock.ts'
import { UsageError } from '../../errors.ts'
import { documented } from '../help.ts'
import { untilInterrupted } from '../interrupt.ts'
import { liveWorkersOf } from '../live-workers.ts'
import { lines, type Output } from '../output.ts'
import { flagsOf, withSession } from '../session.ts'
import { formatDuration, plural, workerName } from '../terminal/format.ts'
import { createLiveRegion } from '../terminal/live.ts'
import { marked, WORKER_MARKS } from '../terminal/marks.ts'
import type { Terminal } from '../terminal/style.ts'

const LOOK_EVERY_MS = 500

interface Flags {
  readonly machine?: string
  readonly wait?: boolean
}

/** `workers drain`: no new jobs for this worker, or for a machine. */
export function registerWorkersDrain(workers: Command): void {
  documented(workers.command('drain [ID]'), {
    says: 'Tells a worker, or all of a machine, to take no new jobs. What they run goes on, and so do their processes. A drained machine stays so: workers that start there later take nothing either, until it is resumed.',
    examples: [
      'leasehold workers drain 5be0d1c2 --wait',
      'leasehold workers drain --machine render-a --wait',
      'leasehold workers drain 5be0d1c2 && leasehold workers resume 5be0d1c2',
    ],
    exits: '0 done · 4 no such worker · 5 refused, it is offline · 130 interrupted',
  })
    .option('--machine <ID>', 'all workers of this machine, those that start later too')
    .option('--wait', 'until nothing runs there any more; Ctrl-C stops the waiting alone')
    .action((id: string | undefined, _flags, command: Command) =>
      withSession(command, async ({ client, output }) => {
        const { machine, wait = false } = flagsOf<Flags>(command)
        const asked = workerOrMachine(id, machine)
        if ('machine' in asked) await drainMachine(client, asked.machine, wait, output)
        else await drainWorker(client, asked.worker, wait, output)
      }),
    )
}

/** Which of the two was given. @throws {UsageError} when it is both or none. */
export function workerOrMachine(
  id: string | undefined,
  machine: string | undefined,
): { worker: string } | { machine: string } {
  if (id !== undefined && machine === undefined) return { worker: id }
  if (machine !== undefined && id === undefined) return { machine }
  throw new UsageError('give the ID of a worker, or --machine ID, and not both.')
}

async function drainWorker(
  client: Client,
  id: string,
  wait: boolean,
  output: Output,
): Promise<void> {
  const { id: workerId } = await client.workers.get(id)
  await client.workers.drain(workerId)
  if (wait) await waitUntilIdle(output, async () => [await client.workers.get(workerId)])
  const worker = await client.workers.get(workerId)
  output.result(worker, (terminal) => ({
    output: lines(drainedLine(terminal, [worker])),
    note:
      worker.status === 'draining'
        ? lines(`To let it take jobs again: leasehold workers resume ${ending(worker)}`)
        : '',
  }))
}

async function drainMachine(
  client: Client,
  id: string,
  wait: boolean,
  output: Output,
): Promise<void> {
  const { id: machineId } = await client.machines.get(id)
  await client.machines.drain(machineId)
  const its = async (): Promise<WorkerDocument[]> => liveWorkersOf(client, machineId)
  if (wait) await waitUntilIdle(output, its)
  const [machine, workers] = await Promise.all([client.machines.get(machineId), its()])
  output.result(machine, (terminal) => ({
    output: lines(drainedMachineLine(terminal, machine, workers)),
    note: lines(
      `To let its workers take jobs again: leasehold workers resume --machine ${machineId}`,
    ),
  }))
}

async function waitUntilIdle(
  output: Output,
  look: () => Promise<readonly WorkerDocument[]>,
): Promise<void> {
  const region = createLiveRegion(output.noteTerminal, process.stderr)
  const startedMs = performance.now()
  try {
    await untilInterrupted(async (interrupted) => {
      // Ends when they hold nothing, or have ended and so hold nothing for long.
      while (!interrupted.aborted) {
        const workers = await look()
        if (workers.every(({ running, status }) => running === 0 || status === 'offline')) return
        const since = formatDuration(performance.now() - startedMs)
        region.update([`${drainedLine(output.noteTerminal, workers)}   ${since}`])
        await sleep(LOOK_EVERY_MS, interrupted)
      }
    })
  } finally {
    region.close()
  }
}

function drainedLine(terminal: Terminal, workers: readonly WorkerDocument[]): string {
  const [worker] = workers
  if (worker === undefined) return ''
  const running = workers.reduce((sum, one) => sum + one.running, 0)
  const { status } = worker
  const first = terminal.isTerminal ? workerName(worker.id) : worker.id
  const name = workers.length === 1 ? `${first} is` : `${workers.length} workers are`
  const rest =
    workers.length === 1 && status === 'offline'
      ? `offline: ${worker.reason ?? 'it ended'}`
      : running === 0
        ? `${status}, and ${workers.length === 1 ? 'runs' : 'run'} nothing`
        : `${status}, and still ${workers.length === 1 ? 'runs' : 'run'} ${plural(running, 'job')}`
  return marked(terminal, WORKER_MARKS[status], `${name} ${rest}`)
}

function drainedMachineLine(
  terminal: Terminal,
  machine: MachineDocument,
  workers: readonly WorkerDocument[],
): string {
  const running = workers.reduce((sum, one) => sum + one.running, 0)
  const what =
    workers.length === 0
      ? 'it has no worker now'
      : `${plural(workers.length, 'worker')}, ${running === 0 ? 'nothing runs' : `${plural(running, 'job')} still ${running === 1 ? 'runs' : 'run'}`}`
  return marked(terminal, WORKER_MARKS.draining, `${machine.id} is drained: ${what}`)
}

/** What is enough of the id for the next command. */
function ending({ id }: WorkerDocument): string {
  return id.slice(-8)
}
