/**
 * Where a command's words go: results to standard output, everything else to standard error; with `--json` one document to
 * standard output and nothing else there.
 */
import { createTerminal, type Rendered, type Terminal } from './terminal/style.ts'
import { block } from './terminal/table.ts'

export interface Output {
  readonly json: boolean
  /** What standard output can show. */
  readonly terminal: Terminal
  /** What standard error can show. */
  readonly noteTerminal: Terminal
  /** The result as JSON, or as text when `--json` was not given. */
  result(document: unknown, render: (terminal: Terminal) => Rendered): void
  /** A line for standard error; left out with `--json`. */
  note(text: string): void
}

export function createOutput(flags: { readonly json?: boolean | undefined }): Output {
  const json = flags.json === true
  const terminal = createTerminal(process.stdout, process.env)
  const noteTerminal = createTerminal(process.stderr, process.env)
  return {
    json,
    terminal,
    noteTerminal,
    result(document, render) {
      if (json) {
        process.stdout.write(`${JSON.stringify(document, null, terminal.isTerminal ? 2 : 0)}\n`)
        return
      }
      const { output, note } = render(terminal)
      if (output !== '') process.stdout.write(output)
      if (note !== '') process.stderr.write(note)
    },
    note(text) {
      if (!json) process.stderr.write(`${text}\n`)
    },
  }
}

/** What is told on standard error in case that standard output takes nothing: the id of what was stored. */
export const unwritten: { text: string } = { text: '' }

/**
 * Ends the process once everything is written. For where an empty event loop can't be waited for: after an error, and when a
 * handler module may have opened connections of its own.
 */
export function leave(exitCode: number): void {
  process.stdout.write('', () => process.stderr.write('', () => process.exit(exitCode)))
}

/** A list as the one document that `--json` prints. */
export function listDocument<Item>(
  items: readonly Item[],
  nextCursor: string | null = null,
): { items: readonly Item[]; nextCursor: string | null } {
  return { items, nextCursor }
}

/** Lines as text, each with its end. */
export function lines(...all: readonly string[]): string {
  return block(all)
}
