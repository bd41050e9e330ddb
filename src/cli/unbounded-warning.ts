/**
 * A worker that was aimed at one run, was put in the background and has no bound goes on when its run is long over and nobody thinks of
 * it any more. Whoever starts one so is told; a service is not, as it is aimed at nothing.
 */
import { readFileSync } from 'node:fs'
import { isatty } from 'node:tty'
import { statFields } from '../domain/process-stat.ts'

export interface StartFacts {
  readonly stdinIsTerminal: boolean
  /** Its process group is not the one that the terminal listens to. */
  readonly inBackground: boolean
  /** Whoever started it has ended. */
  readonly parentGone: boolean
  /** The run that it works for alone, or null. */
  readonly aimedAt: string | null
  /** Whether it comes to an end by itself. */
  readonly bounded: boolean
}

/** The sentence to say, or null. */
export function unboundedWarning(facts: StartFacts): string | null {
  const unwatched = !facts.stdinIsTerminal && (facts.inBackground || facts.parentGone)
  if (facts.aimedAt === null || facts.bounded || !unwatched) return null
  const where = facts.parentGone ? 'its parent has ended' : 'it runs in the background'
  return `this worker is aimed at run ${facts.aimedAt} and has no bound, and ${where}: it goes on after the run until it is told to stop. Give it --exit-when-idle, --max-jobs, --max-loops or --max-lifetime.`
}

/** Of this process, from the system; what can't be read warns of nothing. */
export function processFacts(
  stat: string | null = ownStat(),
): Pick<StartFacts, 'stdinIsTerminal' | 'inBackground' | 'parentGone'> {
  const fields = stat === null ? [] : statFields(stat)
  const [, parent, group, , terminal, foreground] = fields.map(Number)
  return {
    stdinIsTerminal: isatty(0),
    inBackground: terminal !== undefined && terminal !== 0 && foreground !== group,
    parentGone: parent === 1,
  }
}

function ownStat(): string | null {
  try {
    return readFileSync('/proc/self/stat', 'utf8')
  } catch {
    return null // Not Linux, or hidden.
  }
}
