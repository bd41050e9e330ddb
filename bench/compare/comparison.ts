/**
 * A comparison: the same reading of every contestant, one after the other within each repetition, so that all see the same machine,
 * and in each repetition what bare SQL reaches at that moment. Rates of different hours differ by a third; the ratio to the ceiling
 * of the same repetition is what can be compared.
 */
import type { Unit } from '../figures.ts'
import type { Arena, Contestant, Mode } from './arena.ts'

export interface Comparison {
  /** As `--only` takes it. */
  readonly name: string
  readonly what: string
  /** Part of `--quick`. */
  readonly quick: boolean
  readonly run: (arena: Arena) => Promise<Row[]>
}

/** One value of one contestant, in one repetition. */
export interface Reading {
  /** What was read, when a reading has several values, such as `p50`. */
  readonly what?: string
  readonly unit: Unit
  readonly value: number
  readonly note?: string
  readonly details?: unknown
}

export interface Row {
  /** What all rows of it can be compared by. */
  readonly variant: string
  readonly contestant: string
  readonly mode: string
  readonly settings: string
  readonly unit: Unit
  readonly values: number[]
  /** Of each value to the ceiling of its repetition. */
  readonly ratios: number[]
  /** Variant of that ceiling's row. */
  readonly ceiling: string | null
  readonly notes: Set<string>
  readonly details: unknown[]
}

export interface Case {
  readonly variant: string
  readonly contestant: Contestant
  readonly mode: Mode
  /** Of those given to {@link interleave}. */
  readonly ceiling?: string
  /** Instead of the mode's settings. */
  readonly settings?: string
  readonly read: () => Promise<Reading[]>
}

export type Ceilings = Readonly<Record<string, () => Promise<Reading[]>>>

export const RAW = 'raw SQL'

function variantOf(name: string, what: string | undefined): string {
  return what === undefined ? name : `${name}, ${what}`
}

function ceilingVariant(name: string, what: string | undefined): string {
  return `ceiling: ${variantOf(name, what)}`
}

/** Both modes of every contestant; of a quick run only the one. */
export function modesOf({ options }: Arena): readonly Mode[] {
  return options.quick ? ['fast'] : ['default', 'fast']
}

/** Cases of each contestant in these modes. */
export function casesOf(
  arena: Arena,
  modes: readonly Mode[],
  make: (contestant: Contestant, mode: Mode) => Pick<Case, 'variant' | 'read' | 'ceiling'>,
): Case[] {
  return arena.contestants.flatMap((contestant) =>
    modes.map((mode) => ({ contestant, mode, ...make(contestant, mode) })),
  )
}

export async function interleave(
  arena: Arena,
  cases: readonly Case[],
  ceilings: Ceilings = {},
): Promise<Row[]> {
  const rows = new Map<string, Row>()
  const row = (fields: Omit<Row, 'values' | 'ratios' | 'notes' | 'details'>): Row => {
    const key = JSON.stringify([fields.variant, fields.contestant, fields.mode])
    const found = rows.get(key)
    if (found !== undefined) return found
    const fresh = { ...fields, values: [], ratios: [], notes: new Set<string>(), details: [] }
    rows.set(key, fresh)
    return fresh
  }
  for (let repetition = 1; repetition <= arena.options.repetitions; repetition += 1) {
    const reached = new Map<string, number>()
    for (const [name, measure] of Object.entries(ceilings)) {
      arena.progress(`${repetition}: ${RAW}, ${name}`)
      for (const { what, unit, value } of await measure()) {
        const variant = ceilingVariant(name, what)
        reached.set(variant, value)
        row({ ...ROW_OF_CEILING, variant, unit }).values.push(value)
      }
    }
    for (const { variant, contestant, mode, ceiling, settings, read } of cases) {
      arena.progress(`${repetition}: ${contestant.name} ${mode}, ${variant}`)
      const fields = {
        contestant: contestant.name,
        mode,
        settings: settings ?? JSON.stringify(contestant.modes[mode]),
      }
      try {
        for (const { what, unit, value, note, details } of await read()) {
          const above = ceiling === undefined ? null : ceilingVariant(ceiling, what)
          const {
            values,
            ratios,
            notes,
            details: all,
          } = row({ ...fields, variant: variantOf(variant, what), unit, ceiling: above })
          values.push(value)
          if (above !== null) ratios.push(value / (reached.get(above) ?? Number.NaN))
          if (note !== undefined) notes.add(note)
          if (details !== undefined) all.push(details)
        }
      } catch (error) {
        // One that breaks leaves the others alone; its row says what happened.
        const text = error instanceof Error ? error.message : String(error)
        row({ ...fields, variant, unit: 'jobs/s', ceiling: null }).notes.add(`failed: ${text}`)
      }
    }
  }
  return [...rows.values()]
}

const ROW_OF_CEILING = {
  contestant: RAW,
  mode: '',
  settings: '',
  ceiling: null,
} as const
