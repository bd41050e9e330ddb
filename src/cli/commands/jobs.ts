import type { Command } from 'commander'
import { registerJobsCancel } from './jobs-cancel.ts'
import { registerJobsEvents } from './jobs-events.ts'
import { registerJobsList } from './jobs-list.ts'
import { registerJobsLogs } from './jobs-logs.ts'
import { registerJobsRelease } from './jobs-release.ts'
import { registerJobsReleaseStuck } from './jobs-release-stuck.ts'
import { registerJobsResume } from './jobs-resume.ts'
import { registerJobsRetry } from './jobs-retry.ts'
import { registerJobsShow } from './jobs-show.ts'
import { registerJobsWhy } from './jobs-why.ts'

/** `jobs …`: look at jobs and act on them. */
export function registerJobs(program: Command): void {
  const jobs = program
    .command('jobs')
    .description(
      'Looks at jobs and acts on them. An id may be given by a unique ending of 4 or more characters.',
    )
    .helpGroup('Jobs')
  registerJobsList(jobs)
  registerJobsShow(jobs)
  registerJobsWhy(jobs)
  registerJobsEvents(jobs)
  registerJobsLogs(jobs)
  registerJobsCancel(jobs)
  registerJobsRetry(jobs)
  registerJobsRelease(jobs)
  registerJobsResume(jobs)
  registerJobsReleaseStuck(jobs)
}
