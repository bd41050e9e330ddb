/** What tests define jobs with. */
import type { StandardSchema } from '../../src/client/standard-schema.ts'

/** A schema that every value fits. */
export const anything: StandardSchema = {
  '~standard': { version: 1, vendor: 'test', validate: (value) => ({ value }) },
}

/** What a handler of this process waits for until the test opens it. */
export function gate(): { readonly opened: Promise<void>; readonly open: () => void } {
  let resolveOpened = (): void => undefined
  const opened = new Promise<void>((resolve) => {
    resolveOpened = resolve
  })
  return { opened, open: () => resolveOpened() }
}
