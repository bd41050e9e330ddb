/** This process's environment without what would change how a worker or a contestant behaves. */
export function cleanEnvironment(): NodeJS.ProcessEnv {
  // PG…: what PostgreSQL's clients read besides the URL that they are given.
  const changes =
    /^(LEASEHOLD_(?!BENCH_)|LEASE_DURATION$|HEARTBEAT_INTERVAL$|DATABASE_URL$|PG|NODE_OPTIONS$|GRAPHILE_)/
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !changes.test(name)))
}
