/** How jobs end, as documents and errors tell it. */

/** Why a job or an attempt ended, who noticed and how late. */
export interface EndReasonDocument {
  code: string
  message: string | null
  /** The worker id, or the name of the layer (`witness`, `lease`, …), that committed the end. */
  noticedBy: string | null
  /** The layer of detection: its number, or its name. */
  layer: number | string | null
  /**
   * From the worker's last sign of life to the detection of its end, in milliseconds. A sign is what the database accepted of it last (its
   * registration, a claim, a renewal), or, where somebody watched its process, when that was last seen: by its supervisor until it
   * exited (layer 1), by a worker on its machine at the last look (layer 2). 0 where the worker itself says that it ends.
   */
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
