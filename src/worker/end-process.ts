/** Ends this process. The one place, beside the program itself, that may: where a handler that runs on would run beside its successor. */
export function endProcess(code: number): void {
  process.exit(code)
}
