/**
 * Bars in half columns: `━` done, `╸` a half, `─` to do. A bar is empty only at 0 and full only when
 * all is done, so that neither claims what is not so. Without UTF-8: `#` and `-`.
 */
import { paint, type Terminal } from './style.ts'

/** Progress towards a known total, `width` columns wide; the done part is blue. */
export function progressBar(
  terminal: Terminal,
  { done, total, width }: { done: number; total: number; width: number },
): string {
  const share = total > 0 ? done / total : 0
  const step = terminal.unicode ? 2 : 1
  const units = Math.max(0, width) * step
  const exact = Math.floor(Math.min(1, Math.max(0, share)) * units)
  const filled = share > 0 && units > 0 ? Math.max(1, exact) : exact
  const full = Math.floor(filled / step)
  const half = filled % step
  const drawn = (terminal.unicode ? '━' : '#').repeat(full) + (half === 1 ? '╸' : '')
  const rest = (terminal.unicode ? '─' : '-').repeat(Math.max(0, width) - full - half)
  return paint(terminal, ['blue'], drawn) + paint(terminal, ['dim'], rest)
}
