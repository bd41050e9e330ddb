/**
 * The words for how an attempt ended: who noticed, by which layer, how far it had come.
 */
import type {
  AttemptDocument,
  AttemptEnd,
  EndReasonDocument,
  JobDocument,
} from '../../client/documents.ts'
import { plain } from './text.ts'

/** The layers of detection by number. */
const LAYERS = ['worker', 'supervisor', 'witness', 'connection', 'lease', 'watchdog'] as const

/** `witness, layer 2` */
export function layerWords(layer: number): string {
  const name = LAYERS[layer]
  return name === undefined ? `layer ${layer}` : `${name}, layer ${layer}`
}

/** The layer that noticed an end: its name, and its number where that is known. */
export function layerOf(
  reason: EndReasonDocument | null,
): { name: string; number: number | null } | null {
  if (reason === null) return null
  const { layer, noticedBy } = reason
  if (typeof layer === 'number') return { name: LAYERS[layer] ?? `layer ${layer}`, number: layer }
  const name = layer ?? LAYERS.find((known) => known === noticedBy)
  if (name === undefined) return null
  const number = LAYERS.findIndex((known) => known === name)
  return { name, number: number === -1 ? null : number }
}

/** How an attempt ended, as a verb of the sentence "attempt 2 …". */
export const END_VERBS: Readonly<Record<AttemptEnd, string>> = {
  completed: 'completed',
  failed: 'failed',
  cancelled: 'was cancelled',
  lost: 'was lost',
  released: 'was released',
  interrupted: 'was interrupted',
}

/**
 * A checkpoint in one word, when it is a number, a short string, or an object that holds only one.
 * `null` when there is none or when it says nothing at a glance.
 */
export function checkpointWord(checkpoint: unknown): string | null {
  if (typeof checkpoint === 'number') return String(checkpoint)
  if (typeof checkpoint === 'string') return checkpoint.length <= 24 ? plain(checkpoint) : null
  if (typeof checkpoint !== 'object' || checkpoint === null) return null
  const values: unknown[] = Object.values(checkpoint)
  const [only] = values
  return values.length === 1 && typeof only !== 'object' ? checkpointWord(only) : null
}

/** ` at 41 of 60`, or nothing when the checkpoint is no number. */
export function reached(job: JobDocument, { lastCheckpoint }: AttemptDocument): string {
  const word = checkpointWord(lastCheckpoint)
  if (word === null) return ''
  const total = job.progress?.total ?? null
  return total !== null && /^\d+$/.test(word) ? ` at ${word} of ${total}` : ` at ${word}`
}

/** `exit by SIGKILL`, `exit with code 1`, or nothing when the process's end is unknown. */
export function exitWords(reason: EndReasonDocument | null): string | null {
  if (reason?.signal) return `exit by ${plain(reason.signal)}`
  if (reason?.exitCode !== null && reason?.exitCode !== undefined)
    return `exit with code ${reason.exitCode}`
  return null
}

/** The reason as words: its message, or its code in words. */
export function reasonWords(reason: EndReasonDocument): string {
  return plain(reason.message ?? reason.code.replaceAll('_', ' ')).replace(/\.$/, '')
}
