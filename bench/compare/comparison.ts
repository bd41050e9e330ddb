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
  /** Callers, connections and limits, the same for every contestant: printed with the results. */
  readonly how: string
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
  /** To another value of the same reading, where that is the ceiling. */
  readonly ratio?: { readonly value: number; readonly to: string }
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
  /** What the ratios are to, in a word or two; null where there is no ceiling. */
  ratioTo: string | null
  /** Variant of that ceiling's row, if bare SQL is the ceiling. */
  readonly ceiling: string | null
  readonly notes: Set<string>
  /** What went wrong, once for each repetition that gave no value. */
  readonly failures: string[]
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

const CEILING = 'ceiling: '

function variantOf(name: string, what: string | undefined): string {
  return what === undefined ? name : `${name}, ${what}`
}

/** Both modes of every contestant; of a quick run only the one. */
export function modesOf({ options }: Arena): readonly Mode[] {
  return options.quick ? ['fast'] : ['default', 'fast']
}

/** Cases of each contestant in these modes. */
export function casesOf(
  arena: Arena,
  modes: readonly Mode[],
  make: (contestant: Contestant, mode: Mode) => Omit<Case, 'contestant' | 'mode'>,
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
  const sheet = new Sheet()
  for (let repetition = 1; repetition <= arena.options.repetitions; repetition += 1) {
    const reached = new Map<string, number>()
    for (const [name, measure] of Object.entries(ceilings)) {
      arena.progress(`${repetition}: ${RAW}, ${name}`)
      await sheet.read({ ...OF_CEILING, variant: `${CEILING}${name}` }, measure, (row, { value }) =>
        reached.set(row.variant, value),
      )
    }
    for (const { variant, contestant, mode, ceiling, settings, read } of cases) {
      arena.progress(`${repetition}: ${contestant.name} ${mode}, ${variant}`)
      const about = {
        variant,
        contestant: contestant.name,
        mode,
        settings: settings ?? settingsText(contestant.modes[mode] ?? {}),
        ceiling: ceiling === undefined ? null : `${CEILING}${ceiling}`,
      }
      await sheet.read(about, read, (row, { value, ratio }) => {
        const above = row.ceiling === null ? undefined : reached.get(row.ceiling)
        if (ratio !== undefined) addRatio(row, ratio)
        else if (above !== undefined) addRatio(row, { value: value / above, to: 'raw' })
      })
    }
  }
  return sheet.rows()
}

function addRatio(row: Row, { value, to }: { value: number; to: string }): void {
  row.ratios.push(value)
  row.ratioTo = to
}

/** `concurrentJobs 24, localQueue { size 500 }` */
export function settingsText(settings: Readonly<Record<string, unknown>>): string {
  const texts = Object.entries(settings).map(([name, value]) => {
    if (typeof value !== 'object' || value === null) return `${name} ${String(value)}`
    return `${name} { ${settingsText({ ...value })} }`
  })
  return texts.join(', ') || 'no settings'
}

const OF_CEILING = { contestant: RAW, mode: '', settings: '', ceiling: null } as const

/** A row but for what was read, whose name is added to its variant and to that of its ceiling. */
type About = Pick<Row, 'variant' | 'contestant' | 'mode' | 'settings' | 'ceiling'>

/** All rows of a comparison as they come in. One reading that breaks leaves the others alone, and is missed in its rows. */
class Sheet {
  readonly #entries: { about: About; what: string | undefined; row: Row }[] = []
  readonly #failed: { about: About; text: string }[] = []

  async read(
    about: About,
    read: () => Promise<Reading[]>,
    take: (row: Row, reading: Reading) => void,
  ): Promise<void> {
    try {
      const readings = await read()
      const unknown = readings.find(({ value }) => !Number.isFinite(value))
      if (unknown !== undefined)
        throw new Error(`There is no value for ${unknown.what ?? about.variant}.`)
      for (const reading of readings) {
        const row = this.#rowOf(about, reading)
        row.values.push(reading.value)
        if (reading.note !== undefined) row.notes.add(reading.note)
        if (reading.details !== undefined) row.details.push(reading.details)
        take(row, reading)
      }
    } catch (error) {
      const text = error instanceof Error ? error.message : String(error)
      this.#failed.push({ about, text })
    }
  }

  /** Each failed reading counts against the rows that it would have had a value for. */
  rows(): Row[] {
    for (const { about, text } of this.#failed.splice(0))
      for (const row of this.#rowsMissed(about)) row.failures.push(text)
    return this.#entries.map(({ row }) => row)
  }

  /** Its own rows; when it never gave a value, rows for what others gave values for. */
  #rowsMissed(about: About): Row[] {
    const alike = this.#entries.filter(({ about: { variant } }) => variant === about.variant)
    const own = alike.filter(({ row }) => isOf(row, about))
    if (own.length > 0) return own.map(({ row }) => row)
    if (alike.length === 0) return [this.#rowOf(about, { unit: 'jobs/s' })]
    const read = new Map(alike.map(({ what, row: { unit } }) => [what, unit]))
    return [...read].map(([what, unit]) =>
      this.#rowOf(about, what === undefined ? { unit } : { what, unit }),
    )
  }

  #rowOf(about: About, { what, unit }: Pick<Reading, 'what' | 'unit'>): Row {
    const known = this.#entries.find(
      (entry) =>
        entry.about.variant === about.variant && entry.what === what && isOf(entry.row, about),
    )
    if (known !== undefined) return known.row
    const row: Row = {
      ...about,
      variant: variantOf(about.variant, what),
      ceiling: about.ceiling === null ? null : variantOf(about.ceiling, what),
      unit,
      values: [],
      ratios: [],
      ratioTo: null,
      notes: new Set(),
      failures: [],
      details: [],
    }
    this.#entries.push({ about, what, row })
    return row
  }
}

function isOf(row: Row, { contestant, mode }: About): boolean {
  return row.contestant === contestant && row.mode === mode
}
