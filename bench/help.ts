/** What a benchmark says of itself at the top of its file, as its help: one text for those who read the code and those who run it. */
import { readFileSync } from 'node:fs'

/** Prints it where `--help` asks for it, and says whether it did. */
export function helped(file: string): boolean {
  if (!process.argv.includes('--help')) return false
  const [, comment = ''] = /^\/\*\*\n([\s\S]*?)\n \*\/$/m.exec(readFileSync(file, 'utf8')) ?? []
  process.stdout.write(`${comment.replaceAll(/^ \* ?/gm, '')}\n`)
  return true
}
