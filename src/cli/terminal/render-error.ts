/**
 * The error block: what happened, why it matters, what to do, and the stable code last.
 *
 *     error: audio.align …31d6f8 is completed, and a completed job can't be cancelled.
 *            To run it again: leasehold jobs retry 31d6f8
 *            (ERR_JOB_TERMINAL, exit 5)
 *
 * A stack trace only with LEASEHOLD_LOG_LEVEL=debug. With `--json` one document instead.
 */
import { paint, type Terminal } from './style.ts'
import { plain, wrap } from './text.ts'

/** An error as the program shows it; `hint` says what to do. */
export interface ShownError {
  readonly message: string
  readonly hint?: string | undefined
  readonly code: string
  readonly exitCode: number
  readonly stack?: string | undefined
}

const LABEL = 'error: '
/** Sentences wider than this are hard to read, however wide the terminal. */
const WIDTH_MAX = 80

/** The error block, for standard error. */
export function renderError(
  terminal: Terminal,
  error: ShownError,
  env: Readonly<Record<string, string | undefined>>,
): string {
  const width = terminal.isTerminal ? Math.min(terminal.width, WIDTH_MAX) : Infinity
  const sentences = [error.message, error.hint, `(${error.code}, exit ${error.exitCode})`]
  const lines = sentences.flatMap((text) =>
    text ? wrap(text.trimEnd().split('\n').map(plain).join('\n'), width - LABEL.length) : [],
  )
  const block = lines.map((line, index) =>
    index === 0
      ? paint(terminal, ['red', 'bold'], LABEL.trimEnd()) + ` ${line}`
      : ' '.repeat(LABEL.length) + line,
  )
  if (env['LEASEHOLD_LOG_LEVEL'] === 'debug' && error.stack) block.push(error.stack)
  return `${block.join('\n')}\n`
}

/** The error as one JSON document. */
export function renderErrorJson({ code, message, hint }: ShownError): string {
  return `${JSON.stringify({ error: { code, message, hint: hint ?? null } })}\n`
}
