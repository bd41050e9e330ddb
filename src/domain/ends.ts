/** How jobs end, as documents and errors tell it. */

/** Why a job or an attempt ended, who noticed and how late. */
export interface EndReasonDocument {
  code: string
  message: string | null
  /** The worker id, or the name of the layer (`witness`, `lease`, …), that committed the end. */
  noticedBy: string | null
  /** The layer of detection: its number, or its name. */
  layer: number | string | null
  /** From the last sign of life to the end, in milliseconds. */
  detectedAfterMs: number | null
  exitCode: number | null
  signal: string | null
}

/** The error of a failed job or attempt. */
export interface JobErrorDocument {
  code: string | null
  message: string
  stack: string | null
}
