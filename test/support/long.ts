/** Tests that repeat something: a few rounds each time, and the counts of the field notes by `npm test -- --long FILE`. */
const LONG = process.env['LEASEHOLD_TEST_LONG'] === '1'

export const rounds = (few: number, all: number): number => (LONG ? all : few)

/** The time limit of a test whose full rounds take so many milliseconds. */
export const limitOf = (fewMs: number, allMs: number): { timeout: number } => ({
  timeout: LONG ? allMs : fewMs,
})
