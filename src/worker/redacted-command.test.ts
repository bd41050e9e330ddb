import { describe, expect, test } from 'vitest'
import { redactedCommand } from './redacted-command.ts'

const shown = (line: string): string => redactedCommand(line.split(' '))

describe('a command line that everybody may see', () => {
  test.each([
    ['worker handlers.ts --queue video,audio --concurrency 4'],
    ['/opt/app/dist/cli/main.js worker ./jobs/render-2026.ts --processes 4'],
    ['worker handlers.ts --run 01a20229-70cc-7a41-9c9e-a41c9ea41c9e'],
    ['worker https://example.com/handlers.js?version=3'],
    ['worker handlers-for-the-new-and-very-long-name-v2.ts --target gpu-a100'],
    ['worker handlers.ts --keyboard qwerty --monkey-business 1'],
  ])('what is no secret stays: %s', (line) => {
    expect(shown(line)).toBe(line)
  })

  test.each([
    ['worker h.ts --database postgres://me:pw@host/db', 'worker h.ts --database …'],
    ['worker h.ts --database=postgres://me:pw@host/db', 'worker h.ts --database=…'],
    ['DATABASE_URL=postgres://me:pw@host/db worker', 'DATABASE_URL=… worker'],
    ['worker postgres://me:pw@host:5432/db', 'worker postgres://me:…@host:5432/db'],
    ['worker postgres://justatoken@host/db', 'worker postgres://…@host/db'],
    [
      '--upstream https://host/x?user=me&token=abc#f',
      '--upstream https://host/x?user=me&token=…#f',
    ],
    ['--password hunter2 --verbose', '--password … --verbose'],
    ['--api-key=abc', '--api-key=…'],
    ['--apiKey abc', '--apiKey …'],
    ['API_KEY=abc', 'API_KEY=…'],
    ['--auth-token abc', '--auth-token …'],
    ['--token --verbose', '--token --verbose'],
    ['run ghp_0123456789abcdefghij', 'run …'],
    ['run eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln', 'run …'],
    ['run AKIAIOSFODNN7EXAMPLE', 'run …'],
    ['run 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b', 'run …'],
    ['run --seed=a8Kd92LmQ0zXw73BvT55nR1c', 'run --seed=…'],
  ])('a secret is left out: %s', (line, expected) => {
    expect(shown(line)).toBe(expected)
  })

  test('it is cut, however long', () => {
    expect(redactedCommand(Array<string>(500).fill('word'))).toHaveLength(500)
  })
})
