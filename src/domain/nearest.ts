/** The known word that a mistyped one most likely meant. */

/** The nearest of `words`, or null when none is near: at most two edits, and less than half of the word. */
export function nearest(text: string, words: readonly string[]): string | null {
  let best: string | null = null
  let fewest = Math.min(2, Math.max(1, Math.floor(text.length / 2)))
  for (const word of words) {
    const edits = distance(text.toLowerCase(), word.toLowerCase())
    if (edits < fewest || (edits === fewest && best === null)) {
      best = word
      fewest = edits
    }
  }
  return best
}

/** ` Did you mean "jobs"?`, or nothing. */
export function didYouMean(text: unknown, words: readonly string[]): string {
  if (typeof text !== 'string') return ''
  const word = nearest(text, words)
  return word === null ? '' : ` Did you mean "${word}"?`
}

/** Insertions, deletions, replacements and swaps of neighbours from `a` to `b`. */
function distance(a: string, b: string): number {
  let previous: number[] = []
  let row = Array.from({ length: b.length + 1 }, (_, index) => index)
  for (let i = 1; i <= a.length; i += 1) {
    const next = [i]
    for (let j = 1; j <= b.length; j += 1) {
      const replaced = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1)
      const swapped =
        i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]
          ? (previous[j - 2] ?? 0) + 1
          : Infinity
      next.push(Math.min(replaced, swapped, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1))
    }
    previous = row
    row = next
  }
  return row[b.length] ?? 0
}
