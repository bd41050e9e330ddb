/**
 * The one table of marks and colours. Circles are the normal flow, diamonds wait for something outside
 * it, bare strokes are ends, squares are workers; filled means that a lease is live.
 *
 * The word always stands beside the mark, so that without UTF-8 or colour nothing is lost.
 */
import type { AttemptEnd, JobState, WorkerStatus } from '../../client/documents.ts'
import { paint, type Style, type Terminal } from './style.ts'

/** A mark and its colour. */
export interface Mark {
  readonly mark: string
  readonly styles: readonly Style[]
}

export const JOB_MARKS: Readonly<Record<JobState, Mark>> = {
  pending: { mark: '○', styles: ['dim'] },
  scheduled: { mark: '◷', styles: ['dim'] },
  blocked: { mark: '◇', styles: ['dim'] },
  held: { mark: '◆', styles: ['magenta', 'bold'] },
  retrying: { mark: '↻', styles: ['yellow'] },
  running: { mark: '●', styles: ['blue'] },
  cancelling: { mark: '⊗', styles: ['magenta'] },
  stalled: { mark: '◐', styles: ['yellow', 'bold'] },
  lost: { mark: '◌', styles: ['brightRed', 'bold'] },
  completed: { mark: '✓', styles: ['green'] },
  failed: { mark: '✕', styles: ['red', 'bold'] },
  cancelled: { mark: '⊘', styles: ['magenta'] },
}

export const WORKER_MARKS: Readonly<Record<WorkerStatus, Mark>> = {
  online: { mark: '■', styles: ['blue'] },
  draining: { mark: '▄', styles: ['yellow'] },
  late: { mark: '▫', styles: ['yellow'] },
  unhealthy: { mark: '▣', styles: ['red', 'bold'] },
  offline: { mark: '□', styles: ['dim'] },
}

/** How a bar of the attempt strip ends: drawn, and drawn without UTF-8. */
export const END_MARKS: Readonly<Record<AttemptEnd, Mark & { readonly ascii: string }>> = {
  completed: { mark: '✓', ascii: 'v', styles: ['green'] },
  failed: { mark: '!', ascii: '!', styles: ['red', 'bold'] },
  cancelled: { mark: '/', ascii: '/', styles: ['magenta'] },
  lost: { mark: '✕', ascii: 'x', styles: ['brightRed', 'bold'] },
  released: { mark: '›', ascii: '>', styles: ['dim'] },
  interrupted: { mark: '›', ascii: '>', styles: ['dim'] },
}

/** `● running`: the mark, if the terminal can show it, and the words, in the colour of the state. */
export function marked(terminal: Terminal, mark: Mark, words: string): string {
  return paint(terminal, mark.styles, markedText(terminal, mark, words))
}

/** The same without colour. */
export function markedText(terminal: Terminal, mark: Mark, words: string): string {
  return terminal.isTerminal && terminal.unicode ? `${mark.mark} ${words}` : words
}
