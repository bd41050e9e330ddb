// Compiles src to dist and copies the .sql files, which the compiler does not know about, beside their wrappers.
import { spawnSync } from 'node:child_process'
import { chmodSync, copyFileSync, mkdirSync, readdirSync, rmSync } from 'node:fs'

rmSync('dist', { recursive: true, force: true })
const { status } = spawnSync(
  process.execPath,
  ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.build.json'],
  { stdio: 'inherit' },
)
if (status !== 0) process.exit(status ?? 1)
mkdirSync('dist/sql', { recursive: true })
for (const file of readdirSync('src/sql'))
  if (file.endsWith('.sql')) copyFileSync(`src/sql/${file}`, `dist/sql/${file}`)
chmodSync('dist/cli/main.js', 0o755)
