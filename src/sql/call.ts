import type { Database } from '../db/connect.ts'
import { explainFailure } from '../db/connect.ts'

/**
 * Calls one of the schema's functions and returns its answer. Values are bound; the only thing ever interpolated is the
 * schema's name, quoted once, and the function's own.
 */
export async function call<T>(
  db: Database,
  name: string,
  values: unknown[],
  limitMs?: number,
): Promise<T> {
  const parameters = values.map((_, index) => `$${index + 1}`).join(', ')
  const text = `select ${db.schema}.${name}(${parameters}) as answer`
  try {
    const { rows } = await db.query(text, values, limitMs)
    return rows[0]?.['answer'] as T
  } catch (error) {
    throw explainFailure(error, name)
  }
}
