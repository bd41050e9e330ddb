/** What a benchmark says of itself at the top of its file, as its help: one text for those who read the code and those who run it. */
import { readFileSync } from 'node:fs'

export function helpOf(file: string): string {
  const [, comment = ''] = /^\/\*\*\n([\s\S]*?)\n \*\/$/m.exec(readFileSync(file, 'utf8')) ?? []
  return `${comment.replaceAll(/^ \* ?/gm, '')}\n`
}
