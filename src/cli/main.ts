#!/usr/bin/env node
/**
 * The program `leasehold`. Every way out passes here: 0 done, 1 failed, 2 wrong usage or invalid input, 3 database unreachable,
 * 4 no such thing, 5 refused in its present state, 130 interrupted. What is no error of ours is a bug and is shown with its stack.
 */
import { CommanderError } from 'commander'
import { LeaseholdError, UsageError } from '../errors.ts'
import { didYouMean } from '../domain/nearest.ts'
import { leave, unwritten } from './output.ts'
import { buildProgram, type Captured } from './program.ts'
import { renderError, renderErrorJson, type ShownError } from './terminal/render-error.ts'
import { createTerminal } from './terminal/style.ts'

// `leasehold jobs list | head`: whoever read has had enough.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0)
  // A full disk, most often. What this would have said last may be the only trace of what was done.
  const lost = unwritten.text === '' ? '' : ` ${unwritten.text}`
  const why = error.message.replace(/, write$/, '')
  process.stderr.write(`error: standard output can't be written (${why}).${lost}\n`, () =>
    process.exit(1),
  )
})
process.stderr.on('error', () => undefined)

const captured: Captured = { text: '' }
const program = buildProgram(captured)
await run(process.argv)

/** Returns while a worker runs on: its process ends when it has stopped. */
async function run(argv: readonly string[]): Promise<void> {
  try {
    await program.parseAsync(argv)
  } catch (error) {
    if (!(error instanceof CommanderError)) leave(show(error))
    // Help and version were asked for and are printed.
    else if (error.exitCode === 0) return
    else if (error.code !== 'commander.help') leave(show(usageError(error)))
    // A group of commands without one of them.
    else process.stdout.write(captured.text)
  }
}

/** Commander's errors in our words. */
function usageError(error: CommanderError): UsageError {
  const unknown = /unknown command '(.*?)'/.exec(error.message)?.[1]
  const args = process.argv.slice(2).filter((arg) => !arg.startsWith('-'))
  if (unknown !== undefined) {
    const group = program.commands.find((command) => command.name() === args[0]) ?? program
    const names = group.commands.map((command) => command.name())
    const full = group === program ? '' : `${group.name()} `
    return new UsageError(`no command "${full}${unknown}".${didYouMean(unknown, names)}`, {
      hint: `All commands: leasehold ${full}--help`,
    })
  }
  const [message = '', suggestion] = error.message
    .replace(/^error: /, '')
    .replaceAll("'", '"')
    .split('\n')
  const meant = /Did you mean (.*?)\?/.exec(suggestion ?? '')?.[1]
  return new UsageError(
    `${message.replace(/\.?$/, '.')}${meant === undefined ? '' : ` Did you mean ${meant}?`}`,
    { hint: 'Options and examples: --help' },
  )
}

function show(error: unknown): number {
  const shown = shownError(error)
  const isOurs = error instanceof LeaseholdError
  const env = isOurs ? process.env : { ...process.env, LEASEHOLD_LOG_LEVEL: 'debug' }
  if (wantsJson()) process.stdout.write(renderErrorJson(shown))
  else process.stderr.write(renderError(createTerminal(process.stderr, process.env), shown, env))
  return shown.exitCode
}

function shownError(error: unknown): ShownError {
  if (error instanceof LeaseholdError) return error
  const { message = String(error), stack } = (error ?? {}) as Partial<Error>
  return {
    message,
    hint: 'This is a fault in Leasehold, or in what it was given. Please report it with the lines below.',
    code: 'ERR_UNEXPECTED',
    exitCode: 1,
    ...(stack === undefined ? {} : { stack }),
  }
}

function wantsJson(): boolean {
  const end = process.argv.indexOf('--')
  return process.argv.slice(2, end === -1 ? undefined : end).includes('--json')
}
