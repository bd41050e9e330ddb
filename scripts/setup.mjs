// What the commands that work in a fresh clone have in common: whether the dependencies are there, and how npm installs them.
import fs from 'node:fs'
import path from 'node:path'

/** Arguments of npm that install what the lock file says, whatever the user's own settings leave out. */
export const INSTALL = ['ci', '--no-audit', '--no-fund', '--include=dev', '--include=optional']

/**
 * Whether the node_modules of a folder is missing or differs from its lock file. Times alone would ask for an installation after
 * every checkout that touches the lock file, so the contents decide then.
 */
export function dependenciesAreStale(folder = '.') {
  const installed = path.join(folder, 'node_modules/.package-lock.json')
  const locked = path.join(folder, 'package-lock.json')
  if (!fs.existsSync(installed)) return true
  if (fs.statSync(installed).mtimeMs >= fs.statSync(locked).mtimeMs) return false
  const have = JSON.parse(fs.readFileSync(installed, 'utf8')).packages
  const want = JSON.parse(fs.readFileSync(locked, 'utf8')).packages
  return Object.entries(want).some(([name, { version, optional, link }]) => {
    if (name === '' || link) return false
    // Optional ones are left out where they do not fit the machine.
    return have[name] ? have[name].version !== version : !optional
  })
}
