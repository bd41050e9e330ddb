import type { Command } from 'commander'
import { registerRunsCreate } from './runs-create.ts'
import { registerRunsEnds } from './runs-ends.ts'
import { registerRunsList } from './runs-list.ts'
import { registerRunsShow } from './runs-show.ts'
import { registerRunsUpdate } from './runs-update.ts'
import { registerRunsWait } from './runs-wait.ts'

/** `runs …`: batches of jobs with a life of their own. */
export function registerRuns(program: Command): void {
  const runs = program
    .command('runs')
    .description(
      'Named batches of jobs. A run may be given by its id, a unique ending of 4 or more characters, or its name if one run has it.',
    )
    .helpGroup('Jobs')
  registerRunsCreate(runs)
  registerRunsList(runs)
  registerRunsShow(runs)
  registerRunsUpdate(runs)
  registerRunsWait(runs)
  registerRunsEnds(runs)
}
