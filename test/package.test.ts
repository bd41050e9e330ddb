/**
 * What is published, packed as from a fresh clone: nothing is built before. The clone is the sources alone, with this checkout's
 * dependencies.
 */
import { execFileSync } from 'node:child_process'
import { cpSync, existsSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { expect, onTestFinished, test } from 'vitest'

const ROOT = path.resolve(import.meta.dirname, '..')
const SOURCES = [
  'package.json',
  'tsconfig.json',
  'tsconfig.build.json',
  'scripts',
  'src',
  'migrations',
  'README.md',
  'CHANGELOG.md',
  'LICENSE',
]

test('npm pack in a fresh clone builds first, and packs the program, its SQL and the migrations', () => {
  const clone = mkdtempSync(path.join(tmpdir(), 'leasehold-clone-'))
  onTestFinished(() => rmSync(clone, { recursive: true, force: true }))
  for (const name of SOURCES)
    cpSync(path.join(ROOT, name), path.join(clone, name), { recursive: true })
  symlinkSync(path.join(ROOT, 'node_modules'), path.join(clone, 'node_modules'))
  expect(existsSync(path.join(clone, 'dist'))).toBe(false)
  const told = execFileSync('npm', ['pack', '--dry-run', '--json', '--offline'], {
    cwd: clone,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const [packed] = JSON.parse(told) as { files: { path: string }[] }[]
  const files = new Set(packed?.files.map((file) => file.path))
  const sql = readdirSync(path.join(ROOT, 'src/sql')).filter((name) => name.endsWith('.sql'))
  const migrations = readdirSync(path.join(ROOT, 'migrations'))
  expect(sql.length).toBeGreaterThan(0)
  for (const file of [
    'dist/index.js',
    'dist/index.d.ts',
    'dist/cli/main.js',
    'dist/db/embedded.js',
    ...sql.map((name) => `dist/sql/${name}`),
    ...migrations.map((name) => `migrations/${name}`),
  ])
    expect(files, file).toContain(file)
})
