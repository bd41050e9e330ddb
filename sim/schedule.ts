/**
 * Virtual time: one queue of things to do, done one after another, the earliest first and equal ones in the order in which
 * they were asked for. Nothing else moves the clock.
 */
export class Schedule {
  nowMs = 0
  steps = 0
  #queue: Item[] = []
  #order = 0

  at(atMs: number, run: () => void | Promise<void>): void {
    this.#push({ atMs: Math.max(atMs, this.nowMs), order: (this.#order += 1), run })
  }

  after(delayMs: number, run: () => void | Promise<void>): void {
    this.at(this.nowMs + delayMs, run)
  }

  /** Does the next thing. False when there is none. */
  async step(): Promise<boolean> {
    const item = this.#pop()
    if (item === undefined) return false
    this.nowMs = item.atMs
    this.steps += 1
    await item.run()
    return true
  }

  #push(item: Item): void {
    const queue = this.#queue
    let index = queue.length
    queue.push(item)
    while (index > 0) {
      const above = (index - 1) >> 1
      const parent = queue[above]
      if (parent === undefined || !isBefore(item, parent)) break
      queue[index] = parent
      index = above
    }
    queue[index] = item
  }

  #pop(): Item | undefined {
    const queue = this.#queue
    const first = queue[0]
    const last = queue.pop()
    if (first === undefined || last === undefined || queue.length === 0) return first
    let index = 0
    for (;;) {
      let below = 2 * index + 1
      let child = queue[below]
      if (child === undefined) break
      const other = queue[below + 1]
      if (other !== undefined && isBefore(other, child)) {
        below += 1
        child = other
      }
      if (!isBefore(child, last)) break
      queue[index] = child
      index = below
    }
    queue[index] = last
    return first
  }
}

interface Item {
  readonly atMs: number
  readonly order: number
  readonly run: () => void | Promise<void>
}

function isBefore(a: Item, b: Item): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order)
}
