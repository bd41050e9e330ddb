/**
 * What an output stream can show, decided once from the stream and the environment.
 *
 *     isTerminal  a person reads it: marks, fitted columns, short ids. Else: tabs, full ids, ISO times.
 *     color       SGR codes. NO_COLOR and TERM=dumb switch it off, FORCE_COLOR on (0 or false: off).
 *     unicode     marks and line drawing. Off only when a locale is set and is not UTF-8: containers
 *                 set none, and the terminals in front of them read UTF-8.
 *     redraws     lines already written may be changed. TERM=dumb can't.
 *     width       read again at each use, because people resize.
 *
 * Every renderer takes a `Terminal` and returns text; nothing here writes.
 */

/** What an output stream can show. */
export interface Terminal {
  readonly isTerminal: boolean
  readonly color: boolean
  readonly unicode: boolean
  readonly redraws: boolean
  /** Columns, now. */
  readonly width: number
}

/** What a command prints: results for standard output, a note for standard error. */
export interface Rendered {
  readonly output: string
  readonly note: string
}

type Environment = Readonly<Record<string, string | undefined>>

/** The layout without a known width is the one of 80 columns. */
const WIDTH_DEFAULT = 80

/** Reads what `stream` can show. */
export function createTerminal(
  stream: { readonly isTTY?: boolean; readonly columns?: number },
  env: Environment,
): Terminal {
  const isTerminal = stream.isTTY === true
  const dumb = env['TERM'] === 'dumb'
  const locale = env['LC_ALL'] || env['LC_CTYPE'] || env['LANG'] || ''
  return {
    isTerminal,
    color: wantsColor(env) ?? (isTerminal && !dumb),
    unicode: locale === '' || /utf-?8/i.test(locale),
    redraws: isTerminal && !dumb,
    get width() {
      return stream.columns || WIDTH_DEFAULT
    },
  }
}

/** FORCE_COLOR is asked first, as Node.js does; an empty NO_COLOR says nothing (no-color.org). */
function wantsColor(env: Environment): boolean | undefined {
  const force = env['FORCE_COLOR']
  if (force !== undefined) return force !== '0' && force !== 'false'
  if (env['NO_COLOR']) return false
  return undefined
}

const CODES = {
  bold: 1,
  dim: 2,
  red: 31,
  green: 32,
  yellow: 33,
  blue: 34,
  magenta: 35,
  brightRed: 91,
} as const

/** A colour of the 16-colour palette, or a weight. */
export type Style = keyof typeof CODES

/** Colours `text`, if the terminal shows colours. */
export function paint(terminal: Terminal, styles: readonly Style[], text: string): string {
  if (!terminal.color || styles.length === 0 || text === '') return text
  return `\u001b[${styles.map((style) => CODES[style]).join(';')}m${text}\u001b[0m`
}
