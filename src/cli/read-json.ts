/** The input of a job as given on the command line: inline, from standard input (`-`) or from a file (`@FILE`). */
import { readFile } from 'node:fs/promises'
import { INPUT_BYTES_MAX } from '../config.ts'
import { InputInvalidError, InputTooLargeError, UsageError } from '../errors.ts'

/** Text may be longer than the JSON that is stored, by white space; but nobody reads without end. */
const TEXT_BYTES_MAX = 8 * INPUT_BYTES_MAX
/** Both ends go through a value level by level, each with a stack of its own; this is well within all of them. */
const NESTING_MAX = 1_000

/** `null` when nothing was given. @throws {InputInvalidError} naming line and column of what is no JSON. */
export async function readInput(
  given: string | undefined,
  note: (text: string) => void,
): Promise<unknown> {
  if (given === undefined) return null
  if (given === '-') {
    if (process.stdin.isTTY) note('Reading JSON from this terminal; Ctrl-D ends it.')
    return parseJson(await readStandardInput(), 'standard input')
  }
  if (!given.startsWith('@')) return parseJson(given, 'the input')
  const file = given.slice(1)
  let text: string
  try {
    text = await readFile(file, 'utf8')
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? String(cause.code) : String(cause)
    const why =
      code === 'ENOENT' ? 'there is no such file' : code === 'EISDIR' ? 'it is a directory' : code
    throw new UsageError(
      `the input can't be read from ${file || 'a file without a name'}: ${why}.`,
      {
        cause,
      },
    )
  }
  refuseEndless(text.length)
  return parseJson(text, file)
}

async function readStandardInput(): Promise<string> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of process.stdin) {
    const buffer: Buffer = chunk
    chunks.push(buffer)
    bytes += buffer.length
    refuseEndless(bytes)
  }
  return Buffer.concat(chunks).toString('utf8')
}

function refuseEndless(bytes: number): void {
  if (bytes <= TEXT_BYTES_MAX) return
  throw new InputTooLargeError(
    `the input is larger than ${TEXT_BYTES_MAX} bytes, and at most ${INPUT_BYTES_MAX} are stored.`,
    { hint: 'Put the data where both sides can reach it, and pass its address.' },
  )
}

/** `text` as JSON. @throws {InputInvalidError} with the position of the first fault. */
function parseJson(text: string, source: string): unknown {
  const json = text.replace(/^\uFEFF/, '')
  let value: unknown
  try {
    value = JSON.parse(json)
  } catch (cause) {
    const { offset, expected } = new Scanner(json).firstFault()
    const before = json.slice(0, offset).split('\n')
    const where = `line ${before.length}, column ${(before.at(-1) ?? '').length + 1}`
    const rest = json.slice(offset, offset + 20).split('\n')[0] ?? ''
    const found = offset >= json.length ? 'the end' : rest === '' ? 'a line break' : rest
    throw new InputInvalidError(
      `${source} is not JSON: ${where}: expected ${expected}, found ${found}`,
      [{ path: where, message: `expected ${expected}` }],
      { hint: hintFor(json), cause },
    )
  }
  if (isDeep(json)) {
    throw new InputInvalidError(
      `${source} is nested more than ${NESTING_MAX} deep, which neither handlers nor PostgreSQL can be relied on to read.`,
      [{ path: '', message: `expected at most ${NESTING_MAX} levels` }],
      {
        hint: 'Nothing was stored. Put the data where both sides can reach it, and pass its address.',
      },
    )
  }
  return value
}

/** Whether valid JSON has more levels than that. */
function isDeep(json: string): boolean {
  let depth = 0
  for (const [sign] of json.matchAll(/"(?:[^"\\]|\\.)*"|[[\]{}]/gs)) {
    if (sign === '[' || sign === '{') depth += 1
    else if (sign === ']' || sign === '}') depth -= 1
    if (depth > NESTING_MAX) return true
  }
  return false
}

function hintFor(json: string): string {
  if (json.trim() === '') return 'Nothing was stored. An empty object is {}'
  if (/^\s*[\w.\\/-]+\.json\s*$/.test(json)) {
    return `Nothing was stored. To read a file: @${json.trim()}`
  }
  return 'Nothing was stored. In a shell, JSON goes into single quotes: \'{"n": 1}\''
}

class Fault extends Error {
  readonly offset: number
  readonly expected: string

  constructor(offset: number, expected: string) {
    super(expected)
    this.offset = offset
    this.expected = expected
  }
}

/**
 * Finds where JSON stops being JSON. The runtime's own messages have a position in some versions and for some faults only.
 */
class Scanner {
  readonly #text: string
  #at = 0

  constructor(text: string) {
    this.#text = text
  }

  firstFault(): { offset: number; expected: string } {
    try {
      this.#value()
      this.#space()
      return { offset: this.#at, expected: 'nothing more' }
    } catch (error) {
      if (error instanceof Fault) return error
      // Nested too deep for this scanner, and for anything else.
      if (error instanceof RangeError) return { offset: this.#at, expected: 'less nesting' }
      throw error
    }
  }

  #space(): void {
    this.#take(/[ \t\n\r]*/y)
  }

  #take(pattern: RegExp): boolean {
    pattern.lastIndex = this.#at
    const found = pattern.exec(this.#text)
    this.#at += found?.[0].length ?? 0
    return found !== null
  }

  #value(): void {
    this.#space()
    const sign = this.#text[this.#at]
    if (sign === '{') this.#members('}', 'a name in double quotes', () => this.#member())
    else if (sign === '[') this.#members(']', 'a value', () => this.#value())
    else if (sign === '"') this.#string('a value')
    else if (!this.#take(/true|false|null|-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?/y))
      throw new Fault(this.#at, 'a value')
  }

  #members(end: string, what: string, one: () => void): void {
    this.#at += 1
    this.#space()
    if (this.#text[this.#at] === end) {
      this.#at += 1
      return
    }
    for (;;) {
      this.#space()
      if (this.#text[this.#at] === end) throw new Fault(this.#at, what)
      one()
      this.#space()
      const sign = this.#text[this.#at]
      if (sign !== end && sign !== ',') throw new Fault(this.#at, `, or ${end}`)
      this.#at += 1
      if (sign === end) return
    }
  }

  #member(): void {
    this.#string('a name in double quotes')
    this.#space()
    if (this.#text[this.#at] !== ':') throw new Fault(this.#at, ':')
    this.#at += 1
    this.#value()
  }

  #string(what: string): void {
    if (this.#text[this.#at] !== '"') throw new Fault(this.#at, what)
    this.#at += 1
    // oxlint-disable-next-line no-control-regex -- control characters are what JSON forbids here
    this.#take(/(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[\da-fA-F]{4}))*/y)
    if (this.#text[this.#at] !== '"') throw new Fault(this.#at, '" or a valid character')
    this.#at += 1
  }
}
