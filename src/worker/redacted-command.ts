/**
 * A command line that may be shown to everybody who may see workers: without the values that are secret or look as if they were.
 *
 * Redacted are the value of `--database`, whatever follows a flag or name that speaks of a secret (`--token X`, `API_KEY=X`), passwords
 * and secret parameters in URLs, and words that look like keys: of a known form, or long and without sense. A secret that looks like a
 * word, behind a name that does not say so, is not recognised: pass secrets in the environment.
 */
import { isId } from '../domain/id.ts'

const HIDDEN = '…'
const LENGTH_MAX = 500

/** Names of flags, variables and URL parameters whose value nobody else should see. */
const SECRET_NAME =
  /(^|[-_.])(pass(word|wd|phrase)?|pwd|secret|token|credentials?|auth(orization)?|bearer|cookie|dsn|signature|(api|access|private|secret|signing|encryption)?[-_]?key)$/i
/** Forms that keys of well-known services and JSON web tokens have. */
const KNOWN_TOKEN =
  /\b(eyJ[\w-]{8,}\.[\w-]+(\.[\w-]*)?|(sk|pk|rk|whsec|ghp|gho|ghs|ghu|glpat|npm|xox[abprs]|hf|shpat)[-_][\w-]{8,}|github_pat_\w+|A(KIA|SIA)[A-Z0-9]{12,}|AIza[\w-]{20,})/g

export function redactedCommand(words: readonly string[]): string {
  let hideNext = false
  const shown = words.map((word) => {
    if (hideNext) {
      hideNext = false
      // A flag that takes no value after all.
      if (!word.startsWith('-')) return HIDDEN
    }
    const [, name = '', value] = /^(-{0,2}[\w.-]+)=(.*)$/s.exec(word) ?? []
    if (value !== undefined) return `${name}=${isSecret(name) ? HIDDEN : redactedWord(value)}`
    hideNext = word.startsWith('-') && isSecret(word)
    return redactedWord(word)
  })
  const text = shown.join(' ')
  return text.length > LENGTH_MAX ? `${text.slice(0, LENGTH_MAX - 1)}…` : text
}

function isSecret(name: string): boolean {
  const bare = name.replace(/^-+/, '')
  return bare === 'database' || /(^|_)(database|db)_url$/i.test(bare) || SECRET_NAME.test(bare)
}

function redactedWord(word: string): string {
  if (/^[a-z][a-z0-9+.-]*:\/\//i.test(word)) return redactedUrl(word)
  const known = word.replaceAll(KNOWN_TOKEN, HIDDEN)
  return known === word && looksRandom(word) ? HIDDEN : known
}

function redactedUrl(url: string): string {
  return url
    .replace(/^([a-z][a-z0-9+.-]*:\/\/)([^@/?#]*)@/i, (_, scheme: string, login: string) =>
      login.includes(':')
        ? `${scheme}${login.slice(0, login.indexOf(':'))}:${HIDDEN}@`
        : `${scheme}${HIDDEN}@`,
    )
    .replaceAll(/([?&#])([\w.-]+)=([^&#]*)/g, (all, mark: string, name: string) =>
      isSecret(name) ? `${mark}${name}=${HIDDEN}` : all,
    )
    .replaceAll(KNOWN_TOKEN, HIDDEN)
}

/** Long, of one piece, with letters and digits mixed: a key, not a path, a version or an id of ours. */
function looksRandom(word: string): boolean {
  return (
    word.length >= 24 &&
    /^[\w+=~-]+$/.test(word) &&
    /[0-9]/.test(word) &&
    /[a-z]/i.test(word) &&
    !isId(word) &&
    (word.match(/[0-9]+|[a-z]+|[A-Z]+/g)?.length ?? 0) >= word.length / 4
  )
}
