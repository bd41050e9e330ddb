// `npm run cycles`: starts and ends 500 families of processes, killed in every way, and looks for what is left of them. Runs the test
// that does a few, told to do more: `npm run cycles -- 1000`. LEASEHOLD_CYCLES_SEED chooses other moments.
import { spawnSync } from 'node:child_process'
import path from 'node:path'

process.chdir(path.resolve(import.meta.dirname, '..'))
const { status } = spawnSync(
  process.execPath,
  ['node_modules/vitest/vitest.mjs', 'run', 'test/process/cycles.test.ts'],
  { stdio: 'inherit', env: { ...process.env, LEASEHOLD_CYCLES: process.argv[2] ?? '500' } },
)
process.exit(status ?? 1)
