import type { Command } from 'commander'
import { registerWorkersDrain } from './workers-drain.ts'
import { registerWorkersEvict } from './workers-evict.ts'
import { registerWorkersList } from './workers-list.ts'
import { registerWorkersReap } from './workers-reap.ts'
import { registerWorkersResume } from './workers-resume.ts'
import { registerWorkersShow } from './workers-show.ts'

/** `workers …`: the registry. */
export function registerWorkers(program: Command): void {
  const workers = program
    .command('workers')
    .description(
      'The registry of workers. A worker may be given by its id, its incarnation, or how one of them begins or ends.',
    )
    .helpGroup('Workers')
  registerWorkersList(workers)
  registerWorkersShow(workers)
  registerWorkersDrain(workers)
  registerWorkersResume(workers)
  registerWorkersEvict(workers)
  registerWorkersReap(workers)
}
