import type { Database } from '../db/connect.ts'
import { explainFailure } from '../db/connect.ts'

/**
 * Calls one of the schema's functions and returns its answer. Values are bound; the only thing ever interpolated is the
 * schema's name, quoted once, and the function's own.
 */
export async function call<T>(db: Database, name: string, values: unknown[]): Promise<T> {
  const parameters = values.map((_, index) => `$${index + 1}`).join(', ')
  try {
    const { rows } = await db.query(`select ${db.schema}.${name}(${parameters}) as answer`, values)
    return rows[0]?.['answer'] as T
  } catch (error) {
    throw explainFailure(error, name)
  }
}
