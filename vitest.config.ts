// The default export is what vitest asks for.
import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['src/**/*.test.ts', 'test/**/*.test.ts'],
    globalSetup: ['test/support/global-setup.ts'],
    // Processes, not threads: tests signal processes, and change directory and environment.
    pool: 'forks',
    // More would only measure how a small machine behaves when it is overloaded.
    maxWorkers: 2,
    // Real servers and processes: ample on a busy machine, and still a bound.
    testTimeout: 30_000,
    hookTimeout: 60_000,
  },
})
