/** Arrays go to PostgreSQL and come back as they were, whichever of the two ways they take. */
import { expect, test } from 'vitest'
import { openDatabase } from '../../src/db/connect.ts'
import { createTestDatabase } from '../support/database.ts'

const ARRAYS: readonly (readonly (string | null)[])[] = [
  [],
  [''],
  ['a', 'accepted before'],
  ['NULL', 'null', null],
  ['aNULLb'],
  ['a,b', '{', '}', '{}', '[0:1]={a,b}'],
  [' a ', '\t', 'x\ny', 'é✓', "'"],
  ['"', '\\', 'a"b\\c'],
]

test('an array of texts comes back as it went, whatever is in it', async () => {
  const { databaseUrl } = await createTestDatabase()
  const db = openDatabase({ databaseUrl })
  for (const array of ARRAYS) {
    const { rows } = await db.query('select $1::text[] as texts, cardinality($1::text[]) as n', [
      array,
    ])
    expect(rows).toEqual([{ texts: array, n: array.length }])
  }
  const { rows } = await db.query(
    `select $1::uuid[] as ids, $2::bigint[] as numbers, '{{a,b},{c,d}}'::text[] as nested, '[0:1]={a,b}'::text[] as shifted`,
    [
      ['2ad0b3ce-0000-4000-8000-0123456789ab', '2ad0b3ce-0000-4000-8000-0123456789ac'],
      [1, null],
    ],
  )
  expect(rows).toEqual([
    {
      ids: ['2ad0b3ce-0000-4000-8000-0123456789ab', '2ad0b3ce-0000-4000-8000-0123456789ac'],
      numbers: ['1', null],
      nested: [
        ['a', 'b'],
        ['c', 'd'],
      ],
      shifted: ['a', 'b'],
    },
  ])
  await db.close()
})
