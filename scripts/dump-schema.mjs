// `npm run schema`: writes migrations/schema.sql anew from what the migrations make. Runs the test that compares it, told to write.
import { spawnSync } from 'node:child_process'

const { status } = spawnSync(
  process.execPath,
  ['node_modules/vitest/vitest.mjs', 'run', 'test/migrate.test.ts', '-t', 'the checked-in dump'],
  { stdio: 'inherit', env: { ...process.env, LEASEHOLD_WRITE_SCHEMA: '1' } },
)
process.exit(status ?? 1)
