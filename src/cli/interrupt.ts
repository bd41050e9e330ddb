/** Ctrl-C while something is watched: it ends the watching, never what is watched. */

/** Runs `work` until it ends or the first SIGINT, after which the exit code is 130. */
export async function untilInterrupted(
  work: (interrupted: AbortSignal) => Promise<void>,
): Promise<void> {
  const stop = new AbortController()
  const onSignal = (): void => {
    process.exitCode = 130
    stop.abort()
  }
  process.once('SIGINT', onSignal)
  try {
    await work(stop.signal)
  } finally {
    process.off('SIGINT', onSignal)
  }
}
