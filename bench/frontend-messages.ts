/**
 * Takes the client's half of a PostgreSQL connection apart, for proxies that only look.
 *
 * After a start-up message without a type, every message is a type, a length and a body. `Q` carries a statement, `P` parses one under
 * a name, and `B` is one execution of what was parsed under it. Nothing is known of a connection that asks for TLS.
 */

/** One execution of a statement. */
export interface Statement {
  readonly text: string
  /** Name under which it was prepared; empty if it was not. */
  readonly preparedAs: string
}

export class FrontendMessages {
  readonly #onStatement: (statement: Statement) => void
  readonly #prepared = new Map<string, string>()
  #rest: Buffer = Buffer.alloc(0)
  #started = false
  /** What the client calls itself, once it has said so. */
  application: string | null = null

  constructor(onStatement: (statement: Statement) => void) {
    this.#onStatement = onStatement
  }

  /** Takes bytes as they come, in any pieces. */
  take(bytes: Buffer): void {
    this.#rest = this.#rest.length === 0 ? bytes : Buffer.concat([this.#rest, bytes])
    for (;;) {
      const head = this.#started ? 1 : 0
      if (this.#rest.length < head + 4) return
      const end = head + this.#rest.readInt32BE(head)
      if (this.#rest.length < end) return
      const type = this.#started ? String.fromCharCode(this.#rest[0] ?? 0) : 'start'
      const body = this.#rest.subarray(head + 4, end)
      this.#started = true
      this.#rest = this.#rest.subarray(end)
      this.#look(type, body)
    }
  }

  #look(type: string, body: Buffer): void {
    if (type === 'start') {
      this.application = /application_name\0([^\0]*)/.exec(body.toString())?.[1] ?? null
    } else if (['Q', 'P', 'B'].includes(type)) {
      const [first = '', second = ''] = body.toString().split('\0', 2)
      if (type === 'Q') this.#onStatement({ text: first, preparedAs: '' })
      if (type === 'P') this.#prepared.set(first, second)
      if (type === 'B')
        this.#onStatement({ text: this.#prepared.get(second) ?? '', preparedAs: second })
    }
  }
}
