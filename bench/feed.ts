/**
 * What has arrived from a process so far, and what will. A wait looks through the past first, so that nothing is missed between an
 * act and the wait for its effect; one that never ends fails with its name.
 */

/** Longer than anything that a measure waits for; only a broken run reaches it. */
const WAIT_MS_MAX = 60_000

interface Waiting<Item> {
  readonly wants: (item: Item) => boolean
  readonly resolve: (item: Item) => void
}

export class Feed<Item> {
  readonly items: Item[] = []
  readonly #waiting = new Set<Waiting<Item>>()

  push(item: Item): void {
    this.items.push(item)
    for (const waiting of this.#waiting) {
      if (!waiting.wants(item)) continue
      this.#waiting.delete(waiting)
      waiting.resolve(item)
    }
  }

  /** The first item that fits. @param what Named when it does not come. */
  first(
    what: string,
    wants: (item: Item) => boolean,
    options: { limitMs?: number } = {},
  ): Promise<Item> {
    const past = this.items.find(wants)
    if (past !== undefined) return Promise.resolve(past)
    const limitMs = options.limitMs ?? WAIT_MS_MAX
    return new Promise((resolve, reject) => {
      const waiting: Waiting<Item> = {
        wants,
        resolve: (item) => {
          clearTimeout(timer)
          resolve(item)
        },
      }
      const timer = setTimeout(() => {
        this.#waiting.delete(waiting)
        reject(new Error(`Waited ${limitMs / 1_000} s in vain for ${what}.`))
      }, limitMs)
      this.#waiting.add(waiting)
    })
  }
}
