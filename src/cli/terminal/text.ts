/**
 * Text measured in terminal columns rather than in characters.
 *
 * Wide characters take two columns, SGR codes none. `plain` takes out what could steer a terminal or
 * break a row: text from jobs (types, messages, errors) is a stranger's and passes through it first.
 */
import type { Terminal } from './style.ts'

// oxlint-disable-next-line no-control-regex -- control characters are what this finds
const CONTROL = /[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]+/g
// oxlint-disable-next-line no-control-regex -- an SGR code begins with ESC
const SGR = /(\u001b\[[\d;]*m)/
// Not util.stripVTControlCharacters: it takes the text between a sequence and a later BEL along.
// oxlint-disable-next-line no-control-regex -- a control sequence begins with ESC
const SEQUENCE = /\u001b\[[0-?]*[ -/]*[@-~]/g
const WIDE =
  /^[\p{Emoji_Presentation}\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]/u
const GRAPHEMES = new Intl.Segmenter('en', { granularity: 'grapheme' })

/** One line without control characters; each run of them becomes a space. */
export function plain(text: string): string {
  return text.replace(SEQUENCE, '').replace(CONTROL, ' ').trimEnd()
}

/** Columns that `text` takes. */
export function textWidth(text: string): number {
  let width = 0
  for (const { segment } of GRAPHEMES.segment(text.replace(SEQUENCE, '')))
    width += WIDE.test(segment) ? 2 : 1
  return width
}

/** The sign for what was left out. */
export function ellipsis(terminal: Terminal): string {
  return terminal.unicode ? '…' : '...'
}

/** Cuts `text` at the end to `width` columns; keeps its colours and closes them. */
export function cut(terminal: Terminal, text: string, width: number): string {
  if (textWidth(text) <= width) return text
  const sign = ellipsis(terminal).slice(0, width)
  const room = Math.max(0, width - sign.length)
  let taken = 0
  let kept = ''
  for (const part of text.split(SGR)) {
    if (SGR.test(part)) {
      kept += part
      continue
    }
    for (const { segment } of GRAPHEMES.segment(part)) {
      const columns = WIDE.test(segment) ? 2 : 1
      if (taken + columns > room) {
        const reset = kept.includes('\u001b[') ? '\u001b[0m' : ''
        return kept.trimEnd() + sign + reset
      }
      kept += segment
      taken += columns
    }
  }
  return kept
}

/** Fills `text` with spaces to `width` columns. */
export function pad(text: string, width: number, align: 'left' | 'right' = 'left'): string {
  const spaces = ' '.repeat(Math.max(0, width - textWidth(text)))
  return align === 'left' ? text + spaces : spaces + text
}

/** Breaks `text` at spaces into lines of at most `width` columns; a longer word stays whole. */
export function wrap(text: string, width: number): string[] {
  const lines: string[] = []
  for (const paragraph of text.split('\n')) {
    let line = ''
    for (const word of paragraph.split(' ')) {
      const longer = line === '' ? word : `${line} ${word}`
      if (line !== '' && textWidth(longer) > width) {
        lines.push(line)
        line = word
      } else {
        line = longer
      }
    }
    lines.push(line)
  }
  return lines
}
