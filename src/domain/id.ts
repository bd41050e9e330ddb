/** Ids: UUIDs. People name one by its end, as those that were made together begin alike. */

const UUID = '[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}'
const WHOLE = new RegExp(`^${UUID}$`, 'i')
const AT_THE_END = new RegExp(`-${UUID}$`, 'i')
const ENDING_MIN = 4

export function isId(text: string): boolean {
  return WHOLE.test(text)
}

/** `a41c9e` of `…A41C9E`: an id or its end, as ids are written. Null: it is neither, or shorter than 4 characters. */
export function endingOf(text: string): string | null {
  const ending = bare(text).toLowerCase()
  return ending.length >= ENDING_MIN && /^[0-9a-f-]{1,36}$/.test(ending) ? ending : null
}

/** Without the sign that shows that something stands before it. */
export function bare(text: string): string {
  return text.replace(/^…/, '')
}

/** `render-b-2210` of `render-b-2210-e41f6b77-…`: what people know a worker by. */
export function withoutId(text: string): string {
  return text.replace(AT_THE_END, '')
}
