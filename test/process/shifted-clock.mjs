// Loaded into a process before anything else, in every thread: a wall clock that is wrong by CLOCK_SHIFT_MS, and after 4 s wrong by
// as much in the other direction.
const shiftMs = Number(process.env.CLOCK_SHIFT_MS)
const TrueDate = Date
const now = () => TrueDate.now() + (performance.now() < 4_000 ? shiftMs : -shiftMs)

globalThis.Date = class extends TrueDate {
  constructor(...args) {
    super(...(args.length === 0 ? [now()] : args))
  }

  static now() {
    return now()
  }
}
