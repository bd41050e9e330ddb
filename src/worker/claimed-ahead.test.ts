import { randomUUID } from 'node:crypto'
import { expect, test } from 'vitest'
import { ClaimedAhead, type Unbegun } from './claimed-ahead.ts'

const jobs = (count: number): Unbegun[] =>
  Array.from({ length: count }, () => ({ jobId: randomUUID(), token: randomUUID() }))

/** The two ends of one, as threads have them. */
function both(jobsMax: number): { main: ClaimedAhead; lifeline: ClaimedAhead } {
  const main = ClaimedAhead.for(jobsMax)
  return { main, lifeline: new ClaimedAhead(main.shared) }
}

test('what has not begun is taken in order, and once it is, the generation is another', () => {
  const { main, lifeline } = both(10)
  expect(lifeline.some).toBe(false)
  const { generation } = main
  const all = jobs(5)
  const places = all.map(({ jobId, token }) => main.put(jobId, token))
  main.leaves(places[1]!)
  expect(lifeline.some).toBe(true)
  expect(lifeline.take()).toEqual({ unbegun: all.slice(2), claim: null })
  expect(main.generation).not.toBe(generation)
  main.clear()
  expect(lifeline.some).toBe(false)
  expect(lifeline.take().unbegun).toEqual([])
})

test('a claim that is open is told by its id until it is answered', () => {
  const { main, lifeline } = both(1)
  const id = randomUUID()
  main.asks(id)
  expect(lifeline.some).toBe(true)
  expect(lifeline.take()).toEqual({ unbegun: [], claim: id })
  main.answered()
  expect(lifeline.some).toBe(false)
  expect(lifeline.take().claim).toBe(null)
})

test('places are used again; of more than there are, the newest are told', () => {
  const { main, lifeline } = both(4)
  for (const { jobId, token } of jobs(11)) main.leaves(main.put(jobId, token))
  const all = jobs(6)
  for (const { jobId, token } of all) main.put(jobId, token)
  expect(lifeline.take().unbegun).toEqual(all.slice(-4))
})

test('each step of the main thread is a sign of life', () => {
  const { main, lifeline } = both(4)
  const turns = [lifeline.turn]
  const [one] = jobs(1)
  const place = main.put(one!.jobId, one!.token)
  turns.push(lifeline.turn)
  main.leaves(place)
  turns.push(lifeline.turn)
  expect(new Set(turns).size).toBe(3)
})
