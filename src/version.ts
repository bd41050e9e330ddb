import { readFileSync } from 'node:fs'

const manifest: { version: string } = JSON.parse(
  readFileSync(new URL('../package.json', import.meta.url), 'utf8'),
)

/** The program's version, as in package.json. */
export const PROGRAM_VERSION: string = manifest.version
