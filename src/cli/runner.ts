/**
 * `npm run`, `npx`, `pnpm` and `yarn` start this program and wait for it. When such a runner is killed in a way that it can't pass on
 * (SIGKILL, a closed container), what it started would go on for nobody: so its process is watched, and its end is a reason to stop.
 *
 * Nothing is watched without a runner: a program that was started by a shell may well outlive it (`nohup`, `disown`).
 */
import { isGone, parentOf } from '../worker/identity.ts'

const LOOK_EVERY_MS = 500
/** From this process up: a shell or two, and the runner. */
const DEPTH_MAX = 4

/** Calls `onGone` once with the runner's name when the runner that started this process is gone. */
export function watchRunner(onGone: (runner: string) => void): void {
  const agent = process.env['npm_config_user_agent']
  if (agent === undefined || process.env['npm_lifecycle_event'] === undefined) return
  const name = agent.split('/')[0] || 'the runner'
  let parent = parentOf(process.pid)
  // A shell stands in between, and would outlive the runner without a word.
  for (let depth = 1; parent !== null && isShell(parent.name); depth += 1)
    parent = depth < DEPTH_MAX ? parentOf(parent.pid) : null
  if (parent === null) return
  const runner = parent
  const timer = setInterval(() => {
    if (!isGone(runner)) return
    clearInterval(timer)
    onGone(name)
  }, LOOK_EVERY_MS)
  timer.unref()
}

function isShell(name: string): boolean {
  return /^(sh|bash|dash|zsh|ash|ksh|busybox)$/.test(name)
}
