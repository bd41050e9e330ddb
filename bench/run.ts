/**
 * The frame of a benchmark's run: help and exit code, clean-up however it ends, one measure after the other with its progress, results
 * in a file. Progress goes to standard error, so that standard output is the table alone.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { createLiveRegion } from '../src/cli/terminal/live.ts'
import { createTerminal } from '../src/cli/terminal/style.ts'
import { helped } from './help.ts'
import { progressLine } from './table.ts'

/** Ends the process with the code that `main` gives, 2 for wrong usage (a TypeError), or 1 for whatever else it throws. */
export async function runProgram(
  file: string,
  main: (args: string[]) => Promise<number>,
): Promise<void> {
  try {
    process.exit(helped(file) ? 0 : await main(process.argv.slice(2)))
  } catch (error) {
    say(`error: ${messageOf(error)}`)
    process.exit(error instanceof TypeError ? 2 : 1)
  }
}

/** Calls `stop` once `run` has ended, and when a signal ends the process before that. */
export async function stopAfter<T>(stop: () => Promise<void>, run: () => Promise<T>): Promise<T> {
  const interrupted = (signal: NodeJS.Signals): void => {
    void stop().finally(() => process.exit(signal === 'SIGINT' ? 130 : 143))
  }
  process.once('SIGINT', interrupted).once('SIGTERM', interrupted)
  try {
    return await run()
  } finally {
    await stop()
  }
}

export interface Measured<Row> {
  readonly rows: Row[]
  /** By the name of what could not be measured. */
  readonly errors: Record<string, string>
}

/**
 * One after the other: two at once would measure each other. One that breaks leaves the others alone.
 *
 * @param keep Called after each with all that was measured so far, so that a run which is cut short has not measured in vain.
 */
export async function runInTurn<Part extends { readonly name: string; readonly what: string }, Row>(
  parts: readonly Part[],
  measure: (part: Part, progress: (text: string) => void) => Promise<readonly Row[]>,
  keep: (measured: Measured<Row>) => void,
): Promise<Measured<Row>> {
  const terminal = createTerminal(process.stderr, process.env)
  const rows: Row[] = []
  const errors: Record<string, string> = {}
  for (const part of parts) {
    const live = createLiveRegion(terminal, process.stderr)
    const startedMs = performance.now()
    const progress = (text: string): void => live.update([progressLine(terminal, part.name, text)])
    progress(part.what)
    try {
      rows.push(...(await measure(part, progress)))
    } catch (error) {
      errors[part.name] = messageOf(error)
    }
    keep({ rows, errors })
    live.close()
    const seconds = ((performance.now() - startedMs) / 1_000).toFixed(1)
    const outcome = part.name in errors ? 'FAILED' : 'measured'
    say(progressLine(terminal, part.name, `${outcome} in ${seconds} s`))
  }
  for (const [name, message] of Object.entries(errors))
    say(`error: ${name} could not be measured: ${message}`)
  return { rows, errors }
}

/** Writes each text to a file that is named for the start of the run and ends as its key says; returns the name without that end. */
export function writeResults(
  { directory, prefix, startedAt }: { directory: string; prefix: string; startedAt: Date },
  texts: Readonly<Record<string, string>>,
): string {
  mkdirSync(directory, { recursive: true })
  const date = startedAt.toISOString().slice(0, 19).replaceAll(':', '')
  const base = path.join(directory, `${prefix}${date}`)
  for (const [end, text] of Object.entries(texts)) writeFileSync(`${base}${end}`, text)
  return path.relative(process.cwd(), base)
}

export function say(text: string): void {
  process.stderr.write(`${text}\n`)
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
