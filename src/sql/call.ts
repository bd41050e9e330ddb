import type { Database } from '../db/connect.ts'
import { explainFailure } from '../db/connect.ts'

/** What each call is, by schema, function and number of values: one text for all calls, which the driver knows again by itself. */
const texts = new Map<string, Map<string, string[]>>()

function textOf(schema: string, name: string, count: number): string {
  let ofSchema = texts.get(schema)
  if (ofSchema === undefined) texts.set(schema, (ofSchema = new Map()))
  let ofName = ofSchema.get(name)
  if (ofName === undefined) ofSchema.set(name, (ofName = []))
  return (ofName[count] ??=
    `select ${schema}.${name}(${Array.from({ length: count }, (_, index) => `$${index + 1}`).join(', ')}) as answer`)
}

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
  try {
    const { rows } = await db.query(textOf(db.schema, name, values.length), values, limitMs)
    return rows[0]?.['answer'] as T
  } catch (error) {
    throw explainFailure(error, name)
  }
}
