// What `runs …` prints, at 80 and 120 columns and in a pipe.
import { expect, test } from 'vitest'
import type { RunDocument } from '../../client/documents.ts'
import { renderRun, renderRunEnded, renderRunList, runProgressLine } from './runs-view.ts'
import type { Terminal } from './style.ts'
import { textWidth } from './text.ts'

const pipe: Terminal = { isTerminal: false, color: false, unicode: true, redraws: false, width: 80 }
const at = (width: number): Terminal => ({ ...pipe, isTerminal: true, redraws: true, width })

const active: RunDocument = {
  id: '01a20229-70cc-7a41-9c9e-a41c9ea41c9e',
  name: 'nightly-eval',
  namespace: 'default',
  status: 'active',
  stage: 'scoring',
  criteria: { dataset: 'v7' },
  target: 1_000,
  counts: { total: 1_000, waiting: 380, running: 20, completed: 597, failed: 2, cancelled: 1 },
  progress: { done: 597, failed: 2, target: 1_000 },
  cost: { tokens: 71_400, usd: 17.91 },
  budget: { tokens: null, usd: 25 },
  rules: { maxFailed: 10, fillGraceMs: 30_000, rest: 'cancel' },
  filled: false,
  lastFilledAt: '2026-11-22T10:00:00.000Z',
  createdAt: '2026-11-22T10:00:00.000Z',
  finishedAt: null,
  endReason: null,
  now: '2026-11-22T10:46:31.000Z',
}
const failed: RunDocument = {
  ...active,
  id: '01a20229-70cc-7a41-9c9e-c07d11c07d11',
  name: 'crawl',
  status: 'error',
  stage: null,
  target: null,
  budget: null,
  cost: { tokens: 0, usd: 0 },
  rules: { maxFailed: null, fillGraceMs: 30_000, rest: 'keep' },
  finishedAt: '2026-11-22T10:05:09.000Z',
  endReason: { code: 'too_many_failed', message: '2 of 1000 jobs have failed, and at most 0 may' },
}
const runs = [active, failed]

test.each([80, 120])('runs list at %i', (width) => {
  const { output, note } = renderRunList(at(width), runs, null)
  for (const line of output.split('\n')) expect(textWidth(line)).toBeLessThanOrEqual(width)
  expect(output).toMatchSnapshot()
  expect(note).toBe('2 runs.\n')
})

test('runs list in a pipe has whole ids, and one header', () => {
  expect(renderRunList(pipe, runs, failed.id)).toMatchSnapshot()
  expect(renderRunList(at(80), [], null)).toMatchObject({ output: '' })
})

test('runs show: rules, counts, cost and why it ended', () => {
  for (const run of runs) expect(renderRun(at(100), run).output).toMatchSnapshot()
  expect(renderRun(pipe, runs[1] as RunDocument).output).toMatchSnapshot()
})

test('runs wait: one line that changes, and how it ended with what becomes of the rest', () => {
  expect(runProgressLine(at(100), active)).toMatchInlineSnapshot(
    `"nightly-eval  ━━━━━━━━━━━╸────────  597/1,000, 20 running, 2 failed, scoring, 71,400 tokens, 17.91 USD, 46 m 31 s"`,
  )
  expect(renderRunEnded(at(100), failed)).toMatchInlineSnapshot(`
    {
      "note": "400 jobs of it go on.
    ",
      "output": "crawl …c07d11  ✕ error: 2 of 1000 jobs have failed, and at most 0 may
    ",
    }
  `)
})
