import { classifyFailure } from './connect.ts'

/**
 * Sends a batch whole; where the database refuses it, by halves, so that one bad item costs its neighbours a few more statements and
 * nothing else. `refused` is told of each item that is refused alone.
 *
 * @throws whatever leaves it unknown whether items were stored: those that `send` has not come back for may be sent again.
 */
export async function sendByHalves<Item>(
  batch: readonly Item[],
  send: (part: readonly Item[]) => Promise<void>,
  refused: (item: Item, error: Error) => void | Promise<void>,
): Promise<void> {
  try {
    await send(batch)
    return
  } catch (error) {
    if (classifyFailure(error) === 'unknown') throw error
    const [only] = batch
    if (batch.length === 1 && only !== undefined) {
      await refused(only, error as Error)
      return
    }
  }
  const middle = Math.ceil(batch.length / 2)
  await sendByHalves(batch.slice(0, middle), send, refused)
  await sendByHalves(batch.slice(middle), send, refused)
}
