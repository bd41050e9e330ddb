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
    // Real servers and processes: a bound for what hangs, longer than the product's own (60 s for a database to start), so that its error
    // is the one that is read. Some machines leave a new process ready to run, and unrun, for seconds.
    testTimeout: 120_000,
    hookTimeout: 120_000,
  },
})
